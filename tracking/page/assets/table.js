"use strict";
// The runs in a table. Only the rows in sight are elements, so that ten thousand scroll like ten.
page.table = (() => {
  const {make, byId, isNarrow} = page.dom, say = page.say, data = page.data;
  const AHEAD = 8; // rows beyond the edges that are drawn already
  const closed = new Set(); // groups that are folded
  let items = [], columns = [], drawn = new Map(), body, head, space, height = 52, shown = {}, tools = "";

  function start() {
    head = make("div", {class: "head", role: "row"});
    space = make("div", {class: "space"});
    body = make("div", {class: "scroll", role: "table", "aria-label": "runs", tabindex: "0", onscroll: place}, head, space);
    byId("runs").append(make("div", {class: "tools", id: "table-tools"}), body);
    new ResizeObserver(() => { drop(); place(); }).observe(body);
  }

  function draw(force) {
    const {q, sort, down, group, cols, runs} = page.state.get();
    const key = JSON.stringify([q, sort, down, group, cols, [...closed]]);
    const same = shown.key === key && shown.data === data.runs;
    if (same && shown.runs === runs && !force) return;
    if (!same) {
      columns = page.columns.all();
      items = grouped(page.filter.rows(), group);
      drawTools();
      drawHead(sort, down);
      if (shown.q !== q || shown.sort !== sort || shown.down !== down || shown.group !== group) body.scrollTop = 0;
    }
    shown = {key, data: data.runs, runs, q, sort, down, group};
    drop();
    place();
  }

  function drawTools() {
    const {group, cols} = page.state.get(), key = JSON.stringify([group, cols, data.metrics, data.keys, data.varying]);
    if (key === tools) return; // a list that is open stays open
    tools = key;
    const more = ["", ...data.metrics, ...data.varying, ...data.keys.filter((key) => !data.varying.includes(key))].filter((key) => !cols.includes(key));
    const groups = [["", "nothing"], ["experiment", "experiment (all but the seed)"], ["name", "name"], ["status", "status"], ["tags", "tags"],
      ["data", "data"], ...data.varying.map((key) => [key, key])];
    page.dom.swap(byId("table-tools"),
      page.dom.menu("group by", groups, group, (value) => { closed.clear(); page.state.set({group: value}); }),
      page.dom.menu("add a column", more.map((key) => [key, key || "…"]), "", (key) => key && page.state.set({cols: [...cols, key]})),
      make("button", {class: "action", onclick: () => page.state.set({runs: page.filter.rows().slice(0, page.pick.MOST).map((run) => run.id)})}, "choose all shown"));
  }

  function drawHead(sort, down) {
    const falls = (key) => down === "" ? page.columns.fallsFirst(key) : down === "1";
    page.dom.swap(head, make("div", {role: "columnheader"}), columns.map((column) => {
      const on = (sort || "started") === column.key;
      const click = () => page.state.set(on ? {sort: column.key, down: falls(column.key) ? "0" : "1"} : {sort: column.key, down: ""});
      return make("div", {role: "columnheader", class: column.right ? "right" : "", "aria-sort": on ? (falls(column.key) ? "descending" : "ascending") : "none"},
        make("button", {class: "quiet", "data-key": column.key, title: column.title, onclick: click}, column.label,
          make("span", {class: "arrow", "aria-hidden": "true"}, on ? (falls(column.key) ? " ↓" : " ↑") : "")),
        column.removable && make("button", {class: "quiet", "aria-label": `without ${column.key}`,
          onclick: () => page.state.set({cols: page.state.get().cols.filter((key) => key !== column.key)})}, "×"));
    }));
    const widths = ["2.4rem", ...columns.map((column) => column.width)].join(" ");
    body.style.setProperty("--columns", widths);
    body.style.setProperty("--least", `${40 + columns.reduce((sum, column) => sum + column.least + 12, 0)}px`);
  }

  // Rows, or heads of groups with their rows behind them.
  function grouped(runs, group) {
    if (!group) return runs;
    const found = new Map();
    for (const run of runs) {
      const key = groupOf(run, group);
      if (!found.has(key)) found.set(key, []);
      found.get(key).push(run);
    }
    return [...found].flatMap(([key, members]) => [{head: key, members, group}, ...(closed.has(key) ? [] : members)]);
  }

  function groupOf(run, group) {
    if (group === "experiment") return run.group === undefined ? `alone: ${run.id}` : `#${run.group}`;
    const value = data.value(run, group);
    return Array.isArray(value) && group === "tags" ? value.join(" ") : value === undefined || value === "" ? "(none)" : say.value(value);
  }

  function drop() {
    for (const node of drawn.values()) node.remove();
    drawn.clear();
    height = isNarrow() ? 96 : 52;
    space.style.height = `${Math.max(items.length, 1) * height}px`;
    body.setAttribute("aria-rowcount", items.length);
    if (!items.length) {
      const text = data.runs.length ? "No run fits the filter." : "No runs yet: tools/train_net.py makes them.";
      drawn.set(-1, space.appendChild(make("p", {class: "empty"}, text)));
    }
  }

  function place() {
    const first = Math.max(0, Math.floor(body.scrollTop / height) - AHEAD);
    const last = Math.min(items.length, Math.ceil((body.scrollTop + body.clientHeight) / height) + AHEAD);
    for (const [at, node] of drawn) if (at >= 0 && (at < first || at >= last)) { node.remove(); drawn.delete(at); }
    for (let at = first; at < last; at++) {
      if (drawn.has(at)) continue;
      const node = items[at].head === undefined ? row(items[at]) : groupHead(items[at]);
      node.style.transform = `translateY(${at * height}px)`;
      node.style.height = `${height}px`;
      node.setAttribute("aria-rowindex", at + 1);
      drawn.set(at, space.appendChild(node));
    }
  }

  function row(run) {
    const at = page.state.get().runs.indexOf(run.id);
    const box = make("input", {type: "checkbox", "aria-label": `choose ${run.id}`, onchange: (event) => page.pick.toggle(run.id, event.target.checked)});
    box.checked = at >= 0;
    const open = (event) => { if (!event.target.closest("a, input, label")) page.state.set({run: run.id}); };
    return make("div", {class: "row", role: "row", "data-run": run.id, onclick: open},
      make("label", {class: "cell box", role: "cell", style: at >= 0 ? {"--mark": page.pick.colour(at)} : {}}, box),
      columns.map((column) => make("div", {class: `cell ${column.area}${column.right ? " right" : ""}`, role: "cell", "data-label": column.label}, column.draw(run))));
  }

  function groupHead({head: key, members, group}) {
    const values = page.series.distinct(members).map((run) => data.value(run, "value")).filter((value) => value !== undefined);
    const same = new Set(members.map((run) => run.primary_metric).filter(Boolean)).size === 1;
    const {mean, std} = page.series.spread(values);
    const oldest = members.reduce((a, b) => a.number < b.number ? a : b), {SEED: _, ...pairs} = oldest.changes || {};
    const title = group === "experiment" ? `${oldest.name}  ${page.say.changes({...oldest, changes: pairs})}` : key;
    const fold = () => { closed.has(key) ? closed.delete(key) : closed.add(key); draw(); };
    return make("div", {class: "row group", role: "row"},
      make("button", {class: "quiet", "aria-expanded": String(!closed.has(key)), onclick: fold}, closed.has(key) ? "▸" : "▾"),
      make("strong", {}, title), make("span", {class: "dim"}, `${members.length} run${members.length === 1 ? "" : "s"}`),
      same && values.length > 0 && make("span", {class: "figures"}, `${members.find((run) => run.primary_metric).primary_metric} ${say.number(mean)}`,
        std !== null && make("span", {class: "dim"}, ` ± ${say.number(std)}`)));
  }

  return {start, draw};
})();

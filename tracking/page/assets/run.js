"use strict";
// One run: why it was started, what was expected, what came of it, its scores, pictures and files.
page.run = (() => {
  const {make, byId} = page.dom, say = page.say, data = page.data;
  let shown = null;

  const close = () => page.state.set({run: ""});

  function draw(force) {
    const run = data.byId.get(page.state.get().run), panel = byId("run");
    panel.hidden = !run;
    if (!run) { shown = null; return; }
    const picked = page.state.get().runs.includes(run.id);
    const key = JSON.stringify([run, picked, data.version(run), data.byId.get(run.parent)?.scores, (data.children.get(run.id) || []).map((child) => child.id)]);
    if (shown && shown.key === key && !force) return;
    const opened = !shown || shown.id !== run.id, {scrollTop} = panel;
    const open = opened ? [] : [...panel.querySelectorAll("details[open] summary")].map((summary) => summary.textContent);
    shown = {id: run.id, key};
    const rest = make("div", {}, make("p", {class: "dim"}, "reading …"));
    const fill = (details) => {
      rest.replaceChildren(...more(run, details));
      for (const one of rest.querySelectorAll("details")) one.open = open.includes(one.querySelector("summary").textContent);
    };
    if (data.seen(run)) fill(data.seen(run));
    page.dom.swap(panel, head(run, picked), facts(run), changes(run), scores(run), rest);
    panel.scrollTop = opened ? 0 : scrollTop;
    if (opened) panel.querySelector("button").focus({preventScroll: true});
    if (data.seen(run)) return;
    data.details(run).then((details) => shown && shown.key === key && fill(details),
      () => rest.replaceChildren(make("p", {class: "bad"}, "the files of this run cannot be read")));
  }

  function head(run, picked) {
    return make("header", {}, make("div", {}, make("h2", {}, run.name), make("div", {class: "dim id"}, run.id)),
      make("label", {class: "quiet"}, checkbox(run, picked), " chosen"),
      make("button", {class: "quiet close", "aria-label": "close", onclick: close}, "×"));
  }

  function checkbox(run, picked) {
    const box = make("input", {type: "checkbox", onchange: (event) => page.pick.toggle(run.id, event.target.checked)});
    box.checked = picked;
    return box;
  }

  const row = (label, ...content) => [make("dt", {}, label), make("dd", {}, ...content)];
  const link = (id) => data.byId.has(id) ? make("a", {...page.columns.opens(data.byId.get(id))}, id) : `${id} (not here)`;

  function facts(run) {
    const children = data.children.get(run.id) || [];
    return make("dl", {class: "facts"},
      row("why", run.why || make("span", {class: "dim"}, "not given")),
      run.expect && row("expected", run.expect, run.proposal && make("div", {class: "dim"}, `the records say: ${run.proposal}`)),
      row("verdict", run.verdict ? make("span", {class: "verdict"}, run.verdict) : make("span", {class: "dim"}, "none yet")),
      row("status", say.status(run), run.reason && make("div", {class: run.status === "failed" ? "bad" : "dim"}, run.reason)),
      (run.problems || []).length > 0 && row("problems", run.problems.map((text) => make("div", {class: "bad"}, text))),
      run.other_code && row("mind", run.other_code),
      row("started", say.date(run.started), make("span", {class: "dim"}, `  ran ${say.duration(run.seconds)}`)),
      (run.tags || []).length > 0 && row("tags", page.columns.tags(run)),
      row("parent", run.parent ? link(run.parent) : make("span", {class: "dim"}, "none")),
      children.length > 0 && row("led to", children.slice(-8).map((child) => make("div", {}, link(child.id)))));
  }

  function changes(run) {
    const pairs = Object.entries(run.changes || {});
    if (!pairs.length && !run.code_changed) return "";
    const compare = () => page.state.set({tab: "compare", runs: [run.parent, run.id], run: ""});
    return make("div", {}, make("h3", {}, "Changed from its parent"),
      make("table", {class: "plain"}, make("tbody", {}, pairs.map(([key, [old, now]]) => make("tr", {}, make("th", {scope: "row"}, key),
        make("td", {class: "value dim"}, say.value(old)), make("td", {}, "→"), make("td", {class: "value"}, say.value(now)))))),
      make("p", {}, run.code_changed && "The code differs too. ", data.byId.has(run.parent) && make("button", {class: "action", onclick: compare}, "side by side")));
  }

  function scores(run) {
    const names = data.metrics.filter((name) => run.scores && run.scores[data.numbers.get(name)]);
    if (!names.length) return make("p", {class: "dim"}, "No scores.");
    names.sort((a, b) => (b === run.primary_metric) - (a === run.primary_metric));
    const parent = data.byId.get(run.parent);
    return make("div", {}, make("h3", {}, "Scores"), make("table", {class: "plain scores"},
      make("thead", {}, make("tr", {}, ["", "best", "at step", "last", parent ? "parent" : ""].map((text) => make("th", {scope: "col"}, text)))),
      make("tbody", {}, names.map((name) => make("tr", {class: name === run.primary_metric ? "primary" : ""}, make("th", {scope: "row"}, name),
        make("td", {}, say.number(data.score(run, name))), make("td", {class: "dim"}, String(data.score(run, name, 2) ?? "")),
        make("td", {}, say.number(data.score(run, name, 0))), make("td", {class: "dim"}, parent ? say.number(data.score(parent, name)) : ""))))));
  }

  function more(run, details) {
    const config = Object.entries(details.origins).filter(([key]) => data.config(run, key) !== undefined);
    return [
      details.notes && make("div", {}, make("h3", {}, "Notes"), make("p", {class: "prose"}, details.notes)),
      details.figures.length > 0 && make("div", {}, make("h3", {}, "Figures"), make("div", {class: "figures"}, details.figures.map((one) => figure(run, one)))),
      make("div", {}, make("h3", {}, "Files"), make("ul", {class: "files"}, details.files.map(([name, below, size]) => make("li", {},
        make("a", {href: data.address(run, below), target: "_blank", rel: "noopener"}, name), make("span", {class: "dim"}, ` ${say.size(size)}`))))),
      config.length > 0 && make("details", {}, make("summary", {}, "Config that was set"), make("table", {class: "plain"}, make("tbody", {}, config.map(([key, origin]) =>
        make("tr", {}, make("th", {scope: "row"}, key), make("td", {class: "value"}, say.value(data.config(run, key))), make("td", {class: "dim"}, origin)))))),
      make("details", {}, make("summary", {}, "How it was run"), make("dl", {class: "facts"},
        row("command", make("code", {}, details.command.map(quoted).join(" "))), row("seed", String(run.seed ?? "unknown")),
        row("machine", [run.host, details.device].filter(Boolean).join(", ") || "unknown"),
        run.git?.commit && row("git", `${String(run.git.commit).slice(0, 12)} on ${run.git.branch || "no branch"}${run.git.dirty ? ", with uncommitted changes" : ""}`),
        Object.entries(details.edited).map(([how, names]) => row(`code ${how}`, "while it ran: ", [names].flat().join(", "))),
        Object.keys(details.skipped).length > 0 && row("not copied", Object.entries(details.skipped).map(([name, why]) => make("div", {}, `${name}: ${why}`))),
        details.sessions > 1 && row("sessions", String(details.sessions)), details.adopted && row("adopted from", String(details.adopted)),
        Object.entries(details.data).map(([split, facts]) => row(split, say.value(facts))))),
    ].filter(Boolean);
  }

  const quoted = (word) => /^[\w@%+=:,./-]+$/.test(word) ? String(word) : `'${String(word).replaceAll("'", "'\"'\"'")}'`;

  function figure(run, [name, below]) {
    const address = data.address(run, below);
    return make("a", {href: address, target: "_blank", rel: "noopener"}, make("img", {src: address, alt: name, loading: "lazy"}), make("span", {class: "dim small"}, name.replace(/^figures\//, "")));
  }

  addEventListener("keydown", (event) => event.key === "Escape" && page.state.get().run && close());
  return {draw, figure};
})();

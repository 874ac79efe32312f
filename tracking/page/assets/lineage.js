"use strict";
// The lineage as a graph: which run came from which, what was changed on the way, and what that did to the score.
page.lineage = (() => {
  const {make, svg, byId} = page.dom, say = page.say, data = page.data;
  const ROW = 48, LANE = 18, AHEAD = 6, WIDEST = 12;
  let rows = [], drawn = new Map(), body, space, shown = {};

  function start() {
    space = make("div", {class: "space"});
    body = make("div", {class: "scroll", tabindex: "0", onscroll: place}, space);
    byId("lineage").append(body);
    new ResizeObserver(() => place()).observe(body);
  }

  function draw(force) {
    const state = page.state.get(), found = page.filter.rows();
    if (shown.found === found && shown.runs === state.runs && !force) return;
    if (shown.found !== found) rows = page.lanes.layOut([...found].sort((a, b) => a.number - b.number), (run) => data.children.get(run.id) || []);
    shown = {found, runs: state.runs};
    for (const node of drawn.values()) node.remove();
    drawn.clear();
    space.style.height = `${Math.max(1, rows.length) * ROW}px`;
    if (!rows.length) drawn.set(-1, space.appendChild(make("p", {class: "empty"}, data.runs.length ? "No run fits the filter." : "No runs yet.")));
    place();
  }

  function place() {
    const first = Math.max(0, Math.floor(body.scrollTop / ROW) - AHEAD);
    const last = Math.min(rows.length, Math.ceil((body.scrollTop + body.clientHeight) / ROW) + AHEAD);
    for (const [at, node] of drawn) if (at >= 0 && (at < first || at >= last)) { node.remove(); drawn.delete(at); }
    for (let at = first; at < last; at++) {
      if (drawn.has(at)) continue;
      const node = row(rows[at], rows[at + 1]);
      node.style.transform = `translateY(${at * ROW}px)`;
      drawn.set(at, space.appendChild(node));
    }
  }

  function row(entry, next) {
    const {run} = entry, parent = data.byId.get(run.parent);
    const own = data.value(run, "value"), theirs = parent && data.score(parent, run.primary_metric);
    const gap = own !== undefined && theirs !== undefined ? own - theirs : undefined;
    const better = gap === undefined || gap === 0 ? "" : (gap < 0) === data.lower.has(run.primary_metric) ? "better" : "worse";
    return make("div", {class: "link", "data-run": run.id},
      graph(entry, next),
      make("div", {class: "text"},
        make("div", {class: "line"}, make("a", {...page.columns.opens(run), class: "name", title: run.id}, run.name), " ",
          run.parent ? make("span", {class: "what"}, say.changes(run)) : make("span", {class: "dim"}, "no parent")),
        make("div", {class: "line dim"}, run.why ? run.why.slice(0, 300) : say.clock(run))),
      make("div", {class: "gain"}, make("div", {}, own === undefined ? run.status : say.number(own)), make("div", {class: better}, say.signed(gap))));
  }

  // The lanes beside a row: those that pass, the branch that comes in, the run itself.
  function graph({run, lane, from, lines, more}, next) {
    const x = (which) => 14 + Math.min(which, WIDEST) * LANE, middle = ROW / 2;
    const at = page.state.get().runs.indexOf(run.id);
    const strokes = lines.filter((which) => which !== from || lane === from)
      .map((which) => svg("path", {class: `lane l${which % 8}`, d: `M${x(which)} 0V${ROW}`}));
    if (from >= 0 && from !== lane) {
      strokes.push(svg("path", {class: `lane l${from % 8}`, d: `M${x(from)} 0V${ROW}`}));
      strokes.push(svg("path", {class: `lane l${lane % 8}`, d: `M${x(from)} 0C${x(from)} ${middle * 0.6},${x(lane)} ${middle * 0.4},${x(lane)} ${middle}`}));
    } else if (from >= 0) strokes.push(svg("path", {class: `lane l${lane % 8}`, d: `M${x(lane)} 0V${middle}`}));
    if (more) strokes.push(svg("path", {class: `lane l${lane % 8}`, d: `M${x(lane)} ${middle}V${ROW}`}));
    const widest = Math.max(lane, ...lines, next ? next.lane : 0);
    const dot = svg("circle", {class: `dot ${run.status.replace(/[^a-z]/g, "")}`, cx: x(lane), cy: middle, r: at >= 0 ? 7 : 5}, svg("title", {}, `${run.id}: ${run.status}`));
    if (at >= 0) dot.style.fill = page.pick.colour(at);
    dot.addEventListener("click", () => page.pick.toggle(run.id, at < 0));
    return svg("svg", {width: x(widest) + 14, height: ROW, class: "graph"}, strokes, dot);
  }

  return {start, draw};
})();

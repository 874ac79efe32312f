"use strict";
// Parallel coordinates: an axis for each config key, a line for each run, coloured by the score. Dragging along an axis
// keeps the runs within.
page.parallel = (() => {
  const {make, svg, byId} = page.dom, data = page.data;
  const MOST = 7; // axes at the start
  const MARGIN = {top: 54, bottom: 24, side: 60};
  let brushes = new Map(); // name of an axis -> {low, high, ticks: what the axis was}
  let shown = {}, dragged = false, axes = [], lines = [], canvas, size;

  function draw(force) {
    const {keys, target, q, runs} = page.state.get(), metric = target || data.primary;
    const rows = page.filter.rows().filter((run) => data.value(run, metric) !== undefined);
    const question = JSON.stringify([keys, target, q]), scores = JSON.stringify(rows.map((run) => [run.id, data.value(run, metric)]));
    if (dragged || (shown.question === question && shown.scores === scores && shown.runs === runs && !force)) return;
    if (shown.question !== question) brushes = new Map();
    shown = {question, scores, runs};
    const chosen = keys.filter((one) => data.keys.includes(one));
    const names = chosen.length ? chosen : telling(rows, metric);
    const holder = make("div", {class: "parallel"}), list = make("p", {class: "note dim", id: "brushed"});
    page.dom.swap(byId("keys"), tools(metric, names), list, holder);
    axes = [...names, metric].filter(Boolean).map((name) => axisOf(name, rows)).filter(Boolean);
    if (!rows.length || axes.length < 2) {
      holder.append(make("p", {class: "empty"}, rows.length ? "No config key differs between these runs." : "No run here has a score."));
      return;
    }
    lines = rows.map((run) => ({run, at: axes.map((axis) => axis.place(data.value(run, axis.name)))}));
    const best = axes[axes.length - 1], falls = data.lower.has(metric);
    for (const line of lines) line.good = falls ? 1 - line.at[axes.length - 1] : line.at[axes.length - 1];
    lines.sort((a, b) => a.good - b.good);
    best.metric = true;
    const ticks = new Map(axes.map((axis) => [axis.name, JSON.stringify(axis.ticks)]));
    for (const [name, brush] of brushes) if (ticks.get(name) !== brush.ticks) brushes.delete(name); // another scale by now
    layOut(holder);
  }

  // Keys that differ, those first of which the score depends the most: how far its mean differs between their values.
  function telling(rows, metric) {
    const scores = rows.map((run) => data.value(run, metric));
    const all = page.series.spread(scores).std || 1;
    const ranked = data.varying.filter((key) => key !== "SEED" && key !== "NAME").map((key) => {
      const groups = new Map();
      rows.forEach((run, i) => {
        const value = JSON.stringify(data.config(run, key)) ?? "";
        if (!groups.has(value)) groups.set(value, []);
        groups.get(value).push(scores[i]);
      });
      const means = [...groups.values()].map((values) => page.series.spread(values).mean);
      return {key, many: groups.size, gap: groups.size > 1 ? (page.series.spread(means).std || 0) / all : 0};
    }).filter(({many}) => many > 1);
    return ranked.sort((a, b) => b.gap - a.gap).slice(0, page.dom.isNarrow() ? 3 : MOST).map(({key}) => key);
  }

  // Numbers on a line, on a logarithmic one where they span decades; anything else at even distances.
  function axisOf(name, rows) {
    const values = rows.map((run) => data.value(run, name)).filter((value) => value !== undefined && value !== null);
    if (!values.length) return null;
    const numeric = values.every((value) => typeof value === "number");
    if (!numeric || new Set(values).size < 2) {
      const texts = [...new Set(values.map(page.say.value))].sort((a, b) => a.localeCompare(b, "en", {numeric: true}));
      return {name, place: (value) => value === undefined ? NaN : texts.length < 2 ? 0.5 : texts.indexOf(page.say.value(value)) / (texts.length - 1),
        ticks: texts.length > 24 ? [] : texts.map((text, i) => [texts.length < 2 ? 0.5 : i / (texts.length - 1), text])};
    }
    const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
    const score = data.numbers.has(name) && !data.lower.has(name); // a fraction, mostly: its upper end is what matters
    const log = !score && low > 0 && high / low > 50;
    const scale = log ? Math.log : (value) => value;
    const place = (value) => typeof value === "number" ? (scale(value) - scale(low)) / (scale(high) - scale(low)) : NaN;
    const distinct = [...new Set(values)].sort((a, b) => a - b);
    const marks = distinct.length <= 6 ? distinct : [0, 0.25, 0.5, 0.75, 1].map((part) => log ? Math.exp(scale(low) + part * (scale(high) - scale(low))) : low + part * (high - low));
    return {name, place, ticks: marks.map((value) => [place(value), String(+value.toPrecision(3))])};
  }

  function tools(metric, names) {
    const add = data.keys.filter((key) => !names.includes(key));
    return make("div", {class: "tools"},
      page.dom.menu("against", data.metrics.map((name) => [name, name]), metric, (target) => page.state.set({target})),
      page.dom.menu("add a key", [["", "…"], ...add.map((key) => [key, key])], "", (key) => key && page.state.set({keys: [...names, key]})),
      make("div", {class: "toggles"}, names.map((name) => make("button", {title: `without ${name}`, "aria-pressed": "true",
        onclick: () => page.state.set({keys: names.filter((one) => one !== name)})}, name, " ×"))),
      make("button", {class: "action", id: "choose-brushed", onclick: () => page.state.set({runs: inside().slice(-page.pick.MOST).map(({run}) => run.id).reverse()})}, "choose these runs"));
  }

  function layOut(holder) {
    const width = Math.max(holder.clientWidth, axes.length * 96), height = Math.max(320, Math.min(560, innerHeight - 260));
    const gap = (width - 2 * MARGIN.side) / (axes.length - 1), tall = height - MARGIN.top - MARGIN.bottom;
    size = {width, height, x: (i) => MARGIN.side + i * gap, y: (part) => MARGIN.top + (1 - part) * tall, part: (y) => 1 - (y - MARGIN.top) / tall};
    canvas = make("canvas", {width: width * devicePixelRatio, height: height * devicePixelRatio, style: {width: `${width}px`, height: `${height}px`}});
    const over = svg("svg", {width, height, role: "img", "aria-label": "config keys against the score"}, axes.map(axisGroup));
    holder.replaceChildren(canvas, over);
    paint();
  }

  function axisGroup(axis, i) {
    const x = size.x(i), top = size.y(1), bottom = size.y(0), last = axis.name.slice(axis.name.lastIndexOf(".") + 1);
    const kept = brushes.get(axis.name);
    const brush = svg("rect", {class: "brush", x: x - 9, width: 18, y: kept ? size.y(kept.high) : 0, height: kept ? size.y(kept.low) - size.y(kept.high) : 0});
    const group = svg("g", {class: axis.metric ? "axis metric" : "axis"},
      svg("text", {class: "name", x, y: 20 + (i % 2) * 16, "text-anchor": "middle"}, axis.name.includes("/") ? axis.name : last, svg("title", {}, axis.name)),
      svg("line", {x1: x, x2: x, y1: top, y2: bottom}), brush,
      axis.ticks.map(([part, text]) => svg("text", {x: x + 7, y: size.y(part) + 4}, text.length > 14 ? `${text.slice(0, 13)}…` : text, svg("title", {}, text))),
      svg("rect", {class: "grip", x: x - 14, y: top - 8, width: 28, height: bottom - top + 16, "data-axis": axis.name, onpointerdown: (event) => drag(event, axis, brush)}));
    return group;
  }

  // A stretch of an axis; a click takes it away again.
  function drag(event, axis, brush) {
    const top = event.target.ownerSVGElement.getBoundingClientRect().top, start = event.clientY - top;
    event.target.setPointerCapture(event.pointerId);
    dragged = true;
    const move = (moved) => {
      const [a, b] = [start, moved.clientY - top].sort((one, two) => one - two);
      if (b - a < 4) brushes.delete(axis.name); else brushes.set(axis.name, {low: size.part(b), high: size.part(a), ticks: JSON.stringify(axis.ticks)});
      brush.setAttribute("y", a);
      brush.setAttribute("height", b - a < 4 ? 0 : b - a);
      paint();
    };
    move(event);
    event.target.onpointermove = move;
    event.target.onlostpointercapture = () => { event.target.onpointermove = null; dragged = false; draw(); };
  }

  const inside = () => lines.filter(({at}) => axes.every(({name}, i) => !brushes.has(name) || (at[i] >= brushes.get(name).low && at[i] <= brushes.get(name).high)));

  function paint() {
    const pen = canvas.getContext("2d"), kept = new Set(inside()), picked = new Set(page.state.get().runs);
    const shades = [1, 2, 3, 4, 5].map((n) => page.dom.colour(`shade-${n}`)), none = page.dom.colour("line");
    pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    pen.clearRect(0, 0, size.width, size.height);
    const thin = Math.max(0.12, Math.min(0.8, 120 / Math.max(kept.size, 1)));
    for (const line of [...lines.filter((one) => !kept.has(one)), ...lines.filter((one) => kept.has(one))]) {
      const on = kept.has(line), mark = picked.has(line.run.id);
      pen.strokeStyle = on ? shades[Math.min(4, Math.floor(line.good * 5))] || none : none;
      pen.globalAlpha = mark ? 1 : on ? thin : 0.15;
      pen.lineWidth = mark ? 2.5 : 1.5;
      pen.beginPath();
      let before = false;
      line.at.forEach((part, i) => {
        if (Number.isNaN(part)) { before = false; return; }
        const x = size.x(i), y = size.y(part), back = size.x(i - 1), bend = (x - back) / 2.6;
        if (before) pen.bezierCurveTo(back + bend, size.y(line.at[i - 1]), x - bend, y, x, y); else pen.moveTo(x, y);
        before = true;
      });
      pen.stroke();
    }
    byId("brushed").textContent = brushes.size ? `${kept.size} of ${lines.length} runs lie within` : `${lines.length} runs; drag along an axis to keep those within`;
  }

  addEventListener("resize", page.dom.later(() => page.state.get().tab === "keys" && draw(true), 150));
  return {draw};
})();

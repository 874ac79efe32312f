"use strict";
// Curves of the chosen runs: on any axis, smoothed, repeats as a mean with a band.
page.curves = (() => {
  const {make, byId, choice} = page.dom, data = page.data;
  const MOST = 60; // runs: each has places of its own on the axis, and all lines share them
  const parts = {}; // what the view is made of; the slider must not be replaced while it is dragged
  let charts = [], turn = 0, shown = "", controls = "", looks = "";

  function start() {
    for (const name of ["tools", "toggles", "note", "charts", "legend"]) parts[name] = make("div", {class: name});
    byId("curves").append(...Object.values(parts));
  }

  function draw(force) {
    const state = page.state.get(), runs = page.pick.orFirst().slice(0, MOST);
    const key = JSON.stringify([state.axis, state.smooth, state.pool, state.log, state.metrics, runs.map((run) => [run.id, data.version(run)]), state.runs]);
    if (key === shown && !force) return;
    shown = key;
    const own = ++turn;
    const all = Promise.allSettled(runs.map((run) => data.details(run)));
    if (runs.some((run) => !data.seen(run)) && !charts.length) parts.charts.replaceChildren(make("p", {class: "empty"}, "reading curves …"));
    all.then((found) => {
      if (own !== turn) return;
      const read = runs.map((run, position) => ({run, position, details: found[position].value})).filter((one) => one.details);
      render(state, read, runs.length - read.length);
    });
  }

  function render(state, read, failed) {
    const names = [...new Set(read.flatMap(({details}) => Object.keys(details.curves)))].sort();
    const metrics = state.metrics.filter((name) => names.includes(name));
    const drawn = metrics.length ? metrics : usual(names);
    const notes = [];
    if (failed) notes.push(`${failed} of the runs could not be read`);
    if (state.runs.length > MOST) notes.push(`the first ${MOST} of ${state.runs.length} chosen runs`);
    if (!state.runs.length && read.length) notes.push("nothing is chosen: these are the first of the table");
    drawControls(state, names, drawn);
    parts.note.textContent = notes.join("; ");
    fill(state, drawn.map((metric) => ({metric, ...linesOf(state, read, metric)})));
    parts.legend.replaceChildren(...legendOf(state, read));
  }

  // Other points in the charts that are there, where they look the same; else other charts.
  function fill(state, found) {
    const look = ({xs, ys, low, high, ...rest}) => [rest, xs.length === 1, Boolean(low)];
    const key = JSON.stringify([state.axis, state.log, innerWidth, page.dom.colour("muted"), found.map(({metric, lines, lacking}) => [metric, lacking, lines.map(look)])]);
    const full = found.filter(({lines}) => lines.length);
    if (key === looks && full.length) {
      full.forEach(({lines}, i) => charts[i].update(lines));
      return;
    }
    looks = key;
    for (const chart of charts) chart.destroy();
    charts = [];
    const grid = parts.charts;
    grid.replaceChildren();
    if (!found.length) grid.append(make("p", {class: "empty"}, "No run has curves yet."));
    for (const {metric, lines, lacking} of found) {
      if (lines.length) charts.push(page.charts.draw(grid, metric, lines, {axis: state.axis, log: state.log === "1"}));
      if (lines.length && lacking) grid.lastChild.append(make("p", {class: "note"}, `${lacking} of these runs: nothing on this axis`));
      if (!lines.length) grid.append(make("figure", {class: "chart"}, make("figcaption", {}, metric), make("p", {class: "dim"}, "no run has it on this axis")));
    }
  }

  function drawControls(state, names, drawn) {
    parts.tools.querySelector("output")?.replaceChildren(Number(state.smooth).toFixed(2));
    const key = JSON.stringify([state.axis, state.pool, state.log, names, drawn]);
    if (key === controls) return;
    controls = key;
    page.dom.swap(parts.tools, tools(state));
    page.dom.swap(parts.toggles, toggles(names, drawn));
  }

  // What is looked at first: the score, the losses, the rate.
  function usual(names) {
    const wanted = [data.primary, "train/loss", "val/loss", "lr"].filter((name) => names.includes(name));
    return wanted.length ? wanted : names.slice(0, 4);
  }

  function tools(state) {
    const slider = make("input", {type: "range", min: "0", max: "0.98", step: "0.02", "aria-label": "smoothing",
      oninput: page.dom.later((event) => page.state.set({smooth: event.target.value}), 60)});
    slider.value = state.smooth;
    return [
      choice("over", [["step", "steps"], ["epoch", "epochs"], ["samples", "samples"], ["time", "time"]], state.axis, (axis) => page.state.set({axis})),
      make("label", {class: "choice"}, make("span", {class: "label"}, "smoothing"), slider, make("output", {}, Number(state.smooth).toFixed(2))),
      choice("repeats", [["", "each"], ["1", "mean ± std"]], state.pool, (pool) => page.state.set({pool})),
      choice("scale", [["", "linear"], ["1", "log"]], state.log, (log) => page.state.set({log})),
    ];
  }

  function toggles(names, drawn) {
    const toggle = (name) => page.state.set({metrics: drawn.includes(name) ? drawn.filter((one) => one !== name) : [...drawn, name]});
    return names.map((name) => make("button", {"aria-pressed": String(drawn.includes(name)), onclick: () => toggle(name)}, name));
  }

  // A line a run, with its own values faint behind it where it is smoothed or one of means; or a line and a band a group of
  // repeats, of which the means of equal stretches are pooled.
  function linesOf(state, read, metric) {
    const weight = Number(state.smooth) || 0, {series} = page;
    const have = read.filter(({details}) => series.curve(details, metric, state.axis));
    const lines = (state.pool === "1" ? groups(have) : have.map((one) => [one])).flatMap((members) => {
      const {run, position, details} = members[0];
      const look = {colour: page.pick.colour(position), dash: page.pick.dash(position)};
      const wide = Math.max(...members.map((one) => series.width(one.details, metric)));
      if (members.length > 1) {
        const {xs, mean, low, high} = series.pool(members.map((one) => series.means(one.details, metric, state.axis, wide)));
        return xs.length ? [{...look, label: `${run.name} ×${members.length}`, xs, ys: series.smooth(mean, weight),
          low: series.smooth(low, weight), high: series.smooth(high, weight)}] : [];
      }
      const [xs, ys] = series.curve(details, metric, state.axis), [at, means] = series.means(details, metric, state.axis, wide);
      const label = `${run.name} ${page.say.clock(run).slice(-8)}`;
      const faint = weight || wide ? [{...look, label, xs, ys, faint: true}] : [];
      return [...faint, {...look, label, xs: at, ys: series.smooth(means, weight)}];
    });
    return {lines, lacking: read.length - have.length};
  }

  // Repeats are runs of equal config, but for the seed, and equal code; one that repeats the seed as well tells nothing new.
  function groups(all) {
    const have = page.series.distinct(all, ({run}) => run);
    const found = new Map();
    for (const one of have) {
      const key = one.run.group === undefined ? `alone ${one.run.id}` : one.run.group;
      if (!found.has(key)) found.set(key, []);
      found.get(key).push(one);
    }
    return [...found.values()];
  }

  function legendOf(state, read) {
    return (state.pool === "1" ? groups(read) : read.map((one) => [one])).map((members) => {
      const {run, position} = members[0];
      return make("div", {class: "entry"}, make("i", {class: "swatch", style: {background: page.pick.colour(position)}}),
        make("a", {...page.columns.opens(run)}, run.name), make("span", {class: "dim"},
          members.length > 1 ? ` ${members.length} repeats` : ` ${page.say.clock(run)}`, "  ", page.say.changes(run)));
    });
  }

  addEventListener("resize", page.dom.later(() => page.state.get().tab === "curves" && draw(true), 150));
  return {start, draw};
})();

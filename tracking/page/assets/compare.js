"use strict";
// Chosen runs side by side: what was asked, what came out, and which config keys and code differ.
page.compare = (() => {
  const {make, byId, choice} = page.dom, say = page.say, data = page.data;
  const MOST = 12; // columns
  let shown = "", code = null, codeOf = "";

  // The chosen runs; one alone stands beside its parent.
  function subjects() {
    const found = page.pick.orFirst(2).slice(0, MOST);
    const parent = found.length === 1 && data.byId.get(found[0].parent);
    return parent ? [parent, found[0]] : found;
  }

  function draw(force) {
    const {runs: ids, all} = page.state.get(), runs = subjects();
    const key = JSON.stringify([ids, all, runs, runs.map((run) => data.byId.has(run.parent))]);
    if (key === shown && !force) return;
    shown = key;
    if (!runs.length) {
      byId("compare").replaceChildren(make("p", {class: "empty"}, "No runs to compare."));
      return;
    }
    const note = ids.length ? ids.length > MOST ? `the first ${MOST} of ${ids.length} chosen runs` : "" : "nothing is chosen: these are the first of the table";
    const figures = make("div"), same = code && codeOf === JSON.stringify(runs.map((run) => [run.id, run.code]));
    if (!same) code = make("div", {class: "code"});
    codeOf = JSON.stringify(runs.map((run) => [run.id, run.code]));
    byId("compare").replaceChildren(make("p", {class: "dim note"}, note), sheet(runs, all === "1"), code, figures);
    Promise.allSettled(runs.map((run) => data.details(run))).then((found) => {
      if (key !== shown) return;
      byId("compare").querySelectorAll("td[data-origin]").forEach((cell) => addOrigin(cell, found[Number(cell.dataset.origin)].value));
      figures.replaceChildren(...pictures(runs, found.map((one) => one.value)));
      if (!same) page.code.draw(code, runs, found.map((one) => one.value));
    });
  }

  // Where a value came from, where it is not the default.
  function addOrigin(cell, details) {
    const origin = page.dom.own(details?.origins, cell.dataset.key);
    if (origin) cell.append(make("div", {class: "dim small", title: origin}, origin.slice(origin.lastIndexOf("/") + 1)));
  }

  function sheet(runs, all) {
    const chosen = page.state.get().runs;
    const head = make("thead", {}, make("tr", {}, make("th", {}), runs.map((run) => {
      const at = chosen.indexOf(run.id);
      return make("th", {scope: "col"}, at >= 0 && make("i", {class: "swatch", style: {background: page.pick.colour(at)}}),
        make("a", {...page.columns.opens(run), title: run.id}, run.name), make("div", {class: "dim small"}, say.clock(run)));
    })));
    const body = make("tbody", {}, about(runs), section(`Scores, each its best${comparable(runs) ? "" : "; on different data: not compared"}`, runs), scores(runs),
      section(all ? "Config" : "Config: keys that differ", runs, choice("show", [["", "differing"], ["1", "all"]], all ? "1" : "", (value) => page.state.set({all: value}))),
      config(runs, all));
    return make("div", {class: "sheet"}, make("table", {}, head, body));
  }

  // Figures of one name beside each other.
  function pictures(runs, details) {
    const names = [...new Set(details.flatMap((one) => one ? one.figures.map(([name]) => name) : []))].sort();
    if (!names.length) return [];
    const cell = (run, one, name) => one && one.figures.filter(([own]) => own === name).map((found) => page.run.figure(run, found));
    const rows = names.map((name) => line(name.replace(/^figures\//, ""), runs.map((run, i) => make("td", {}, cell(run, details[i], name)))));
    return [make("h2", {}, "Figures"), make("div", {class: "sheet figures"}, make("table", {}, make("tbody", {}, rows)))];
  }

  const section = (title, runs, extra) => make("tr", {class: "section"}, make("th", {colspan: runs.length + 1}, make("div", {}, title, extra)));

  function line(label, cells, options = {}) {
    return make("tr", options, make("th", {scope: "row", title: label}, label), cells);
  }

  function about(runs) {
    const text = (key, label, draw) => runs.some((run) => run[key] !== undefined && run[key] !== "")
      ? [line(label, runs.map((run) => make("td", {}, draw ? draw(run) : String(run[key] ?? "").slice(0, 6000))), {class: "prose"})] : [];
    return [
      ...text("why", "why"), ...text("expect", "expected"), ...text("proposal", "the records say"), ...text("verdict", "verdict"),
      ...text("status", "status", say.status), ...text("reason", "ended because"), ...text("started", "started", (run) => say.date(run.started)), ...text("seconds", "time", (run) => say.duration(run.seconds)),
      ...text("seed", "seed"), ...text("data", "data"), ...text("tags", "tags", (run) => page.columns.tags(run)),
    ];
  }

  // Whether scores of the two, or of all, are on the same data, as far as that is known.
  const alike = (one, other) => !one.data || !other.data || one.data === other.data;
  const comparable = (runs) => runs.every((run) => alike(run, runs[0]));

  // The best of each row stands out; beside the others how far they are from the first. Scores on other data tell neither.
  function scores(runs) {
    const names = data.metrics.filter((name) => runs.some((run) => data.score(run, name) !== undefined));
    names.sort((a, b) => (b === data.primary) - (a === data.primary));
    return names.map((name) => {
      const values = runs.map((run) => data.score(run, name));
      const known = values.filter((value) => value !== undefined);
      const ranked = new Set(known).size > 1 && comparable(runs);
      const best = data.lower.has(name) ? Math.min(...known) : Math.max(...known);
      return line(name, values.map((value, i) => make("td", {class: value === best && ranked ? "number best" : "number"}, say.number(value),
        i > 0 && alike(runs[i], runs[0]) && value !== undefined && values[0] !== undefined && make("span", {class: "dim small"}, ` ${say.signed(value - values[0])}`))));
    });
  }

  function config(runs, all) {
    const made = [];
    for (const key of data.keys) {
      const values = runs.map((run) => data.config(run, key));
      const texts = values.map((value) => JSON.stringify(value));
      const differs = new Set(texts).size > 1;
      if (!differs && !all) continue;
      made.push(line(key, values.map((value, i) => make("td", {class: differs && texts[i] !== texts[0] ? "value differs" : "value", "data-origin": i, "data-key": key},
        value === undefined ? make("span", {class: "dim"}, "–") : say.value(value)))));
    }
    return made.length ? made : [make("tr", {}, make("td", {colspan: runs.length + 1, class: "dim"}, "no key differs"))];
  }

  return {draw};
})();

"use strict";
// One chart of curves, drawn by uPlot in the page's colours.
page.charts = (() => {
  const {make, colour} = page.dom;
  const NAMED = 10; // lines of the box beside the pointer
  const THIN = 1.6;

  function tick(axis, value) {
    if (axis === "time") return page.say.duration(value);
    const size = Math.abs(value);
    if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)} M`;
    return size >= 1e4 ? `${+(value / 1e3).toPrecision(4)} k` : `${+value.toPrecision(6)}`;
  }

  // The points of the lines as uPlot has them.
  function points(lines, log) {
    const tables = lines.flatMap((line) => [[line.xs, line.ys], ...(line.low ? [[line.xs, line.high], [line.xs, line.low]] : [])]);
    return log ? positive(uPlot.join(tables)) : uPlot.join(tables);
  }

  // lines: [{label, colour, dash, xs, ys, low, high, faint}]; where there is low and high, the band between them is filled.
  // Returns what shows others in its place: lines that look the same, with other points.
  function draw(holder, title, lines, {axis, log}) {
    const series = [{}], bands = [], meaning = [null];
    for (const line of lines) {
      series.push({label: line.label, stroke: line.colour, width: line.faint ? 0.7 : THIN, alpha: line.faint ? 0.35 : 1, dash: line.dash, points: {show: line.xs.length === 1, size: 6}});
      meaning.push(line.faint ? null : line);
      if (line.low) {
        for (let edge = 0; edge < 2; edge++) { series.push({stroke: "transparent", width: 0, points: {show: false}}); meaning.push(null); }
        bands.push({series: [series.length - 2, series.length - 1], fill: line.colour.replace("rgb(", "rgba(").replace(")", ", 0.18)")});
      }
    }
    const frame = make("figure", {class: "chart", "data-metric": title}, make("figcaption", {}, title));
    holder.append(frame);
    const tip = make("div", {class: "tip", hidden: true});
    const chart = new uPlot(options(frame, axis, log, series, bands, tip, meaning), points(lines, log), frame);
    chart.over.append(tip);
    return {destroy: () => chart.destroy(), update: (other) => update(chart, points(other, log), meaning, other)};
  }

  // What was zoomed into stays.
  function update(chart, table, meaning, lines) {
    const {min, max} = chart.scales.x, xs = chart.data[0], zoomed = min > xs[0] || max < xs[xs.length - 1];
    const clear = lines.filter((line) => !line.faint);
    meaning.forEach((line, i) => { if (line) meaning[i] = clear.shift(); });
    chart.setData(table, !zoomed);
    if (zoomed) chart.setScale("x", {min, max});
  }

  // A logarithm knows nothing of zero and less: gaps.
  const positive = ([xs, ...rest]) => [xs, ...rest.map((ys) => ys.map((y) => typeof y === "number" && y <= 0 ? null : y))];

  function options(frame, axis, log, series, bands, tip, meaning) {
    const ink = colour("muted"), line = colour("line");
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const common = {stroke: ink, font, grid: {stroke: line, width: 1}, ticks: {stroke: line, width: 1, size: 4}};
    return {
      width: Math.max(240, frame.clientWidth - 2), height: page.dom.isNarrow() ? 200 : 250, series, bands,
      padding: [8, 12, 0, 0],
      legend: {show: false},
      scales: {x: {time: false}, y: log ? {distr: 3} : {}},
      axes: [{...common, size: 32, values: (_, ticks) => ticks.map((value) => tick(axis, value)), space: 60},
        {...common, size: 56, values: (_, ticks) => ticks.map((value) => value === null ? "" : `${+value.toPrecision(4)}`)}],
      cursor: {sync: {key: "curves", scales: ["x", null]}, y: false, points: {size: 5}, drag: {x: true, y: false}},
      hooks: {setCursor: [(chart) => point(chart, tip, meaning, axis)]},
    };
  }

  // What the curves are where the pointer is, the largest first.
  function point(chart, tip, meaning, axis) {
    const {left} = chart.cursor;
    tip.hidden = left < 0 || !chart.over.matches(":hover");
    if (tip.hidden) return;
    const x = chart.posToVal(left, "x");
    const found = meaning.filter(Boolean).filter((line) => x >= line.xs[0] && x <= line.xs[line.xs.length - 1])
      .map((line) => ({line, y: page.series.interpolate(line.xs, line.ys, x)})).filter(({y}) => y !== null).sort((a, b) => b.y - a.y);
    tip.replaceChildren(make("div", {class: "dim"}, `${axis === "time" ? "" : `${axis} `}${tick(axis, axis === "step" || axis === "samples" ? Math.round(x) : x)}`),
      ...found.slice(0, NAMED).map(({line, y}) => make("div", {class: "entry"}, make("i", {class: "swatch", style: {background: line.colour}}),
        make("span", {}, line.label), make("b", {}, page.say.number(y)))),
      found.length > NAMED ? make("div", {class: "dim"}, `and ${found.length - NAMED} more`) : "");
    const right = left > chart.over.clientWidth / 2;
    tip.style.left = right ? "auto" : `${left + 12}px`;
    tip.style.right = right ? `${chart.over.clientWidth - left + 12}px` : "auto";
  }

  return {draw};
})();

"use strict";
// Arithmetic of curves: axes, smoothing, interpolation, repeats pooled. Knows no elements.
page.series = (() => {
  // Mean and sample standard deviation; null where there are too few.
  function spread(values) {
    if (!values.length) return {mean: null, std: null};
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    return {mean, std: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : null};
  }

  // A run's curve of a metric on an axis: [xs, ys], or null where the run has no such curve or axis.
  function curve(details, metric, axis) {
    const found = page.dom.own(details?.curves, metric);
    return found ? onAxis(details, details.steps[found[0]], found[1], axis) : null;
  }

  // How wide the stretches are whose means are told of a long curve; 0 where all its points are.
  const width = (details, metric) => page.dom.own(details?.curves, metric)?.[2] || 0;

  // The same of the means of stretches `wide` steps: several of a curve that has narrower ones make one.
  function means(details, metric, axis, wide) {
    const found = page.dom.own(details?.curves, metric);
    if (!found || !wide) return curve(details, metric, axis);
    const [own, which, ys, counts] = found.length > 2 ? found.slice(2) : [0, ...found, found[1].map((y) => y === null ? 0 : 1)];
    const steps = details.steps[which];
    if (own === wide) return onAxis(details, steps, ys, axis);
    const sums = new Map(), first = Math.min(...steps), last = Math.max(...steps);
    steps.forEach((step, i) => {
      const number = Math.floor(step / wide), sum = sums.get(number) || [0, 0];
      sums.set(number, ys[i] === null ? sum : [sum[0] + ys[i] * counts[i], sum[1] + counts[i]]);
    });
    const at = [...sums.keys()].map((number) => Math.min(last, Math.max(first, (number + 0.5) * wide)));
    return onAxis(details, at, [...sums.values()].map(([sum, count]) => count ? sum / count : null), axis);
  }

  function onAxis(details, steps, ys, axis) {
    const xs = placesOf(details, steps, axis);
    if (!xs) return null;
    // A value at every step at most once, rising: what a resume wrote twice counts as it was written last.
    const points = new Map(xs.map((x, i) => [x, ys[i]]));
    const order = [...points.keys()].filter((x) => x !== null && Number.isFinite(x)).sort((a, b) => a - b);
    return order.length ? [order, order.map((x) => points.get(x))] : null;
  }

  function placesOf(details, steps, axis) {
    if (axis === "step") return steps;
    if (axis === "samples") return details.batch ? steps.map((step) => step * details.batch) : null;
    const [at, values] = axis === "epoch" ? details.epoch : details.time;
    return at.length ? steps.map((step) => interpolate(at, values, step)) : null;
  }

  // Between the neighbours; at the ends, the ends. A gap beside it is a gap.
  function interpolate(xs, ys, x) {
    let low = 0, high = xs.length - 1;
    if (x <= xs[0]) return ys[0];
    if (x >= xs[high]) return ys[high];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (xs[middle] <= x) low = middle; else high = middle;
    }
    if (xs[low] === x) return ys[low];
    if (ys[low] === null || ys[high] === null) return null;
    return ys[low] + (ys[high] - ys[low]) * (x - xs[low]) / (xs[high] - xs[low]);
  }

  // Exponential moving average whose first values do not lean on a zero; gaps stay gaps.
  function smooth(ys, weight) {
    if (!weight) return ys;
    let sum = 0, norm = 0;
    return ys.map((y) => {
      if (y === null) return null;
      sum = weight * sum + (1 - weight) * y;
      norm = weight * norm + (1 - weight);
      return sum / norm;
    });
  }

  // Without those that have another's seed and score again: as in exp.py groups, they count once.
  function distinct(all, runOf = (run) => run) {
    const met = new Set();
    return all.filter((one) => { const {id, twin} = runOf(one), known = met.has(twin ?? id); met.add(twin ?? id); return !known; });
  }

  // Several curves as one: at the places of the longest, as far as all reach, their mean and mean -+ standard deviation.
  function pool(curves) {
    const from = Math.max(...curves.map(([xs]) => xs[0])), to = Math.min(...curves.map(([xs]) => xs[xs.length - 1]));
    const longest = curves.reduce((a, b) => a[0].length >= b[0].length ? a : b)[0];
    const xs = longest.filter((x) => x >= from && x <= to);
    const made = {xs, mean: [], low: [], high: []};
    for (const x of xs) {
      const values = curves.map(([at, ys]) => interpolate(at, ys, x));
      const {mean, std} = values.includes(null) ? {mean: null, std: null} : spread(values);
      made.mean.push(mean);
      made.low.push(mean === null ? null : mean - (std || 0));
      made.high.push(mean === null ? null : mean + (std || 0));
    }
    return made;
  }

  return {spread, curve, width, means, smooth, distinct, pool, interpolate};
})();

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
    if (!found) return null;
    const steps = details.steps[found[0]];
    const xs = onAxis(details, steps, axis);
    if (!xs) return null;
    // A value at every step at most once, rising: what a resume wrote twice counts as it was written last.
    const points = new Map(xs.map((x, i) => [x, found[1][i]]));
    const order = [...points.keys()].filter((x) => x !== null && Number.isFinite(x)).sort((a, b) => a - b);
    return order.length ? [order, order.map((x) => points.get(x))] : null;
  }

  function onAxis(details, steps, axis) {
    if (axis === "step") return steps;
    if (axis === "epoch") return details.steps_per_epoch ? steps.map((step) => step / details.steps_per_epoch) : null;
    if (axis === "samples") return details.batch ? steps.map((step) => step * details.batch) : null;
    const [at, seconds] = details.time;
    return at.length ? steps.map((step) => interpolate(at, seconds, step)) : null;
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

  return {spread, curve, smooth, pool, interpolate};
})();

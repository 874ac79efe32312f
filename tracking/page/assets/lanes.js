"use strict";
// The lineage laid out in rows and lanes, as a log of commits is: each run below its parent, side branches to the right.
page.lanes = (() => {
  // runs: those to lay out. Returns rows [{run, lane, lines: [lanes that pass], from: parent's lane or -1, more}], families newest first.
  function layOut(runs, childrenOf) {
    const among = new Set(runs.map((run) => run.id)), rows = [], newest = new Map();
    const children = (run) => childrenOf(run).filter((child) => among.has(child.id));
    const roots = runs.filter((run) => !among.has(run.parent));
    const reached = new Set();
    for (const root of roots) walk(root, children, reached, newest);
    for (const run of runs) { // records edited by hand may go round in circles
      if (reached.has(run.id)) continue;
      roots.push(run);
      walk(run, children, reached, newest);
    }
    roots.sort((a, b) => newest.get(b) - newest.get(a));
    const placed = new Set();
    for (const root of roots) place(root, children, rows, placed, newest);
    return rows;
  }

  // Of each run of a family the number of the newest that came of it, itself included.
  function walk(root, children, reached, newest) {
    const stack = [root], order = [];
    while (stack.length) {
      const run = stack.pop();
      if (reached.has(run.id)) continue;
      reached.add(run.id);
      order.push(run);
      stack.push(...children(run));
    }
    for (const run of order.reverse()) newest.set(run, children(run).reduce((most, child) => Math.max(most, newest.get(child) ?? -1), run.number));
  }

  // Without recursion: a chain of ten thousand runs is as deep as it is long. Side branches come first, each in the next
  // lane; the child with the newest descendants goes on in the lane of its parent.
  function place(root, children, rows, placed, newest) {
    const stack = [{run: root, lane: 0, from: -1, open: []}];
    while (stack.length) {
      const {run, lane, from, open} = stack.pop();
      if (placed.has(run.id)) continue;
      placed.add(run.id);
      const below = children(run).filter((child) => !placed.has(child.id)).sort((a, b) => newest.get(a) - newest.get(b));
      rows.push({run, lane, from, lines: open, more: below.length > 0});
      const main = below.pop();
      if (main) stack.push({run: main, lane, from: lane, open});
      for (const child of below.reverse()) stack.push({run: child, lane: lane + 1, from: lane, open: [...open, lane]});
    }
  }

  return {layOut};
})();

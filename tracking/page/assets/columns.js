"use strict";
// The columns of the table: what each shows and how it sorts. Any metric and any config key can be one more.
page.columns = (() => {
  const {make} = page.dom, say = page.say, data = page.data;

  const two = (first, second) => [make("div", {class: "line"}, first), make("div", {class: "line dim"}, second)];

  function score(run) {
    const parent = data.byId.get(run.parent);
    const own = data.value(run, "value"), theirs = parent && data.score(parent, run.primary_metric);
    const gap = own !== undefined && theirs !== undefined ? say.signed(own - theirs) : "";
    return two(say.number(own), run.primary_metric && run.primary_metric !== data.primary ? run.primary_metric : gap);
  }

  function outcome(run) {
    if (run.verdict) return make("span", {class: "verdict", title: run.verdict}, `→ ${run.verdict}`);
    if (run.status !== "finished" && run.reason) return make("span", {class: "bad", title: run.reason}, `✕ ${run.reason}`);
    if (run.proposal) return make("span", {title: `${run.expect}\n${run.proposal}`}, `expected ${run.expect}: ${judged(run)}`);
    return run.expect ? `expected ${run.expect}` : "";
  }

  const judged = (run) => run.held === true ? "held" : run.held === false ? "did not hold" : "cannot tell";

  const tags = (run) => (run.tags || []).map((tag) => make("span", {class: "tag"}, tag));

  const FIXED = [
    {key: "started", label: "run", area: "title", width: "minmax(10rem, 1.1fr)", least: 160,
      draw: (run) => two(make("a", {...opens(run), class: "name", title: run.id}, run.name), say.clock(run))},
    {key: "status", label: "status", area: "status", width: "7rem", least: 112, draw: (run) => say.status(run)},
    {key: "seconds", label: "time", area: "time", width: "5rem", least: 80, right: true, draw: (run) => say.duration(run.seconds)},
    {key: "value", label: "", area: "score", width: "7rem", least: 112, right: true, draw: score},
    {key: "changes", label: "changed from parent", area: "changes", width: "minmax(9rem, 1.3fr)", least: 144,
      draw: (run) => make("div", {class: "two dim", title: say.changes(run)}, say.changes(run))},
    {key: "why", label: "why, and what came of it", area: "why", width: "minmax(13rem, 2fr)", least: 208,
      draw: (run) => [make("div", {class: "line", title: (run.why || "").slice(0, 2000)}, (run.why || "").slice(0, 400), tags(run)),
        make("div", {class: "line dim"}, outcome(run))]},
  ];

  // The address that opens a run, with everything else as it is.
  function link(run) {
    const words = new URLSearchParams(location.hash.slice(1));
    words.set("run", run.id);
    return `#${words}`;
  }

  // Of a link that opens a run: its address is for copying and for new windows; a click goes by the state of that moment.
  const opens = (run) => ({href: link(run), "data-open": run.id});

  document.addEventListener("click", (event) => {
    const found = event.target.closest("a[data-open]");
    if (!found || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    page.state.set({run: found.dataset.open});
  });

  function extra(key) {
    const last = key.slice(key.lastIndexOf(".") + 1);
    return {key, label: data.numbers.has(key.replace(/\.last$/, "")) ? key : last, title: key, area: "more", width: "7rem", least: 112,
      right: true, removable: true, draw: (run) => {
        const value = data.value(run, key);
        return make("span", {class: "value", title: say.value(value)}, data.numbers.has(key) ? say.number(value) : value === undefined ? "–" : say.value(value));
      }};
  }

  function all() {
    FIXED[3].label = data.primary || "score";
    return [...FIXED, ...page.state.get().cols.filter(data.known).map(extra)];
  }

  // Whether the first click sorts from the largest: scores of which more is better, times, dates.
  const fallsFirst = (key) => key === "value" ? !data.lower.has(data.primary)
    : data.numbers.has(key) ? !data.lower.has(key) : ["started", "seconds"].includes(key);

  // Runs by `key`, the newest first where it is empty; those that lack it come last, whichever way round.
  function order(runs, key, down) {
    const falls = down === "" ? fallsFirst(key || "started") : down === "1";
    if (!key || key === "started") return falls ? [...runs].reverse() : [...runs];
    const have = [], lack = [];
    for (const run of runs) {
      const value = data.value(run, key);
      if (value === undefined || value === null || value === "") lack.push(run); else have.push({value, run});
    }
    have.sort((a, b) => (falls ? -1 : 1) * compare(a.value, b.value) || b.run.number - a.run.number);
    return [...have.map((pair) => pair.run), ...lack.reverse()];
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    const [left, right] = [String(a), String(b)];
    return left < right ? -1 : left > right ? 1 : 0;
  }

  return {all, order, fallsFirst, opens, tags};
})();

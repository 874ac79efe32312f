"use strict";
// The runs: their overview, which stands in the page, and what is loaded of each when it is asked for.
page.data = (() => {
  const place = JSON.parse(document.getElementById("place").textContent);
  const arrived = new Map(); // "run/<file>" -> content
  const waiting = new Map(); // the same -> {promise, done}
  const made = {place, byId: new Map(), children: new Map()};
  const FIELDS = [ // as --where of exp.py has them
    "id", "name", "status", "started", "ended", "seconds", "why", "expect", "verdict", "tags", "parent", "reason", "seed", "host", "data",
    "primary_metric", "config_digest", "code_digest", "git.commit", "git.branch", "git.dirty",
  ];

  function take(overview) {
    Object.assign(made, {overview, runs: overview.runs, metrics: overview.metrics});
    made.lower = new Set(overview.lower);
    made.numbers = new Map(overview.metrics.map((name, number) => [name, number]));
    made.byId = new Map(overview.runs.map((run) => [run.id, run]));
    made.children = new Map();
    const varying = new Set();
    overview.runs.forEach((run, number) => {
      run.number = number;
      run.missing = new Set(run.without || []);
      if (made.byId.has(run.parent)) {
        if (!made.children.has(run.parent)) made.children.set(run.parent, []);
        made.children.get(run.parent).push(run);
      }
      for (const key of Object.keys(run.config || {})) varying.add(key);
    });
    made.varying = [...varying].sort();
    made.keys = [...new Set([...Object.keys(overview.common), ...varying])].sort();
    const counts = new Map();
    for (const run of overview.runs) if (run.primary_metric) counts.set(run.primary_metric, (counts.get(run.primary_metric) || 0) + 1);
    made.primary = [...counts].sort((a, b) => b[1] - a[1]).map(([name]) => name)[0] || "";
  }

  function config(run, key) {
    if (run.config && Object.hasOwn(run.config, key)) return run.config[key];
    return run.bare || run.missing.has(key) ? undefined : page.dom.own(made.overview.common, key);
  }

  // Which of last (0), best (1) and best step (2).
  function score(run, metric, which = 1) {
    const found = run.scores && run.scores[made.numbers.get(metric)];
    if (!found) return undefined;
    return which === 1 && found[1] === null ? found[0] ?? undefined : found[which] ?? undefined;
  }

  // A field, a metric (its best; .last its last), a config key, or the end of one. Undefined where the run has none.
  function value(run, key) {
    if (FIELDS.includes(key)) return key.startsWith("git.") ? page.dom.own(run.git, key.slice(4)) : run[key];
    if (key === "value") return score(run, run.primary_metric);
    if (key === "changes") return page.say.changes(run);
    if (made.numbers.has(key)) return score(run, key);
    if (key.endsWith(".last") && made.numbers.has(key.slice(0, -5))) return score(run, key.slice(0, -5), 0);
    return config(run, made.keys.includes(key) ? key : fullKey(key));
  }

  function fullKey(key) {
    const ends = made.keys.filter((whole) => whole.endsWith(`.${key}`));
    return ends.length === 1 ? ends[0] : key;
  }

  const known = (key) => FIELDS.includes(key) || key === "value" || key === "changes" || made.numbers.has(key.replace(/\.last$/, ""))
    || made.keys.includes(key) || made.keys.includes(fullKey(key));

  // Loads data/<kind>/<key>.js once, by a script element: a page from disk may not fetch.
  function load(kind, key, again = false) {
    const name = `${kind}/${key}`;
    if (arrived.has(name) && !again) return Promise.resolve(arrived.get(name));
    if (waiting.has(name)) return waiting.get(name).promise;
    const entry = {};
    entry.promise = new Promise((done, fail) => {
      entry.done = done;
      const script = document.createElement("script");
      script.src = `data/${name}.js${again ? `?${Date.now()}` : ""}`;
      script.onload = () => { script.remove(); waiting.delete(name); arrived.has(name) ? done(arrived.get(name)) : fail(new Error(name)); };
      script.onerror = () => { script.remove(); waiting.delete(name); fail(new Error(`${name} cannot be read`)); };
      document.head.append(script);
    });
    waiting.set(name, entry);
    return entry.promise;
  }

  const arrive = (kind, key, content) => arrived.set(`${kind}/${key}`, content);
  const versions = new Map(); // the same -> how often it was read again
  const version = (run) => versions.get(run.file) || 0;

  function details(run, again) {
    if (again) versions.set(run.file, version(run) + 1);
    return load("run", run.file, again);
  }

  const seen = (run) => arrived.get(`run/${run.file}`);

  // An address of something in a run's folder.
  const address = (run, below) => `${place.files}${run.address || encodeURIComponent(run.id)}/${below}`;

  take(JSON.parse(document.getElementById("overview").textContent));
  return Object.assign(made, {take, config, score, value, known, load, arrive, details, version, seen, address});
})();

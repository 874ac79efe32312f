"use strict";
// What is shown, kept behind the # of the address: a link to it shows the same again.
page.state = (() => {
  const START = {
    tab: "runs", q: "", sort: "", down: "", group: "", runs: [], run: "", cols: [],
    axis: "step", smooth: "0", pool: "", log: "", metrics: [], keys: [], target: "", all: "",
  };
  const LISTS = Object.keys(START).filter((key) => Array.isArray(START[key]));
  const listeners = [];
  let now = read();

  function read() {
    const words = new URLSearchParams(location.hash.slice(1));
    const found = {...START};
    for (const key of Object.keys(START)) {
      const all = words.getAll(key);
      if (all.length) found[key] = LISTS.includes(key) ? all : all[0];
    }
    return found;
  }

  function write(state) {
    const words = new URLSearchParams();
    for (const key of Object.keys(START)) {
      if (LISTS.includes(key)) for (const one of state[key]) words.append(key, one);
      else if (state[key] !== START[key]) words.set(key, state[key]);
    }
    return `#${words}`;
  }

  // Changes some of it; a new tab or run is a step that the browser's back button takes back.
  function set(patch) {
    const before = now;
    now = {...now, ...patch};
    const hash = write(now);
    if (hash !== (location.hash || "#")) {
      const step = now.tab !== before.tab || now.run !== before.run;
      history[step ? "pushState" : "replaceState"](null, "", hash);
    }
    tell(before);
  }

  function tell(before) {
    for (const listener of listeners) listener(now, before);
  }

  function onHash() {
    const before = now;
    now = read();
    tell(before);
  }

  addEventListener("hashchange", onHash);
  addEventListener("popstate", onHash);
  return {get: () => now, set, listen: (listener) => listeners.push(listener)};
})();

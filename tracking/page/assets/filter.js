"use strict";
// The filter: words that all must occur, and conditions KEY OP VALUE as --where of exp.py has them.
page.filter = (() => {
  const CONDITION = /^([^\s<>=!~]+)(<=|>=|!=|!~|==|=|<|>|~)(.*)$/s;
  const texts = new WeakMap();

  function haystack(run) {
    if (!texts.has(run)) {
      const words = [run.id, run.why, run.expect, run.verdict, run.reason, (run.tags || []).join(" "), page.say.changes(run)];
      texts.set(run, words.filter(Boolean).join("\n").toLowerCase());
    }
    return texts.get(run);
  }

  // Words by spaces; quotes keep together what has spaces.
  const split = (text) => [...text.matchAll(/(?:[^\s"]|"[^"]*"?)+/g)].map(([word]) => word.replaceAll('"', ""));

  // {test: run -> whether it is meant, problems: what no run has}
  function compile(text) {
    const tests = [], problems = [];
    for (const word of split(text)) {
      const found = CONDITION.exec(word);
      if (found && page.data.known(found[1])) tests.push((run) => holds(page.data.value(run, found[1]), found[2], found[3]));
      else if (found && found[3] !== "") problems.push(`no run has ${found[1]}`);
      else tests.push((run) => haystack(run).includes(word.toLowerCase()));
    }
    return {test: (run) => tests.every((test) => test(run)), problems};
  }

  function holds(actual, operator, wanted) {
    if (operator[0] === "!") return !holds(actual, operator.slice(1), wanted);
    if (actual === undefined || actual === null) return false;
    const text = (typeof actual === "string" ? actual : Array.isArray(actual) ? actual.join(" ") : String(actual)).toLowerCase();
    if (operator === "~") return text.includes(wanted.toLowerCase());
    const number = Number(wanted);
    const numeric = typeof actual !== "boolean" && wanted.trim() !== "" && !Number.isNaN(number) && text !== "" && !Number.isNaN(Number(actual));
    if (operator === "=" || operator === "==") {
      if (Array.isArray(actual) && actual.map(String).includes(wanted)) return true;
      return numeric ? Number(actual) === number : text === wanted.toLowerCase();
    }
    const left = numeric ? Number(actual) : text, right = numeric ? number : wanted.toLowerCase();
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator];
  }

  let cache = {};

  // The runs that the page is about now: filtered and sorted. The same list as long as nothing changes.
  function rows() {
    const {q, sort, down} = page.state.get();
    const key = JSON.stringify([q, sort, down]);
    if (cache.key !== key || cache.runs !== page.data.runs) {
      const {test, problems} = compile(q);
      cache = {key, runs: page.data.runs, rows: page.columns.order(page.data.runs.filter(test), sort, down), problems};
    }
    return cache.rows;
  }

  return {rows, problems: () => (rows(), cache.problems)};
})();

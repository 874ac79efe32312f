"use strict";
// The code of two runs side by side, file by file, and their environments; lines are matched by jsdiff.
page.code = (() => {
  const {make} = page.dom, data = page.data;
  const AROUND = 3; // equal lines beside a change
  const OPEN = 3; // files that are unfolded at once
  const MOST = 3000; // lines of one file
  const PATIENCE = 1500; // ms of matching lines
  const folded = new Map(); // file -> whether it was left open
  let pair = [0, 1], turn = 0;

  function draw(holder, runs, details) {
    if (runs.length < 2) return;
    pair = pair.map((i) => Math.min(i, runs.length - 1));
    if (pair[0] === pair[1]) pair = [0, 1];
    const body = make("div");
    const names = runs.map((run, i) => [String(i), `${run.name} ${page.say.clock(run)}`]);
    const select = (which, label) => page.dom.menu(label, names, String(pair[which]), (value) => { pair[which] = Number(value); fill(body, runs, details); });
    const tools = make("div", {class: "tools"}, runs.length > 2 && [select(0, "left"), select(1, "right")]);
    holder.replaceChildren(make("h2", {}, "Code"), tools, body);
    fill(body, runs, details);
  }

  async function fill(body, runs, details) {
    const chosen = pair.map((i) => runs[i]), own = ++turn;
    const note = (text) => body.replaceChildren(make("p", {class: "dim"}, text));
    if (chosen.some((run) => !run.code)) return note("the code of one of the two is unknown");
    let manifests;
    try { manifests = await Promise.all(chosen.map((run) => data.load("code", run.code))); } catch { return note("the code cannot be read"); }
    if (own !== turn) return; // meanwhile others were chosen
    const names = [...new Set(manifests.flatMap(Object.keys))].sort().filter((name) => page.dom.own(manifests[0], name) !== page.dom.own(manifests[1], name));
    const files = names.map((name, i) => file(name, manifests.map((files) => page.dom.own(files, name)), i < OPEN));
    const surroundings = pair.map((i) => details[i] && details[i].environment || "");
    if (surroundings[0] !== surroundings[1]) files.push(fold("environment", () => surroundings, false));
    body.replaceChildren(make("p", {class: "dim"}, names.length ? `${names.length} file${names.length === 1 ? " differs" : "s differ"}` : "both ran the same code"), ...files);
  }

  // A file that one of the two lacks counts as empty there.
  const file = (name, digests, open) => fold(name, () => Promise.all(digests.map((digest) => digest ? data.load("blob", digest) : "")), open);

  function fold(name, read, open) {
    const counts = make("span", {class: "counts"}), body = make("div", {class: "diff"});
    let begun = false;
    const begin = async () => {
      if (begun) return;
      begun = true;
      try { render(body, counts, await read()); } catch { body.textContent = "cannot be read"; }
    };
    const whole = make("details", {ontoggle: () => { folded.set(name, whole.open); if (whole.open) begin(); }}, make("summary", {}, make("code", {}, name), counts), body);
    if (folded.get(name) ?? open) { whole.open = true; begin(); }
    return whole;
  }

  function render(body, counts, texts) {
    if (texts.includes(null)) { body.textContent = "no text, too large, or gone"; return; }
    const parts = Diff.diffLines(texts[0], texts[1], {timeout: PATIENCE}) || unlike(texts);
    const sum = (kind) => parts.filter((part) => part[kind]).reduce((all, part) => all + part.count, 0);
    counts.replaceChildren(make("span", {class: "added"}, `+${sum("added")}`), " ", make("span", {class: "removed"}, `−${sum("removed")}`));
    const lines = rows(parts);
    body.replaceChildren(make("table", {}, make("colgroup", {}, ["at", "", "at", ""].map((name) => make("col", {class: name}))), make("tbody", {}, lines.slice(0, MOST).map(row))),
      lines.length > MOST ? make("p", {class: "dim note"}, `and ${lines.length - MOST} more lines, which are not shown`) : "");
  }

  // What matching took too long for: all of the one taken away, all of the other added.
  const unlike = (texts) => texts.map((value, i) => ({value, [i ? "added" : "removed"]: true, count: value.replace(/\n$/, "").split("\n").length}))
    .filter(({value}) => value);

  const linesOf = (part) => part.value.replace(/\n$/, "").split("\n");

  // [kind, number and text on the left, number and text on the right]; removed and added lines stand beside each other.
  function rows(parts) {
    const made = [];
    let left = 1, right = 1;
    for (let i = 0; i < parts.length; i++) {
      const lines = linesOf(parts[i]);
      if (!parts[i].added && !parts[i].removed) {
        const hide = lines.length > 2 * AROUND + 1;
        lines.forEach((text, at) => {
          const far = (i === 0 || at >= AROUND) && (i === parts.length - 1 || at < lines.length - AROUND);
          if (!hide || !far) made.push(["same", left, text, right, text]);
          else if (made[made.length - 1]?.[0] !== "skip") made.push(["skip"]);
          left++; right++;
        });
        continue;
      }
      const removed = parts[i].removed ? lines : [];
      const added = parts[i].added ? lines : parts[i + 1]?.added ? linesOf(parts[++i]) : [];
      for (let at = 0; at < Math.max(removed.length, added.length); at++) {
        made.push(["change", at < removed.length ? left++ : "", removed[at], at < added.length ? right++ : "", added[at]]);
      }
    }
    return made;
  }

  function row([kind, left, before, right, after]) {
    if (kind === "skip") return make("tr", {class: "skip"}, make("td", {colspan: 4}, "⋯"));
    const mark = (text, name) => kind === "same" ? "" : text === undefined ? "none" : name;
    return make("tr", {}, make("td", {class: "at"}, String(left)), make("td", {class: mark(before, "removed")}, before ?? ""),
      make("td", {class: "at"}, String(right)), make("td", {class: mark(after, "added")}, after ?? ""));
  }

  return {draw};
})();

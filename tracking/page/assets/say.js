"use strict";
// How values are said: short, the same everywhere, numbers with as many digits as help.
page.say = (() => {
  const GLYPHS = {finished: "●", running: "◐", failed: "✕", interrupted: "◼", lost: "?", broken: "!"};

  function number(value) {
    if (value === null || value === undefined || value === "") return "–";
    const size = Math.abs(value);
    if (size !== 0 && (size < 0.001 || size >= 1e5)) return value.toExponential(3);
    return value.toFixed(size >= 1000 ? 1 : 4);
  }

  function signed(value) {
    if (value === null || value === undefined) return "";
    return value === 0 ? "±0" : (value < 0 ? "−" : "+") + number(Math.abs(value));
  }

  function duration(seconds) {
    if (seconds === undefined || seconds === null) return "–";
    if (seconds < 10) return `${seconds.toFixed(1)} s`;
    if (seconds < 120) return `${seconds.toFixed(0)} s`;
    if (seconds < 3600) return `${(seconds / 60).toFixed(0)} min`;
    return seconds < 86400 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86400).toFixed(1)} d`;
  }

  function size(bytes) {
    for (const unit of ["B", "kB", "MB", "GB"]) {
      if (bytes < 1000) return unit === "B" ? `${bytes} B` : `${bytes.toFixed(1)} ${unit}`;
      bytes /= 1000;
    }
    return `${bytes.toFixed(1)} TB`;
  }

  // A date as it stands in records: ISO 8601, or a folder's 2026-11-25_02-36-50. NaN where it is none.
  function moment(text) {
    const iso = (text || "").replace(/^(\d{4}-\d\d-\d\d)_(\d\d)-(\d\d)-(\d\d).*/, "$1T$2:$3:$4");
    return Date.parse(iso);
  }

  function date(text) {
    const at = moment(text);
    if (Number.isNaN(at)) return "";
    const when = new Date(at);
    const two = (n) => String(n).padStart(2, "0");
    const day = `${two(when.getMonth() + 1)}-${two(when.getDate())}`;
    const year = when.getFullYear() === new Date().getFullYear() ? "" : `${when.getFullYear()}-`;
    return `${year}${day} ${two(when.getHours())}:${two(when.getMinutes())}`;
  }

  function value(content) {
    if (content === undefined || content === null) return "(none)";
    if (typeof content === "number") return String(Number(content.toPrecision(6)));
    if (typeof content === "string") return content === "" ? '""' : content;
    return JSON.stringify(content).replaceAll('"', "").replaceAll(",", ", ");
  }

  // BASE_LR 0.05→0.1: a key's last part alone where that says which one it is.
  function changed(pairs) {
    const keys = Object.keys(pairs || {});
    const last = (key) => key.slice(key.lastIndexOf(".") + 1);
    return keys.map((key) => {
      const plain = ["NAME", "TRAIN", "TEST", "VAL"].includes(last(key)) || keys.filter((k) => last(k) === last(key)).length > 1;
      return `${plain ? key : last(key)} ${value(pairs[key][0])}→${value(pairs[key][1])}`;
    });
  }

  // All that a run has against its parent, in words.
  function changes(run) {
    const words = changed(run.changes);
    if (run.code_changed) words.push("code");
    if (!words.length) words.push(run.parent ? (page.data.byId.has(run.parent) ? "nothing" : "parent is not here") : "");
    if (run.resumed_with) words.push(`resumed with ${changed(run.resumed_with).join(", ")}`);
    return words.filter(Boolean).join(", ");
  }

  const status = (run) => page.dom.make("span", {class: `status ${run.status.replace(/[^a-z]/g, "")}`, title: run.reason},
    page.dom.make("i", {"aria-hidden": "true"}, page.dom.own(GLYPHS, run.status) || "·"), run.status);

  // The end of a folder's name that tells runs of one name apart.
  const clock = (run) => run.id.startsWith(`${run.name}_`) ? run.id.slice(run.name.length + 1).replace("_", " ") : run.id;

  return {number, signed, duration, size, date, value, changes, status, clock};
})();

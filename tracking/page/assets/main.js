"use strict";
// Puts the views together: tabs, filter, light and dark.
page.main = (() => {
  const {make, byId, later} = page.dom, data = page.data;
  const VIEWS = {runs: page.table, curves: page.curves, keys: page.parallel, lineage: page.lineage, compare: page.compare};
  const THEMES = {"": ["◐", "as the system"], light: ["○", "light"], dark: ["●", "dark"]};

  function drawAll(force = false) {
    const {tab, q} = page.state.get(), view = Object.hasOwn(VIEWS, tab) ? tab : "runs";
    for (const name of Object.keys(VIEWS)) byId(name).hidden = name !== view;
    for (const button of document.querySelectorAll("[data-tab]")) button.setAttribute("aria-selected", String(button.dataset.tab === view));
    if (document.activeElement !== byId("filter")) byId("filter").value = q;
    count();
    page.pick.draw();
    VIEWS[view].draw(force);
    page.run.draw(force);
  }

  function count() {
    const rows = page.filter.rows(), problems = page.filter.problems();
    byId("count").textContent = problems.length ? problems.join("; ") : said(rows.length, data.runs.length);
    byId("count").classList.toggle("bad", problems.length > 0);
  }

  function said(some, all) {
    const [part, whole] = [some, all].map((count) => count.toLocaleString("en"));
    return some === all ? `${whole} run${all === 1 ? "" : "s"}` : `${part} of ${whole} runs`;
  }

  function theme(name) {
    document.documentElement.dataset.theme = name;
    byId("theme").textContent = THEMES[name][0];
    byId("theme").setAttribute("aria-label", `colours: ${THEMES[name][1]}`);
    byId("theme").title = `colours: ${THEMES[name][1]}`;
  }

  // Storage may be forbidden for pages from disk: then the choice lasts as long as the page.
  function remembered(name) {
    try {
      if (name === undefined) return localStorage.getItem("fieldbook-theme") || "";
      localStorage.setItem("fieldbook-theme", name);
    } catch { /* as said */ }
    return "";
  }

  function start() {
    byId("folder").textContent = data.overview.folder.split("/").slice(-2).join("/");
    document.title = `Fieldbook: ${data.overview.folder}`;
    const kept = remembered();
    theme(Object.hasOwn(THEMES, kept) ? kept : "");
    byId("theme").onclick = () => {
      const names = Object.keys(THEMES), next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
      theme(next);
      remembered(next);
      drawAll(true);
    };
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(true));
    for (const button of document.querySelectorAll("[data-tab]")) button.onclick = () => page.state.set({tab: button.dataset.tab, run: ""});
    byId("filter").oninput = later((event) => page.state.set({q: event.target.value}), 120);
    byId("filter-words").append(...["status=running", "status=failed", "started>", "why~", "tags=", ...data.varying.map((key) => `${key}=`)].slice(0, 60).map((value) => make("option", {value})));
    addEventListener("keydown", (event) => {
      if (event.key === "/" && !event.target.closest("input, select, textarea")) { event.preventDefault(); byId("filter").focus(); }
    });
    VIEWS.runs.start();
    VIEWS.lineage.start();
    VIEWS.curves.start();
    page.state.listen(() => drawAll());
    drawAll();
    page.live.start();
    document.documentElement.dataset.ready = "true";
  }

  return {start, drawAll};
})();
page.main.start();

"use strict";
// Where a server answers: asks it for news, and follows the curves of runs that are going.
page.live = (() => {
  const {byId} = page.dom, data = page.data;
  const PAUSE = 3000; // ms
  let tag = "";

  function start() {
    if (!data.place.live) return;
    byId("live").hidden = false;
    say("following");
    setTimeout(ask, PAUSE);
  }

  function say(text, well = true) {
    byId("live").textContent = text;
    byId("live").classList.toggle("bad", !well);
  }

  async function ask() {
    try {
      if (!document.hidden) await news();
      say("following");
    } catch {
      say("the server does not answer", false);
    }
    setTimeout(ask, PAUSE);
  }

  async function news() {
    const answer = await fetch("data/overview.json", {headers: tag ? {"If-None-Match": tag} : {}, cache: "no-store"});
    if (answer.status === 304) return;
    if (!answer.ok) throw new Error(answer.statusText);
    const first = !tag;
    tag = answer.headers.get("ETag") || "";
    const overview = await answer.json();
    if (first && JSON.stringify(overview.runs) === JSON.stringify(JSON.parse(byId("overview").textContent).runs)) return;
    const going = new Set(data.runs.filter((run) => run.status === "running").map((run) => run.id));
    data.take(overview);
    // Curves of what runs, or ran until now, are read again where they are in sight.
    const stale = data.runs.filter((run) => (run.status === "running" || going.has(run.id)) && data.seen(run));
    await Promise.allSettled(stale.map((run) => data.details(run, true)));
    page.main.drawAll();
  }

  return {start};
})();

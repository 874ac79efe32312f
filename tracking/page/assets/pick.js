"use strict";
// The chosen runs: their colours, which they keep in every view, and the bar that shows them.
page.pick = (() => {
  const {make, byId} = page.dom;
  const COLOURS = 8; // --series-1 ... in base.css, told apart also by who sees fewer colours; dashes tell further ones apart
  const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3]];
  const MOST = 200;
  const FALLBACK = 5;

  const chosen = () => page.state.get().runs.map((id) => page.data.byId.get(id)).filter(Boolean);

  // What a view is about where nothing is chosen: the first of the table that have anything to show.
  const orFirst = (count = FALLBACK) => {
    const found = chosen();
    return found.length ? found : page.filter.rows().filter((run) => run.scores).slice(0, count);
  };

  function colour(position) {
    return page.dom.colour(`series-${(position % COLOURS) + 1}`);
  }

  const dash = (position) => DASHES[Math.floor(position / COLOURS) % DASHES.length];

  function toggle(id, on) {
    const {runs} = page.state.get();
    page.state.set({runs: on ? [...runs.filter((one) => one !== id), id].slice(-MOST) : runs.filter((one) => one !== id)});
  }

  function draw() {
    const bar = byId("chosen"), found = chosen();
    bar.hidden = !found.length;
    page.dom.swap(bar, found.slice(0, 24).map((run, position) => make("span", {class: "chip"},
      make("i", {class: "swatch", style: {background: colour(position)}}),
      make("a", {...page.columns.opens(run), title: run.id}, run.name, make("span", {class: "dim"}, ` ${page.say.clock(run).slice(-8)}`)),
      make("button", {class: "quiet", "aria-label": `leave out ${run.id}`, onclick: () => toggle(run.id, false)}, "×"))),
    found.length > 24 && make("span", {class: "dim"}, `and ${found.length - 24} more`),
    make("button", {class: "action", onclick: () => page.state.set({runs: []})}, "clear"));
  }

  return {chosen, orFirst, colour, dash, toggle, draw, MOST};
})();

"use strict";
// Elements. Text from records enters the page here and nowhere else, and always as text.
window.page = {};

page.dom = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  // make("a", {class: "x", href: "y", onclick: f}, "text", element, ...): undefined, null and false children are left out.
  function make(tag, options, ...children) {
    return fill(document.createElement(tag), options, children);
  }

  function svg(tag, options, ...children) {
    return fill(document.createElementNS(SVG, tag), options, children);
  }

  function fill(element, options, children) {
    for (const [name, value] of Object.entries(options || {})) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
      else if (name === "href" || name === "src") setAddress(element, name, String(value));
      else element.setAttribute(name, value === true ? "" : String(value));
    }
    element.append(...children.flat().filter((c) => c !== undefined && c !== null && c !== false && c !== ""));
    return element;
  }

  // Only what stays within the page's own scheme: a record cannot make a link of "javascript:".
  function setAddress(element, name, address) {
    let found;
    try { found = new URL(address, document.baseURI); } catch { return; }
    if (found.protocol === location.protocol && found.host === location.host) element.setAttribute(name, address);
  }

  // A record may call anything "constructor" or "__proto__": only what an object has itself counts.
  const own = (object, key) => object && Object.hasOwn(object, key) ? object[key] : undefined;

  const byId = (id) => document.getElementById(id);

  // Calls `act` once when nothing more happened for `pause` ms.
  function later(act, pause) {
    let timer;
    return (...words) => { clearTimeout(timer); timer = setTimeout(() => act(...words), pause); };
  }

  const isNarrow = () => matchMedia("(max-width: 720px)").matches;

  // One of base.css as rgb(...), for what is drawn on a canvas: light or dark, as the page is now.
  function colour(name) {
    const probe = document.body.appendChild(make("i", {class: "hidden", style: {color: `var(--${name})`}}));
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  // Other controls in place of these; the focus stays where it was among them.
  function swap(holder, ...controls) {
    const all = () => [...holder.querySelectorAll("button, select, input, a")];
    const at = all().indexOf(document.activeElement);
    holder.replaceChildren(...controls.flat().filter(Boolean));
    if (at >= 0) all()[at]?.focus({preventScroll: true});
  }

  // One of several choices: a group of buttons of which one is pressed.
  function choice(label, options, current, act) {
    return make("div", {class: "choice", role: "group", "aria-label": label},
      make("span", {class: "label"}, label),
      options.map(([value, text]) => make("button",
        {"aria-pressed": String(value === current), "data-value": value, onclick: () => act(value)}, text)));
  }

  function menu(label, options, current, act) {
    const list = make("select", {onchange: (event) => act(event.target.value)},
      options.map(([value, text]) => make("option", {value}, text)));
    list.value = current;
    return make("label", {class: "choice"}, make("span", {class: "label"}, label), list);
  }

  return {make, svg, own, byId, later, isNarrow, colour, swap, choice, menu};
})();

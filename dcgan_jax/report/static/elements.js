"use strict";

// An element with properties, attributes (names with "-", and role) and children: texts become text, never markup.
function element(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name.includes("-") || name === "role") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function heading(level, text) {
  return element(`h${level}`, {}, text);
}

function section(title, ...children) {
  const id = title.toLowerCase().replaceAll(" ", "-");
  const name = heading(2, title);
  name.id = id;
  return element("section", { "aria-labelledby": id }, name, ...children);
}

// Names with their values, side by side.
function facts(pairs) {
  const items = pairs.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)));
  return element("dl", { className: "facts" }, ...items);
}

function number(value) {
  return value === null ? "-" : value.toLocaleString("en", { maximumSignificantDigits: 4 });
}

function integer(value) {
  return value.toLocaleString("en");
}

// A table of texts, whose first column names the rows, in a box that scrolls sideways.
function table(name, columns, rows) {
  const head = element("tr", {}, ...columns.map((text) => element("th", { scope: "col" }, text)));
  const body = rows.map(([first, ...others]) =>
    element("tr", {}, element("th", { scope: "row" }, first), ...others.map((text) => element("td", {}, text))),
  );
  return element(
    "div",
    { className: "scroll", role: "region", "aria-label": name, tabIndex: 0 },
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)),
  );
}

function details(summary, open, ...children) {
  return element("details", { open }, element("summary", {}, summary), ...children);
}

function png(content, text) {
  return element("img", { src: `data:image/png;base64,${content}`, alt: text });
}

// A colour of the style sheet as it is now, in light or dark.
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

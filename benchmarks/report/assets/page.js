"use strict";

// ``content``, what the page is drawn from, comes from unpack.js.
const TIMED = ["measured", "never steady"];
const rows = content.rows;

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const byId = (id) => document.getElementById(id);
const unique = (values) => [...new Set(values)];
const grouped = (list, nameOf) => list.reduce((map, each) => map.set(nameOf(each), [...(map.get(nameOf(each)) ?? []), each]), new Map());
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

// Numbers with sensible digits; "" for what is not there

function digits(value, significant = 3) {
  if (value === null || value === undefined) return "";
  if (!isNumber(value)) return String(value).replace("Infinity", "∞");
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 10 ** significant) return Math.round(value).toLocaleString("en-GB");
  return size < 1e-4 ? value.toExponential(significant - 1) : value.toPrecision(significant);
}

// As many digits as the interval's width justifies, three at least.
function significantDigits(median, low, high) {
  const half = (high - low) / 2 / median;
  return half > 0 ? Math.min(5, Math.max(3, Math.ceil(-Math.log10(half)) + 1)) : 4;
}

const TIME_UNITS = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]];

function timeUnit(seconds) {
  return TIME_UNITS.find(([size]) => seconds >= size) ?? TIME_UNITS[3];
}

function time(seconds, significant = 3) {
  if (!isNumber(seconds)) return digits(seconds);
  const [size, unit] = timeUnit(seconds);
  return `${digits(seconds / size, significant)} ${unit}`;
}

function interval(median, low, high, size = 1) {
  if (!isNumber(low) || !isNumber(high)) return "";
  const significant = significantDigits(median, low, high);
  return `${digits(low / size, significant)}–${digits(high / size, significant)}`;
}

function timeWithInterval(row) {
  const [size, unit] = timeUnit(row.median_seconds);
  const { median_seconds: median, low_seconds: low, high_seconds: high } = row;
  const range = interval(median, low, high, size);
  return `${digits(median / size, significantDigits(median, low, high))}${range ? ` (${range})` : ""} ${unit}`;
}

const percent = (fraction) => (isNumber(fraction) ? `${digits(100 * fraction, fraction < 0.1 ? 2 : 3)} %` : digits(fraction));
const mebibytes = (bytes) => (isNumber(bytes) ? digits(bytes / 2 ** 20) : "");

// An implementation's mark: a colour for each framework, a shape for each of its implementations

const SHAPES = {
  "native": ["circle", "●"], "native-linen": ["circle", "●"], "native-nnx": ["triangle-up", "▲"],
  "manual": ["square", "■"], "scratch": ["diamond", "◆"], "tuned": ["star", "★"],
};
const KNOWN_FRAMEWORKS = ["torch", "jax", "tensorflow", "mxnet"];
const otherFrameworks = unique(rows.map((row) => row.framework)).filter((name) => !KNOWN_FRAMEWORKS.includes(name));

function colourName(framework) {
  return KNOWN_FRAMEWORKS.includes(framework) ? `--${framework}` : `--other-${1 + (otherFrameworks.indexOf(framework) % 2)}`;
}

function colour(framework) {
  return getComputedStyle(document.documentElement).getPropertyValue(colourName(framework)).trim();
}

function shape(implementation) {
  return SHAPES[implementation.slice(implementation.indexOf("/") + 1)] ?? ["hexagon", "⬢"];
}

function named(implementation) {
  const framework = implementation.split("/")[0];
  const mark = el("span", { class: "mark", style: `color: var(${colourName(framework)})`, "aria-hidden": "true" }, shape(implementation)[1]);
  return el("span", { class: "implementation" }, mark, el("span", {}, `${framework}/`, el("wbr"), implementation.slice(framework.length + 1)));
}

// A run measures in an order drawn from its seed; here rows stand by case, as they were asked for, then by pass, then by
// framework and its implementations, always in the same order.
const PASSES = ["forward", "forward_backward", "train_step"];
const caseNames = unique([...content.runs.flatMap((run) => run.settings.cases.map((each) => each.name)), ...rows.map((row) => row.case).sort()]);
const placeIn = (list, value) => (list.includes(value) ? list.indexOf(value) : list.length);

function compareImplementations(a, b) {
  const places = [a, b].map((name) => [placeIn(KNOWN_FRAMEWORKS, name.split("/")[0]), placeIn(Object.keys(SHAPES), name.split("/")[1])]);
  return places[0][0] - places[1][0] || a.split("/")[0].localeCompare(b.split("/")[0]) || places[0][1] - places[1][1] || a.localeCompare(b);
}

function compareRows(a, b) {
  return placeIn(caseNames, a.case) - placeIn(caseNames, b.case) || placeIn(PASSES, a.pass) - placeIn(PASSES, b.pass) ||
    compareImplementations(a.implementation, b.implementation);
}

const implementationsOf = (list) => unique(list.map((row) => row.implementation)).sort(compareImplementations);
rows.sort(compareRows);
content.standings.sort(compareRows);

// The track: run, device, lane, threads and dtype, one at a time for the whole page

const DIMENSIONS = [
  ["run", "Run", (value) => content.runs.find((run) => run.run === value).label || value],
  ["device", "Device", (value) => value.toUpperCase()],
  ["lane", "Lane", (value) => value],
  ["threads", "Threads", (value) => value],
  ["dtype", "Dtype", (value) => value],
];
const trackOf = (row) => DIMENSIONS.map(([name]) => row[name]);
const sameTrack = (a, b) => a.every((value, index) => value === b[index]);
const tracks = rows.map(trackOf).filter((each, index, all) => all.findIndex((other) => sameTrack(each, other)) === index);
const listeners = [];

// The page opens with the first run, the exact lane, most threads and float32, as far as there are such.
const preference = (each) => [content.runs.findIndex((run) => run.run === each[0]), each[2] === "exact" ? 0 : 1, -each[3], each[4] === "float32" ? 0 : 1];
tracks.sort((a, b) => preference(a).map((place, index) => place - preference(b)[index]).find(Boolean) ?? 0);
let track = tracks[0] ?? [];

const runOfTrack = () => content.runs.find((run) => run.run === track[0]) ?? content.runs[0];

const inTrack = (records) => records.filter((record) => sameTrack(trackOf(record), track));
const timedInTrack = () => inTrack(rows).filter((row) => TIMED.includes(row.status) && isNumber(row.median_seconds));

function onTrack(listener) {
  listeners.push(listener);
  listener();
}

// Not every lane was run with every dtype: of the tracks with the value chosen, the one most like the present one.
function nearestTrack(index, value) {
  const alike = (other) => other.filter((each, position) => each === track[position]).length;
  return tracks.filter((other) => other[index] === value).sort((a, b) => alike(b) - alike(a))[0];
}

// A choice of one among few: [value, what is shown] pairs, as radio buttons that look like one control.
function pills(title, name, values, current, choose) {
  const options = values.map(([value, shown]) => el("label", {},
    el("input", { type: "radio", name, value, checked: value === current, onchange: () => choose(value) }), el("span", {}, shown)));
  return el("fieldset", { class: values.length > 1 ? "choice" : "choice fixed" }, el("legend", {}, title), el("div", { class: "pills" }, ...options));
}

function drawTrack() {
  const form = byId("track");
  const focused = document.activeElement?.name;
  form.replaceChildren(
    ...DIMENSIONS.map(([name, title, show], index) => {
      const values = unique(tracks.map((each) => each[index])).sort((a, b) => (a > b ? 1 : -1));
      return pills(title, name, values.map((value) => [value, String(show(value))]), track[index],
        (value) => { track = nearestTrack(index, value); drawTrack(); listeners.forEach((listener) => listener()); });
    }));
  form.classList.toggle("single", tracks.length < 2);
  form.querySelector(`input[name="${focused}"]:checked`)?.focus();
}
drawTrack();

function flags(row) {
  return [row.under_load ? "under load" : "", row.bimodal ? "bimodal" : "", row.status === "never steady" ? "never steady" : ""].filter(Boolean);
}

// The dialog, whose title may hold nodes.
function openDetails(title, ...children) {
  const dialog = byId("details");
  dialog.replaceChildren(el("form", { method: "dialog" }, el("button", { "aria-label": "Close" }, "close")), el("h2", { id: "details-title" }, ...title), ...children);
  dialog.showModal();
}
byId("details").addEventListener("click", (event) => { if (event.target === event.currentTarget) event.currentTarget.close(); });

// A sortable, filterable table

// columns: {title, unit, hint, numeric, fixed, narrow, prose, desk (not on a phone), sort(record), show(record)}; filters: {title, of(record)}.
// Returns a function that fills the table with other records.
function makeTable(host, { caption, columns, filters = [], search = true, tall = false }) {
  const classes = (column) => ["numeric", "fixed", "narrow", "prose", "desk"].filter((name) => column[name]).join(" ");
  const header = columns.map((column) =>
    el("th", { scope: "col", title: column.hint, class: `${classes(column)} ${column.sort ? "" : "no-sort"}` },
      column.title, column.unit ? el("span", { class: "unit" }, ` ${column.unit}`) : null));
  const table = el("table", { class: "sortable asc n-last" }, el("caption", {}, caption), el("thead", {}, el("tr", {}, ...header)), el("tbody"));
  const count = el("output", { class: "count", "aria-live": "polite" });
  const text = el("input", { type: "search", placeholder: "words, all of which must occur", oninput: () => filter() });
  const selects = filters.map((each) => el("select", { onchange: () => filter() }));
  const controls = [
    ...(search ? [el("label", {}, "Filter ", text)] : []),
    ...filters.map((each, index) => el("label", {}, `${each.title} `, selects[index])),
    ...(search || filters.length ? [count] : []),
  ];
  let filterable = [];

  function filter() {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { record, line, words: inLine } of filterable) {
      const fits = words.every((word) => inLine.includes(word)) &&
        filters.every((each, index) => !selects[index].value || each.of(record) === selects[index].value);
      line.hidden = !fits;
      shown += fits;
    }
    count.textContent = shown === filterable.length ? plural(shown, "row") : `${shown} of ${plural(filterable.length, "row")}`;
  }

  function cell(column, record) {
    return el("td", { class: classes(column), role: column.fixed ? "rowheader" : null, "data-sort": column.sort?.(record) ?? "" }, column.show(record));
  }

  function fill(records) {
    filterable = records.map((record) => {
      const line = el("tr", {}, ...columns.map((column) => cell(column, record)));
      return { record, line, words: line.textContent.toLowerCase() };
    });
    table.tBodies[0].replaceChildren(...filterable.map(({ line }) => line));
    filters.forEach((each, index) => {
      const chosen = selects[index].value;
      const values = unique(records.map(each.of)).sort();
      selects[index].replaceChildren(el("option", { value: "" }, "all"), ...values.map((value) => el("option", { value }, value)));
      selects[index].value = values.includes(chosen) ? chosen : "";
    });
    sortSortable(table, false);
    filter();
  }

  const box = el("div", { class: `scroll${tall ? " tall" : ""}`, tabindex: "0", role: "region", "aria-label": caption }, table);
  const hint = el("p", { class: "note scrolls", hidden: true });
  host.replaceChildren(...(controls.length ? [el("div", { class: "controls" }, ...controls)] : []), hint, box);
  const tellHidden = () => {
    const more = [box.scrollWidth > box.clientWidth + 1 ? "columns to the right" : "", box.scrollHeight > box.clientHeight + 1 ? "rows below" : ""].filter(Boolean);
    hint.hidden = !more.length;
    hint.textContent = `This table scrolls: there are more ${more.join(" and more ")}.`;
  };
  const watched = new ResizeObserver(tellHidden);
  [box, table].forEach((node) => watched.observe(node));
  enhanceSortableAccessibility([table]);
  return fill;
}

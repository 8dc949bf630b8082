"use strict";

const SIZES = [["seq_len", "T, steps"], ["batch", "B, rows"], ["hidden_size", "H, units"]];
const STAGES = [["import_seconds", "import", "diamond-open"], ["build_seconds", "build", "square-open"], ["first_call_seconds", "first call", "circle"]];
const QUANTITIES = {
  // ``spread`` times an interval's end, in seconds from the median, is a bar's length.
  relative: { title: "times the fastest", of: (row, fastest) => row.median_seconds / fastest, spread: (row, fastest) => 1 / fastest },
  time: { title: "time of a call, ms", of: (row) => 1e3 * row.median_seconds, spread: () => 1e3 },
  step: { title: "µs per step", of: (row) => row.microseconds_per_step, spread: (row) => row.microseconds_per_step / row.median_seconds },
  memory: { title: "MiB of a call at its peak", of: (row) => (isNumber(row.peak_host_bytes) ? row.peak_host_bytes / 2 ** 20 : null), spread: () => null },
  rows: { title: "rows a second", of: (row) => row.rows_per_second, spread: () => null },
  limit: { title: "% of the limit", of: (row) => (isNumber(row.fraction_of_limit) ? 100 * row.fraction_of_limit : null), spread: () => null },
};

const shownQuantity = { cases: "relative", curves: "time" };
const MOST_PANELS = 6;
const DASHES = { torch: "solid", jax: "6px,3px", tensorflow: "2px,2px", mxnet: "8px,3px,2px,3px" };
const dash = (implementation) => DASHES[implementation.split("/")[0]] ?? "12px,4px";

// Plotly reads a little HTML in its texts; what comes from a store must stay text.
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function drawControls() {
  for (const [name, quantities, drawAgain] of [["cases", Object.keys(QUANTITIES), drawCases], ["curves", Object.keys(QUANTITIES).slice(1), drawCurves]]) {
    const node = el("select", { onchange: () => { shownQuantity[name] = node.value; drawAgain(); } },
      ...quantities.map((value) => el("option", { value, selected: value === shownQuantity[name] }, QUANTITIES[value].title)));
    byId(`${name}-controls`).replaceChildren(el("label", {}, "Show ", node));
  }
}

const chartRows = () => timedInTrack().filter((row) => row.cell === chosen.cell && row.pass === chosen.pass);
const seenRows = () => chartRows().filter((row) => !hidden.has(row.implementation));

// A legend that the charts of a cell share: a button for each implementation, which hides it.
function drawLegends() {
  const svg = (tag, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
    return node;
  };
  document.querySelectorAll(".legend").forEach((host) => {
    const focused = host.contains(document.activeElement) ? document.activeElement.textContent : null;
    host.replaceChildren(...implementationsOf(chartRows()).map((name) => {
      const line = svg("svg", { width: 26, height: 8, "aria-hidden": "true" });
      line.append(svg("line", { x1: 0, x2: 26, y1: 4, y2: 4, "stroke-width": 2, "stroke-dasharray": dash(name).replace("solid", "none"), style: `stroke: var(${colourName(name.split("/")[0])})` }));
      const toggle = () => { hidden[hidden.has(name) ? "delete" : "add"](name); drawAll(); };
      return el("button", { type: "button", "aria-pressed": String(!hidden.has(name)), title: "Show or hide it in the charts", onclick: toggle }, line, named(name));
    }));
    if (focused) [...host.children].find((each) => each.textContent === focused)?.focus();
  });
}

function draw(id, traces, layout) {
  const axis = { gridcolor: variable("--line"), zeroline: false, linecolor: variable("--line"), automargin: true };
  const axes = Object.fromEntries(["xaxis", "yaxis"].map((name) => [name, { ...axis, ...layout[name] }]));
  Plotly.react(id, traces, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 8, r: 16, t: 8, b: 8 }, hovermode: "closest",
    // On a touch screen a finger on a chart is there to scroll the page.
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    font: { family: variable("--font"), size: 13, color: variable("--ink") },
    hoverlabel: { bgcolor: variable("--card"), bordercolor: variable("--line"), font: { color: variable("--ink") }, align: "left" },
    // Plotly's own legend cannot be used by the keyboard.
    showlegend: false, ...layout, ...axes,
  }, { responsive: true, displayModeBar: false });
}

// A filled mark is the fastest or cannot be told from it; a hollow one is slower beyond the noise.
function marker(implementation, own) {
  const symbol = shape(implementation)[0];
  const own_colour = colour(implementation.split("/")[0]);
  return { color: own_colour, symbol: own.map((row) => (row && !isLevel(row) ? `${symbol}-open` : symbol)), size: symbol === "star" ? 13 : 10, line: { width: 1.5, color: own_colour } };
}

// 1, 2, 5, 10, … within the values, or whole decades where there are many.
function logAxis(title, values) {
  const [low, high] = [Math.min(...values), Math.max(...values)].map(Math.log10);
  if (!values.length) return { type: "log", title: { text: title } };
  const steps = high - low > 2 ? [1] : high - low > 1.2 ? [1, 3] : [1, 1.5, 2, 3, 5, 7];
  const decades = Array.from({ length: Math.ceil(high) - Math.floor(low) + 2 }, (_, index) => 10 ** (Math.floor(low) + index));
  const ticks = decades.flatMap((decade) => steps.map((step) => step * decade));
  return { type: "log", title: { text: title }, tickvals: ticks, ticktext: ticks.map((tick) => String(Number(tick.toPrecision(2)))) };
}

// Sizes as they are, but for those whose labels would cover the one before.
function sizeAxis(title, sizes) {
  const width = Math.log(Math.max(...sizes) / Math.min(...sizes));
  const ticks = [];
  for (const size of [...sizes].sort((a, b) => a - b)) {
    if (!ticks.length || Math.log(size / ticks.at(-1)) > 0.13 * width) ticks.push(size);
  }
  return { type: "log", title: { text: title }, tickvals: ticks, ticktext: ticks.map(String), tickangle: 0 };
}

function hoverText(row, fastest) {
  return [
    `<b>${plain(row.implementation)}</b>`, `${plain(row.case)}, ${plain(row.pass)}`, timeWithInterval(row),
    isLevel(row) ? "fastest, or level with it" : "slower than the fastest",
    fastest ? `${digits(row.median_seconds / fastest)} × the fastest` : "",
    isNumber(row.peak_host_bytes) ? `${mebibytes(row.peak_host_bytes)} MiB at the peak of a call` : "",
    isNumber(row.microseconds_per_step) ? `${digits(row.microseconds_per_step)} µs per step` : "",
    isNumber(row.fraction_of_limit) ? `${percent(row.fraction_of_limit)} of the limit, bound by ${plain(row.binding)}` : "",
    flags(row).join(", "),
  ].filter(Boolean).join("<br>");
}

function errorBars(list, spreads) {
  if (spreads.every((spread) => spread === null)) return { visible: false };
  return {
    type: "data", symmetric: false, thickness: 1.2, width: 3, color: variable("--muted"),
    array: list.map((row, index) => ((row.high_seconds ?? row.median_seconds) - row.median_seconds) * spreads[index]),
    arrayminus: list.map((row, index) => (row.median_seconds - (row.low_seconds ?? row.median_seconds)) * spreads[index]),
  };
}

const fastestAt = (list) => {
  const found = new Map();
  for (const row of list) found.set(row.case, Math.min(found.get(row.case) ?? Infinity, row.median_seconds));
  return found;
};

// A case is a band, and each implementation has its own height in it, so that equal times do not cover each other.
function drawCases() {
  const list = seenRows();
  const cases = unique(list.map((row) => row.case));
  const implementations = implementationsOf(list);
  const quantity = QUANTITIES[shownQuantity.cases];
  const fastest = fastestAt(chartRows());
  const short = (name) => (name.startsWith(`${chosen.cell}-`) ? name.slice(chosen.cell.length + 1) : name);
  const traces = implementations.map((implementation, position) => {
    const own = list.filter((row) => row.implementation === implementation && isNumber(quantity.of(row, fastest.get(row.case))));
    return {
      type: "scatter", mode: "markers", name: plain(implementation), marker: marker(implementation, own),
      x: own.map((row) => quantity.of(row, fastest.get(row.case))),
      y: own.map((row) => cases.indexOf(row.case) + 0.8 * ((position + 0.5) / implementations.length - 0.5)),
      error_x: errorBars(own, own.map((row) => quantity.spread(row, fastest.get(row.case)))),
      text: own.map((row) => hoverText(row, fastest.get(row.case))), hovertemplate: "%{text}<extra></extra>",
    };
  });
  const bands = cases.flatMap((_, index) => (index % 2 ? [] : [
    { type: "rect", xref: "paper", x0: 0, x1: 1, y0: index - 0.5, y1: index + 0.5, fillcolor: variable("--band"), line: { width: 0 }, layer: "below" }]));
  draw("chart-cases", traces, {
    height: 80 + cases.length * Math.max(36, 9 * implementations.length), shapes: bands,
    xaxis: logAxis(quantity.title, traces.flatMap((trace) => trace.x)),
    yaxis: { tickvals: cases.map((_, index) => index), ticktext: cases.map(short).map(plain), range: [cases.length - 0.5, -0.5], showgrid: false },
  });
}

// Cases that differ in one size only: they are what a line may join. In the width the input may be as wide as the state.
const FIXED = { seq_len: "T", batch: "B", input_size: "I", hidden_size: "H", num_layers: "L", ragged: "", directions: "" };

function familyOf(row, size) {
  return variantOf(row) + Object.keys(FIXED).filter((name) => name !== size)
    .map((name) => (size === "hidden_size" && name === "input_size" && row.input_size === row.hidden_size ? "H" : row[name])).join();
}

// Every set of at least two cases that a line may join, those with most points first within each size.
function families(list) {
  return SIZES.flatMap(([size, title]) => [...grouped(list, (row) => familyOf(row, size)).values()]
    .map((own) => ({ size, title, own, sizes: unique(own.map((row) => row[size])).sort((a, b) => a - b) }))
    .filter(({ sizes }) => sizes.length > 1)
    .sort((a, b) => b.sizes.length - a.sizes.length));
}

function fixedSizes({ size, own: [row, ...rest] }) {
  const tied = size === "hidden_size" && rest.some((other) => other.input_size !== row.input_size);
  return Object.entries(FIXED).filter(([name, letter]) => letter && name !== size && (name !== "num_layers" || row.num_layers > 1))
    .map(([name, letter]) => (tied && name === "input_size" ? "I = H" : `${letter} ${row[name]}`)).concat(unusual(row)).join(" · ");
}

// What a panel shows, in words.
function spoken({ title, own, size, sizes }) {
  const at = (value) => {
    const level = own.filter((row) => row[size] === value && isLevel(row)).sort((a, b) => a.median_seconds - b.median_seconds);
    return level.length ? `at ${value} ${level.map((row) => row.implementation).join(", level with ")}, ${time(level[0].median_seconds)}` : `at ${value} nobody shown`;
  };
  return `Curves over ${title}. Fastest: ${sizes.map(at).join("; ")}. The same numbers are in the table of all results.`;
}

function curve(implementation, list, size, quantity) {
  const own = list.filter((row) => row.implementation === implementation).sort((a, b) => a[size] - b[size]);
  return {
    type: "scatter", mode: "lines+markers", name: plain(implementation), marker: marker(implementation, own),
    line: { color: colour(implementation.split("/")[0]), width: 1.5, dash: dash(implementation) },
    x: own.map((row) => row[size]), y: own.map((row) => quantity.of(row)),
    error_y: errorBars(own, own.map((row) => quantity.spread(row))),
    text: own.map((row) => hoverText(row)), hovertemplate: "%{text}<extra></extra>",
  };
}

let allPanels = false;

function drawCurves() {
  const quantity = QUANTITIES[shownQuantity.curves];
  const found = families(seenRows().filter((row) => isNumber(quantity.of(row))));
  // Of every size the fullest comes first, then every size's second, and so on.
  const rank = (each) => found.filter((other) => other.size === each.size).indexOf(each);
  const panels = [...found].sort((a, b) => rank(a) - rank(b)).slice(0, allPanels ? undefined : MOST_PANELS)
    .sort((a, b) => found.indexOf(a) - found.indexOf(b));
  const hosts = panels.map((panel, index) => el("div", { class: "panel" }, el("h3", {}, `Over ${panel.title}`, el("small", {}, fixedSizes(panel))),
    el("div", { id: `curve-${index}`, class: "chart", role: "img", "aria-label": spoken(panel) })));
  byId("curves-panels").replaceChildren(...hosts);
  byId("no-curves").hidden = panels.length > 0;
  byId("more-panels").hidden = found.length <= MOST_PANELS || allPanels;
  byId("more-panels").textContent = `Show all ${found.length} curves`;
  panels.forEach(({ own, size, title, sizes }, index) => draw(`curve-${index}`,
    implementationsOf(own).map((implementation) => curve(implementation, own, size, quantity)),
    { height: 300, xaxis: sizeAxis(title, sizes), yaxis: logAxis(quantity.title, own.map((row) => quantity.of(row))) }));
}

byId("more-panels").addEventListener("click", () => { allPanels = true; drawCurves(); byId("curves-panels").querySelector(".chart")?.scrollIntoView({ block: "nearest" }); });

function drawSetup() {
  const list = seenRows();
  const implementations = implementationsOf(list).reverse();
  const traces = STAGES.map(([name, title, symbol]) => {
    const own = list.filter((row) => isNumber(row[name]) && row[name] > 0);
    const colours = own.map((row) => colour(row.framework));
    return {
      type: "scatter", mode: "markers", x: own.map((row) => row[name]), y: own.map((row) => implementations.indexOf(row.implementation)),
      marker: { symbol, size: 9, opacity: 0.75, color: colours, line: { width: 1.5, color: colours } },
      text: own.map((row) => `<b>${plain(row.implementation)}</b><br>${plain(row.case)}<br>${title} ${time(row[name])}`), hovertemplate: "%{text}<extra></extra>",
    };
  });
  draw("chart-setup", traces, {
    height: 90 + 34 * implementations.length,
    xaxis: logAxis("seconds", traces.flatMap((trace) => trace.x)),
    yaxis: { tickvals: implementations.map((_, index) => index), ticktext: implementations.map(plain), range: [-0.6, implementations.length - 0.4] },
  });
}

function drawAll() {
  drawLegends();
  drawCases();
  drawCurves();
  drawSetup();
}

// From the page itself, or from the file that a page of the repository names.
async function loadLibrary() {
  const script = document.createElement("script");
  const { src } = byId("library").dataset;
  if (src) await new Promise((done) => { Object.assign(script, { src, onload: done, onerror: done }); document.head.append(script); });
  else document.head.append(Object.assign(script, { textContent: await unpacked("library") }));
  if ("Plotly" in globalThis) return true;
  document.querySelectorAll(".chart").forEach((chart) => { chart.textContent = `This chart is drawn by ${src}, which is not there, seen from this page. The tables hold every number.`; });
  return false;
}

if (await loadLibrary()) {
  drawControls();
  onChoice(drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
}
document.documentElement.dataset.drawn = "";

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

const FIRST_SHOWN = { cell: ["lstm", "gru"], pass: ["forward_backward"] };
const chosen = { cell: "", pass: "", cases: "relative", curves: "time" };

// Plotly reads a little HTML in its texts; what comes from a store must stay text.
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function select(title, name, options, onchange) {
  const node = el("select", { onchange: () => { chosen[name] = node.value; onchange(); } },
    ...options.map(([value, shown]) => el("option", { value, selected: value === chosen[name] }, shown)));
  return el("label", {}, `${title} `, node);
}

function drawControls() {
  const timed = timedInTrack();
  for (const [name, wanted] of Object.entries(FIRST_SHOWN)) {
    const values = unique(timed.map((row) => row[name]));
    if (!values.includes(chosen[name])) chosen[name] = wanted.find((value) => values.includes(value)) ?? values[0] ?? "";
  }
  byId("chart-controls").replaceChildren(...["cell", "pass"].map((name) =>
    select(name === "cell" ? "Cell" : "Pass", name, unique(timed.map((row) => row[name])).map((value) => [value, value]), drawAll)));
  byId("cases-controls").replaceChildren(select("Show", "cases", Object.entries(QUANTITIES).map(([name, { title }]) => [name, title]), drawCases));
  byId("curves-controls").replaceChildren(select("Show", "curves", ["time", "step", "memory", "rows", "limit"].map((name) => [name, QUANTITIES[name].title]), drawCurves));
}

const chartRows = () => timedInTrack().filter((row) => row.cell === chosen.cell && row.pass === chosen.pass);

function draw(id, traces, layout) {
  const axis = { gridcolor: variable("--line"), zeroline: false, linecolor: variable("--line"), automargin: true };
  const axes = Object.fromEntries(["xaxis", "yaxis"].map((name) => [name, { ...axis, ...layout[name] }]));
  Plotly.react(id, traces, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 8, r: 16, t: 8, b: 8 }, hovermode: "closest",
    // On a touch screen a finger on a chart is there to scroll the page.
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    font: { family: variable("--font"), size: 13, color: variable("--ink") },
    hoverlabel: { bgcolor: variable("--card"), bordercolor: variable("--line"), font: { color: variable("--ink") }, align: "left" },
    legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0 }, ...layout, ...axes,
  }, { responsive: true, displayModeBar: false });
}

function marker(implementation) {
  const symbol = shape(implementation)[0];
  return { color: colour(implementation.split("/")[0]), symbol, size: symbol === "star" ? 13 : 10, line: { width: 1, color: variable("--paper") } };
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
  const list = chartRows();
  const cases = unique(list.map((row) => row.case));
  const implementations = implementationsOf(list);
  const quantity = QUANTITIES[chosen.cases];
  const fastest = fastestAt(list);
  const short = (name) => (name.startsWith(`${chosen.cell}-`) ? name.slice(chosen.cell.length + 1) : name);
  const traces = implementations.map((implementation, position) => {
    const own = list.filter((row) => row.implementation === implementation && isNumber(quantity.of(row, fastest.get(row.case))));
    return {
      type: "scatter", mode: "markers", name: plain(implementation), marker: marker(implementation),
      x: own.map((row) => quantity.of(row, fastest.get(row.case))),
      y: own.map((row) => cases.indexOf(row.case) + 0.8 * ((position + 0.5) / implementations.length - 0.5)),
      error_x: errorBars(own, own.map((row) => quantity.spread(row, fastest.get(row.case)))),
      text: own.map((row) => hoverText(row, fastest.get(row.case))), hovertemplate: "%{text}<extra></extra>",
    };
  });
  const bands = cases.flatMap((_, index) => (index % 2 ? [] : [
    { type: "rect", xref: "paper", x0: 0, x1: 1, y0: index - 0.5, y1: index + 0.5, fillcolor: variable("--band"), line: { width: 0 }, layer: "below" }]));
  draw("chart-cases", traces, {
    height: 150 + cases.length * Math.max(36, 9 * implementations.length), shapes: bands,
    xaxis: logAxis(quantity.title, traces.flatMap((trace) => trace.x)),
    yaxis: { tickvals: cases.map((_, index) => index), ticktext: cases.map(short).map(plain), range: [cases.length - 0.5, -0.5], showgrid: false },
  });
}

// Cases that differ in one size only: they are what a line may join.
function familyOf(row, size) {
  const others = ["seq_len", "batch", "input_size", "hidden_size", "num_layers", "ragged"].filter((name) => name !== size);
  return others.map((name) => (size === "hidden_size" && name === "input_size" && row.input_size === row.hidden_size ? "H" : row[name])).join();
}

function curve(implementation, list, size, quantity) {
  const families = grouped(list, (row) => familyOf(row, size));
  // A gap (null) between two families ends the line.
  const points = [...families.values()].flatMap((family) => [...family.sort((a, b) => a[size] - b[size]), null]);
  return {
    type: "scatter", mode: "lines+markers", name: plain(implementation), marker: marker(implementation), connectgaps: false,
    line: { color: colour(implementation.split("/")[0]), width: 1.5 },
    x: points.map((row) => row?.[size] ?? null), y: points.map((row) => (row ? quantity.of(row) : null)),
    error_y: errorBars(points.map((row) => row ?? {}), points.map((row) => (row ? quantity.spread(row) : 0))),
    text: points.map((row) => (row ? hoverText(row) : "")), hovertemplate: "%{text}<extra></extra>",
  };
}

function drawCurves() {
  const quantity = QUANTITIES[chosen.curves];
  const list = chartRows().filter((row) => isNumber(quantity.of(row)));
  const panels = SIZES.filter(([size]) => unique(list.map((row) => row[size])).length > 1);
  for (const [size] of SIZES) byId(`chart-${size}`).hidden = !panels.some(([shown]) => shown === size);
  byId("no-curves").hidden = panels.length > 0;
  for (const [size, title] of panels) {
    draw(`chart-${size}`, implementationsOf(list).map((implementation) =>
      curve(implementation, list.filter((row) => row.implementation === implementation), size, quantity)), {
      height: 380, showlegend: false,
      xaxis: sizeAxis(title, unique(list.map((row) => row[size]))),
      yaxis: logAxis(quantity.title, list.map((row) => quantity.of(row))),
    });
  }
}

function drawSetup() {
  const list = chartRows();
  const implementations = implementationsOf(list).reverse();
  const neutral = STAGES.map(([, title, symbol]) => ({
    type: "scatter", mode: "markers", name: title, x: [null], y: [null], marker: { symbol, size: 9, color: variable("--muted"), line: { width: 1.5, color: variable("--muted") } } }));
  const traces = STAGES.map(([name, title, symbol]) => {
    const own = list.filter((row) => isNumber(row[name]) && row[name] > 0);
    const colours = own.map((row) => colour(row.framework));
    return {
      type: "scatter", mode: "markers", showlegend: false, x: own.map((row) => row[name]), y: own.map((row) => implementations.indexOf(row.implementation)),
      marker: { symbol, size: 9, opacity: 0.75, color: colours, line: { width: 1.5, color: colours } },
      text: own.map((row) => `<b>${plain(row.implementation)}</b><br>${plain(row.case)}<br>${title} ${time(row[name])}`), hovertemplate: "%{text}<extra></extra>",
    };
  });
  draw("chart-setup", [...neutral, ...traces], {
    height: 130 + 34 * implementations.length,
    xaxis: logAxis("seconds", traces.flatMap((trace) => trace.x)),
    yaxis: { tickvals: implementations.map((_, index) => index), ticktext: implementations.map(plain), range: [-0.6, implementations.length - 0.4] },
  });
}

function drawAll() {
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
  onTrack(() => { drawControls(); drawAll(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
}
document.documentElement.dataset.drawn = "";

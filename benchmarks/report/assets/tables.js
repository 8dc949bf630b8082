"use strict";

const firstOfCase = new Map(rows.map((row) => [row.case, row]).reverse());
const MARKS = { "measured": "✓", "never steady": "~", "disagrees": "✗", "unsupported": "–", "not offered": "–", "not reached": "…" };
const statusMark = (status) => MARKS[status] ?? "!";
const agrees = (row) => TIMED.includes(row.status) || (row.status !== "disagrees" && row.error_rms !== null);
const asWord = (text) => text.replaceAll(" ", "-");

function status(row) {
  return el("span", { class: `chip ${asWord(row.status)}` }, `${statusMark(row.status)} ${row.status}`);
}

function copyButton(text) {
  const button = el("button", { type: "button", class: "copy", title: "Copy the command", "aria-label": "Copy the command" }, "copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch {
      // Not every browser lets a page that is a file use the clipboard: mark the text instead.
      getSelection().selectAllChildren(button.previousElementSibling);
      button.textContent = "marked";
    }
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
  return button;
}

function command(row) {
  return row.command ? el("span", { class: "command" }, el("code", { title: row.command }, row.command), copyButton(row.command)) : "";
}

const UNITS = { _bytes: (value) => `${digits(value / 2 ** 30)} GiB`, _seconds: (value) => time(value, 4), _of_limit: percent };

// Name and value of everything in an object; a unit in a name goes to its value.
function definitions(object) {
  const list = el("dl", { class: "pairs" });
  for (const [name, value] of Object.entries(object)) {
    if (value === null || value === "") continue;
    const unit = isNumber(value) ? Object.keys(UNITS).find((ending) => name.endsWith(ending)) : undefined;
    const shown = unit ? UNITS[unit](value) : isNumber(value) && !Number.isInteger(value) ? digits(value, 4)
      : Array.isArray(value) ? value.join(", ") : typeof value === "object" ? Object.entries(value).map((pair) => pair.join(" ")).join(", ") : String(value);
    list.append(el("dt", {}, name.slice(0, unit ? -unit.length : undefined).replaceAll("_", " ")), el("dd", {}, shown));
  }
  return list;
}

// Every verdict.

function ratioOf(standing) {
  if (!standing.ratio) return "";
  const { median, low, high } = standing.ratio;
  return `${digits(median, significantDigits(median, low, high))}× (${interval(median, low, high)})`;
}

function verdict(standing) {
  const others = standing.level.filter((name) => name !== standing.runner_up);
  return el("span", {}, el("span", { class: `chip ${asWord(standing.verdict)}` }, standing.verdict),
    ...others.map((name) => el("small", {}, "also ", named(name))));
}

function fastestTable() {
  const rowOf = fastestRow;
  const columns = [
    { title: "Case", fixed: true, sort: (each) => each.case,
      show: (each) => el("span", { title: shapeOf(rowOf(each)) }, each.case, el("small", { class: "phone" }, each.pass)) },
    { title: "Pass", desk: true, sort: (each) => each.pass, show: (each) => each.pass },
    { title: "Fastest", sort: (each) => each.implementation, show: (each) => named(each.implementation) },
    { title: "Median", unit: "(95 % interval)", numeric: true, sort: (each) => rowOf(each).median_seconds, show: (each) => timeWithInterval(rowOf(each)) },
    { title: "Runner-up", sort: (each) => each.runner_up, show: (each) => (each.runner_up ? named(each.runner_up) : "") },
    { title: "takes", unit: "(95 % interval)", hint: "The runner-up's time over the fastest's", numeric: true, sort: (each) => each.ratio?.median,
      show: (each) => el("span", {}, ratioOf(each), each.paired ? null : " unpaired") },
    { title: "Noise floor", unit: "%", hint: "What A/A pairs of such a case differ by: a difference has to be larger", numeric: true, sort: (each) => each.floor?.part,
      show: (each) => (each.floor ? floorOf(each.floor) : "") },
    { title: "Verdict", hint: "With all that could not be told from the fastest", sort: (each) => each.verdict, show: verdict },
  ];
  const cellOf = (each) => rowOf(each).cell;
  const fill = makeTable(byId("fastest-table"), {
    caption: "The fastest implementation of each case and pass", columns, tall: true,
    filters: [{ title: "Implementation", of: (each) => each.implementation }, { title: "Cell", of: cellOf }, { title: "Pass", of: (each) => each.pass },
      { title: "Verdict", of: (each) => each.verdict }],
  });
  onTrack(() => fill(inTrack(content.standings)));
}

// The agreement matrix.

function agreementOf(records) {
  const wrong = records.filter((row) => row.status === "disagrees");
  const right = records.filter(agrees);
  const worst = (list, name) => Math.max(...list.map((row) => Number(row[name] ?? NaN)));
  const list = wrong.length ? wrong : right;
  const hint = records.map((row) => `${row.pass}: ${agrees(row) ? "agrees" : row.status}` +
    `${row.error_rms === null ? "" : `, rms ${digits(row.error_rms)}, max ${digits(row.error_max)} × the plain loop's`}${row.reason ? `, ${row.reason}` : ""}`).join("\n");
  return {
    hint, value: list.length ? worst(list, "error_rms") : null,
    name: wrong.length ? "disagrees" : right.length ? "measured" : records[0]?.status, far: right.some((row) => row.far),
    partly: right.length && !wrong.length ? records.filter((row) => !agrees(row)).map((row) => `${row.pass}: ${row.status}`) : [],
  };
}

function agreementTable() {
  onTrack(() => {
    const records = inTrack(rows);
    const of = (name, implementation) => records.filter((row) => row.case === name && row.implementation === implementation);
    const found = new Map(unique(records.map((row) => row.case)).map((name) =>
      [name, Object.fromEntries(implementationsOf(records).map((implementation) => [implementation, agreementOf(of(name, implementation))]))]));
    const columns = [{ title: "Case", fixed: true, sort: (name) => name, show: (name) => el("span", { title: shapeOf(firstOfCase.get(name)) }, name) }];
    for (const implementation of implementationsOf(records)) {
      columns.push({
        title: named(implementation), narrow: true, sort: (name) => found.get(name)[implementation].value,
        show: (name) => {
          const { hint, value, name: status, far, partly } = found.get(name)[implementation];
          if (!status) return "";
          const words = status === "measured" ? `✓ ${digits(value)}` : `${statusMark(status)} ${status}`;
          const error = status === "disagrees" && value !== null ? ` ${digits(value)}` : null;
          const rest = [...partly, ...(far && status === "measured" ? ["far"] : [])];
          return el("span", { class: `chip ${rest.includes("far") ? "far" : asWord(status)}`, title: hint }, el("span", { class: "together" }, words), error, rest.length ? el("small", {}, rest.join(", ")) : null);
        },
      });
    }
    const fill = makeTable(byId("agreement-table"), { caption: "Agreement of every implementation with the reference, at each case", columns, tall: true });
    fill([...found.keys()]);
  });
}

// All results.

const CELL_FILTERS = [
  { title: "Implementation", of: (row) => row.implementation }, { title: "Cell", of: (row) => row.cell },
  { title: "Pass", of: (row) => row.pass }, { title: "Status", of: (row) => row.status },
];

function limitBar(row) {
  if (!isNumber(row.fraction_of_limit)) return "";
  const bar = el("span", { class: "bar", "aria-hidden": "true" }, el("span", { style: `width: ${Math.min(100, 100 * row.fraction_of_limit)}%` }));
  const read = row.device === "gpu" && row.binding === "chain"; // its barrier is a published constant
  return el("span", { class: "limit" }, bar, `${percent(row.fraction_of_limit)}${read ? " †" : ""}`);
}

function whatRan(row) {
  const told = TIMED.includes(row.status) ? row.path : row.reason;
  const text = [row.reason, row.kernels.join("\n"), row.log].filter(Boolean).join("\n\n");
  if (text === told && told.length < 50 || !text) return told;
  return el("details", {}, el("summary", {}, el("span", { class: "clamped" }, told || (row.log ? "log" : "kernels"))), el("pre", {}, text));
}

const numberColumn = (title, name, hint, show = (value) => digits(value), unit = "") =>
  ({ title, unit, hint, numeric: true, sort: (row) => row[name], show: (row) => show(row[name]) });

function resultsTable() {
  const milliseconds = (seconds) => (isNumber(seconds) ? digits(1e3 * seconds) : "");
  const size = (value) => String(value);
  const columns = [
    { title: "Implementation", fixed: true, sort: (row) => row.implementation, show: (row) => named(row.implementation) },
    { title: "Case", sort: (row) => row.case, show: (row) => el("button", { type: "button", class: "link", onclick: () => showDetails(row), title: "Everything about this row" }, row.case) },
    { title: "Pass", sort: (row) => row.pass, show: (row) => row.pass },
    { title: "Status", sort: (row) => row.status, show: status },
    { title: "Median", unit: "ms", hint: "Median of single calls, milliseconds", numeric: true, sort: (row) => row.median_seconds,
      show: (row) => (isNumber(row.median_seconds) ? digits(1e3 * row.median_seconds, significantDigits(row.median_seconds, row.low_seconds, row.high_seconds)) : "") },
    { title: "95 % interval", unit: "ms", hint: "Sorted by its width relative to the median", numeric: true,
      sort: (row) => (isNumber(row.high_seconds) ? (row.high_seconds - row.low_seconds) / row.median_seconds : null),
      show: (row) => (isNumber(row.median_seconds) ? interval(row.median_seconds, row.low_seconds, row.high_seconds, 1e-3) : "") },
    numberColumn("Host", "peak_host_bytes", "What a call takes at its peak, over what was resident before it, MiB; empty where it cannot be told", mebibytes, "MiB"),
    numberColumn("Device", "peak_device_bytes", "Peak memory of the device in a call, MiB", mebibytes, "MiB"),
    numberColumn("p95", "p95_seconds", "95 of 100 calls take at most this; empty with fewer than 20 calls", milliseconds, "ms"),
    numberColumn("p99", "p99_seconds", "99 of 100 calls take at most this; empty with fewer than 100 calls", milliseconds, "ms"),
    numberColumn("Rows", "rows_per_second", "Rows of the batch over the median", digits, "/s"),
    numberColumn("Steps", "steps_per_second", "Real steps of the batch over the median", digits, "/s"),
    numberColumn("Per step", "microseconds_per_step", "Median over num_layers times the longest length", digits, "µs"),
    { title: "Of the limit", hint: "The least time that the machine's measured ceilings allow, over the median", numeric: true, sort: (row) => row.fraction_of_limit, show: limitBar },
    { title: "Bound by", sort: (row) => row.binding, show: (row) => row.binding },
    numberColumn("First call", "first_call_seconds", "Compilation included, milliseconds", milliseconds, "ms"),
    numberColumn("Build", "build_seconds", "Set-up with weights, milliseconds", milliseconds, "ms"),
    numberColumn("Import", "import_seconds", "From the start of the process to its first answer, milliseconds", milliseconds, "ms"),
    { title: "Flags", sort: (row) => flags(row).join(), show: (row) => el("span", { class: "several" }, ...flags(row).map((flag) => el("span", { class: "chip flag" }, flag))) },
    { title: "What ran, or why not", sort: (row) => (TIMED.includes(row.status) ? row.path : row.reason), show: whatRan },
    { title: "Command that reproduces it", show: command },
    numberColumn("T", "seq_len", "seq_len", size), numberColumn("B", "batch", "batch", size), numberColumn("I", "input_size", "input_size", size),
    numberColumn("H", "hidden_size", "hidden_size", size), numberColumn("L", "num_layers", "num_layers", size),
  ];
  const fill = makeTable(byId("results-table"), { caption: "All results", columns, filters: CELL_FILTERS, tall: true });
  onTrack(() => fill(inTrack(rows)));
}

function showDetails(row) {
  const shown = Object.fromEntries(Object.entries(row).filter(([name]) => !["log", "kernels", "command", "run", "framework"].includes(name)));
  openDetails([named(row.implementation), ` ${row.case}, ${row.pass}`],
    el("p", {}, status(row), " ", row.reason),
    command(row) ? el("p", {}, command(row)) : "",
    definitions(shown),
    ...(row.kernels.length ? [el("h3", {}, "Kernels"), el("pre", {}, row.kernels.join("\n"))] : []),
    ...(row.log ? [el("h3", {}, "End of the log"), el("pre", {}, row.log)] : []));
}

// What was not measured: rows with the same status, implementation and reason are one line.

function missingTable() {
  const columns = [
    { title: "Implementation", fixed: true, sort: (group) => group[0].implementation, show: (group) => named(group[0].implementation) },
    { title: "Status", sort: (group) => group[0].status, show: (group) => status(group[0]) },
    { title: "Reason", sort: (group) => group[0].reason, show: (group) => el("span", { class: "reason" }, group[0].reason) },
    { title: "How many", numeric: true, sort: (group) => group.length, show: (group) => String(group.length) },
    { title: "Which, with log and command", show: (group) => el("details", {}, el("summary", {}, plural(group.length, "combination")), ...group.map(missingOne)) },
  ];
  const missingOne = (row) => el("div", { class: "missing" }, el("strong", {}, `${row.case}, ${row.pass}`), command(row), row.log ? el("pre", {}, row.log) : null);
  const fill = makeTable(byId("missing-table"), {
    caption: "What was not measured, and why", columns, tall: true,
    filters: [{ title: "Implementation", of: (group) => group[0].implementation }, { title: "Status", of: (group) => group[0].status }],
  });
  onTrack(() => {
    const missing = inTrack(rows).filter((each) => !TIMED.includes(each.status));
    byId("missing-none").textContent = missing.length ? "" : "Everything that was asked for has a time.";
    byId("missing-table").hidden = !missing.length;
    const groups = grouped(missing, (row) => JSON.stringify([row.implementation, row.status, row.reason]));
    fill([...groups.values()]);
  });
}

// The machine, the environments, and what others published.

const CEILING_UNITS = {
  product: (value) => `${digits(value / 1e9)} GFLOP/s`, copy: (value) => `${digits(value / 1e9)} GB/s`, barrier: (value) => time(value),
  on_chip: (value) => `${digits(value / 2 ** 20)} MiB`,
};
// The name of one framework's own ceiling ends in its name: product/torch.
const ceilingOf = (each) => (CEILING_UNITS[each.name.split("/")[0]] ?? digits)(each.value);

function drawRun() {
  const { run, label, seed, suite_version, commit, command: asked, settings, fingerprint, machine } = runOfTrack();
  byId("fingerprint").replaceChildren(definitions(machine));
  const asks = { ...settings, cases: settings.cases.map((each) => each.name), passes: unique(Object.values(settings.passes).flat()) };
  byId("run").replaceChildren(definitions({ run, label, commit, suite_version, seed_of_the_order: seed, fingerprint, command: asked, ...asks }));
}

function machine() {
  const inRun = (records) => records.filter((each) => each.run === runOfTrack().run);
  const fillCeilings = makeTable(byId("ceilings-table"), {
    caption: "Ceilings", search: false,
    columns: [
      { title: "What", fixed: true, sort: (each) => each.name, show: (each) => each.name },
      { title: "Value", numeric: true, sort: (each) => each.value, show: ceilingOf },
      { title: "Device", sort: (each) => each.device, show: (each) => each.device },
      { title: "Dtype", sort: (each) => each.dtype, show: (each) => each.dtype },
      { title: "Threads", numeric: true, sort: (each) => each.threads, show: (each) => String(each.threads) },
      { title: "How it was measured", prose: true, sort: (each) => each.how, show: (each) => each.how },
    ],
  });
  const fillProcesses = makeTable(byId("processes-table"), {
    caption: "Processes of this run", search: false, tall: true,
    columns: [
      { title: "Framework", fixed: true, sort: (each) => each.framework, show: (each) => each.framework },
      { title: "Process", numeric: true, sort: (each) => each.ordinal, show: (each) => String(each.ordinal) },
      { title: "Threads asked for", numeric: true, sort: (each) => each.threads, show: (each) => String(each.threads) },
      { title: "Busy threads", numeric: true, sort: (each) => each.busy_threads, show: (each) => digits(each.busy_threads) },
      { title: "Import", unit: "s", numeric: true, sort: (each) => each.import_seconds, show: (each) => digits(each.import_seconds) },
      { title: "Environment", sort: (each) => each.environment, show: (each) => el("code", {}, each.environment) },
    ],
  });
  onTrack(() => {
    drawRun();
    const processes = inRun(content.processes);
    const busy = processes.map((each) => each.busy_threads / each.threads);
    byId("processes-summary").textContent = `${busy.length} in this run` +
      (busy.length ? `, each with ${percent(Math.min(...busy))} to ${percent(Math.max(...busy))} of the threads asked for` : "");
    fillCeilings(inRun(content.ceilings));
    fillProcesses(processes);
  });
}

function environments() {
  byId("environments-list").replaceChildren(...content.environments.map((each) => el("details", { class: "environment" },
    el("summary", {}, el("strong", {}, each.framework), ` ${Object.entries(each.versions).map((pair) => pair.join(" ")).join(", ")} `, el("code", {}, each.environment),
      ` · ${plural(Object.keys(each.packages).length, "package")}`),
    el("ul", { class: "packages" }, ...Object.entries(each.packages).map(([name, version]) => el("li", {}, `${name} `, el("span", {}, version)))))));
}

function published() {
  const times = (each) => Object.entries(each.milliseconds).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, `${digits(value)} ms`)]);
  makeTable(byId("published-table"), {
    caption: "Published figures, not measured here", search: false,
    columns: [
      { title: "What", prose: true, sort: (each) => each.what, show: (each) => each.what },
      { title: "Hardware", sort: (each) => each.hardware, show: (each) => each.hardware },
      { title: "Times", hint: "Sorted by the shortest", sort: (each) => Math.min(...Object.values(each.milliseconds)), show: (each) => el("dl", { class: "times" }, ...times(each)) },
      { title: "Differs from ours", prose: true, sort: (each) => each.caution, show: (each) => each.caution },
      { title: "Source", prose: true, sort: (each) => each.source, show: (each) => el("a", { href: each.link, rel: "noreferrer" }, each.source) },
    ],
  })(content.published);
}

fastestTable();
agreementTable();
resultsTable();
missingTable();
machine();
environments();
published();

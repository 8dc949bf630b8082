"use strict";

// What the page opens with: for each shape and cell, who is fastest, with all that cannot be told from it; and how often
// each implementation is. One cell and one pass are chosen, here and above the charts, and both follow the choice.

const FIRST_SHOWN = { cell: ["lstm", "gru"], pass: ["forward_backward", "train_step"] };
const chosen = { cell: "", pass: "" };
const hidden = new Set(); // implementations that the charts leave out
const choiceListeners = [];
const NOT_JUDGED = ["no noise floor", "under load"];

const jobOf = (record) => [...trackOf(record), record.case, record.pass].join("\n");
const standingOf = new Map(content.standings.map((each) => [jobOf(each), each]));
const rowOfStanding = new Map(rows.map((row) => [`${jobOf(row)}\n${row.implementation}`, row]));
const fastestRow = (standing) => rowOfStanding.get(`${jobOf(standing)}\n${standing.implementation}`);
const levelOf = (standing) => [standing.implementation, ...standing.level];

// Whether a row is the fastest of its job or cannot be told from it; so is every row where nothing is judged.
function isLevel(row) {
  const standing = standingOf.get(jobOf(row));
  return !standing || NOT_JUDGED.includes(standing.verdict) || levelOf(standing).includes(row.implementation);
}

// What a case's name says besides its cell: cases of one shape and different cells stand in one line of the map.
const nameInMap = (row) => (row.case.startsWith(`${row.cell}-`) ? row.case.slice(row.cell.length + 1) : row.case);
const saysItsSizes = (row) => nameInMap(row).startsWith(`T${row.seq_len}-B${row.batch}-`);
// And besides its sizes, such as no_bias.
const besidesSizes = (row) => (saysItsSizes(row) ? nameInMap(row).split("-").filter((part) => !/^([TBIHL]\d+|ragged|one_direction)$/.test(part)) : []);
const unusual = (row) => [...(row.ragged ? ["ragged"] : []), ...(row.directions === 1 ? ["one direction"] : []), ...besidesSizes(row).map((part) => part.replaceAll("_", " "))];
const sizesOf = (row) => [`T ${row.seq_len} · B ${row.batch}`,
  [`I ${row.input_size}`, `H ${row.hidden_size}`, ...(row.num_layers > 1 ? [`L ${row.num_layers}`] : []), ...unusual(row)].join(" · ")];
const shapeOf = (row) => [`T ${row.seq_len}, B ${row.batch}, I ${row.input_size}, H ${row.hidden_size}, L ${row.num_layers}`, ...unusual(row)].join(", ");

// All that a case asks for besides its sizes, for those that a line may join.
const settingOf = new Map(content.runs.flatMap((run) => run.settings.cases.map((each) => [`${run.run}\n${each.name}`, each])));

function variantOf(row) {
  const { spec = {}, system = null, target_len: target = null } = settingOf.get(`${row.run}\n${row.case}`) ?? {};
  return JSON.stringify([{ ...spec, cell: null, input_size: null, hidden_size: null, num_layers: null }, system, target]);
}

const WORDS = { forward_backward: "forward + backward", train_step: "training step" };
const inWords = (name) => WORDS[name] ?? name.replaceAll("_", " ");

function choose(name, value) {
  chosen[name] = value;
  choiceListeners.forEach((listener) => listener());
}

function onChoice(listener) {
  choiceListeners.push(listener);
  onTrack(listener);
}

function settleChoice() {
  const timed = timedInTrack();
  for (const [name, wanted] of Object.entries(FIRST_SHOWN)) {
    const values = unique(timed.map((row) => row[name]));
    if (!values.includes(chosen[name])) chosen[name] = wanted.find((value) => values.includes(value)) ?? values[0] ?? "";
  }
}

function drawChoosers() {
  settleChoice();
  const focused = document.activeElement?.name;
  document.querySelectorAll(".chooser").forEach((host, place) => {
    host.replaceChildren(...Object.entries({ pass: "Pass", cell: "Cell" }).map(([name, title]) => {
      const values = unique(timedInTrack().map((row) => row[name]));
      return pills(title, `${name}-${place}`, values.map((value) => [value, inWords(value)]), chosen[name], (value) => choose(name, value));
    }));
  });
  if (focused) document.querySelector(`.chooser input[name="${focused}"]:checked`)?.focus();
}

// The map: shapes down, cells across.

function frameworksOf(implementations) {
  const groups = grouped(implementations, (name) => name.split("/")[0]);
  return [...groups].map(([framework, names]) => el("span", { class: "framework" },
    el("span", { class: "marks", style: `color: var(${colourName(framework)})`, "aria-hidden": "true" }, names.map((name) => shape(name)[1]).join("")), framework));
}

function verdictWords(standing) {
  const { verdict, level, ratio } = standing;
  if (verdict === "clear") return ratio ? `${digits(ratio.median)} × ahead` : "ahead";
  if (verdict === "alone") return "the only one with a time";
  if (NOT_JUDGED.includes(verdict)) return verdict === "under load" ? "under load: not judged" : "no noise floor: not judged";
  return `${verdict === "tie" ? "tie of" : "not decided between"} ${level.length + 1}`;
}

function answerCell(standing) {
  if (!standing) return el("span", { class: "nothing" }, "–", el("span", { class: "unseen" }, " nothing has a time"));
  const level = levelOf(standing);
  const next = standing.verdict === "clear" ? ` before ${standing.runner_up}` : "";
  const one = unique(level.map((name) => name.split("/")[0])).length === 1 && !NOT_JUDGED.includes(standing.verdict);
  const words = verdictWords(standing);
  return el("button", { type: "button", class: `job${one ? " one" : ""}`, title: `${level.join(", ")}: ${words}${next}`, onclick: () => showJob(standing) },
    el("span", { class: "frameworks" }, ...frameworksOf(level)),
    el("small", {}, `${time(fastestRow(standing).median_seconds)}, ${words}`),
    el("span", { class: "unseen" }, `${next}: ${level.join(", ")}`));
}

function drawMap(standings) {
  const lines = [...grouped(standings, (each) => `${nameInMap(fastestRow(each))}\n${shapeOf(fastestRow(each))}`).values()];
  const cells = unique(standings.map((each) => fastestRow(each).cell));
  // Systems: each case has a cell of its own, and a column for each would be mostly empty.
  const together = lines.every((line) => line.length === 1);
  const columns = together ? [null] : cells;
  const headOf = (cell) => el("th", { scope: "col", class: cell === chosen.cell || together ? "chosen" : "" }, cell ? inWords(cell) : "Fastest");
  const line = (own) => {
    const row = fastestRow(own[0]);
    const [first, sizes] = saysItsSizes(row) ? sizesOf(row) : [nameInMap(row), sizesOf(row).join(" · ")];
    const second = together && cells.length > 1 ? `${inWords(row.cell)} · ${sizes}` : sizes;
    return el("tr", {}, el("th", { scope: "row" }, first, el("small", {}, second)), ...columns.map((cell) =>
      el("td", { class: cell === chosen.cell || together ? "chosen" : "" }, answerCell(own.find((each) => together || fastestRow(each).cell === cell)))));
  };
  byId("map").replaceChildren(el("table", {},
    el("caption", {}, `Fastest at ${inWords(chosen.pass)}: shapes down, cells across`),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Shape"), ...columns.map(headOf))),
    el("tbody", {}, ...lines.map(line))));
}

// Everything that ran one job, the fastest first.
function showJob(standing) {
  const own = inTrack(rows).filter((row) => jobOf(row) === jobOf(standing));
  const timed = own.filter((row) => isNumber(row.median_seconds)).sort((a, b) => a.median_seconds - b.median_seconds);
  const judged = (row) => (NOT_JUDGED.includes(standing.verdict) || standing.verdict === "alone" ? "" : isLevel(row) ? "level" : "slower");
  const line = (row) => el("tr", {}, el("th", { scope: "row" }, named(row.implementation)),
    el("td", { class: "numeric" }, timeWithInterval(row)), el("td", { class: "numeric" }, `${digits(row.median_seconds / timed[0].median_seconds)} ×`),
    el("td", {}, judged(row), ...flags(row).map((flag) => el("span", { class: "chip flag" }, flag))));
  const { floor } = standing;
  openDetails([`${standing.case}, ${standing.pass}`],
    el("p", {}, `${shapeOf(timed[0])}. ${standing.implementation}: ${verdictWords(standing)}${standing.verdict === "clear" ? ` before ${standing.runner_up}` : ""}. ` +
      `${floor ? `Noise floor ${floorOf(floor)} %. ` : ""}Level: it cannot be told from the fastest.`),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Everything with a time" },
      el("table", {}, el("caption", {}, "Everything with a time"),
        el("thead", {}, el("tr", {}, ...["Implementation", "Median (95 % interval)", "over the fastest", "Verdict"].map((each) => el("th", { scope: "col" }, each)))),
        el("tbody", {}, ...timed.map(line)))),
    ...own.filter((row) => !isNumber(row.median_seconds)).map((row) => el("p", { class: "note" }, named(row.implementation), ` ${row.status}: ${row.reason}`)));
}

// How often each is ahead of all others, or level with the fastest.

function drawLeague(standings) {
  const races = standings.filter((each) => !NOT_JUDGED.includes(each.verdict) && each.verdict !== "alone");
  const counts = implementationsOf(timedInTrack().filter((row) => row.pass === chosen.pass)).map((name) => ({
    name, ahead: races.filter((each) => each.verdict === "clear" && each.implementation === name).length,
    level: races.filter((each) => each.verdict !== "clear" && levelOf(each).includes(name)).length,
  })).sort((a, b) => b.ahead - a.ahead || b.level - a.level);
  const bar = ({ name, ahead, level }) => el("span", { class: "bar", "aria-hidden": "true", style: `color: var(${colourName(name.split("/")[0])})` },
    el("span", { class: "ahead", style: `width: ${100 * ahead / races.length}%` }), el("span", { class: "level", style: `width: ${100 * level / races.length}%` }));
  byId("league").hidden = !races.length;
  byId("league").replaceChildren(el("table", {},
    el("caption", { class: "shown" }, `Of ${plural(races.length, "job")} of ${inWords(chosen.pass)}`),
    el("thead", {}, el("tr", {}, ...["Implementation", "ahead", "level"].map((each, index) => el("th", { scope: "col", class: index ? "numeric" : "" }, each)))),
    el("tbody", {}, ...counts.map((each) => el("tr", {}, el("th", { scope: "row" }, named(each.name), bar(each)),
      el("td", { class: "numeric" }, String(each.ahead)), el("td", { class: "numeric" }, String(each.level)))))));
  return counts.filter((each) => each.ahead);
}

function drawWins(standings, winners) {
  const ahead = winners.reduce((sum, each) => sum + each.ahead, 0);
  const judged = standings.filter((each) => !NOT_JUDGED.includes(each.verdict) && each.verdict !== "alone").length;
  const parts = winners.flatMap(({ name, ahead: count }, index) => [index ? ", " : "", named(name), ` ${count}`]);
  byId("wins").replaceChildren(...(!standings.length ? ["Nothing has a time in this track."] : [
    `At ${ahead || "none"} of ${plural(standings.length, "job")} (a shape and a cell) one implementation is ahead of all others beyond the noise`, ...(ahead ? [": ", ...parts] : []), ". ",
    judged > ahead ? `At ${judged - ahead} the fastest cannot be told apart. ` : "", standings.length > judged ? `At ${standings.length - judged} nothing is judged.` : ""]));
}

// As everywhere in percent with one decimal: 3.1 (2.2–5.0).
const inPercent = (part) => (100 * part).toFixed(1);
const floorOf = (floor) => `${inPercent(floor.part)} (${inPercent(floor.low)}–${inPercent(floor.high)})`;

function drawFloor() {
  const { noise_floor: part, noise_floor_low: low, noise_floor_high: high } = runOfTrack();
  byId("floor").textContent = part === null
    ? "No A/A pair was measured in this run: there is no noise floor, so no verdict is given."
    : `Noise floor over the run: ${inPercent(part)} % (${inPercent(low)} to ${inPercent(high)} %). Pairs of one and the same implementation, measured as if they were two, ` +
      "differ by less in 95 of 100 cases. Each case is judged by the floor of its own pairs, in the table of verdicts; no difference within that is called one.";
}

function drawAnswer() {
  drawChoosers();
  const standings = inTrack(content.standings).filter((each) => each.pass === chosen.pass);
  drawMap(standings);
  drawWins(standings, drawLeague(standings));
  drawFloor();
}

onChoice(drawAnswer);

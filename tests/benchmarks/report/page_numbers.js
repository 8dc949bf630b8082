"use strict";

// Prints, as JSON, the texts that the page's own scripts show in every column of numbers: `node page_numbers.js ASSETS`
// with the page's data on standard input. Tables are caught where they would be drawn; the page itself is a node that
// takes everything, since what is asked about needs no browser.
const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");

const content = JSON.parse(fs.readFileSync(0, "utf8"));
const anything = new Proxy(function () {}, {
  get: (target, name) => (name === Symbol.toPrimitive ? () => "" : name === Symbol.iterator ? () => [][Symbol.iterator]() : anything),
  set: () => true, apply: () => anything, construct: () => anything,
});
const context = vm.createContext({ content, document: anything, getComputedStyle: anything, navigator: anything, setTimeout: anything });
const run = (name) => vm.runInContext(fs.readFileSync(path.join(process.argv[2], name), "utf8"), context, { filename: name });

run("page.js");
const tables = {};
context.caught = (host, { caption, columns }) => {
  tables[caption] = [];
  return (records) => tables[caption].push(...records.map((record) => ({
    record,
    shown: Object.fromEntries(columns.map((column) => [`${column.title} ${column.unit ?? ""}`.trim(), column.show(record)])
      .filter((pair) => typeof pair[1] === "string")),
  })));
};
vm.runInContext("makeTable = caught", context);
run("answer.js");
run("tables.js");
vm.runInContext(fs.readFileSync(path.join(process.argv[2], "charts.js"), "utf8").match(/^const FIXED = [^]*?^}\n/m)[0], context);
vm.runInContext("for (const each of tracks.slice(1)) { track = each; listeners.forEach((listener) => listener()); }", context);
tables.times = vm.runInContext("[3.21e-9, 4.32e-8, 5.43e-6, 6.54e-5, 7.65e-4, 8.76e-3, 0.0987, 0.123, 1.23, 12.3, 1234]", context)
  .map((seconds) => [seconds, vm.runInContext("time", context)(seconds)]);
tables.shapes = vm.runInContext("rows.map((row) => [row.case, shapeOf(row), sizesOf(row).join(), familyOf(row, 'batch')])", context);
process.stdout.write(JSON.stringify(tables));

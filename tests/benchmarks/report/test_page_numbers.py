"""The report's numbers as its own scripts show them, in the units of their columns; no browser is needed for that."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cases.files import load_set
from benchmarks.report.data import ASSETS, data_of
from tests.benchmarks.made_up_run import made_up_content

SCRIPT = Path(__file__).parent / "page_numbers.js"
TIMES = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}
IN_COLUMNS = {
    "Median ms": ("median_seconds", 1e3),
    "Per step µs": ("microseconds_per_step", 1.0),
    "First call ms": ("first_call_seconds", 1e3),
    "Build ms": ("build_seconds", 1e3),
    "Import ms": ("import_seconds", 1e3),
    "Host MiB": ("peak_host_bytes", 2.0**-20),
    "Device MiB": ("peak_device_bytes", 2.0**-20),
    "p95 ms": ("p95_seconds", 1e3),
    "Rows /s": ("rows_per_second", 1.0),
    "Steps /s": ("steps_per_second", 1.0),
}
"""By title and unit: what the store calls it, and what it is multiplied by."""
CEILINGS = {"product": ("GFLOP/s", 1e-9), "copy": ("GB/s", 1e-9), "on_chip": ("MiB", 2.0**-20)}
ONE = "a case of one direction"
Table = list[dict[str, Any]]


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    """By caption: the records of each table with the texts in their columns of words and numbers."""
    driver = pytest.importorskip("playwright._impl._driver", reason="Node comes with Playwright")
    first, second = load_set("laptop").cases[3:5]
    forward = first.spec.model_copy(update={"merge": None, "num_directions": 1})
    content = made_up_content(cases=[first, second, first.model_copy(update={"name": ONE, "spec": forward})])
    rows = [replace(row, peak_device_bytes=None if row.peak_host_bytes is None else 3 * row.peak_host_bytes)
            for row in content.rows]  # fmt: skip
    data = json.dumps(data_of([replace(content, rows=rows)]))
    node = driver.compute_driver_executable()[0]
    done = subprocess.run([node, SCRIPT, ASSETS], input=data, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def number(text: str) -> float:
    """A number as the page writes it, with commas between thousands."""
    return float(text.replace(",", ""))


def test_every_column_of_results_is_the_stored_number_in_the_unit_of_its_head(tables: dict[str, Table]) -> None:
    counts = dict.fromkeys(IN_COLUMNS, 0)
    for line in tables["All results"]:
        for title, (name, factor) in IN_COLUMNS.items():
            stored = line["record"][name]
            if stored is None:
                assert line["shown"][title] == ""
                continue
            assert number(line["shown"][title]) == pytest.approx(factor * stored, rel=0.006), (title, line["record"])
            counts[title] += 1
    assert min(counts.values()) > 20, counts


def test_one_direction_stands_in_a_shape_and_no_line_joins_it_with_two(tables: dict[str, Any]) -> None:
    """Its sizes are those of the first case."""
    said = {case: texts for case, *texts in tables["shapes"]}
    two = next(texts for case, texts in said.items() if case.startswith("rnn_tanh"))
    assert said[ONE][:2] == [f"{two[0]}, one direction", f"{two[1]} · one direction"]
    assert two[2].endswith(",2")
    assert said[ONE][2].endswith(",1")


def test_a_time_of_any_size_has_its_unit(tables: dict[str, Any]) -> None:
    used = set()
    for seconds, text in tables["times"]:
        value, unit = text.split(" ")
        assert number(value) * TIMES[unit] == pytest.approx(seconds, rel=0.006)
        used.add(unit)
    assert used == set(TIMES)


def test_every_interval_has_its_two_ends_in_milliseconds(tables: dict[str, Table]) -> None:
    shown = 0
    for line in tables["All results"]:
        record, text = line["record"], line["shown"]["95 % interval ms"]
        if record["low_seconds"] is not None:
            ends = [1e3 * record[name] for name in ("low_seconds", "high_seconds")]
            assert [number(each) for each in text.split("–")] == pytest.approx(ends, rel=0.006)
            shown += 1
    assert shown > 20


def test_the_fastest_has_its_time_with_the_right_unit(tables: dict[str, Table]) -> None:
    names = ("implementation", "case", "pass", "lane", "threads")
    records = [line["record"] for line in tables["All results"]]
    rows = {tuple(record[name] for name in names): record for record in records}
    lines = tables["The fastest implementation of each case and pass"]
    assert len(lines) == 18, "three cases, two passes, three tracks"
    for line in lines:
        row = rows[tuple(line["record"][name] for name in names)]
        match = re.fullmatch(r"([\d.,]+) \(([\d.,]+)–([\d.,]+)\) (\S+)", line["shown"]["Median (95 % interval)"])
        assert match is not None, line["shown"]
        seconds = [number(each) * TIMES[match[4]] for each in match.groups()[:3]]
        stored = [row[name] for name in ("median_seconds", "low_seconds", "high_seconds")]
        assert seconds == pytest.approx(stored, rel=0.006)


def test_the_machines_ceilings_and_its_processes_have_their_units(tables: dict[str, Table]) -> None:
    ceilings = tables["Ceilings"]
    for line in ceilings:
        name, value = line["record"]["name"], line["record"]["value"]
        text, unit = line["shown"]["Value"].split(" ") if value else ("0", "ns")
        if name == "barrier":
            assert number(text) * TIMES[unit] == pytest.approx(value, rel=0.006)
        else:
            expected, factor = CEILINGS[name]
            assert unit == expected
            assert number(text) == pytest.approx(factor * value, rel=0.006)
    assert {line["record"]["name"] for line in ceilings} >= {"product", "copy", "barrier"}
    for line in tables["Processes of this run"]:
        assert number(line["shown"]["Import s"]) == pytest.approx(line["record"]["import_seconds"], rel=0.006)

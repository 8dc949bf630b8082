"""Put a run into results/ and its table into docs/measured.md.

    birnn bench --cases laptop --store out/laptop.duckdb
    python -m benchmarks.maintain.publish out/laptop.duckdb

writes results/NAME.csv, results/NAME.html and that page's table between the markers NAME, which is the set's name or
what ``--name`` says; for the laptop set also the table of docs/tuning.md. Without a store the pages of results/ are
drawn anew from the runs that they hold, as after a change of benchmarks/report. These pages name the library of their
charts, so that the repository has it once; one of birnn report carries it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from backends.pool.environments import ROOT
from benchmarks.analysis.noise import floors_of, noise_sentence
from benchmarks.machine.company import unfit
from benchmarks.machine.description import cores_told
from benchmarks.maintain.marked_pages import replaced
from benchmarks.report.content import read_contents
from benchmarks.report.data import data_in, data_of
from benchmarks.report.page import LIBRARY, page_of
from benchmarks.report.table import as_markdown, grids, in_order
from benchmarks.store.records import TIMED, Row, Run
from benchmarks.store.store import Store
from benchmarks.store.transfer import export
from common.tensorfile import write_bytes

MEASURED = ROOT / "docs" / "measured.md"
"""The page with what was measured."""
TUNING = ROOT / "docs" / "tuning.md"
"""The page on tuning."""
RESULTS = ROOT / "results"
"""The folder of the published results."""


def main(
    store: Annotated[Path | None, typer.Argument(help="A store of birnn bench; without it pages are drawn.")] = None,
    run: Annotated[str, typer.Option(help="A run's name, label, beginning, or last.")] = "last",
    name: Annotated[str | None, typer.Option(help="Name of the files; default: the set's.")] = None,
    readme: Annotated[bool, typer.Option(help="Also write the tables.")] = True,
) -> None:
    """Export, write the report and the tables."""
    if store is None:
        for page in sorted(RESULTS.glob("*.html")):
            write_bytes(page, drawn(data_in(page.read_text(encoding="utf-8"))).encode())
            print(page)
        return
    with Store.open(store) as opened:
        chosen = opened.find_run(run)
        file = RESULTS / (name or Path(chosen.settings["set_name"]).stem)
        export(opened, file.with_suffix(".csv"), chosen.run)
        write_bytes(file.with_suffix(".html"), drawn(data_of(read_contents(store, [chosen.run]))).encode())
        if readme:
            write_bytes(MEASURED, replaced(MEASURED, {file.name: table(opened, chosen)}).encode())
        if readme and file.name == "laptop":
            write_bytes(TUNING, replaced(TUNING, {"speedups": speedups(opened.rows(chosen.run))}).encode())
    print(f"{file}.csv, {file}.html")


def drawn(data: dict[str, Any]) -> str:
    """A page of results/, which names the library of its charts."""
    return page_of(data, Path(os.path.relpath(LIBRARY, RESULTS)).as_posix())


def table(store: Store, run: Run) -> str:
    """A run's tables in Markdown, with what they were measured on."""
    rows, blocks = in_order(store.rows(run.run), run), store.blocks(run.run)
    floors = floors_of(blocks)
    lines = [as_markdown(grid) for grid in grids(rows, blocks, floors.of_job)]
    timed = sum(row.status in TIMED for row in rows)
    versions = ", ".join(
        f"{each.framework} {each.versions.get(each.framework, '')}".strip() for each in store.environments(run.run)
    )
    machine = run.machine
    lines.append(
        f"{timed} of {len(rows)} combinations have a time, measured by `{run.command}` on "
        f"{cores_told(machine)}, Python {machine['python']}, {versions}, commit {run.commit}, "
        f"{run.started.date().isoformat()}. {noise_sentence(floors)}"
    )
    if warning := unfit(rows, store.processes(run.run), store.looks(run.run)):
        lines.insert(0, f"**{warning}**")
    return "\n\n".join(lines)


def speedups(rows: Sequence[Row]) -> str:
    """How many times as fast ``tuned`` is as the better of its framework's native layers, in Markdown: the geometric
    mean over the full cases, and the least.
    """
    best: dict[tuple[str, str, str, bool], float] = {}
    cells: dict[str, str] = {}
    for row in rows:
        if row.median_seconds is None or row.ragged:
            continue
        framework, _, name = row.key.implementation.partition("/")
        place = (framework, row.key.case, row.key.passed, name == "tuned")
        best[place] = min(best.get(place, math.inf), row.median_seconds)
        cells[row.key.case] = row.cell
    ratios: dict[tuple[str, str, str], list[float]] = {}
    for framework, case, passed, is_tuned in best:
        native = best.get((framework, case, passed, False))
        if is_tuned and native is not None:
            for cell in (cells[case], "all"):
                ratios.setdefault((framework, cell, passed), []).append(native / best[framework, case, passed, True])
    lines = ["| tuned | cell | pass | cases | geometric mean | least |", "|---|---|---|---:|---:|---:|"]
    for (framework, cell, passed), of_cell in sorted(ratios.items()):
        mean = math.exp(sum(map(math.log, of_cell)) / len(of_cell))
        lines.append(f"| {framework}/tuned | {cell} | {passed} | {len(of_cell)} | {mean:.2f} | {min(of_cell):.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)

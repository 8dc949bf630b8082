"""Put a run into results/ and its table into the README.

    birnn bench --cases laptop --store out/laptop.duckdb
    python -m benchmarks.publish out/laptop.duckdb

writes results/NAME.csv and results/NAME.html and the README's table; NAME is the set's, or what ``--name`` says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backends.environments import ROOT
from benchmarks.exchange import export
from benchmarks.readme import replaced
from benchmarks.records import MEASURED, Run
from benchmarks.report import read_contents, render
from benchmarks.store import Store
from benchmarks.summary import noise_floor_of
from benchmarks.table import as_markdown, grids
from common.tensorfile import write_bytes

README = ROOT / "README.md"
RESULTS = ROOT / "results"


def main(
    store: Annotated[Path, typer.Argument(help="A store of birnn bench.")],
    run: Annotated[str, typer.Option(help="A run's name, label, beginning, or last.")] = "last",
    name: Annotated[str | None, typer.Option(help="Name of the files; default: the set's.")] = None,
    readme: Annotated[bool, typer.Option(help="Also write the README's table.")] = True,
) -> None:
    """Export, write the report, and the README's table."""
    with Store.open(store) as opened:
        found = opened.find_run(run)
        file = RESULTS / (name or Path(found.settings["set_name"]).stem)
        export(opened, file.with_suffix(".csv"), found.run)
        write_bytes(file.with_suffix(".html"), render(read_contents(store, [found.run])).encode())
        if readme:
            write_bytes(README, replaced(README, {"bench": table(opened, found)}).encode())
    print(f"{file}.csv, {file}.html")


def table(store: Store, run: Run) -> str:
    """A run's tables in Markdown, with what they were measured on."""
    rows, blocks = store.rows(run.run), store.blocks(run.run)
    floor = noise_floor_of(blocks)
    lines = [as_markdown(grid) for grid in grids(rows, blocks, floor)]
    timed = sum(row.status == MEASURED for row in rows)
    versions = ", ".join(
        f"{each.framework} {each.versions.get(each.framework, '')}".strip() for each in store.environments(run.run)
    )
    machine = run.machine
    noise = "" if floor is None else f" A/A pairs differ by up to {floor:.1%}: bold is fastest beyond that."
    lines.append(
        f"{timed} of {len(rows)} combinations measured by `{run.command}` on {machine['usable_cores']} cores of "
        f"{machine['processor']}, Python {machine['python']}, {versions}, commit {run.commit}, "
        f"{run.started.date().isoformat()}.{noise}"
    )
    return "\n\n".join(lines)


if __name__ == "__main__":
    typer.run(main)

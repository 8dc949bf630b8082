"""``birnn results list``, ``birnn results merge`` and ``birnn results export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

results_app = typer.Typer(help="Look into stores of birnn bench, put them together, export them.", no_args_is_help=True)

StoreFile = Annotated[Path, typer.Argument(metavar="STORE", help="A store of birnn bench.")]
"""The argument that names a store."""


@results_app.command("list")
def list_runs(store: StoreFile) -> None:
    """Print the runs of a store, the oldest first: how many combinations have times, and how far A/A pairs differ."""
    from rich.markup import escape
    from rich.table import Table

    from benchmarks.analysis.noise import percent
    from benchmarks.store.records import TIMED
    from benchmarks.store.store import Store
    from birnn.display import stderr, stdout

    table = Table()
    table.add_column("run", no_wrap=True)
    table.add_column("finished", no_wrap=True)
    for name in ("label", "set", "machine", "commit"):
        table.add_column(name, overflow="fold")
    for name in ("timed", "not", "noise"):
        table.add_column(name, justify="right", no_wrap=True)
    with Store.open(store) as opened:
        if opened.note:
            stderr().print(f"birnn: {opened.note}", markup=False)
        for run in opened.runs():
            timed = [row.status in TIMED for row in opened.rows(run.run)]
            cells = (
                run.run,
                "no" if run.finished is None else f"{run.finished:%Y-%m-%d %H:%M}",
                run.label,
                str(run.settings.get("set_name", "")),
                str(run.machine.get("gpu") or run.machine.get("processor", "")),
                run.commit,
                str(sum(timed)),
                str(len(timed) - sum(timed)),
                "" if run.noise_floor is None else percent(run.noise_floor),
            )
            table.add_row(*map(escape, cells))
    stdout().print(table)


@results_app.command("merge")
def merge_stores(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The store to put them into; made where there is none.")],
    stores: Annotated[list[Path], typer.Argument(metavar="IN...", help="Stores of birnn bench.")],
) -> None:
    """Put the runs of several stores into one.

    The same run twice is kept once, in the state that went on longer; another run of a name that is taken gets a number
    behind its name.
    """
    from benchmarks.store.transfer import merge
    from birnn.display import say

    for line in merge(out, stores):
        say(line)


@results_app.command("export")
def export_rows(
    store: StoreFile,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="A file ending in .csv or .parquet.")],
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN", help="A run's name, label, beginning, or last; default: all."),
    ] = None,
) -> None:
    """Write one row a measured combination to a CSV or Parquet file."""
    from benchmarks.store.store import Store
    from benchmarks.store.transfer import export
    from birnn.display import say, stderr
    from birnn.options import writable_file

    writable_file("-o", out)
    with Store.open(store) as opened:
        if opened.note:
            stderr().print(f"birnn: {opened.note}", markup=False)
        count = export(opened, out, None if run is None else opened.find_run(run).run)
    say(f"{out}: {count} rows")

"""``birnn report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report_command(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store of birnn bench.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The page.")] = Path("report.html"),
    run: Annotated[
        list[str],
        typer.Option(
            "--run",
            metavar="RUN",
            help="A run's name, its beginning, a label, or last; repeatable, shown one at a time.",
        ),
    ] = ["last"],  # noqa: B006
) -> None:
    """Write runs as one HTML page that needs no network: who is fastest where, charts, all results, the machine."""
    from benchmarks.report.content import read_contents
    from benchmarks.report.highlights import highlights
    from benchmarks.report.page import render
    from birnn.display import say, stderr
    from birnn.options import each_once, writable_file
    from common.tensorfile import write_bytes

    writable_file("-o", out)
    contents = read_contents(store, each_once(run))
    write_bytes(out, render(contents).encode())
    notes = stderr()
    for content in contents:
        which = f"birnn: run {content.run.run}: " if len(contents) > 1 else "birnn: "
        for sentence in highlights(content):
            notes.print(f"{which}{sentence}", markup=False)
    notes.print("birnn: the page, to open in a browser:", markup=False)
    say(str(out))

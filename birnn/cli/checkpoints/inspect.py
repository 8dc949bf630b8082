"""``birnn inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def inspect_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint of any of the suites.")],
    spec: Annotated[
        Path | None,
        typer.Option("--spec", metavar="JSON", help="What the file does not tell: cell, reset_after, merge …"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object instead.")] = False,
) -> None:
    """Show what is in a checkpoint: every recurrent layer, every other tensor, and what the file does not tell.

    Nothing in the file is run or imported. Exit 0 when it was read, 2 when it is no checkpoint that can be.
    """
    from birnn.commands.inspect import inspect

    raise typer.Exit(inspect(file, spec, as_json))

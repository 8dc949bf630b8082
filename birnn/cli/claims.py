"""``birnn claims``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from birnn.options import Timeout, WithoutPlugin


def claims_command(
    names: Annotated[
        list[str], typer.Argument(metavar="[NAME]...", help="Only these claims; shell globs; default: all.")
    ] = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: claims, verdicts and every number.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure the claims that have no whole measurement, and then print.")
    ] = False,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind", help="Only claims of one kind: number, or time (and memory), which needs an idle machine."
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="With --measure: also what has been measured.")] = False,
    conllu: Annotated[
        list[Path],
        typer.Option(
            "--conllu",
            metavar="FILE",
            help="With --measure: the tagger's CoNLL-U files, to train on and to judge by.",
        ),
    ] = [],  # noqa: B006
    results: Annotated[
        Path | None,
        typer.Option("--results", metavar="DIR", help="Where measurements are; default: those that came with birnn."),
    ] = None,
    timeout: Timeout = 600.0,
    without_plugin: WithoutPlugin = [],  # noqa: B006
) -> None:
    """What tutorials claim of bidirectional RNNs, and what the measurements say of it.

    After Ctrl-C the same command goes on where it stopped. Exit 0 when every claim that was asked for has a
    measurement, whatever its verdict, 1 when measuring one failed, 2 for bad input, 3 when one has not been measured.
    """
    from birnn.commands.claims import measure_claims, print_claims

    failed = False
    if measure:
        failed = measure_claims(names, kind, results, again=again, conllu=conllu, timeout_seconds=timeout)
    raise typer.Exit(print_claims(names, kind, results, as_json=as_json, failed=failed))

"""``birnn compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare_command(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store of birnn bench.")],
    a: Annotated[str, typer.Argument(metavar="A", help="What to compare with.")],
    b: Annotated[str, typer.Argument(metavar="B", help="What to judge.")],
    fail_slower: Annotated[
        str | None, typer.Option("--fail-slower", metavar="PERCENT", help="Exit 1 when B is slower by more, as in 5%.")
    ] = None,
    same: Annotated[str, typer.Option("--same", metavar="PERCENT", help="What difference does not matter.")] = "5%",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
) -> None:
    """Say of each combination that A and B share whether B is faster, slower, the same, or whether it is ambiguous.

    A and B are runs (a name, its beginning, a label, or last), environments (an id, or package==version such as
    torch==2.13.0), or implementations (jax/tuned: in the latest run; RUN:jax/tuned: in that one).

    Exit 0; with --fail-slower 1 when B is slower by more than that, or fails where A has a time; 2 for bad input; 3
    when A and B have no combination with times in both, or some were measured under load.
    """
    from benchmarks.analysis.comparison import UNDER_LOAD, compare
    from benchmarks.store.store import Store
    from birnn import exit_codes
    from birnn.commands.compare import fraction_from, print_comparison
    from birnn.display import stderr, stdout

    limit = None if fail_slower is None else fraction_from("--fail-slower", fail_slower)
    margin = fraction_from("--same", same)
    with Store.open(store) as opened:
        if opened.note:
            stderr().print(f"birnn: {opened.note}", markup=False)
        comparison = compare(opened, a, b, margin)
    loaded = sum(each.verdict == UNDER_LOAD for each in comparison.compared)
    failures = print_comparison(stdout(), comparison, limit, markdown)
    if not comparison.compared:
        stderr().print("birnn: A and B must have a combination with times in both; got none", markup=False)
    if loaded:
        count = len(comparison.compared)
        told = f"{loaded} of {count} combinations cannot be told: measured under load; measure them at rest"
        stderr().print(f"birnn: {told}", markup=False)
    raise typer.Exit(
        exit_codes.decide(wrong=failures > 0, broken=False, checked=bool(comparison.compared) and not loaded)
    )

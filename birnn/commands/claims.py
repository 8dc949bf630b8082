"""What ``birnn claims`` does: measure what is missing with progress, print the ledger."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from benchmarks.claims.claim import FAILS, HOLDS, KINDS, LIMITED, NOT_MEASURED, Claim
from benchmarks.claims.ledger import Entry, chosen, entries
from benchmarks.claims.measuring import Order, Told, measure
from benchmarks.claims.record import RESULTS, unfinished_file
from birnn import exit_codes
from birnn.display import close_table, count_of, progress, say, stderr, stdout
from birnn.options import alone_in, one_of, writable_folder
from common.errors import InputError

COLOURS = {HOLDS: "green", LIMITED: "yellow", FAILS: "red"}
"""The colour of each verdict."""


def measure_claims(
    names: Sequence[str],
    kind: str | None,
    results: Path | None,
    *,
    again: bool,
    conllu: Sequence[Path],
    timeout_seconds: float,
) -> bool:
    """Measure the claims that were asked for, one after the other; whether one failed. ``KeyboardInterrupt`` comes
    through as an end of the command, after a word on how to go on.
    """
    claims = _checked(names, kind)
    for file in conllu:
        if not file.is_file():
            raise InputError(f"--conllu must be a file; got {file}")
    folder = writable_folder("--results", RESULTS if results is None else results)
    order = Order(folder, again, tuple(conllu), timeout_seconds)
    notes, failed = stderr(), False
    with alone_in("--results", folder), progress() as bar:
        task = bar.add_task("", total=None)

        def part(claim: Claim, text: str, done: int, total: int) -> None:
            bar.update(task, description=f"{claim.name}: {text}", completed=done, total=total)

        told = Told(part, lambda text: notes.print(f"birnn: {text}", markup=False))
        for claim in claims:
            try:
                failed |= measure(claim, order, told) is None
            except KeyboardInterrupt:
                if unfinished_file(folder, claim).exists():
                    told.note("the same command goes on where this one stopped")
                raise
    return failed


def print_claims(
    names: Sequence[str], kind: str | None, results: Path | None, *, as_json: bool, failed: bool = False
) -> int:
    """Print the ledger; the exit code."""
    every = entries(_checked(names, kind), RESULTS if results is None else results)
    if as_json:
        say(json.dumps([entry.as_json() for entry in every], indent=1, ensure_ascii=False))
    else:
        console = stdout()
        console.print(_table(every))
        counts = {word: sum(entry.verdict.word == word for entry in every) for word in (HOLDS, LIMITED, FAILS)}
        told = ", ".join(f"{count} {word}" for word, count in counts.items())
        rest = len(every) - sum(counts.values())
        console.print(f"{count_of(len(every), 'claim')}: {told}" + f", {rest} not decided or not measured" * bool(rest))
    checked = bool(every) and all(entry.verdict.word != NOT_MEASURED for entry in every)
    return exit_codes.decide(wrong=failed, broken=False, checked=checked)


def _checked(names: Sequence[str], kind: str | None) -> list[Claim]:
    """The claims that were chosen; an ``InputError`` for a kind that is none."""
    return chosen(names, None if kind is None else one_of("--kind", kind, KINDS))


def _table(every: Sequence[Entry]) -> Table:
    """The claims as a table with a row for each."""
    table = close_table()
    table.add_column("claim", overflow="fold", ratio=3)
    table.add_column("verdict", overflow="fold", min_width=8)
    table.add_column("measured", overflow="fold", ratio=2)
    for entry in every:
        claim, verdict = entry.claim, entry.verdict
        colour = COLOURS.get(verdict.word, "dim")
        said = f"{claim.rule.meaning}: {verdict}"
        if verdict.word == NOT_MEASURED:
            said = f"birnn claims {claim.name} --measure"
        table.add_row(
            f"[bold]{escape(claim.name)}[/bold]\n{escape(claim.sentence)}",
            f"[{colour}]{verdict.word}[/]",
            escape(said),
        )
    return table

"""What the commands print: tables on stdout, progress and notes on stderr."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from backends.study import AGREES, RAN, UNSUPPORTED, Outcome

WIDTH_WITHOUT_TERMINAL = 120


def stdout() -> Console:
    """Where results go; a fixed width where there is no terminal, as in a file or a CI log."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH_WITHOUT_TERMINAL)


def stderr() -> Console:
    """Where progress and notes go."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def progress() -> Progress:
    """A progress bar on stderr, gone when it ends."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=stderr(),
        transient=True,
    )


def outcome_table(outcomes: Iterable[Outcome], judged: bool) -> Table:
    """One row an implementation and dtype: how many cases agree, are unsupported, or went wrong, and the worst
    error.
    """
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.implementation, outcome.dtype].append(outcome)
    table = Table()
    table.add_column("implementation")
    table.add_column("dtype")
    for name in ("agree" if judged else "ran", "unsupported", "wrong" if judged else "failed"):
        table.add_column(name, justify="right")
    if judged:
        table.add_column("worst error / plain loop's", justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("verdict" if judged else "outcome")
    for (implementation, dtype), group in groups.items():
        count = {status: sum(outcome.status == status for outcome in group) for status in (AGREES, RAN, UNSUPPORTED)}
        wrong = sum(not outcome.good for outcome in group)
        good = count[AGREES] + count[RAN]
        verdict = (
            "[red]see below[/red]"
            if wrong
            else ("[green]agrees[/green]" if judged else "ran")
            if good
            else "unsupported"
        )
        cells = [implementation, dtype, str(good), str(count[UNSUPPORTED]), str(wrong)]
        cells += [worst_error(group)] if judged else []
        table.add_row(*cells, f"{sum(outcome.seconds for outcome in group):.2f}", verdict)
    return table


def worst_error(outcomes: Sequence[Outcome]) -> str:
    """The largest rms and maximum error, in units of the plain loop's."""
    verdicts = [outcome.verdict for outcome in outcomes if outcome.verdict and outcome.verdict.measures]
    if not verdicts:
        return "–"
    return ", ".join(f"{name} {max(verdict.worst(name) for verdict in verdicts):.2g}" for name in ("rms", "max"))


def print_unsupported(console: Console, outcomes: Iterable[Outcome]) -> None:
    """What is unsupported, one line a reason."""
    cases: dict[tuple[str, str], set[str]] = defaultdict(set)
    for outcome in outcomes:
        if outcome.status == UNSUPPORTED:
            cases[outcome.implementation, outcome.reason].add(outcome.case)
    for (implementation, reason), names in cases.items():
        count = "1 case" if len(names) == 1 else f"{len(names)} cases"
        console.print(f"[dim]unsupported[/dim] {implementation}, {count}: {escape(reason)}", soft_wrap=True)


def print_failures(console: Console, outcomes: Iterable[Outcome]) -> None:
    """Everything that went wrong: what, where, which known mistake explains it, and the end of the log."""
    for outcome in outcomes:
        if outcome.good:
            continue
        where = f"{outcome.case} {outcome.implementation} {outcome.dtype}"
        console.print(f"[red]{outcome.status}[/red] {escape(where)}: {escape(outcome.reason)}", soft_wrap=True)
        if outcome.verdict is not None and outcome.verdict.where:
            console.print(f"    first wrong: {escape(outcome.verdict.where)}", soft_wrap=True)
        if outcome.verdict is not None and outcome.verdict.matches:
            console.print(f"    matches: {escape(outcome.verdict.matches)}", soft_wrap=True)
        for line in outcome.log.splitlines():
            console.print(f"    | {escape(line)}", soft_wrap=True)

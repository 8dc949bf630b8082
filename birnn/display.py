"""What the commands print: tables on stdout, progress and notes on stderr."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from backends.study import RAN, UNSUPPORTED, Outcome
from common.agreement import AGREES, NOT_JUDGED, Verdict
from common.terminal import plain

WIDTH_WITHOUT_TERMINAL = 120


class PlainConsole(Console):
    """A console on which text from outside is text: control characters are shown as their escapes, and a reader that
    has gone ends the command as it ends every other one.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """What is printed or stands in a table, with every control character visible."""
        return super().render_str(plain(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Whatever came another way, such as the text of a progress bar."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Let the error through; rich ends the process with 1, which means here that something is wrong."""
        raise  # called while it is handled


def stdout() -> Console:
    """Where results go; a fixed width where there is no terminal, as in a file or a CI log."""
    console = PlainConsole(highlight=False, emoji=False)
    return console if console.is_terminal else PlainConsole(highlight=False, emoji=False, width=WIDTH_WITHOUT_TERMINAL)


def stderr() -> Console:
    """Where progress and notes go."""
    return PlainConsole(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def say(text: str, end: str = "\n") -> None:
    """Print ``text`` on stdout as it is, but for control characters."""
    print(plain(text), end=end)


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
    """One row an implementation and dtype: how many cases agree, are unsupported, or went wrong, and the worst error;
    how many could not be judged, where there are any.
    """
    outcomes = list(outcomes)
    left_open = any(outcome.status == NOT_JUDGED for outcome in outcomes)
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.implementation, outcome.dtype].append(outcome)
    table = Table()
    table.add_column("implementation")
    table.add_column("dtype")
    shown = ["agree" if judged else "ran", "unsupported", *([NOT_JUDGED] if left_open else [])]
    for name in (*shown, "wrong" if judged else "failed"):
        table.add_column(name, justify="right")
    if judged:
        table.add_column("worst error / plain loop's", justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("verdict" if judged else "outcome")
    for (implementation, dtype), group in groups.items():
        count = Counter(outcome.status for outcome in group)
        wrong = sum(outcome.wrong for outcome in group)
        good = count[AGREES] + count[RAN]
        verdict = (
            "[red]see below[/red]"
            if wrong
            else "[yellow]not judged[/yellow]"
            if count[NOT_JUDGED]
            else ("[green]agrees[/green]" if judged else "ran")
            if good
            else "unsupported"
        )
        cells = [escape(implementation), dtype, str(good), str(count[UNSUPPORTED])]
        cells += [str(count[NOT_JUDGED])] if left_open else []
        cells += [str(wrong)]
        cells += [worst_error(group)] if judged else []
        table.add_row(*cells, f"{sum(outcome.seconds for outcome in group):.2f}", verdict)
    return table


def worst_error(outcomes: Sequence[Outcome]) -> str:
    """The largest rms and maximum error, in units of the plain loops', over what can be told."""
    measures = [each for outcome in outcomes if outcome.verdict for each in outcome.verdict.measures]
    found = Verdict(True, measures=measures)
    if not any(not each.untold for each in measures):
        return "–"
    return ", ".join(f"{name} {found.worst(name):.2g}" for name in ("rms", "max"))


def print_untold(console: Console, outcomes: Iterable[Outcome]) -> None:
    """The tensors that could not be told where a verdict rests on the others; one line a case and dtype."""
    lines: dict[tuple[str, str], str] = {}
    for outcome in outcomes:
        if outcome.verdict is not None and outcome.verdict.judged:
            untold = [each.tensor for each in outcome.verdict.measures if each.untold]
            told = [each.tensor for each in outcome.verdict.measures if not each.untold]
            if untold:
                text = ", ".join(untold) if len(untold) <= len(told) else f"all but {', '.join(told)}"
                lines[outcome.case, outcome.dtype] = text
    for (case, dtype), text in lines.items():
        what = f"{case} {dtype}: rounding may be as large as the answer in {text}"
        console.print(f"[dim]told in part[/dim] {escape(what)}", soft_wrap=True)


def print_unsupported(console: Console, outcomes: Iterable[Outcome]) -> None:
    """What is unsupported, one line a reason."""
    cases: dict[tuple[str, str], set[str]] = defaultdict(set)
    for outcome in outcomes:
        if outcome.status == UNSUPPORTED:
            cases[outcome.implementation, outcome.reason].add(outcome.case)
    for (implementation, reason), names in cases.items():
        count = "1 case" if len(names) == 1 else f"{len(names)} cases"
        console.print(f"[dim]unsupported[/dim] {escape(f'{implementation}, {count}: {reason}')}", soft_wrap=True)


def print_failures(console: Console, outcomes: Iterable[Outcome]) -> None:
    """Everything that went wrong or could not be judged: what, where, which known mistake explains it, and the end of
    the log.
    """
    for outcome in outcomes:
        if outcome.good:
            continue
        where = f"{outcome.case} {outcome.implementation} {outcome.dtype}"
        colour = "red" if outcome.wrong else "yellow"
        text = f"[{colour}]{outcome.status}[/{colour}] {escape(where)}: {escape(outcome.reason)}"
        console.print(text, soft_wrap=True)
        if outcome.verdict is not None and outcome.verdict.where:
            console.print(f"    first wrong: {escape(outcome.verdict.where)}", soft_wrap=True)
        if outcome.verdict is not None and outcome.verdict.matches:
            console.print(f"    matches: {escape(outcome.verdict.matches)}", soft_wrap=True)
        if outcome.verdict is not None and outcome.verdict.nearest:
            console.print(f"    no match; nearest: {escape(outcome.verdict.nearest)}", soft_wrap=True)
        for line in outcome.log.splitlines():
            console.print(f"    | {escape(line)}", soft_wrap=True)

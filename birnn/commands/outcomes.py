"""What ``run`` and ``verify`` print of a study's outcomes: the table, what is declared, and one line a failure."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console, JustifyMethod, RenderableType
from rich.markup import escape
from rich.table import Table

from backends.interface.gaps import DECLINED, NOT_OFFERED, UNSUPPORTED
from backends.studies.study import RAN, Outcome
from birnn import exit_codes
from birnn.display import close_table, count_of, print_fitting
from common.judging.agreement import AGREES, NOT_JUDGED, Verdict, distance, thresholds, worst_calibrated

Cells = Callable[[Sequence[Outcome]], str]
"""A function from a row's outcomes to the text of its cell."""
WORST_ERROR, SECONDS = "worst error /\nplain loop's", "seconds"
"""The headers of two columns that a narrow table leaves out."""
SHARE = r"[\d.<]+ ?% of the error"
"""What tells one explanation from another case's, and not one mistake from another."""
LEFT_OUT_FIRST = (WORST_ERROR, SECONDS)
"""Columns for which a narrow console has no room."""


def summed_up(outcomes: Sequence[Outcome]) -> str:
    """How many agree, are unsupported or not offered, could not be judged, and went wrong."""
    count = Counter(outcome.status for outcome in outcomes)
    wrong = sum(outcome.wrong for outcome in outcomes)
    left = "".join(f"{count[status]} {status}, " for status in (NOT_OFFERED, NOT_JUDGED) if count[status])
    forward = sum(outcome.status == AGREES and bool(outcome.no_gradients) for outcome in outcomes)
    agree = f"{count[AGREES]} agree" + (f" ({forward} without gradients)" if forward else "")
    return f"{agree}, {count[UNSUPPORTED]} unsupported, {left}{wrong} wrong"


def code_of(outcomes: Sequence[Outcome], *, broken: bool) -> int:
    """The exit code of some outcomes; a case that could not be judged leaves everything open that is not wrong."""
    statuses = {outcome.status for outcome in outcomes}
    return exit_codes.decide(
        wrong=any(outcome.wrong for outcome in outcomes),
        broken=broken,
        checked=NOT_JUDGED not in statuses and not statuses.isdisjoint((AGREES, RAN)),
    )


def print_outcomes(console: Console, outcomes: Sequence[Outcome], judged: bool, verbose: bool = False) -> None:
    """Everything: the table, what is declared and what could be told in part only, and what went wrong."""
    print_table(console, outcomes, judged)
    print_declined(console, outcomes)
    print_forward_only(console, outcomes)
    print_untold(console, outcomes)
    print_failures(console, outcomes, verbose)


def print_table(console: Console, outcomes: Sequence[Outcome], judged: bool) -> None:
    """One row an implementation and dtype: how many cases agree, are declared, or went wrong, and the worst error; what
    no outcome has is no column. Where the console is too narrow for one table there is one a dtype.
    """
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.implementation, outcome.dtype].append(outcome)
    columns = _columns(outcomes, judged)
    whole, close = Table(), close_table()
    for table in (whole, close):
        _add_columns(table, ["implementation", "dtype", *columns])
        for (implementation, dtype), group in groups.items():
            table.add_row(escape(implementation), dtype, *(cells(group) for cells in columns.values()))
    brief = {name: cells for name, cells in columns.items() if name not in LEFT_OUT_FIRST}
    by_dtype: list[RenderableType] = []
    for dtype in dict.fromkeys(dtype for _, dtype in groups):
        table = close_table(dtype)
        _add_columns(table, ["implementation", *brief], broken=True)
        for (implementation, mine), group in groups.items():
            if mine == dtype:
                table.add_row(escape(implementation), *(cells(group) for cells in brief.values()))
        by_dtype.append(table)
    print_fitting(console, [whole], [close], by_dtype)


def _columns(outcomes: Iterable[Outcome], judged: bool) -> dict[str, Cells]:
    """The columns after those that name a row, by their heads."""
    there = {outcome.status for outcome in outcomes}
    columns: dict[str, Cells] = {"agree" if judged else "ran": lambda group: _count(group, AGREES, RAN)}
    columns[UNSUPPORTED] = lambda group: _count(group, UNSUPPORTED)
    if NOT_OFFERED in there:
        columns[NOT_OFFERED] = lambda group: _count(group, NOT_OFFERED)
    if NOT_JUDGED in there:
        columns[NOT_JUDGED] = lambda group: _count(group, NOT_JUDGED)
    columns["wrong" if judged else "failed"] = lambda group: str(sum(outcome.wrong for outcome in group))
    if judged:
        columns[WORST_ERROR] = _worst_error
        columns["of its\nlimit"] = _of_limit
    columns[SECONDS] = lambda group: f"{sum(outcome.seconds for outcome in group):.2f}"
    columns["verdict" if judged else "outcome"] = _verdict
    return columns


def _add_columns(table: Table, names: Iterable[str], broken: bool = False) -> None:
    """Columns under their heads, ``broken`` into lines; names stay whole as long as anything else can give way."""
    for name in names:
        head = name.replace("unsupported", "unsup-\nported").replace("not ", "not\n") if broken else name
        words = name in ("implementation", "dtype", "verdict", "outcome")
        justify: JustifyMethod = "left" if words else "right"
        table.add_column(head, justify=justify, overflow="fold", no_wrap=name == "implementation", vertical="bottom")


def _count(group: Iterable[Outcome], *statuses: str) -> str:
    """How many outcomes have one of the statuses, as text."""
    count = Counter(outcome.status for outcome in group)
    return str(sum(count[status] for status in statuses))


def _verdict(group: Sequence[Outcome]) -> str:
    """A row's verdict in a word or two."""
    statuses = {outcome.status for outcome in group}
    if any(outcome.wrong for outcome in group):
        return "[red]see below[/red]"
    if NOT_JUDGED in statuses:
        return "[yellow]not judged[/yellow]"
    if AGREES in statuses and any(outcome.no_gradients for outcome in group):
        return "[yellow]agrees, but no gradient[/yellow]"
    if AGREES in statuses:
        return "[yellow]agrees (far)[/yellow]" if _is_far(group) else "[green]agrees[/green]"
    if RAN in statuses:
        return "ran"
    return next(status for status in DECLINED if status in statuses)


def _worst_error(outcomes: Iterable[Outcome]) -> str:
    """The largest rms and maximum error, in units of the plain loops', over what can be told."""
    measures = [each for outcome in outcomes if outcome.verdict for each in outcome.verdict.measures]
    if all(each.untold for each in measures):
        return "–"
    verdict = Verdict(True, measures=measures)
    return ", ".join(f"{name} {verdict.worst(name):.2g}" for name in ("rms", "max"))


def _of_limit(outcomes: Iterable[Outcome]) -> str:
    """The largest part of a limit that any tensor takes up."""
    shares = [
        each.share(thresholds()[outcome.dtype])
        for outcome in outcomes
        if outcome.verdict
        for each in outcome.verdict.measures
        if not each.untold
    ]
    worst = max(shares, default=math.nan)
    return "–" if not shares else f"{worst:.0%}" if worst < 10 else f"{worst:.1g} ×"


def _is_far(outcomes: Iterable[Outcome]) -> bool:
    """Whether any tensor is farther off than correct code ever was when the limits were calibrated."""
    return any(
        each.exceeds(worst_calibrated()[outcome.dtype])
        for outcome in outcomes
        if outcome.verdict
        for each in outcome.verdict.measures
    )


def print_declined(console: Console, outcomes: Iterable[Outcome]) -> None:
    """What is unsupported or not offered, one line a reason."""
    cases: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for outcome in outcomes:
        if outcome.status in DECLINED:
            cases[outcome.status, outcome.reason, outcome.implementation].add(outcome.case)
    names: dict[tuple[str, str, frozenset[str]], list[str]] = defaultdict(list)
    for (status, reason, implementation), its_cases in cases.items():
        names[status, reason, frozenset(its_cases)].append(implementation)
    for (status, reason, shared), implementations in names.items():
        who = f"{', '.join(implementations)}, {count_of(len(shared), 'case')}"
        console.print(f"[dim]{status}[/dim] {escape(f'{who}: {reason}')}", soft_wrap=True)


def print_forward_only(console: Console, outcomes: Iterable[Outcome]) -> None:
    """Print of which implementations no gradient was computed although the cases ask for them, one line a reason."""
    cases: dict[tuple[str, str], set[str]] = defaultdict(set)
    for outcome in outcomes:
        if outcome.no_gradients:
            cases[outcome.implementation, outcome.no_gradients].add(outcome.case)
    for (implementation, reason), its_cases in cases.items():
        what = f"{implementation}, {count_of(len(its_cases), 'case')}, outputs and states alone: {reason}"
        console.print(f"[yellow]no gradient[/yellow] {escape(what)}", soft_wrap=True)


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


def print_failures(console: Console, outcomes: Iterable[Outcome], verbose: bool = False) -> None:
    """What went wrong or could not be judged, a line each: what, where, how much, and which known mistake explains it;
    the end of the log of a worker that died. Equal failures are one line with their number, told of the first; with
    ``verbose`` every one has its line, and every reason below it.
    """
    groups: dict[object, list[Outcome]] = defaultdict(list)
    for place, outcome in enumerate(outcomes):
        if not outcome.good:
            groups[place if verbose else _kind_of_failure(outcome)].append(outcome)
    for group in groups.values():
        first = group[0]
        colour = "red" if first.wrong else "yellow"
        text = f"[{colour}]{first.status}[/{colour}] {escape(f'{_where(group)}: {_what(first)}')}"
        console.print(text, soft_wrap=True)
        if verbose and first.verdict is not None:
            for reason in first.verdict.reasons:
                console.print(f"    {escape(reason)}", soft_wrap=True)
        for line in first.log.splitlines():
            console.print(f"    | {escape(line)}", soft_wrap=True)


def _kind_of_failure(outcome: Outcome) -> object:
    """What equal failures have in common: the explanation or, without one, the first wrong tensor and layer."""
    verdict = outcome.verdict
    if verdict is None:
        return outcome.implementation, outcome.status, outcome.reason, outcome.log
    if verdict.matches:
        return outcome.implementation, outcome.status, re.sub(SHARE, "", verdict.matches)
    if not verdict.where:
        return outcome.implementation, outcome.status, outcome.reason
    tensor = verdict.where.partition(" at ")[0]
    return outcome.implementation, outcome.status, tensor, verdict.where.rpartition("layer ")[2].partition(",")[0]


def _where(group: Sequence[Outcome]) -> str:
    """The case, the implementation and the dtypes of outcomes that are told together."""
    first = group[0]
    if len(group) == 1:
        return f"{first.case} {first.implementation} {first.dtype}"
    dtypes = ", ".join(dict.fromkeys(outcome.dtype for outcome in group))
    cases = {outcome.case for outcome in group}
    if len(cases) == 1:
        return f"{first.case} {first.implementation} {dtypes}"
    return f"{len(cases)} cases {first.implementation} {dtypes}, first {first.case} {first.dtype}"


def _what(outcome: Outcome) -> str:
    """What went wrong in one outcome, and how much, where, and why."""
    verdict = outcome.verdict
    if verdict is None or outcome.status == NOT_JUDGED:
        return outcome.reason
    limits = thresholds()[outcome.dtype]
    off = [each for each in verdict.measures if each.exceeds(limits)]
    parts = []
    if off:
        worst = max(off, key=lambda each: each.share(limits))
        beside = f", and {count_of(len(off) - 1, 'other tensor')}" if len(off) > 1 else ""
        if math.isfinite(worst.max_error):
            far = f"{worst.max_error:.2g} off at {worst.index}, {worst.share(limits):.2g} times what is allowed"
        else:
            far = f"not finite at {worst.index}"
        parts.append(f"{worst.tensor} is {far}{beside}")
    told = {distance(each) for each in off}
    others = [reason for reason in verdict.reasons if reason not in told]
    parts += others[:1]
    parts += [f"{count_of(len(others) - 1, 'more reason')} (--verbose)"] if len(others) > 1 else []
    parts += [f"first wrong: {verdict.where}"] if verdict.where else []
    parts += [f"matches: {verdict.matches}"] if verdict.matches else []
    parts += [f"no match; nearest: {verdict.nearest}"] if verdict.nearest else []
    return "; ".join(parts)

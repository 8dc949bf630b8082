"""What ``birnn compare`` prints: what differs around the two, one table a setting, and what could not be compared."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from benchmarks.analysis.comparison import IMPLEMENTATION, UNDER_LOAD, Compared, Comparison, Noise, geometric_mean
from benchmarks.analysis.noise import Floor, in_percent, percent
from benchmarks.analysis.statistics import AMBIGUOUS, FASTER, SAME_SPEED, SLOWER
from benchmarks.report.table import marks, milliseconds
from benchmarks.store.records import TIMED, Key, Row
from birnn.display import close_table, print_fitting
from common.errors import InputError, shown

COLOURS = {FASTER: "green", SLOWER: "red", SAME_SPEED: "dim", AMBIGUOUS: "yellow", UNDER_LOAD: "red"}
"""The colour of each verdict, in the order in which they are counted."""
VERSIONS_SHOWN = 8
"""Changed versions that are spelt out; more are counted."""
HEADERS = ("case", "implementation", "A ms", "B ms", "B / A", "95 % interval", "noise", "B is")
"""The columns of a table."""


def fraction_from(option: str, text: str) -> float:
    """``"5%"`` to 0.05."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text.strip())
    if not match or math.isinf(float(match[1])):
        raise InputError(f"{option} must be a percentage such as 5%; got {shown(text)}")
    return float(match[1]) / 100


def print_comparison(console: Console, comparison: Comparison, limit: float | None, markdown: bool) -> int:
    """Print everything; how many combinations fail ``limit``, 0 without one."""
    for line in _around(comparison):
        console.print(line, markup=False, soft_wrap=True)
    for heading, group in _by_setting(comparison.compared):
        if markdown:
            console.print(_as_markdown(heading, group, comparison), markup=False, soft_wrap=True)
        else:
            print_fitting(console, [_as_table(heading, group, comparison)], _as_tall_tables(heading, group, comparison))
        console.print(_means(group), markup=False, soft_wrap=True)
    for line in [*_summary(comparison), *_left_out(comparison)]:
        console.print(line, markup=False, soft_wrap=True)
    if limit is None:
        return 0
    slower = [each for each in comparison.compared if each.slower_by_more_than(limit)]
    if slower or comparison.broken:
        told = (
            f"{len(slower)} slower by more than {100 * limit:.3g}%, {len(comparison.broken)} failed where A has a time"
        )
        console.print(f"Not good enough: {told}", markup=False, soft_wrap=True)
    return len(slower) + len(comparison.broken)


def _around(comparison: Comparison) -> Iterator[str]:
    """What differs besides what is compared, the machine first, and what the verdicts have to clear."""
    if comparison.changed_machine:
        changes = "; ".join(f"{name} {_short(a)} → {_short(b)}" for name, (a, b) in comparison.changed_machine.items())
        yield f"The machines differ, so that no verdict is about the software alone: {changes}"
    yield f"A is the {comparison.a.kind} {comparison.a.title}, B is the {comparison.b.kind} {comparison.b.title}"
    if comparison.changed_versions:
        more = len(comparison.changed_versions) - VERSIONS_SHOWN
        told = ", ".join(comparison.changed_versions[:VERSIONS_SHOWN]) + (f" and {more} more" if more > 0 else "")
        yield f"From A to B: {told}"
    for run in {run.run: run for pair in comparison.runs for run in pair}.values():
        if run.finished is None:
            yield f"Run {run.run} is not finished"
    settings: dict[tuple[str, str, float | None, str], list[Noise]] = {}
    for each in comparison.compared:
        setting = f"{each.key.dtype} {each.key.device} {_threads(each.key.threads)}"
        settings.setdefault((each.a.run, each.b.run, each.noise.machine, setting), []).append(each.noise)
    for (a, b, machine, setting), noises in settings.items():
        floors = f"A/A pairs of these cases differ by {_range([noise.a for noise in noises])} in {a}"
        if a != b:
            floors += f" and by {_range([noise.b for noise in noises])} in {b}; the machine's product rate by "
            floors += "an unknown part" if machine is None else percent(machine)
        yield f"{floors} ({setting})"


def _short(value: object) -> str:
    """A value as text, cut to 60 characters."""
    text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _range(floors: Sequence[Floor | None]) -> str:
    """The noise floors of some cases: the one with its interval, or the least and the largest of several."""
    known = list(dict.fromkeys(floor for floor in floors if floor is not None))
    if not known:
        return "an unknown part"
    if len(known) == 1:
        return f"up to {in_percent(known[0])}"
    parts = [floor.part for floor in known]
    return f"{percent(min(parts))} to {percent(max(parts))}, by case,"


def _by_setting(compared: Iterable[Compared]) -> list[tuple[str, list[Compared]]]:
    """What was compared, grouped by its setting, under the setting's heading."""
    groups: dict[str, list[Compared]] = {}
    for each in compared:
        groups.setdefault(_setting(each.key), []).append(each)
    return list(groups.items())


def _setting(key: Key) -> str:
    """The heading of all that shares a key's pass, dtype, device, lane and threads."""
    return f"{key.passed}, {key.dtype}, {key.device}, {key.lane} lane, {_threads(key.threads)}"


def _threads(count: int) -> str:
    """A number of threads in words."""
    return "1 thread" if count == 1 else f"{count} threads"


def _headers(comparison: Comparison) -> list[str]:
    """The columns of this comparison: without the implementation where two of them are compared."""
    return [name for name in HEADERS if name != "implementation" or comparison.a.kind != IMPLEMENTATION]


def _texts(each: Compared) -> list[str]:
    """The cells of one combination."""
    floor = each.noise.floor
    return [
        each.key.case,
        *([each.key.implementation] if each.key.implementation else []),
        _milliseconds(each.a),
        _milliseconds(each.b),
        f"{each.ratio.median:.3f}",
        f"{each.ratio.low:.3f} – {each.ratio.high:.3f}",
        "unknown" if floor is None else percent(floor),
        each.verdict,
    ]


def _milliseconds(row: Row) -> str:
    """A median in ms, with the marks of a doubtful time."""
    assert row.median_seconds is not None
    return marks(row) + milliseconds(row.median_seconds)


def _as_table(heading: str, group: Sequence[Compared], comparison: Comparison) -> Table:
    """One setting as a table with a row for each combination."""
    table = Table(title=heading, title_justify="left")
    for name in _headers(comparison):
        words = name in ("case", "implementation", "B is")
        table.add_column(name, justify="left" if words else "right", overflow="fold" if words else "ellipsis")
    for each in group:
        *texts, verdict = _texts(each)
        table.add_row(*map(escape, texts), f"[{COLOURS[verdict]}]{verdict}[/{COLOURS[verdict]}]")
    return table


def _as_tall_tables(heading: str, group: Sequence[Compared], comparison: Comparison) -> list[RenderableType]:
    """Tables for a narrow terminal: a line for each case, its implementations below it."""
    tables: list[RenderableType] = [escape(heading)]
    for case in dict.fromkeys(each.key.case for each in group):
        table = close_table(f"[bold]{escape(case)}[/bold]")
        for name in _headers(comparison)[1:]:
            words = name in ("implementation", "B is")
            table.add_column(name, justify="left" if words else "right", overflow="fold")
        for each in group:
            if each.key.case == case:
                _, *texts, verdict = _texts(each)
                table.add_row(*map(escape, texts), f"[{COLOURS[verdict]}]{verdict}[/{COLOURS[verdict]}]")
        tables.append(table)
    return tables


def _as_markdown(heading: str, group: Sequence[Compared], comparison: Comparison) -> str:
    """One setting as a table in Markdown."""
    headers = _headers(comparison)
    rules = ["---" if name in ("case", "implementation", "B is") else "---:" for name in headers]
    lines = [f"\n**{heading}**\n", _markdown_line(headers), f"|{'|'.join(rules)}|"]
    for each in group:
        *texts, verdict = _texts(each)
        lines.append(_markdown_line([*texts, f"**{verdict}**" if verdict in (FASTER, SLOWER) else verdict]))
    return "\n".join([*lines, ""])


def _markdown_line(texts: Sequence[str]) -> str:
    """A row of a table in Markdown."""
    bar = "\\|"
    return f"| {' | '.join(text.replace('|', bar) for text in texts)} |"


def _means(group: Sequence[Compared]) -> str:
    """The geometric means of one setting: of each implementation where there are several, and of all."""
    by_name: dict[str, list[Compared]] = {}
    for each in group:
        by_name.setdefault(each.key.implementation, []).append(each)
    mean = f"{geometric_mean(group):.3f}"
    if len(by_name) == 1:
        return f"B / A in the geometric mean: {mean}"
    means = [f"{name} {geometric_mean(mine):.3f}" for name, mine in by_name.items()]
    return f"B / A in the geometric mean: {', '.join(means)}, all {mean}"


def _summary(comparison: Comparison) -> Iterator[str]:
    """Sentences on how many combinations have each verdict, and on those that were not paired or cannot be told."""
    if comparison.compared:
        counts = {verdict: sum(each.verdict == verdict for each in comparison.compared) for verdict in COLOURS}
        told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
        count = "1 combination" if len(comparison.compared) == 1 else f"{len(comparison.compared)} combinations"
        yield f"{count}: B is {told}"
        if all(each.paired for each in comparison.compared):
            yield "Every ratio is of calls that ran next to each other"
    for each in comparison.compared:
        if each.why_apart:
            yield f"{_where(each.key)}: {each.why_apart}"


def _left_out(comparison: Comparison) -> Iterator[str]:
    """What has no verdict, and why."""
    for name, rows, other in (("A", comparison.only_a, comparison.b), ("B", comparison.only_b, comparison.a)):
        known = {row.key.implementation for row in other.entries.values()}
        counts: dict[str, int] = {}
        for row in rows:
            if row.key.implementation in known or comparison.a.kind == IMPLEMENTATION:
                yield f"only in {name}: {_where(row.key)}"
            else:
                counts[row.key.implementation] = counts.get(row.key.implementation, 0) + 1
        for implementation, count in counts.items():
            yield f"only in {name}: {implementation}, {'1 combination' if count == 1 else f'{count} combinations'}"
    for pair in comparison.untimed:
        told = (f"{side} {_status(row)}" for side, row in zip("AB", pair, strict=True))
        yield f"no times in both: {_where(pair[0].key)}: {', '.join(told)}"


def _where(key: Key) -> str:
    """A combination's case, implementation and setting in words."""
    return f"{key.case} {key.implementation}, {_setting(key)}"


def _status(row: Row) -> str:
    """A row's median, or why it has none."""
    if row.status in TIMED:
        return f"{_milliseconds(row)} ms"
    return f"{row.status} ({_short(row.reason)})" if row.reason else row.status

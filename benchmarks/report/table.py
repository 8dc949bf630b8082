"""A run's medians as a table: cases down, implementations across; one table for each pass, dtype, lane and track."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from backends.interface.layer import PASSES
from benchmarks.analysis.noise import Floor
from benchmarks.analysis.ranking import CLEAR, standings
from benchmarks.analysis.summary import Job
from benchmarks.store.records import NEVER_STEADY, TIMED, Block, Row, Run

ORDER = ("torch", "jax", "tensorflow", "mxnet")
"""The order of frameworks in a table's columns, which assets/page.js has, too; others follow by their names."""
KINDS = ("native", "native-linen", "native-nnx", "manual", "scratch", "tuned")
"""The order of a framework's implementations in columns, as in assets/page.js; others follow by their names."""
Group = tuple[str, str, str, str, int]
"""What the rows of one table have in common: pass, dtype, device, lane and threads."""


@dataclass(frozen=True)
class TableCell:
    """What one implementation did on one case: ``text`` is its median in ms and half its interval in percent, or the
    status; ``fastest`` whether it is the fastest beyond the noise.
    """

    text: str
    fastest: bool = False


@dataclass(frozen=True)
class Grid:
    """One table: ``heading`` says what was timed, ``lines`` are a case's name, its cells, and its limit in ms."""

    heading: str
    implementations: list[str]
    lines: list[tuple[str, list[TableCell], str]]


def in_order(rows: Iterable[Row], run: Run) -> list[Row]:
    """Rows in the order of the run's cases, passes and, within them, implementations."""
    cases = [case["name"] for case in run.settings["cases"]]
    return sorted(rows, key=lambda row: (cases.index(row.key.case), PASSES.index(row.key.passed)))


def grids(rows: Sequence[Row], blocks: Iterable[Block], floors: Mapping[Job, Floor]) -> list[Grid]:
    """The tables of a run, in the order of its rows; ``floors`` are its jobs' noise floors."""
    clear = {standing.key for standing in standings(rows, blocks, floors) if standing.verdict == CLEAR}
    groups: dict[Group, list[Row]] = {}
    for row in rows:
        groups.setdefault(_group_of(row), []).append(row)
    return [_grid(group, mine, clear, cell_text, "ms a call") for group, mine in groups.items()]


def _tail(seconds: float | None) -> str:
    """A percentile's cell, in ms; empty where there is none."""
    return "" if seconds is None else milliseconds(seconds)


def _many(count: float | None) -> str:
    """A rate's cell: whole numbers from 100 on, three digits below; empty where it is not known."""
    return "" if count is None else f"{count:,.0f}" if count >= 100 else f"{count:.3g}"


QUANTITIES: Mapping[str, Sequence[tuple[str, Callable[[Row], str]]]] = {
    "memory": [
        ("MiB of a call at its peak", lambda row: "" if row.peak_host_bytes is None else _mib(row.peak_host_bytes)),
        ("MiB of the device", lambda row: "" if row.peak_device_bytes is None else _mib(row.peak_device_bytes)),
    ],
    "throughput": [
        ("rows a second", lambda row: _many(row.rows_per_second)),
        ("steps a second", lambda row: _many(row.steps_per_second)),
    ],
    "tails": [
        ("ms that 95 of 100 calls stay within", lambda row: _tail(row.p95_seconds)),
        ("ms that 99 of 100 calls stay within", lambda row: _tail(row.p99_seconds)),
    ],
}
"""What ``birnn bench --show`` prints besides: headings, and a row's cell, empty where it is not known."""


def _mib(count: int) -> str:
    """A number of bytes in MiB: whole numbers from 1,000 on, three digits below."""
    return f"{count / 2**20:,.3g}" if count < 1000 * 2**20 else f"{count / 2**20:,.0f}"


def quantity_grids(rows: Sequence[Row], names: Iterable[str]) -> list[Grid]:
    """The tables of some ``QUANTITIES``, in the order of the rows; those without a number are left out."""
    groups: dict[Group, list[Row]] = {}
    for row in rows:
        groups.setdefault(_group_of(row), []).append(row)
    tables = []
    for name in names:
        for heading, text in QUANTITIES[name]:
            for group, mine in groups.items():
                if any(text(row) for row in mine):
                    grid = _grid(group, mine, set(), text, heading)
                    lines = [(case, cells, "") for case, cells, _ in grid.lines]
                    tables.append(Grid(grid.heading, grid.implementations, lines))
    return tables


def _group_of(row: Row) -> Group:
    """The table that a row stands in."""
    key = row.key
    return key.passed, key.dtype, key.device, key.lane, key.threads


def _grid(group: Group, rows: Sequence[Row], clear: set, text: Callable[[Row], str], unit: str) -> Grid:
    """One group's table: a line for each case in the rows' order, a column for each implementation in theirs."""
    passed, dtype, device, lane, threads = group
    names = sorted({row.key.implementation for row in rows}, key=place_of)
    by_place = {(row.key.case, row.key.implementation): row for row in rows}
    lines = []
    for case in dict.fromkeys(row.key.case for row in rows):
        mine = [by_place.get((case, name)) for name in names]
        cells = [TableCell("") if row is None else TableCell(text(row), row.key in clear) for row in mine]
        limits = [row.limit_seconds for row in mine if row is not None and row.limit_seconds is not None]
        lines.append((case, cells, f"{limits[0] * 1e3:.3g}" if limits else ""))
    count = "1 thread" if threads == 1 else f"{threads} threads"
    return Grid(f"{passed}, {dtype}, {device}, {lane} lane, {count}: {unit}", names, lines)


def place_of(implementation: str) -> tuple[int, str, int, str]:
    """What columns are sorted by, in every table and on the page: framework, then implementation."""
    framework, _, name = implementation.partition("/")
    known = [order.index(each) if each in order else len(order) for order, each in ((ORDER, framework), (KINDS, name))]
    return known[0], framework, known[1], name


def cell_text(row: Row) -> str:
    """``45.1 ±0.6%``, ``±?`` where there are too few calls for an interval, with a ``~`` where the samples fall into
    two groups or never got steady, and a ``!`` where they were taken under load; or the status.
    """
    if row.status not in TIMED or row.median_seconds is None:
        return row.status
    doubtful = marks(row)
    if row.low_seconds is None or row.high_seconds is None:
        return f"{doubtful}{milliseconds(row.median_seconds)} ±?"
    half = (row.high_seconds - row.low_seconds) / 2 / row.median_seconds
    return f"{doubtful}{milliseconds(row.median_seconds)} ±{half:.1%}"


def marks(row: Row) -> str:
    """What stands before a doubtful time."""
    return "!" * bool(row.under_load) + "~" * (row.bimodal or row.status == NEVER_STEADY)


def milliseconds(seconds: float) -> str:
    """A time in ms with three digits and without an exponent."""
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.1 else f"{value:.4f}"


def as_markdown(grid: Grid) -> str:
    """A grid as a Markdown table, the fastest beyond the noise in bold."""
    lines = [
        f"| {grid.heading} | {' | '.join(grid.implementations)} | limit |",
        f"|---|{'---:|' * (len(grid.implementations) + 1)}",
    ]
    for case, cells, limit in grid.lines:
        texts = [f"**{cell.text}**" if cell.fastest else cell.text for cell in cells]
        lines.append(f"| {case} | {' | '.join(texts)} | {limit} |")
    return "\n".join(lines)

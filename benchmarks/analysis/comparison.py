"""Two runs, two environments or two implementations against each other, combination by combination."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.analysis.noise import Floor, Floors, floors_of
from benchmarks.analysis.pairing import why_apart
from benchmarks.analysis.statistics import (
    AMBIGUOUS,
    SAME,
    SLOWER,
    Interval,
    paired_ratio_interval,
    ratio_interval,
    verdict,
)
from benchmarks.analysis.summary import by_place, by_process
from benchmarks.store.records import RETRIED, TIMED, Block, Ceiling, Environment, Key, Row, Run
from benchmarks.store.store import LAST, Store
from common.errors import InputError, shown

UNDER_LOAD = "cannot be told: measured under load"
"""The verdict on a combination that was measured while others were at work."""
RUN, ENVIRONMENT, IMPLEMENTATION = "run", "environment", "implementation"
"""What a side of a comparison may be."""


@dataclass(frozen=True)
class Side:
    """What stands on one side: ``entries`` are its rows by what both sides have in common.

    ``kind`` is run, environment or implementation; ``title`` says which; the entries' keys have an empty
    ``implementation`` where two implementations are compared.
    """

    kind: str
    title: str
    entries: Mapping[Key, Row]


@dataclass(frozen=True)
class Noise:
    """What a verdict has to clear: each run's noise floor for such a case, None where no A/A pair was measured, and by
    which part the machine's product rate changed from the one run to the other, None where it was not measured in both.
    """

    a: Floor | None
    b: Floor | None
    machine: float | None

    @property
    def floor(self) -> float | None:
        """How far a ratio may lie from 1 where nothing has changed, as a part; None where a run has no noise floor.

        The machine itself may be slower in one run, by ``machine``; times that have not changed are then off by as
        much, and vary around that by the larger of the two noise floors.
        """
        if self.a is None or self.b is None:
            return None
        return (1 + max(self.a.part, self.b.part)) * (1 + (self.machine or 0.0)) - 1


@dataclass(frozen=True)
class Compared:
    """One combination that both sides have times of.

    ``ratio`` is b's time over a's; ``paired`` says whether it comes from blocks that ran next to each other;
    ``why_apart`` says, where that ratio is far from the ratio of the two medians, why.
    """

    key: Key
    a: Row
    b: Row
    ratio: Interval
    paired: bool
    noise: Noise
    verdict: str
    why_apart: str = ""

    def slower_by_more_than(self, limit: float) -> bool:
        """Whether b is slower, and its median by more than ``limit``, 0.05 for 5 %."""
        return self.verdict == SLOWER and self.ratio.median > 1 + limit


@dataclass(frozen=True)
class Comparison:
    """``compared`` in a's order; ``only_a`` and ``only_b`` are rows that the other side does not know; ``untimed`` are
    pairs of rows of which at least one has no times.
    """

    a: Side
    b: Side
    runs: Sequence[tuple[Run, Run]]
    compared: list[Compared]
    untimed: list[tuple[Row, Row]]
    only_a: list[Row]
    only_b: list[Row]
    changed_versions: list[str]

    @property
    def broken(self) -> list[tuple[Row, Row]]:
        """Combinations that a has times of and that disagree, fail, crash or time out in b."""
        return [(a, b) for a, b in self.untimed if a.status in TIMED and b.status in RETRIED]

    @property
    def changed_machine(self) -> dict[str, tuple[object, object]]:
        """What differs between the machines of the runs."""
        changes: dict[str, tuple[object, object]] = {}
        for a, b in self.runs:
            for name in {**a.machine, **b.machine}:
                if a.machine.get(name) != b.machine.get(name):
                    changes[name] = (a.machine.get(name), b.machine.get(name))
        return changes


def geometric_mean(compared: Iterable[Compared]) -> float:
    """The geometric mean of b's time over a's; every combination counts the same."""
    logarithms = [math.log(each.ratio.median) for each in compared]
    return math.exp(sum(logarithms) / len(logarithms))


def compare(store: Store, a_text: str, b_text: str, same: float = SAME) -> Comparison:
    """Compare what two texts name.

    Each is a run (its name, a label, a beginning, or last), an environment (its id or the beginning of it, or
    package==version: the latest run of each combination counts), or an implementation (framework/name in the latest run
    that has it, or RUN:framework/name).

    Raises
    ------
    InputError
        If a text names nothing or more than one thing, if both name the same, or if one alone is an implementation.
    """
    a, b = side_of(store, a_text), side_of(store, b_text)
    if (a.kind == IMPLEMENTATION) != (b.kind == IMPLEMENTATION):
        raise InputError(f"both must be implementations, or neither; got the {a.kind} {a_text}, the {b.kind} {b_text}")
    if (a.kind, a.title) == (b.kind, b.title):
        raise InputError(f"two different {a.kind}s must be given; got the same, {a.title}, twice")
    both = [key for key in a.entries if key in b.entries]
    pairs = [(a.entries[key], b.entries[key]) for key in both]
    judge = _Judge(store)
    timed = [(key, rows) for key, rows in zip(both, pairs, strict=True) if all(_has_times(row) for row in rows)]
    runs = {run.run: run for run in store.runs()}
    return Comparison(
        a,
        b,
        [(runs[one], runs[other]) for one, other in dict.fromkeys((x.run, y.run) for x, y in pairs)],
        [judge.compared(key, *rows, same) for key, rows in timed],
        [rows for rows in pairs if not all(_has_times(row) for row in rows)],
        [row for key, row in a.entries.items() if key not in b.entries],
        [row for key, row in b.entries.items() if key not in a.entries],
        changed_versions(store.environments(), pairs),
    )


def _has_times(row: Row) -> bool:
    """Whether a row has a median."""
    return row.status in TIMED and row.median_seconds is not None


# What a text names.


def side_of(store: Store, text: str) -> Side:
    """The run, environment or implementation that ``text`` names."""
    if "==" in text:
        return _environment_side(store, text, _environments_with(store.environments(), text))
    if "/" in text:
        return _implementation_side(store, text)
    environments = [each for each in store.environments() if text and each.environment.startswith(text)]
    names = {run.run for run in store.runs()} | {run.label for run in store.runs()} | {LAST}
    is_run = text != "" and (text in names or any(run.run.startswith(text) for run in store.runs()))
    if environments and not is_run:
        if len(environments) > 1:
            environment_names = ", ".join(each.environment for each in environments)
            raise InputError(
                f"{store.path}: {shown(text)} must begin one environment's id alone; there are {environment_names}"
            )
        return _environment_side(store, environments[0].environment, environments)
    if not is_run:
        raise InputError(
            f"{store.path}: {shown(text)} must name a run, an environment or an implementation; there are the runs "
            f"{_listed(run.run for run in store.runs())} and the environments "
            f"{_listed(f'{each.environment} ({each.framework})' for each in store.environments())}"
        )
    run = store.find_run(text)
    return Side(RUN, run.run, {row.key: row for row in store.rows(run.run)})


def _listed(names: Iterable[str], limit: int = 10) -> str:
    """The last of some names as an error lists them, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[-limit:]) + more if listed else "(none)"


def _environment_side(store: Store, title: str, environments: Sequence[Environment]) -> Side:
    """All that was measured in some environments; of each combination, the latest run."""
    ids = {each.environment for each in environments}
    latest: dict[Key, Row] = {}
    for run in store.runs():
        latest |= {row.key: row for row in store.rows(run.run) if row.environment in ids}
    return Side(ENVIRONMENT, title, latest)


def _environments_with(environments: Sequence[Environment], text: str) -> list[Environment]:
    """The environments that have this version of a package; 2.13.0 means 2.13.0+build, too, as in requirements."""
    name, _, version = text.partition("==")

    def fits(environment: Environment) -> bool:
        given = {_normal(each): its for each, its in {**environment.packages, **environment.versions}.items()}
        its = given.get(_normal(name), "")
        return version in (its, its.partition("+")[0]) and bool(version)

    fitting = [environment for environment in environments if fits(environment)]
    if not fitting:
        versions = sorted(
            {
                its
                for each in environments
                for package, its in {**each.packages, **each.versions}.items()
                if _normal(package) == _normal(name)
            }
        )
        raise InputError(f"{text!r} must name a version that was measured; of {name} there are {_listed(versions)}")
    return fitting


def _normal(package: str) -> str:
    """The name of a package as package indexes compare it."""
    return package.strip().lower().replace("_", "-")


def _implementation_side(store: Store, text: str) -> Side:
    """The side of an implementation, in the run that is named before it or in the latest that has it."""
    where, _, name = text.rpartition(":")
    runs = [store.find_run(where)] if where else list(reversed(store.runs()))
    for run in runs:
        rows = [row for row in store.rows(run.run) if row.key.implementation == name]
        if rows:
            entries = {replace(row.key, implementation=""): row for row in rows}
            return Side(IMPLEMENTATION, f"{name} of {run.run}", entries)
    known = sorted({row.key.implementation for run in runs for row in store.rows(run.run)})
    raise InputError(
        f"{store.path}: {shown(name)} must be an implementation that was measured; there are {_listed(known)}"
    )


def changed_versions(environments: Sequence[Environment], pairs: Iterable[tuple[Row, Row]]) -> list[str]:
    """The versions that differ between the environments of compared rows: ``torch 2.13.0 → 2.14.0``; those that an
    environment names as its framework's come first.
    """
    known = {each.environment: each for each in environments}
    changes: dict[str, None] = {}
    both = [ids for ids in dict.fromkeys((a.environment, b.environment) for a, b in pairs) if known.keys() >= {*ids}]
    for part in ("versions", "packages"):
        for a, b in both:
            mine, other = getattr(known[a], part), getattr(known[b], part)
            for name in mine:
                if mine[name] != other.get(name, mine[name]):
                    changes[f"{name} {mine[name]} → {other[name]}"] = None
    return list(changes)


# How the two are judged.


class _Judge:
    """Compares rows; keeps what it has read of each run."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._blocks: dict[str, dict[Key, list[Block]]] = {}
        self._floors: dict[str, Floors] = {}
        self._ceilings: dict[str, list[Ceiling]] = {}

    def compared(self, key: Key, a: Row, b: Row, same: float) -> Compared:
        """The ratio of two rows and the verdict on it."""
        a_blocks, b_blocks = self._blocks_of(a.run)[a.key], self._blocks_of(b.run)[b.key]
        for row, blocks in ((a, a_blocks), (b, b_blocks)):
            if not by_process(blocks):
                name = f"{row.key.implementation} on {row.key.case} in {row.run}"
                raise InputError(f"{self._store.path}: must have the samples of what has a time; got none of {name}")
        a_places, b_places = by_place(a_blocks), by_place(b_blocks)
        # Blocks of one cycle ran next to each other, so that their ratio is free of the machine's drift.
        paired = a.run == b.run and bool(a_places.keys() & b_places.keys())
        if paired:
            ratio = paired_ratio_interval(a_places, b_places)
        else:
            ratio = ratio_interval(by_process(a_blocks), by_process(b_blocks))
        why = why_apart(ratio, by_process(a_blocks), by_process(b_blocks), a_places, b_places) if paired else ""
        noise = self._noise(a, b)
        judged = AMBIGUOUS if noise.floor is None else verdict(ratio, noise.floor, same)
        judged = UNDER_LOAD if a.under_load or b.under_load else judged
        return Compared(key, a, b, ratio, paired, noise, judged, why)

    def _noise(self, a: Row, b: Row) -> Noise:
        """The noise of two rows, and of the machine between their runs."""
        if a.run == b.run:
            return Noise(self._floor(a), self._floor(b), 0.0)
        before, after = self._product(a), self._product(b)
        machine = None if before is None or after is None else max(after / before, before / after) - 1
        return Noise(self._floor(a), self._floor(b), machine)

    def _blocks_of(self, run: str) -> dict[Key, list[Block]]:
        """The blocks of a run by key, read once."""
        if run not in self._blocks:
            self._blocks[run] = defaultdict(list)
            for block in self._store.blocks(run):
                self._blocks[run][block.key].append(block)
        return self._blocks[run]

    def _floor(self, row: Row) -> Floor | None:
        """The noise floor of a row's job, made of its run's blocks: a run that was interrupted has stored none."""
        if row.run not in self._floors:
            self._floors[row.run] = floors_of(block for mine in self._blocks_of(row.run).values() for block in mine)
        return self._floors[row.run].of_job.get(row.key.job)

    def _product(self, row: Row) -> float | None:
        """The best product rate of a row's run, for its device, dtype and threads, in flops a second."""
        if row.run not in self._ceilings:
            self._ceilings[row.run] = self._store.ceilings(row.run)
        wanted = ("product", row.key.device, row.key.dtype, row.key.threads)
        rates = [
            each.value
            for each in self._ceilings[row.run]
            if (each.name, each.device, each.dtype, each.threads) == wanted
        ]
        return max(rates, default=None)

"""Simulate verdicts: how often wrong results are called right, and right ones wrong, at magnitudes from 10⁻³ to 10³.

    python -m benchmarks.maintain.simulate

draws cases of every cell with inputs and weights multiplied by random magnitudes, one dtype a case, judges correct
loops that round otherwise (``benchmarks.maintain.correct_loops``), zeros, noise of the right size and known mistakes,
and writes the counts into docs/calibration.md, each with the upper end of a 95 % confidence interval. The first cases
are given to the frameworks' implementations, too. Run it after ``python -m benchmarks.maintain.calibrate``, whose
limits it is about.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import Progress

from backends.interface.gaps import DECLINED
from backends.pool.pool import Pool
from backends.pool.selection import select
from backends.registry import BUILT_IN
from backends.studies.cases import CaseStudy, Plan
from backends.studies.study import Outcome
from benchmarks.maintain.correct_loops import CORRECT_LOOPS
from benchmarks.maintain.marked_pages import replaced
from common.case import Case
from common.cases.builtin import CELLS
from common.cases.seeded import GARBAGE_SCALE, Shape, make_case
from common.judging.agreement import AGREES, DISAGREES, NOT_JUDGED, Verdict, judge
from common.judging.mistakes.every import mistakes
from common.judging.yardstick import Yardstick, yardstick
from common.reference import Arrays
from common.specification import MERGES, Specification
from common.tensorfile import write_bytes

TABLE = Path(__file__).parents[2] / "docs" / "calibration.md"
"""The page with the tables."""
MARKER = "the simulation"
"""The name of the part of the page that this command writes."""
LANES = ("float32", "float64", "float16", "bfloat16")
"""The dtypes that are simulated."""
FRAMEWORK_LANES = LANES[:2]
"""Where frameworks compute in what they are asked for; every case is compiled in each."""
FRESH = 10_000
"""The first seed of cases that the rule was not made with."""
LARGEST_EXPONENT = 3
"""The power of ten by which inputs and weights are scaled at most, up or down."""
SEQ_LENS, SHARES = (1, 3, 8, 20, 60, 150), (0.1, 0.25, 0.3, 0.22, 0.1, 0.03)
"""The numbers of steps that are drawn from, and how often each is drawn."""
CONFIDENCE = 0.95
"""The confidence of the bounds that are told."""
GATE_ORDERS, OTHER_MISTAKES = 2, 12
"""How many of the wrong orders of gates, and of the other mistakes, are tried on a case."""
WRONG, CORRECT = "wrong", "correct"
"""The kinds of code that are judged."""
BY_EYE = ("zeros", "noise of the right size")
"""Wrong results that one look would show, beside known mistakes."""


@dataclass(frozen=True)
class Attempt:
    """One verdict: on what kind of result, and where it agrees with a wrong one, how much of it is wrong.

    ``kind`` is ``WRONG`` or ``CORRECT``; ``effect`` the largest error of any tensor that can be told, relative to the
    tensor's own size (root mean squares).
    """

    kind: str
    name: str
    dtype: str
    status: str
    effect: float = 0.0


def drawn_case(seed: int) -> Case:
    """A case of any cell, of small sizes; every magnitude is 1 in a third of all cases, else anything in between."""
    rng = np.random.default_rng([seed, 1])
    cell = rng.choice(list(CELLS))
    spec = Specification(
        input_size=int(rng.integers(1, 13)),
        hidden_size=int(rng.integers(2, 17)),
        num_layers=int(rng.integers(1, 3)),
        bias=bool(rng.random() < 0.8),
        merge=MERGES[rng.integers(len(MERGES))],
        **CELLS[str(cell)],
    )
    batch, seq_len = (
        int(rng.integers(1, 6)),
        int(rng.choice([1, 3, 8, 20, 60, 150], p=[0.1, 0.25, 0.3, 0.22, 0.1, 0.03])),
    )
    ragged = tuple(int(n) for n in rng.integers(1, seq_len, batch, endpoint=True))
    case = make_case(
        f"simulated-{seed}",
        spec,
        Shape(batch, seq_len, ragged if rng.random() < 0.5 else None),
        seed=seed,
        with_states=bool(rng.random() < 0.7),
        with_cotangents=True,
        source="simulation",
    )
    inputs, weights = (
        1.0 if rng.random() < 1 / 3 else 10 ** rng.uniform(-LARGEST_EXPONENT, LARGEST_EXPONENT) for _ in range(2)
    )
    return magnified(case, inputs, weights)


def magnified(case: Case, inputs: float, weights: float) -> Case:
    """The case with its inputs and weights multiplied; the padding is garbage of the usual size."""
    scaled = {name: value * weights for name, value in case.weights.items()}
    case = replace(case, x=case.x * inputs, weights=scaled, file_sha256=None)
    return case.with_padding(np.random.default_rng(0), GARBAGE_SCALE)


def noise(yard: Yardstick, seed: int) -> Arrays:
    """Numbers of every tensor's own size that keep the exact rules, so that nothing but their values is wrong."""
    rng = np.random.default_rng([seed, 2])
    case, spec = yard.case, yard.case.spec
    tensors = {
        name: rng.normal(scale=float(np.sqrt(np.mean(np.square(value.astype(np.longdouble))))), size=value.shape)
        for name, value in yard.truth.items()
    }
    padding = case.padding_mask()[..., None]
    for name in ("output", "grad.x"):
        tensors[name] = np.where(padding, 0, tensors[name])
    if spec.keeps_directions:
        lengths = np.full(case.batch, case.seq_len) if case.lengths is None else case.lengths
        halves = np.split(tensors["output"], [spec.hidden_size], axis=-1)
        tensors["h_n"][-spec.num_directions] = halves[0][np.arange(case.batch), lengths - 1]
        if spec.num_directions > 1:
            tensors["h_n"][-1] = halves[1][:, 0]
    return tensors


def wrong_results(yard: Yardstick, seed: int) -> Iterator[tuple[str, Arrays]]:
    """Zeros, noise, and some of the known mistakes that can be made on the case, drawn; few are orders of gates."""
    yield BY_EYE[0], {name: np.zeros(value.shape) for name, value in yard.truth.items()}
    yield BY_EYE[1], noise(yard, seed)
    concerned = [each for each in mistakes(yard.case.spec) if each.applies(yard.case, yard.dtype)]
    gates = [each for each in concerned if each.name.startswith("gates")]
    others = [each for each in concerned if each not in gates]
    rng = np.random.default_rng([seed, 3])
    orders = [gates[i] for i in rng.permutation(len(gates))[:GATE_ORDERS]]
    for mistake in (*orders, *(others[i] for i in rng.permutation(len(others))[:OTHER_MISTAKES])):
        name = "gates in another order" if mistake in orders else mistake.name
        yield name, mistake.results(yard.case, yard.dtype)


def trials(seed: int) -> list[Attempt]:
    """Every verdict on one drawn case, in one dtype."""
    case, dtype = drawn_case(seed), LANES[seed % len(LANES)]
    with np.errstate(all="ignore"):
        yard = yardstick(case, dtype)
        attempts = [
            Attempt(CORRECT, name, dtype, judge(loop(yard.case, dtype), yard).status)
            for name, loop in CORRECT_LOOPS.items()
        ]
        if not all(np.isfinite(value).all() for value in yard.truth.values()):
            return attempts  # nothing is right there, and nothing of a right size
        for name, result in wrong_results(yard, seed):
            verdict = judge(result, yard)
            attempts.append(Attempt(WRONG, name, dtype, verdict.status, effect(verdict, result, yard)))
    return attempts


def effect(verdict: Verdict, result: Arrays, yard: Yardstick) -> float:
    """The largest error of a told tensor, relative to its own size."""
    sizes = [0.0]
    for each in verdict.measures:
        size = np.linalg.norm(yard.truth[each.tensor].ravel())
        if not each.untold and size > 0:
            sizes.append(float(np.linalg.norm((result[each.tensor] - yard.truth[each.tensor]).ravel()) / size))
    return max(sizes)


def upper_bound(count: int, number: int) -> float:
    """The upper end of the one-sided 95 % confidence interval of a rate (Clopper and Pearson 1934), by bisection."""
    if count >= number:
        return 1.0
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(number, 0, -1) / np.arange(1, number + 1)))])
    low, high = 0.0, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        terms = np.arange(count + 1)
        at_most = np.exp(logs[terms] + terms * np.log(rate) + (number - terms) * np.log1p(-rate)).sum()
        low, high = (rate, high) if at_most > 1 - CONFIDENCE else (low, rate)
    return high


@dataclass
class VerdictTally:
    """Counts of statuses by kind, name and dtype; of wrong results called right, the largest effect."""

    counts: dict[tuple[str, str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    effects: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))

    def add(self, attempts: Iterable[Attempt]) -> None:
        """Count some trials."""
        for each in attempts:
            self.counts[each.kind, each.name, each.dtype][each.status] += 1
            if each.kind == WRONG and each.status == AGREES:
                self.effects[each.kind, each.name] = max(self.effects[each.kind, each.name], each.effect)

    def total(self, kind: str, name: str | None = None, dtype: str | None = None) -> Counter[str]:
        """The counts of one kind, of one name or all, in one dtype or all."""
        counts: Counter[str] = Counter()
        for (of_kind, of_name, of_dtype), count in self.counts.items():
            if of_kind == kind and name in (None, of_name) and dtype in (None, of_dtype):
                counts += count
        return counts

    def names(self, kind: str) -> list[str]:
        """What there are trials of, in the order of the first."""
        return list(dict.fromkeys(name for of_kind, name, _ in self.counts if of_kind == kind))


def table(tally: VerdictTally, cases: int, of_frameworks: int, first: int) -> str:
    """The simulation's part of docs/calibration.md."""
    lines = [
        f"`python -m benchmarks.maintain.simulate` drew {cases:,} cases (seeds from {first:,} on) of the five cells, "
        "inputs and weights each multiplied by 1 or by anything from 10⁻³ to 10³, and judged each in one dtype; the "
        f"frameworks were given {of_frameworks:,} of them, in {' and '.join(FRAMEWORK_LANES)}. A rate is followed by "
        "the upper end of its one-sided 95 % confidence interval (Clopper and Pearson 1934).",
        "",
        "Correct code that is called wrong:",
        "",
        "| correct code | dtype | verdicts | not judged | disagrees | at most |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name in tally.names(CORRECT):
        for dtype in LANES:
            count = tally.total(CORRECT, name, dtype)
            if number := count.total():
                lines.append(f"| {name} | {dtype} | {number:,} | {count[NOT_JUDGED]:,} | {_rate(count, DISAGREES)} |")
    lines += [
        "",
        "Wrong code that is called right. A mistake in what hardly matters in a case (a recurrent kernel of 10⁻³, say) "
        "has no effect that could be told; so the last column is the largest error, relative to the answer, of any "
        "tensor on which such a verdict rests.",
        "",
        "| wrong code | verdicts | not judged | agrees | at most | largest error told as right |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in tally.names(WRONG):
        count = tally.total(WRONG, name)
        worst = f"{tally.effects[WRONG, name]:.1e}" if count[AGREES] else "–"
        lines.append(f"| {name} | {count.total():,} | {count[NOT_JUDGED]:,} | {_rate(count, AGREES)} | {worst} |")
    return "\n".join(lines)


def _rate(count: Counter[str], status: str) -> str:
    """A count and the bound of its rate, as two cells."""
    return f"{count[status]:,} | {upper_bound(count[status], count.total()):.2%}"


def judged_frameworks(seeds: Iterable[int]) -> list[Attempt]:
    """What the frameworks' implementations make of drawn cases."""
    attempts: list[Attempt] = []

    def report(outcome: Outcome) -> None:
        if outcome.status not in DECLINED:
            attempts.append(Attempt(CORRECT, outcome.implementation, outcome.dtype, outcome.status))

    with Pool.open() as pool:
        selection = select(pool, [f"{backend.name}/*" for backend in BUILT_IN])
        cases = [drawn_case(seed) for seed in seeds]
        CaseStudy(pool, selection, Plan(cases, FRAMEWORK_LANES, "cpu", timeout_seconds=600), report).run()
    return sorted(attempts, key=lambda each: (each.name, LANES.index(each.dtype)))


def main(
    cases: Annotated[int, typer.Option(min=1, help="How many cases to draw.")] = 2400,
    frameworks: Annotated[int, typer.Option(min=0, help="How many of them to give to the frameworks, too.")] = 40,
    first: Annotated[int, typer.Option(min=0, help="The first case's seed.")] = FRESH,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Run the simulation and write its table."""
    tally = VerdictTally()
    with ProcessPoolExecutor(jobs) as executor, Progress(transient=True) as bar:
        for attempts in bar.track(executor.map(trials, range(first, first + cases), chunksize=4), total=cases):
            tally.add(attempts)
    if frameworks:
        tally.add(judged_frameworks(range(first, first + frameworks)))
    page = replaced(TABLE, {MARKER: table(tally, cases, frameworks, first)})
    write_bytes(TABLE, page.encode())


if __name__ == "__main__":
    typer.run(main)

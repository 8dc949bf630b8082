"""Verdicts between two runs, environments or implementations, on made-up stores of which the truth is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.interface.gaps import UNSUPPORTED
from benchmarks.analysis.comparison import Comparison, compare, geometric_mean, side_of
from benchmarks.analysis.noise import Floor, floors_of
from benchmarks.analysis.statistics import AMBIGUOUS, FASTER, SAME_SPEED, SLOWER
from benchmarks.store.records import CRASHED, Environment, Key, Row
from benchmarks.store.store import Store
from common.errors import InputError
from tests.benchmarks.made_up import (
    JAX,
    LINEN,
    NATIVE,
    START,
    TORCH,
    a_block,
    a_ceiling,
    a_process,
    a_row,
    a_run,
    an_empty_store,
    put_all,
)

FIRST, SECOND = "20261120-131501", "20261121-090000"
KEYS = [replace(NATIVE, case=f"case-{number}") for number in range(10)]
NEWER_TORCH = Environment("cccc00001111", "torch", {"torch": "2.14.0+x"}, {"torch": "2.14.0+x", "numpy": "2.3.1"})
PROCESSES, CYCLES, SAMPLES = 3, 4, 5
NOISE, BETWEEN_PROCESSES = 0.01, 0.003


@pytest.fixture
def store(tmp_path: Path) -> Iterable[Store]:
    with Store.open(an_empty_store(tmp_path / "results.duckdb"), write=True) as opened:
        yield opened


def measure(
    store: Store,
    run: str,
    seconds: Mapping[Key, float],
    *,
    rng: np.random.Generator,
    speed: float = 1.0,
    drift: float = 0.0,
    environments: tuple[Environment, ...] = (TORCH, JAX),
    twins: bool = True,
    off: float = 0.0,
    **changes: Any,
) -> str:
    """A run whose times are known: ``speed`` is the machine's, ``drift`` how much slower it is at the end, and
    by ``off`` the second half of each A/A pair.
    """
    of = {each.framework: each for each in environments}
    for each in environments:
        store.add_environment(each)
        store.add_process(a_process(run, each))
    store.add_run(a_run(run, fingerprint=run, **changes))
    blocks = []
    with store.transaction():
        for key, median in seconds.items():
            for process in range(PROCESSES):
                level = median / speed * rng.lognormal(0, BETWEEN_PROCESSES)
                for cycle in range(CYCLES):
                    drifted = level * (1 + drift * (process * CYCLES + cycle) / (PROCESSES * CYCLES - 1))
                    for twin in (0, 1) if twins else (0,):
                        samples = tuple((drifted * (1 + off * twin) * rng.lognormal(0, NOISE, SAMPLES)).tolist())
                        blocks.append(a_block(run, key, samples, process=process, cycle=cycle, twin=twin))
        put_all(store, blocks)
        ids = {key: of[key.framework].environment for key in seconds}
        put_all(store, [a_row(run, key, median_seconds=seconds[key], environment=ids[key]) for key in seconds])
        store.add_ceiling(a_ceiling(run, 1e11 * speed))
    store.finish_run(run, START + timedelta(hours=1), floors_of(blocks).of_run)
    return run


def verdicts(comparison: Comparison) -> dict[str, int]:
    counts: dict[str, int] = {}
    for each in comparison.compared:
        counts[each.verdict] = counts.get(each.verdict, 0) + 1
    return counts


def test_two_runs_of_the_same_are_the_same(store: Store) -> None:
    rng = np.random.default_rng(1)
    keys = [replace(NATIVE, case=f"case-{number}") for number in range(40)]
    for run in (FIRST, SECOND):
        measure(store, run, dict.fromkeys(keys, 0.01), rng=rng)
    comparison = compare(store, FIRST, SECOND)
    assert len(comparison.compared) == 40
    assert verdicts(comparison).get(SAME_SPEED, 0) >= 38
    assert not any(each.paired for each in comparison.compared)
    assert geometric_mean(comparison.compared) == pytest.approx(1, abs=0.01)
    assert (comparison.changed_machine, comparison.changed_versions) == ({}, [])


@pytest.mark.parametrize(("factor", "verdict"), [(1.1, SLOWER), (1 / 1.1, FASTER)])
def test_a_planted_difference_of_10_percent_is_found_where_it_is(store: Store, factor: float, verdict: str) -> None:
    rng = np.random.default_rng(2)
    measure(store, FIRST, dict.fromkeys(KEYS, 0.01), rng=rng)
    measure(store, SECOND, dict.fromkeys(KEYS, 0.01) | {KEYS[3]: 0.01 * factor}, rng=rng)
    comparison = compare(store, FIRST, SECOND)
    assert [each.key for each in comparison.compared if each.verdict in (SLOWER, FASTER)] == [KEYS[3]]
    each = comparison.compared[3]
    assert each.verdict == verdict
    assert each.ratio.low < factor < each.ratio.high
    assert each.slower_by_more_than(0.05) is (verdict == SLOWER)
    assert not each.slower_by_more_than(0.2)
    swapped = compare(store, SECOND, FIRST)
    assert [each.verdict for each in swapped.compared if each.key == KEYS[3]] == [
        {SLOWER: FASTER, FASTER: SLOWER}[verdict]
    ]


def test_a_slower_machine_is_no_slower_implementation(store: Store) -> None:
    rng = np.random.default_rng(3)
    measure(store, FIRST, dict.fromkeys(KEYS, 0.01), rng=rng)
    measure(store, SECOND, dict.fromkeys(KEYS, 0.01) | {KEYS[0]: 0.012}, rng=rng, speed=0.92)
    comparison = compare(store, FIRST, SECOND)
    assert [each.key for each in comparison.compared if each.verdict == SLOWER] == KEYS[:1]
    assert all(each.noise.machine == pytest.approx(1 / 0.92 - 1) for each in comparison.compared)
    for each in comparison.compared:
        assert each.noise.a is not None
        assert each.noise.b is not None
        larger = max(each.noise.a.part, each.noise.b.part)
        assert each.noise.floor == pytest.approx((1 + larger) / 0.92 - 1)
    assert all(each.ratio.low > 1.05 for each in comparison.compared), (
        "the machine's change should show: the test is void"
    )


def test_the_larger_of_both_noise_floors_counts(store: Store) -> None:
    rng = np.random.default_rng(4)
    measure(store, FIRST, {NATIVE: 0.01}, rng=rng, off=0.3)
    measure(store, SECOND, {NATIVE: 0.0125}, rng=rng)
    for a, b in ((FIRST, SECOND), (SECOND, FIRST)):
        (each,) = compare(store, a, b).compared
        assert each.noise.floor == pytest.approx(0.3, abs=0.02), "and the machine has not changed"
        assert each.verdict == SAME_SPEED, "a difference of 25 % is within twice the floor"
    (each,) = compare(store, FIRST, SECOND).compared
    assert part_of(each.noise.a) == each.noise.floor
    assert part_of(each.noise.b) < 0.03


def part_of(floor: Floor | None) -> float:
    assert floor is not None
    assert floor.low <= floor.part <= floor.high
    return floor.part


def test_a_case_is_judged_by_the_floor_of_its_own_pairs(store: Store) -> None:
    """Another case's pairs are far apart; this one's are not, and 1.17 is no tie."""
    rng = np.random.default_rng(16)
    other = replace(NATIVE, case="restless")
    measure(store, FIRST, {NATIVE: 0.01, LINEN: 0.0117}, rng=rng)
    run = a_row(FIRST, other, median_seconds=0.01)
    store.put_row(run)
    for cycle in range(CYCLES):
        for twin, seconds in enumerate((0.01, 0.0115)):
            store.add_block(a_block(FIRST, other, (seconds,) * 3, cycle=cycle, twin=twin))
    (each,) = compare(store, "torch/native", "jax/native-linen").compared
    assert each.verdict == SLOWER
    assert part_of(each.noise.a) < 0.03
    floors = floors_of(store.blocks(FIRST))
    assert part_of(floors.of_job[other.job]) == pytest.approx(0.15)
    assert part_of(floors.of_run) > 0.1


def test_a_case_without_a_pair_has_the_floor_of_those_nearest_in_time_per_call(store: Store) -> None:
    blocks = []
    for number, (milliseconds, off) in enumerate([(1, 0.1), (10, 0.02), (11, 0.03), (12, 0.04), (90, 0.2)]):
        for twin in (0, 1):
            samples = (1e-3 * milliseconds * (1 + off * twin),) * 3
            key = replace(NATIVE, case=f"case-{number}")
            blocks += [a_block(FIRST, key, samples, cycle=cycle, twin=twin) for cycle in range(4)]
    alone, elsewhere = replace(NATIVE, case="alone"), replace(NATIVE, case="alone", threads=7)
    blocks += [a_block(FIRST, key, (0.0105,), cycle=cycle) for cycle in range(4) for key in (alone, elsewhere)]
    floors = floors_of(blocks)
    assert floors.of_job[alone.job].pairs == 3
    assert part_of(floors.of_job[alone.job]) == pytest.approx(0.04)
    assert elsewhere.job not in floors.of_job


def test_pairs_that_agree_by_chance_beside_wide_intervals_make_no_small_floor() -> None:
    """In every process the halves come out a percent apart, while single cycles are off by a factor of two."""
    rng = np.random.default_rng(17)
    blocks = []
    for process in range(3):
        off = np.array([-0.7, -0.4, 0.01, 0.4, 0.7]) + rng.normal(0, 0.001, 5)
        for cycle, each in enumerate(off):
            for twin in (0, 1):
                samples = (0.01 * math.exp(each * twin),) * 3
                blocks.append(a_block(FIRST, NATIVE, samples, process=process, cycle=cycle, twin=twin))
    floor = floors_of(blocks).of_run
    assert part_of(floor) > 0.3
    assert floor is not None
    assert floor.high > 1.2 * floor.part


def test_a_paired_ratio_far_from_that_of_the_medians_is_explained(store: Store) -> None:
    """The machine is thirty times as slow in most of the run; the slow one has most of its calls in the fast part."""
    rng = np.random.default_rng(18)
    store.add_environment(TORCH)
    store.add_environment(JAX)
    store.add_run(a_run(FIRST))
    for key, seconds, calls in ((NATIVE, 0.01, (2, 30)), (LINEN, 0.02, (30, 2))):
        for cycle in range(12):
            speed = 30.0 if cycle % 2 else 1.0
            samples = tuple((seconds * speed * rng.lognormal(0, 0.01, calls[cycle % 2])).tolist())
            for twin in (0, 1):
                store.add_block(a_block(FIRST, key, samples, cycle=cycle, twin=twin))
        store.put_row(a_row(FIRST, key, environment=(TORCH if key is NATIVE else JAX).environment))
    (each,) = compare(store, "torch/native", "jax/native-linen").compared
    assert each.ratio.median == pytest.approx(2, rel=0.02)
    for part in (
        "the ratio of the medians is 0.067, that of calls in the same cycles 2.00",
        "calls took up to 30.",
        "and 6% of A's calls and 94% of B's fell into the faster half of the cycles",
    ):
        assert part in each.why_apart
    assert compare(store, "jax/native-linen", "torch/native").compared[0].why_apart
    store.execute("DELETE FROM blocks WHERE cycle % 2 = 1")
    assert compare(store, "torch/native", "jax/native-linen").compared[0].why_apart == ""


def test_the_difference_that_does_not_matter_is_the_callers(store: Store) -> None:
    rng = np.random.default_rng(5)
    measure(store, FIRST, {NATIVE: 0.01}, rng=rng, off=0.045)
    measure(store, SECOND, {NATIVE: 0.0103}, rng=rng)
    assert verdicts(compare(store, FIRST, SECOND, same=0.2)) == {SAME_SPEED: 1}
    assert verdicts(compare(store, FIRST, SECOND, same=0.01)) == {SAME_SPEED: 1}, "twice the floor is 9 %"
    third, fourth = "20261122-090000", "20261123-090000"
    measure(store, third, {NATIVE: 0.01}, rng=rng)
    measure(store, fourth, {NATIVE: 0.0103}, rng=rng)
    assert verdicts(compare(store, third, fourth, same=0.2)) in ({SAME_SPEED: 1}, {SLOWER: 1})
    assert SAME_SPEED not in verdicts(compare(store, third, fourth, same=0.01))


def test_an_interrupted_run_has_the_floor_of_its_blocks(store: Store) -> None:
    rng = np.random.default_rng(6)
    measure(store, FIRST, dict.fromkeys(KEYS, 0.01), rng=rng)
    measure(store, SECOND, dict.fromkeys(KEYS, 0.011), rng=rng)
    expected = [each.noise for each in compare(store, FIRST, SECOND).compared]
    store.finish_run(FIRST, None, None)
    comparison = compare(store, FIRST, SECOND)
    assert [each.noise for each in comparison.compared] == expected
    assert None not in expected
    assert verdicts(comparison) == {SLOWER: len(KEYS)}


def test_without_a_noise_floor_nothing_is_judged(store: Store) -> None:
    rng = np.random.default_rng(7)
    measure(store, FIRST, {NATIVE: 0.01}, rng=rng)
    measure(store, SECOND, {NATIVE: 0.02}, rng=rng, twins=False)
    (each,) = compare(store, FIRST, SECOND).compared
    assert (each.noise.b, each.noise.floor, each.verdict) == (None, None, AMBIGUOUS)
    assert each.ratio.median == pytest.approx(2, rel=0.05)


def test_without_product_rates_the_machines_part_is_unknown(store: Store) -> None:
    rng = np.random.default_rng(8)
    measure(store, FIRST, {NATIVE: 0.01}, rng=rng)
    measure(store, SECOND, {NATIVE: 0.02}, rng=rng)
    store.execute("UPDATE ceilings SET threads = 1 WHERE run = ?", [SECOND])
    (each,) = compare(store, FIRST, SECOND).compared
    assert each.noise.machine is None
    assert each.verdict == SLOWER


def test_two_implementations_of_one_run_are_paired_and_drift_cancels(store: Store) -> None:
    """Calls get twice as slow within the run, and the two differ by 10 %."""
    rng = np.random.default_rng(9)
    seconds = {NATIVE: 0.01, LINEN: 0.011, replace(LINEN, case="linen alone"): 0.01}
    measure(store, FIRST, seconds, rng=rng, drift=1.0)
    comparison = compare(store, "torch/native", "jax/native-linen")
    (each,) = comparison.compared
    assert (each.paired, each.verdict) == (True, SLOWER)
    assert each.noise.machine == 0
    assert each.ratio.low < 1.1 < each.ratio.high
    assert each.ratio.half_width < 0.02
    assert [row.key.case for row in comparison.only_b] == ["linen alone"]
    assert comparison.only_a == []


def test_an_implementation_is_that_of_the_latest_run_or_of_a_named_one(store: Store) -> None:
    rng = np.random.default_rng(10)
    measure(store, FIRST, {NATIVE: 0.01, LINEN: 0.01}, rng=rng, label="before")
    measure(store, SECOND, {NATIVE: 0.02}, rng=rng)
    assert side_of(store, "torch/native").title == f"torch/native of {SECOND}"
    assert side_of(store, "jax/native-linen").title == f"jax/native-linen of {FIRST}"
    assert side_of(store, "before:torch/native").title == f"torch/native of {FIRST}"
    (each,) = compare(store, "before:torch/native", "last:torch/native").compared
    assert (each.paired, each.verdict) == (False, SLOWER)


def test_environments_are_compared_by_version_with_the_latest_run_of_each(store: Store) -> None:
    rng = np.random.default_rng(11)
    other = replace(NATIVE, case="other")
    measure(store, FIRST, {NATIVE: 0.01, other: 0.01, LINEN: 0.01}, rng=rng)
    measure(store, SECOND, {NATIVE: 0.02, LINEN: 0.01}, rng=rng)
    measure(store, "20261122-090000", {NATIVE: 0.01, other: 0.012}, rng=rng, environments=(NEWER_TORCH, JAX))
    comparison = compare(store, "torch==2.13.0", "torch==2.14.0")
    assert [(each.key, each.a.run, each.verdict) for each in comparison.compared] == [
        (NATIVE, SECOND, FASTER),
        (other, FIRST, SLOWER),
    ]
    assert comparison.changed_versions == ["torch 2.13.0+x → 2.14.0+x"]
    assert compare(store, "aaaa", "cccc00001111").compared == comparison.compared
    for text in ("Torch==2.13.0+x", "jax==0.10.2", "flax==0.12.0", "numpy==2.3.1"):
        assert side_of(store, text).entries
    assert {key.framework for key in side_of(store, "flax==0.12.0").entries} == {"jax"}


def test_what_is_only_in_one_or_has_no_time_is_listed(store: Store) -> None:
    rng = np.random.default_rng(12)
    a, b, c, d, e = KEYS[:5]
    renamed = replace(a, implementation="torch/renamed")
    measure(store, FIRST, {a: 0.01, b: 0.01, c: 0.01}, rng=rng)
    measure(store, SECOND, {renamed: 0.01, b: 0.01, d: 0.01}, rng=rng)
    store.put_row(a_row(SECOND, c, status=CRASHED, reason="signal 11", median_seconds=None))
    store.put_row(a_row(FIRST, d, status=UNSUPPORTED, median_seconds=None))
    for run in (FIRST, SECOND):
        store.put_row(a_row(run, e, status=CRASHED, median_seconds=None))
    comparison = compare(store, FIRST, SECOND)
    assert [each.key for each in comparison.compared] == [b]
    assert [row.key for row in comparison.only_a] == [a]
    assert [row.key for row in comparison.only_b] == [renamed]
    assert [(x.key, x.status, y.status) for x, y in comparison.untimed] == [
        (c, "measured", CRASHED),
        (d, UNSUPPORTED, "measured"),
        (e, CRASHED, CRASHED),
    ]
    assert [y.key for _, y in comparison.broken] == [c]


@pytest.mark.parametrize("change", [{"lane": "fast"}, {"threads": 1}, {"dtype": "float64"}, {"passed": "forward"}])
def test_other_settings_are_never_compared(store: Store, change: Mapping[str, Any]) -> None:
    rng = np.random.default_rng(13)
    measure(store, FIRST, {NATIVE: 0.01}, rng=rng)
    measure(store, SECOND, {replace(NATIVE, **change): 0.01}, rng=rng)
    comparison = compare(store, FIRST, SECOND)
    assert (comparison.compared, comparison.untimed) == ([], [])
    assert (len(comparison.only_a), len(comparison.only_b)) == (1, 1)


def test_what_differs_between_the_machines_is_told(store: Store) -> None:
    rng = np.random.default_rng(14)
    measure(store, FIRST, {NATIVE: 0.01}, rng=rng, machine={"processor": "one", "cores": 2, "governor": "performance"})
    measure(store, SECOND, {NATIVE: 0.01}, rng=rng, machine={"processor": "one", "cores": 4, "gpu": "new"})
    comparison = compare(store, FIRST, SECOND)
    assert comparison.changed_machine == {"cores": (2, 4), "governor": ("performance", None), "gpu": (None, "new")}


def test_texts_that_name_nothing_or_too_much_are_refused(store: Store) -> None:
    rng = np.random.default_rng(15)
    twin = replace(JAX, environment="aaaa99999999")
    measure(store, FIRST, {NATIVE: 0.01}, rng=rng, environments=(TORCH, twin), label="base")
    measure(store, SECOND, {NATIVE: 0.01}, rng=rng)
    for a, b, sentence in (
        ("nothing", SECOND, "'nothing' must name a run, an environment or an implementation; there are the runs 2026"),
        ("", SECOND, "'' must name a run"),
        ("2026", SECOND, "must begin the name of one run alone"),
        ("aaaa", SECOND, "must begin one environment's id alone; there are aaaa00001111, aaaa99999999"),
        ("torch==3", SECOND, "'torch==3' must name a version that was measured; of torch there are 2.13.0+x"),
        ("torch==", SECOND, "must name a version"),
        ("onnx==1", SECOND, "of onnx there are (none)"),
        ("torch/none", "torch/native", "must be an implementation that was measured; there are torch/native"),
        ("torch/native", SECOND, "both must be implementations, or neither"),
        ("base", FIRST, f"two different runs must be given; got the same, {FIRST}, twice"),
        ("torch/native", "last:torch/native", "two different implementations must be given"),
    ):
        with pytest.raises(InputError) as caught:
            compare(store, a, b)
        assert sentence in str(caught.value), (a, b)


def test_a_row_without_times_is_no_ratio(store: Store) -> None:
    def row(run: str, **changes: Any) -> Row:
        return a_row(run, NATIVE, **changes)

    for run in (FIRST, SECOND):
        store.add_run(a_run(run))
        store.put_row(row(run, status=CRASHED, median_seconds=None))
    comparison = compare(store, FIRST, SECOND)
    assert (comparison.compared, len(comparison.untimed), comparison.broken) == ([], 1, [])

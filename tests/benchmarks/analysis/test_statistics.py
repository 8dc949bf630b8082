"""Conclusions from made-up times whose truth is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.analysis.noise import Floors, floors_of
from benchmarks.analysis.statistics import (
    Interval,
    is_bimodal,
    is_drifting,
    is_steady,
    median_interval,
    paired_ratio_interval,
    ratio_interval,
    verdict,
)
from benchmarks.store.records import Block, Key
from tests.benchmarks.made_up import NATIVE, a_block

Samples = dict[tuple[int, int], list[float]]


def session(
    rng: np.random.Generator,
    factor: float = 1.0,
    drift: float = 0.0,
    between_processes: float = 0.01,
    within: float = 0.03,
    processes: int = 3,
    cycles: int = 4,
) -> tuple[Samples, Samples]:
    """Two implementations' samples by process and cycle: b takes ``factor`` times as long as a.

    The machine gets slower by ``drift`` from the first cycle to the last; one call in twenty is disturbed and takes
    half as long again.
    """
    a: Samples = {}
    b: Samples = {}
    for process in range(processes):
        levels = np.exp(rng.normal(0, between_processes, 2)) * [1.0, factor]
        for cycle in range(cycles):
            speed = 1 + drift * (process * cycles + cycle) / (processes * cycles)
            for level, samples in zip(levels, (a, b), strict=True):
                times = level * speed * np.exp(rng.normal(0, within, 4))
                samples[process, cycle] = list(np.where(rng.random(4) < 0.05, 1.5 * times, times))
    return a, b


def by_process(samples: Samples) -> list[list[float]]:
    """The samples of each process in one list."""
    of_process: dict[int, list[float]] = {}
    for (process, _), times in samples.items():
        of_process.setdefault(process, []).extend(times)
    return list(of_process.values())


def floor_of(rng: np.random.Generator, **options: float) -> float:
    """The noise floor of a case with two passes, from their A/A pairs; both twins run in one process."""
    blocks = []
    for passed in ("forward", "forward_backward"):
        twins = session(rng, between_processes=0.0, **options)  # type: ignore[arg-type]
        blocks += aa_blocks(replace(NATIVE, passed=passed), *twins)
    return floors_of(blocks).of_job[NATIVE.job].part


def aa_blocks(key: Key, a: Samples, b: Samples) -> list[Block]:
    """Two halves of an A/A pair as the store has them."""
    return [
        a_block("a run", key, tuple(samples), process=process, cycle=cycle, twin=twin)
        for twin, places in enumerate((a, b))
        for (process, cycle), samples in places.items()
    ]


def verdicts(rng: np.random.Generator, **options: float) -> Counter[str]:
    """What 100 sessions say of b, each with its own noise floor."""
    noise = {name: value for name, value in options.items() if name != "factor"}
    return Counter(
        verdict(paired_ratio_interval(*session(rng, **options)), floor_of(rng, **noise))  # type: ignore[arg-type]
        for _ in range(100)
    )


def test_an_aa_pair_is_called_same_in_95_of_100_sessions() -> None:
    rng = np.random.default_rng(1)
    counts = Counter(
        verdict(paired_ratio_interval(*session(rng, between_processes=0.0)), floor_of(rng)) for _ in range(100)
    )
    assert counts["same"] >= 95
    assert counts["faster"] + counts["slower"] == 0


def test_equal_implementations_in_unequal_processes_are_not_called_faster_or_slower() -> None:
    counts = verdicts(np.random.default_rng(2))
    assert counts["faster"] + counts["slower"] <= 1
    assert counts["same"] >= 90


@pytest.mark.parametrize(("factor", "expected"), [(1.1, "slower"), (1 / 1.1, "faster")])
def test_a_planted_difference_of_10_percent_is_found(factor: float, expected: str) -> None:
    assert verdicts(np.random.default_rng(3), factor=factor)[expected] >= 95


@pytest.mark.parametrize(("factor", "expected"), [(1.0, "same"), (1.1, "slower")])
def test_drift_of_the_machine_does_not_flip_a_verdict(factor: float, expected: str) -> None:
    counts = verdicts(np.random.default_rng(4), factor=factor, drift=0.3)
    assert counts[expected] >= 90
    assert counts["faster"] == 0
    assert counts[expected] + counts["ambiguous"] >= 99, "a floor from two pairs is sometimes too high"


def test_without_pairing_drift_hides_the_difference() -> None:
    """Why blocks are interleaved and paired: the same samples, compared as two piles, say nothing."""
    rng = np.random.default_rng(5)
    counts: Counter[str] = Counter()
    for _ in range(50):
        a, b = session(rng, factor=1.1, drift=0.3)
        counts[verdict(ratio_interval(by_process(a), by_process(b)), 0.02)] += 1
    assert counts["ambiguous"] >= 45


def test_intervals_of_the_median_cover_it_but_few_processes_make_them_short() -> None:
    """With 10 processes 95 of 100 intervals should hold the true median, with 3 the bootstrap knows too little."""
    covered = {}
    for processes in (3, 10):
        rng = np.random.default_rng(6)
        hits = 0
        for _ in range(200):
            a, _ = session(rng, processes=processes)
            interval = median_interval(by_process(a))
            hits += interval.low <= 1.0 <= interval.high
        covered[processes] = hits / 200
    assert covered[10] >= 0.85
    assert 0.65 <= covered[3] < covered[10] + 0.1


def test_an_interval_is_wider_when_processes_differ() -> None:
    rng = np.random.default_rng(7)
    same = [list(rng.normal(1, 0.01, 30)) for _ in range(5)]
    different = [
        [value * level for value in group] for group, level in zip(same, (1, 1.1, 0.9, 1.05, 0.95), strict=True)
    ]
    assert median_interval(different).half_width > 3 * median_interval(same).half_width


def test_an_interval_surrounds_its_median() -> None:
    interval = median_interval([[1.0, 2.0, 3.0], [2.0]])
    assert interval.low <= interval.median == 2.0 <= interval.high


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.04, 1.10, "slower"),
        (1.01, 1.10, "ambiguous"),
        (0.80, 0.90, "faster"),
        (0.97, 1.03, "same"),
        (0.97, 1.20, "ambiguous"),
    ],
)
def test_a_verdict_needs_to_clear_the_noise_floor(low: float, high: float, expected: str) -> None:
    assert verdict(Interval((low + high) / 2, low, high), floor=0.02) == expected


def test_bimodal_times_are_flagged_and_others_hardly_ever() -> None:
    rng = np.random.default_rng(8)

    def flagged(draw: np.ndarray) -> int:
        return sum(is_bimodal(samples) for samples in draw)

    noise = np.exp(rng.normal(0, 0.02, (200, 60)))
    assert flagged(np.where(rng.random((200, 60)) < 0.4, 1.2, 1.0) * noise) >= 195
    assert flagged(noise) == 0
    assert flagged(1 + rng.exponential(0.1, (200, 60))) <= 6
    assert flagged(np.where(rng.random((200, 60)) < 0.05, 1.5, 1.0) * noise) <= 2


def test_steady_and_drifting() -> None:
    rng = np.random.default_rng(9)
    compiling = [5.0, 1.5, 1.2]
    flat = list(rng.normal(1, 0.01, 12))
    assert not is_steady(compiling)
    assert is_steady(compiling + flat)
    assert not is_drifting(flat)
    assert is_drifting([1.05**i for i in range(12)])
    assert is_drifting([1.05**-i for i in range(12)])


def test_no_samples_are_an_error_and_no_pairs_no_floor() -> None:
    with pytest.raises(ValueError, match="there must be samples"):
        median_interval([[], []])
    with pytest.raises(ValueError, match="cycle in common"):
        paired_ratio_interval({(0, 0): [1.0]}, {(1, 0): [1.0]})
    assert floors_of([]) == Floors()

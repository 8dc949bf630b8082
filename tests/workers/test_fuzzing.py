"""The fuzzer finds what small cases miss, makes it small, and shares its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from backends.pool.pool import Pool
from backends.pool.selection import select
from backends.studies.fuzzing import BATCH, MOST_FAILURES, Fuzzer, fair_slice
from backends.studies.upstream.script import no_script
from common.cases.fuzzed import COTANGENTS, LENGTHS, MAGNITUDES, MOST_FLOPS, STATES, Draw, case_of, draws
from common.judging.yardstick import yardstick
from tests.numpy_loop.birnn_numpy_loop import BACKEND as NUMPY
from tests.workers.misbehaving import BACKEND

SIMPLEST = Draw("rnn_tanh", 1, 1, 0, 2, 1, True, "concat", 1, 1, "none", "usual", "given", "all", "float32", 0)


def fuzzed(
    patterns: list[str], batches: int, seed: int = 0, batch: int = BATCH, slice_seconds: float | None = None
) -> Fuzzer:
    """The fuzzer after so many batches for each implementation."""
    with Pool.open() as pool:
        options = {"seed": seed, "deadline": None, "timeout_seconds": 10.0, "batches": batches, "batch": batch}
        options["slice_seconds"] = slice_seconds
        fuzzer = Fuzzer(pool, select(pool, patterns), ["float32"], "cpu", report=lambda _: None, **options)  # type: ignore[arg-type]
        fuzzer.run(2)
    return fuzzer


@pytest.fixture(autouse=True)
def _register(registered: Callable[..., None]) -> None:
    registered(BACKEND, NUMPY)


def test_a_mistake_past_the_small_sizes_is_found_and_made_as_small_as_it_gets() -> None:
    fuzzer = fuzzed(["misbehaving/wrong-when-wide", "numpy"], 1, batch=20)
    assert {failure.implementation for failure in fuzzer.failures} == {"misbehaving/wrong-when-wide"}
    for failure in fuzzer.failures:
        assert failure.outcome.status == "disagrees"
        assert (failure.draw.hidden_size, failure.draw.batch) == (16, 2)
        assert (failure.draw.input_size, failure.draw.num_layers, failure.draw.reverse) == (1, 1, 0)
        assert failure.draw.spec() == failure.case.spec
    assert fuzzer.covered["numpy/loop"].judged > 15


def test_a_run_is_repeated_from_its_seed_and_another_seed_draws_others() -> None:
    first, second, other = (fuzzed(["numpy"], 1, seed, 3).covered["numpy/loop"] for seed in (3, 3, 4))
    assert (first.cases, first.shapes, first.cells) == (second.cases, second.shapes, second.cells)
    assert first.shapes != other.shapes


@pytest.mark.usefixtures("hypothesis_folder")
@pytest.mark.parametrize("directions", [(1,), (2,), (1, 2)])
def test_what_is_drawn_has_as_many_directions_as_were_asked_for(directions: tuple[int, ...]) -> None:
    from hypothesis import HealthCheck, given, settings

    drawn: set[Draw] = set()

    @settings(max_examples=30, database=None, derandomize=True, suppress_health_check=[HealthCheck.filter_too_much])
    @given(draws(["float32"], directions=directions))
    def run(draw: Draw) -> None:
        drawn.add(draw)

    run()
    assert {draw.spec().num_directions for draw in drawn} == set(directions)
    assert all(case_of(draw).spec.merge is None for draw in drawn if draw.directions == 1)


def test_what_crashes_is_a_failure_and_ends_nothing_else() -> None:
    fuzzer = fuzzed(["misbehaving/segfaults", "numpy"], 2 * MOST_FAILURES, batch=3)
    crashes = [failure for failure in fuzzer.failures if failure.implementation == "misbehaving/segfaults"]
    assert len(crashes) == 1, "all are the same one"
    assert fuzzer.covered["misbehaving/segfaults"].batches == MOST_FAILURES, "it is left alone then"
    assert {failure.outcome.status for failure in crashes} == {"crashed"}, [each.outcome for each in crashes]
    assert fuzzer.covered["numpy/loop"].batches == 2 * MOST_FAILURES


def test_the_next_batch_is_of_whoever_had_least_time() -> None:
    with Pool.open() as pool:
        selection = select(pool, ["numpy", "misbehaving/well"])
        options = {"seed": 0, "deadline": None, "timeout_seconds": 10.0}
        fuzzer = Fuzzer(pool, selection, ["float32"], "cpu", report=lambda _: None, **options)  # type: ignore[arg-type]
        fuzzer.covered["numpy/loop"].seconds = 5.0
        chosen = [fuzzer._choose(), fuzzer._choose(), fuzzer._choose()]
    names = [None if each is None else each.implementation for each in chosen]
    assert names == ["misbehaving/well", "numpy/loop", None], "a framework is at one batch at most"


def test_a_batch_that_takes_more_than_its_slice_ends_after_a_case() -> None:
    """What compiles for seconds leaves time for the others; its draws are the first of those that it would have had."""
    whole, cut = (fuzzed(["numpy"], 2, 3, 3, slice_seconds).covered["numpy/loop"] for slice_seconds in (None, 0.0))
    assert cut.cases == cut.batches == 2
    assert whole.cases > 4
    assert cut.shapes <= whole.shapes
    assert fair_slice(60.0, 2, 16) == 3.75


@pytest.mark.parametrize(
    ("field", "values"),
    [("lengths", LENGTHS), ("magnitude", MAGNITUDES), ("states", STATES), ("cotangents", COTANGENTS)],
)
def test_every_word_of_a_draw_gives_another_case_that_can_be_judged(field: str, values: tuple[str, ...]) -> None:
    base = replace(SIMPLEST, cell="lstm", input_size=3, hidden_size=5, batch=4, seq_len=7, seed=1)
    cases = [case_of(replace(base, **{field: value})) for value in values]  # type: ignore[arg-type]
    assert len({replace(case, source="").sha256() for case in cases}) == len(values)
    for case in cases:
        assert all(np.isfinite(value).all() for value in yardstick(case, "float32").truth.values())


def test_what_is_too_large_or_no_specification_is_not_drawn() -> None:
    assert SIMPLEST.fits()
    assert not replace(SIMPLEST, hidden_size=129, input_size=129, batch=129, seq_len=130).fits()
    assert not replace(SIMPLEST, reverse=5, merge="sum").fits()
    assert MOST_FLOPS < 1e9


def test_what_is_no_layer_of_a_framework_gets_no_script_and_says_why() -> None:
    """Those of the frameworks' own layers are run in tests/frameworks/test_upstream_scripts.py."""
    assert no_script("torch/native", SIMPLEST, "cpu") is None
    for implementation in ("torch/manual", "jax/scratch", "tensorflow/tuned", "numpy/layer"):
        assert no_script(implementation, SIMPLEST, "cpu") == (
            f"no script of a framework alone: {implementation} is code around it; the case file serves"
        )
    summed, learned = (replace(SIMPLEST, merge=merge) for merge in ("sum", "weighted"))
    assert no_script("tensorflow/native", summed, "cpu") is None
    assert no_script("mxnet/native", replace(summed, directions=1), "cpu") is None, "one direction merges nothing"
    for framework, draw in (("torch", summed), ("mxnet", summed), ("tensorflow", learned)):
        assert no_script(f"{framework}/native", draw, "cpu") == (
            f"no script of {framework} alone: merge {draw.merge} is code around its layer; the case file serves"
        )
    assert no_script("jax/native-nnx", SIMPLEST, "gpu") == (
        "no script of jax alone: one is written for the CPU; the case file serves"
    )

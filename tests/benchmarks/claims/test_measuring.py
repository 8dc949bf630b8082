"""Claims are measured part by part, and what was interrupted goes on; what was not measured never holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from birnn_numpy_loop import BACKEND

from backends.interface.gaps import UNSUPPORTED
from backends.pool.pool import NoAnswer, Pool, WorkerDied
from backends.worker.messages import NotDone
from benchmarks.claims.claim import FAILS, HOLDS, NOT_MEASURED, Claim, Part, Point, Rule
from benchmarks.claims.ledger import entries
from benchmarks.claims.measuring import Order, Told, measure
from benchmarks.claims.record import read_measurement, results_file, unfinished_file, verdict_of, write_measurement
from benchmarks.claims.statements.padding import LENGTHS, by_two_forward_passes, error_of, mistake_of, small_case
from benchmarks.claims.workshop import Workshop
from tests.registered import register

Measure = Callable[[Workshop], list[Point]]


def a_claim(*measures: Measure) -> Claim:
    """A claim that a number is above 1, with a part for each function."""
    parts = [Part(f"part {number}", "numpy", each) for number, each in enumerate(measures)]
    return Claim("made-up", __name__, "It is.", "nowhere", "Nothing.", Rule("size", "the size", "above", 1.0), parts)


def gives(value: float) -> Measure:
    return lambda workshop: [Point(where={"framework": "numpy"}, numbers={"size": value})]


def raises(error: BaseException) -> Measure:
    def measure(workshop: Workshop) -> list[Point]:
        raise error

    return measure


def no_answer(status: str) -> NoAnswer:
    return NoAnswer(NotDone(status, "the reason"))


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def told(notes: list[str], monkeypatch: pytest.MonkeyPatch) -> Told:
    register(monkeypatch, BACKEND)
    return Told(lambda *_: None, notes.append)


def order(folder: Path, *, again: bool = False) -> Order:
    return Order(folder, again, (), 60.0)


def test_what_was_interrupted_goes_on_and_nothing_is_measured_twice(
    tmp_path: Path, told: Told, notes: list[str]
) -> None:
    claim = a_claim(gives(2.0), raises(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        measure(claim, order(tmp_path), told)
    assert unfinished_file(tmp_path, claim).exists()
    assert entries([claim], tmp_path)[0].verdict.word == NOT_MEASURED
    claim = a_claim(raises(AssertionError("measured again")), gives(3.0))
    measurement = measure(claim, order(tmp_path), told)
    assert measurement is not None
    assert [point.numbers["size"] for point in measurement.points] == [2.0, 3.0]
    assert not unfinished_file(tmp_path, claim).exists()
    assert entries([claim], tmp_path)[0].verdict.word == HOLDS
    assert measure(a_claim(*[raises(AssertionError("measured again"))] * 2), order(tmp_path), told) == measurement
    assert "--again measures it anew" in notes[-1]
    anew = measure(a_claim(gives(0.0), gives(0.0)), order(tmp_path, again=True), told)
    assert verdict_of(claim, anew).word == FAILS


def test_parts_of_other_versions_are_measured_again(tmp_path: Path, told: Told) -> None:
    claim = a_claim(gives(2.0), raises(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        measure(claim, order(tmp_path), told)
    file = unfinished_file(tmp_path, claim)
    torn = read_measurement(file)
    assert torn is not None
    torn.versions["numpy"]["numpy"] = "1.0"
    write_measurement(file, torn)
    measurement = measure(a_claim(gives(4.0), gives(5.0)), order(tmp_path), told)
    assert measurement is not None
    assert [point.numbers["size"] for point in measurement.points] == [4.0, 5.0]


def test_a_part_that_fails_leaves_the_claim_unmeasured(tmp_path: Path, told: Told, notes: list[str]) -> None:
    claim = a_claim(gives(2.0), raises(no_answer(WorkerDied.status)))
    assert measure(claim, order(tmp_path), told) is None
    assert notes[-1] == "made-up, part 1: crashed: the reason"
    assert read_measurement(results_file(tmp_path, claim)) is None
    assert entries([claim], tmp_path)[0].verdict.word == NOT_MEASURED


def test_what_a_framework_declines_is_left_out_with_the_reason(tmp_path: Path, told: Told) -> None:
    claim = a_claim(gives(2.0), raises(no_answer(UNSUPPORTED)))
    measurement = measure(claim, order(tmp_path), told)
    assert measurement is not None
    assert measurement.left_out == {"part 1": "the reason"}
    assert verdict_of(claim, measurement).word == HOLDS
    assert verdict_of(a_claim(gives(2.0), gives(2.0), gives(2.0)), measurement).word == NOT_MEASURED, (
        "a part is missing"
    )


def test_a_claim_of_which_nothing_can_be_measured_says_why(tmp_path: Path, told: Told, notes: list[str]) -> None:
    claim = a_claim(raises(no_answer(UNSUPPORTED)))
    assert measure(claim, order(tmp_path), told) is None
    assert notes[-1] == "made-up: no part of it can be measured here: the reason"


@pytest.fixture
def workshop(told: Told) -> Iterator[Workshop]:
    with Pool.open() as pool:
        yield Workshop(pool, 60.0)


def test_the_flipped_batch_is_named_and_each_row_flipped_by_its_length_is_right(workshop: Workshop) -> None:
    ragged, full = small_case("gru", LENGTHS), small_case("gru", None)
    along_time = by_two_forward_passes(workshop, "numpy/loop", ragged, axis=1)
    assert error_of(ragged, along_time) > 0.1
    assert mistake_of(ragged, along_time) == "flipped over the padding"
    along_batch = by_two_forward_passes(workshop, "numpy/loop", full, axis=0)
    assert error_of(full, along_batch) > 0.1
    right = by_two_forward_passes(workshop, "numpy/loop", full, axis=1)
    assert (error_of(full, right) < 1e-12, mistake_of(full, right)) == (True, "right")
    assert np.array_equal(right["output"], workshop.run("numpy/loop", full)["output"])

"""What is told of int8: answers of a trained model in three ways, errors by step, kernels beside float32, and files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from birnn_numpy_loop import BACKEND as NUMPY

from backends.pool.pool import Pool
from backends.worker.int8 import in_turn
from benchmarks.claims.workshop import Workshop
from benchmarks.machine import description
from benchmarks.maintain.int8 import __main__ as command
from benchmarks.maintain.int8 import page
from benchmarks.maintain.int8.answers import answered
from benchmarks.maintain.int8.growth import growth_of
from benchmarks.maintain.int8.record import DYNAMIC, KERNELS, TRAINED, Declined, Measured, Timed
from benchmarks.maintain.int8.times import Shape, away, times_of
from tests.registered import register

MARKED = "".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in ("answers", "growth", "times"))


@pytest.fixture
def workshop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    register(monkeypatch, NUMPY)
    with Pool.open() as pool:
        yield Workshop(pool, 60.0)


def test_a_model_answers_in_three_ways(workshop: Workshop) -> None:
    ways = list(answered(workshop, "numpy/loop", "pipeline", 0, epochs=1, limit=64))
    assert [each.way for each in ways] == [TRAINED, KERNELS, DYNAMIC]
    assert [each.same == 1 for each in ways] == [True, False, False]
    assert all(0.9 < each.same <= 1 and abs(each.accuracy - ways[0].accuracy) < 0.05 for each in ways)
    assert {(each.float32_bytes, each.int8_bytes) for each in ways} == {(5220, 2180)}
    table = page.answers_table(ways)
    assert "| pipeline | kernels alone | 2,180 | 2.39 |" in table


def test_an_error_is_measured_after_each_step() -> None:
    kernels, dynamic = growth_of("gru", 1.0, steps=7)
    assert kernels.steps == dynamic.steps == [1, 2, 3, 5, 7]
    assert all(1e-4 < one < other < 0.02 for one, other in zip(kernels.errors, dynamic.errors, strict=True))
    assert all(one < most for one, most in zip(kernels.errors, kernels.largest, strict=True))
    (only,) = {len(line.split("|")) for line in page.growth_table([kernels, dynamic]).splitlines()}
    assert only == 9
    assert page.picture([dynamic]).startswith(b"<?xml")


def test_what_has_no_kernels_is_declined_and_a_wrong_output_is_seen(workshop: Workshop) -> None:
    declined = times_of(workshop, "numpy", "gru", Shape(2, 3, 4), "loop", rounds=1, seconds=0.0)
    assert declined == Declined(framework="numpy", cell="gru", reason="numpy has no int8 kernels of recurrent layers")
    exact = np.ones((2, 3))
    assert away(exact * 1.25, exact) == pytest.approx(0.25)
    assert away(exact[:, :2], exact) == float("inf")


def test_kernels_are_timed_in_turn_and_their_first_block_is_not_counted() -> None:
    called: list[str] = []
    calls: dict[str, Callable[[], None]] = {name: partial(called.append, name) for name in "abc"}
    taken = in_turn(calls, rounds=4, seconds=0.0)
    assert {name: len(each) for name, each in taken.items()} == {"a": 4, "b": 4, "c": 4}
    rounds = ["".join(called[start : start + 3]) for start in range(0, 15, 3)]
    assert {"".join(sorted(each)) for each in rounds} == {"abc"}
    assert len(set(rounds)) > 1


def test_a_row_names_the_kernel_and_what_the_cpu_has() -> None:
    row = Timed(
        framework="torch",
        kernel="quantize_dynamic, a scale a row",
        cell="lstm",
        batch=1,
        steps=50,
        units=128,
        rounds=3,
        threads=1,
        float_seconds=0.003,
        seconds=0.0015,
        float_error=1e-7,
        error=0.0123,
        path="",
        instructions=["avx2", "avx512_vnni"],
        others_cpu=0.0,
    )
    last = page.times_table([row]).splitlines()[-1]
    assert last == (
        "| torch | quantize_dynamic, a scale a row | lstm | 1 × 50 × 128 | 3 | 1.5 | 2.00 | 1.23% | avx2, avx512_vnni |"
    )
    assert set(description.int8_instructions()) <= set(description.INT8_FLAGS)


def test_a_page_is_written_anew_from_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "PARTS", command.PARTS[:1])
    file, to = tmp_path / "int8.json", tmp_path / "int8.md"
    to.write_text(MARKED)
    measured = Measured()
    command.measure_growth(measured, file)
    written = file.read_bytes()
    command.measure_growth(measured, file)
    assert file.read_bytes() == written
    command.main(file=file, to=to, implementation="torch/manual", seeds=1, rounds=1, timeout=1.0)
    text = to.read_text()
    assert "times what it was after the first" in text
    assert "`python -m benchmarks.maintain.int8 --times`, on an idle machine" in text
    assert to.with_suffix(".svg").exists()

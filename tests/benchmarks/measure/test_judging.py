"""A benchmark's judge: of a large case a few drawn rows, whole with their states; a train step where gradients show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backends.worker.messages import OpenLayer
from benchmarks.cases.case import BenchmarkCase
from benchmarks.measure.case_on_disk import opening
from benchmarks.measure.judging import FEW_ROWS, Judge, judged_rows
from benchmarks.measure.settings import Job
from common.judging.yardstick import yardstick
from common.specification import Specification
from common.training import training_yardstick

SPEC = Specification(cell="lstm", input_size=3, hidden_size=4, num_layers=1, bias=True, merge="concat")
CASE = BenchmarkCase(name="large", spec=SPEC, batch=5, seq_len=4, lengths=(4, 2, 3, 1, 4))


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Judge:
    """A judge to whom a small case is a large one."""
    monkeypatch.setattr("benchmarks.measure.judging.LARGEST_REFERENCE", 0.0)
    return Judge(CASE)


@pytest.mark.usefixtures("large")
def test_the_rows_of_a_large_case_that_are_judged_are_drawn_from_all() -> None:
    drawn = [judged_rows(CASE.model_copy(update={"name": f"large-{number}"})) for number in range(16)]
    assert all(rows is not None and len(set(rows.tolist())) == FEW_ROWS for rows in drawn)
    assert {int(row) for rows in drawn if rows is not None for row in rows} == set(range(CASE.batch))
    again = judged_rows(CASE)
    assert again is not None
    assert again.tolist() == judged_rows(CASE).tolist()  # type: ignore[union-attr]


def test_of_a_large_case_exactly_the_drawn_rows_are_judged_in_every_tensor(large: Judge) -> None:
    """The whole batch's right results agree; one wrong number in a judged row does not, wherever it stands."""
    assert large.rows is not None
    right = yardstick(large.made, "float32").plain
    assert large.judge("forward_backward", "float32", right).agrees
    for name, axis in {"output": 0, "grad.x": 0, "h_n": 1, "c_n": 1, "grad.h_0": 1, "grad.c_0": 1}.items():
        for row in range(CASE.batch):
            wrong = right[name].copy()
            np.moveaxis(wrong, axis, 0)[row].flat[0] += 1.0
            verdict = large.judge("forward_backward", "float32", right | {name: wrong})
            assert verdict.agrees is (row not in large.rows), (name, row)
    assert not large.judge("forward", "float32", right | {"c_n": -right["c_n"]}).agrees


def test_a_train_step_is_judged_at_a_rate_at_which_a_wrong_gradient_shows(tmp_path: Path) -> None:
    judge = Judge(CASE)
    training = replace(judge.training, learning_rate=judge.telling_rate())
    yard = training_yardstick(judge.made, training, "float32")
    before = yard.case.weights["weight_hh_l0"]
    wrong = {"trained.weight_hh_l0": before + 1.01 * (yard.truth["trained.weight_hh_l0"] - before)}
    assert judge.judge("train_step", "float32", yard.plain).agrees
    assert not judge.judge("train_step", "float32", yard.plain | wrong).agrees
    job = Job(CASE, "train_step", "float32", "cpu", "exact", threads=1)
    request = opening(judge, job, "loop", "judged", tmp_path, result=tmp_path / "result")
    assert isinstance(request, OpenLayer)
    assert request.telling_rate == training.learning_rate
    assert request.learning_rate == judge.training.learning_rate
    timed = opening(judge, job, "loop", "timed", tmp_path)
    assert isinstance(timed, OpenLayer)
    assert timed.telling_rate is None

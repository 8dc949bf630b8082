"""Early stopping: which epoch is kept, when a training is over, and what its validation examples are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from common.data.batching import Batching
from common.data.examples import PairExample, SequenceExample
from common.data.vocabulary import UNKNOWN
from common.errors import InputError
from common.models.small_cases import model_cases
from common.tasks.building import build_task
from common.tasks.stopping import best_epoch, is_over
from common.tasks.task import Options, Task

NAN = float("nan")


@pytest.mark.parametrize(
    ("losses", "best", "over"),
    [
        ([], 0, {}),
        ([1.0], 1, {1: False}),
        ([1.0, 0.5, 0.75], 2, {1: True, 2: False}),
        ([1.0, 0.5, 0.75, 0.25], 4, {1: False}),
        ([0.5, 0.5], 1, {1: True, 2: False}),  # no lower one
        ([0.5, NAN, 0.25, NAN], 3, {1: True, 2: False}),
        ([NAN, NAN], 1, {1: True, 2: False}),
    ],
)
def test_the_first_lowest_loss_is_kept_and_patience_counts_from_it(
    losses: list[float], best: int, over: dict[int, bool]
) -> None:
    assert best_epoch(losses) == best
    assert {patience: is_over(losses, patience) for patience in over} == over


def in_bytes(task: Task, part: str) -> list[bytes]:
    return [example.inputs.tobytes() for example in getattr(task, part)]


def test_validation_examples_are_a_tenth_of_those_that_would_be_trained_on() -> None:
    whole, task = (build_task("pipeline", Options(limit=40, validation=each)) for each in (False, True))
    assert (len(task.training), len(task.validation), whole.validation) == (36, 4, ())
    assert sorted(in_bytes(task, "training") + in_bytes(task, "validation")) == sorted(in_bytes(whole, "training"))
    assert in_bytes(task, "held_out") == in_bytes(whole, "held_out")
    again = build_task("pipeline", Options(limit=40, validation=True))
    assert in_bytes(again, "validation") == in_bytes(task, "validation")
    assert in_bytes(replace(whole, seed=1).with_validation(), "validation") != in_bytes(task, "validation")


def test_a_checkpoint_of_other_validation_examples_is_one_of_another_training() -> None:
    task = build_task("pipeline", Options(limit=40, validation=True))
    prints = {each.fingerprint() for each in (task, replace(task, validation=task.validation[1:]), replace(task))}
    assert len(prints) == 2


def test_a_decoder_is_validated_by_the_right_tokens_before_each() -> None:
    """So its loss says how likely it finds the right answers, whatever it would write itself."""
    spec = next(case.spec for case in model_cases() if case.name == "translator")
    pairs = [PairExample(np.array([3, 4]), np.array([5, 6, 2])) for _ in range(4)]
    pipeline = build_task("pipeline", Options(limit=2))
    task = replace(pipeline, spec=spec, training=pairs, held_out=pairs, batching=Batching(2)).with_validation()
    assert [batch["forced"].tolist() for batch in task.validation_batches()] == [[True] * 3]
    assert not any(batch["forced"].any() for batch in task.evaluation())


def test_too_few_examples_to_hold_some_out_are_refused() -> None:
    with pytest.raises(InputError, match="--patience needs two training examples at least, to hold some out; got 1"):
        build_task("pipeline", Options(limit=1, validation=True))
    task = build_task("pipeline", Options(limit=20))
    nowhere = [SequenceExample(each.inputs, np.full(10, UNKNOWN)) for each in task.training]  # type: ignore[union-attr]
    unknown = replace(task, training=nowhere, batching=replace(task.batching, known_alone=True))
    with pytest.raises(InputError, match="--patience needs validation examples with a label that counts; none of 2"):
        unknown.with_validation()

"""Training in workers: every batch, judged by the held-out examples alone, and resumed by its own checkpoint alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.pool.network import RemoteNetwork
from backends.pool.pool import Pool
from backends.pool.selection import select
from backends.studies.training import CHUNK, Course, Learner, Trained, checkpoint_path
from common.data.examples import SequenceExample
from common.errors import InputError
from common.models.optimizers import OptimizerSettings
from common.models.reference import predict, run
from common.models.trace import ReferenceTrainer
from common.tasks.building import build_task
from common.tasks.checkpoint import read_checkpoint, write_checkpoint
from common.tasks.task import Options, Task, right_answers, unlabelled
from tests.common.tasks.data import TAGS, sentences, write_labelled

LOOP = "numpy/loop"
EPOCHS = 6
CHANCE = 1 / len(TAGS)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool.open() as opened:
        yield opened


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Texts that can be known by heart, each by a word of its own; the labels of the held-out ones are random."""
    folder = tmp_path_factory.mktemp("texts")
    files = [write_labelled(folder / f"{seed}", sentences(seed)) for seed in (1, 2)]
    sizes: dict[str, Any] = {"cell": "rnn_tanh", "hidden_size": 6, "embedding_size": 6, "batch_size": 3}
    built = build_task("classifier", Options(data=(files[0], files[1]), **sizes))
    labels = np.random.default_rng(0).integers(len(TAGS), size=len(built.held_out))
    held_out = [replace(each, labels=label) for each, label in zip(built.held_out, labels, strict=True)]
    assert all(isinstance(each, SequenceExample) for each in held_out)
    return replace(built, held_out=held_out)


def a_course(task: Task, **changes: Any) -> Course:
    adam = OptimizerSettings(name="adam", learning_rate=0.03)
    return replace(Course(task, adam, EPOCHS, "float64", "cpu", timeout_seconds=60), **changes)


def learned(pool: Pool, course: Course) -> Trained:
    (trainings,) = Learner(pool, select(pool, [LOOP]), course, lambda trained: None).run()
    assert trainings.status == "trained", trainings.reason
    return trainings


def own_accuracy(task: Task, trainer: ReferenceTrainer) -> float:
    """Of the held-out examples, by the reference."""
    counts = []
    for batch in task.evaluation():
        answer = predict(task.spec, trainer.weights(), unlabelled(batch))["labels"]  # type: ignore[arg-type]
        counts.append(right_answers(task.spec, batch, answer))
    right, number = np.sum(counts, axis=0)
    return float(right / number)


def test_every_batch_is_trained_on_once_and_the_held_out_examples_are_answered(pool: Pool, task: Task) -> None:
    course = a_course(task, epochs=2)
    trained = learned(pool, course)
    trainer = ReferenceTrainer(task.spec, task.weights, course.optimizer)
    assert len(task.epoch(0)) > CHUNK
    steps, accuracies = [], []
    for epoch in range(course.epochs):
        steps += trainer.train(task.epoch(epoch))
        accuracies.append(own_accuracy(task, trainer))
    assert trained.steps == steps
    assert trained.accuracies == accuracies


def test_random_labels_are_answered_by_chance_and_a_leak_is_told(pool: Pool, task: Task) -> None:
    leaking = replace(task, held_out=task.training)
    fair, leaked = (learned(pool, a_course(each)).accuracies[-1] for each in (task, leaking))
    spread = np.sqrt(CHANCE * (1 - CHANCE) / len(task.held_out))
    assert abs(fair - CHANCE) < 4 * spread
    assert leaked > CHANCE + 8 * spread


# Checkpoints.


def test_a_course_goes_on_from_its_own_checkpoint(pool: Pool, task: Task, tmp_path: Path) -> None:
    whole = learned(pool, a_course(task, epochs=2))
    assert learned(pool, a_course(task, epochs=1, out=tmp_path)).resumed == 0
    trained = learned(pool, a_course(task, epochs=2, out=tmp_path))
    assert trained.resumed == 1
    assert (trained.steps, trained.accuracies) == (whole.steps, whole.accuracies)
    assert whole.cpu_seconds
    assert trained.cpu_seconds is None, "that of the first epoch is not known"
    again = learned(pool, a_course(task, epochs=2, out=tmp_path))
    assert again.resumed == 2
    assert (again.steps, again.accuracies) == (whole.steps, whole.accuracies)


def test_a_scheduled_course_goes_on_in_the_middle(pool: Pool, task: Task, tmp_path: Path) -> None:
    cosine = OptimizerSettings(name="momentum", learning_rate=0.1, schedule="cosine", warm_up=0.3)
    few = replace(task, training=task.training[:9], held_out=task.held_out[:6])
    course = a_course(few, epochs=2, optimizer=cosine.over(6))
    whole = learned(pool, course)
    assert len(whole.steps) == 6
    learned(pool, replace(course, epochs=1, out=tmp_path))
    trained = learned(pool, replace(course, out=tmp_path))
    assert (trained.resumed, trained.steps) == (1, whole.steps)
    with pytest.raises(InputError, match="another seed, model, optimizer, dtype or device; name another --out"):
        learned(pool, replace(course, optimizer=cosine.over(9), epochs=3, out=tmp_path))


def own_validation_loss(task: Task, trainer: ReferenceTrainer) -> float:
    """Of all validation labels together, by the reference."""
    total = number = 0.0
    for batch in task.validation_batches():
        labels = batch["counted"].sum()
        total += labels * run(task.spec, trainer.weights(), batch)["loss"]
        number += labels
    return float(total / number)


class EverBetterTwin(Learner):
    """Whose twin would never stop by itself."""

    def _validate(self, trained: Trained, network: RemoteNetwork) -> None:
        super()._validate(trained, network)
        if trained.twin:
            trained.validation_losses[-1] = -float(trained.epochs)


def test_training_stops_by_its_validation_loss_and_keeps_the_best_epoch(pool: Pool, task: Task, tmp_path: Path) -> None:
    """The random labels of the validation examples are soon told worse than at first; interrupted, it stops alike, and
    its twin is trained as long."""
    few = replace(task, training=task.training[:40], held_out=task.held_out[:6]).with_validation()
    assert len(few.training) % few.batching.batch_size == 0
    course = a_course(few, epochs=30, patience=2, twin=LOOP, out=tmp_path / "whole")
    whole, twin = EverBetterTwin(pool, select(pool, [LOOP]), course, lambda trained: None).run()
    trainer = ReferenceTrainer(few.spec, few.weights, course.optimizer)
    losses: list[float] = []
    weights = []
    while len(losses) < 3 or min(losses[-2:]) < min(losses[:-2]):
        trainer.train(few.epoch(len(losses)))
        losses.append(own_validation_loss(few, trainer))
        weights.append(trainer.weights())
    assert 3 <= len(losses) < course.epochs
    np.testing.assert_allclose(whole.validation_losses, losses, rtol=1e-12)
    assert (whole.epochs, whole.best, whole.stopped) == (len(losses), len(losses) - 2, True)
    assert (twin.epochs, len(twin.steps)) == (whole.epochs, len(whole.steps))
    first = replace(course, epochs=whole.best + 1, twin="", out=tmp_path / "parts")
    assert not learned(pool, first).stopped
    again = learned(pool, replace(first, epochs=30))
    assert (again.resumed, again.steps) == (whole.best + 1, whole.steps)
    for out in ("whole", "parts"):
        checkpoint = read_checkpoint(checkpoint_path(replace(course, out=tmp_path / out), LOOP))
        assert checkpoint.header.validation_losses == whole.validation_losses
        assert checkpoint.last is not None
        for kept, expected in ((checkpoint.weights, weights[-3]), (checkpoint.last, weights[-1])):
            assert all(np.array_equal(kept[name], expected[name]) for name in expected)
    assert learned(pool, replace(first, epochs=30)).resumed == whole.epochs
    with pytest.raises(InputError, match="name another --out, or begin anew with --again"):
        learned(pool, replace(first, epochs=30, patience=3))


def of_task(**changes: Any) -> Callable[[Course], Course]:
    return lambda course: replace(course, task=replace(course.task, **changes))


def of_optimizer(**changes: Any) -> Callable[[Course], Course]:
    return lambda course: replace(course, optimizer=course.optimizer.model_copy(update=changes))


OTHER_COURSES: dict[str, Callable[[Course], Course]] = {
    "seed": of_task(seed=1),
    "words": of_task(vocabularies={}),
    "held-out examples": lambda course: of_task(held_out=course.task.held_out[1:])(course),
    "learning rate": of_optimizer(learning_rate=0.02),
    "clipping": of_optimizer(clip_norm=1.0),
    "dtype": lambda course: replace(course, dtype="float32"),
}
OTHER_HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "fingerprint": ({"fingerprint": "0" * 64}, "other data, another seed, model, optimizer, dtype or device"),
    "versions": ({"versions": {"numpy": "0.1"}}, "other versions, {'numpy': '0.1'}"),
    "source": ({"source": "0" * 16}, "another state of the source that computes it"),
    "implementation": ({"implementation": "numpy/other"}, "the implementation 'numpy/other'"),
}


def left_by(pool: Pool, task: Task, out: Path) -> Course:
    """A course of one epoch of two batches, and its checkpoint."""
    course = a_course(replace(task, training=task.training[:6], held_out=task.held_out[:6]), epochs=1, out=out)
    learned(pool, course)
    assert learned(pool, course).resumed == 1
    return course


def assert_not_overwritten_unasked(pool: Pool, course: Course, reason: str) -> None:
    """Refused before anything is trained, and begun anew when asked for."""
    path = checkpoint_path(course, LOOP)
    before = path.read_bytes()
    with pytest.raises(InputError, match=re.escape(f"{path}: ")) as caught:
        learned(pool, course)
    assert reason in str(caught.value)
    assert "name another --out, or begin anew with --again" in str(caught.value)
    assert path.read_bytes() == before
    trained = learned(pool, replace(course, again=True))
    assert (trained.resumed, len(trained.steps), len(trained.accuracies)) == (0, 2, 1)
    assert path.read_bytes() != before


@pytest.mark.parametrize("change", OTHER_COURSES)
def test_a_checkpoint_of_another_course_is_left_alone(pool: Pool, task: Task, tmp_path: Path, change: str) -> None:
    course = OTHER_COURSES[change](left_by(pool, task, tmp_path))
    assert_not_overwritten_unasked(pool, course, "other data, another seed, model, optimizer, dtype or device")


@pytest.mark.parametrize("change", OTHER_HEADERS)
def test_a_checkpoint_that_says_otherwise_is_left_alone(pool: Pool, task: Task, tmp_path: Path, change: str) -> None:
    course = left_by(pool, task, tmp_path)
    changes, reason = OTHER_HEADERS[change]
    path = checkpoint_path(course, LOOP)
    checkpoint = read_checkpoint(path)
    write_checkpoint(replace(checkpoint, header=checkpoint.header.model_copy(update=changes)), path)
    assert_not_overwritten_unasked(pool, course, reason)


def test_a_checkpoint_of_more_epochs_is_not_overwritten_unasked(pool: Pool, task: Task, tmp_path: Path) -> None:
    course = left_by(pool, task, tmp_path)
    assert learned(pool, replace(course, epochs=2)).resumed == 1
    assert_not_overwritten_unasked(pool, course, "it is of 2 epochs, more than 1")


def test_a_torn_checkpoint_is_not_overwritten_unasked(pool: Pool, task: Task, tmp_path: Path) -> None:
    course = left_by(pool, task, tmp_path)
    path = checkpoint_path(course, LOOP)
    path.write_bytes(path.read_bytes()[:-9])
    assert_not_overwritten_unasked(pool, course, "must be a readable safetensors file")

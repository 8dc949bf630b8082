"""Train a task in several implementations at once: the same batches for each, checkpoints, traces."""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backends.pool.network import RemoteNetwork
from backends.pool.pool import NoAnswer, Pool
from backends.pool.schedule import side_by_side
from backends.pool.selection import Selection
from backends.registry import backends
from backends.studies.sources import sources_of
from backends.worker.messages import Answer, NotDone, WorkerRequest
from common.entities.scores import EntityScore
from common.errors import InputError, shown
from common.models.batch import counted
from common.models.optimizers import OptimizerSettings
from common.models.specification import Arrays, model_as_json
from common.models.trace import Step
from common.tasks.checkpoint import Checkpoint, CheckpointHeader, read_checkpoint, version_of, write_checkpoint
from common.tasks.language import cross_entropy, perplexity
from common.tasks.stopping import best_epoch, is_over
from common.tasks.tagging import entity_score
from common.tasks.task import Task, right_answers

CHUNK = 16
"""Steps that a worker is asked for at once: progress is shown, and Ctrl-C heard, in between."""
TRAINED = "trained"
"""The status of a training that came to its end."""


@dataclass(frozen=True)
class Course:
    """How a task is trained.

    ``out`` is the folder of the checkpoints, None for none; ``again`` is to begin anew where a checkpoint of another
    training lies there, which is refused otherwise; ``twin`` names an implementation that is trained a second
    time with one bit of its first input flipped, or is "". ``patience`` is after how many epochs without a lower
    validation loss an implementation stops, by its own losses (``common.tasks.stopping``); None to train them all.
    """

    task: Task
    optimizer: OptimizerSettings
    epochs: int
    dtype: str
    device: str
    timeout_seconds: float
    out: Path | None = None
    again: bool = False
    twin: str = ""
    patience: int | None = None

    def fingerprint(self, implementation: str) -> str:
        """SHA-256 of all that an implementation's trace depends on but for its versions."""
        content: list[Any] = [self.task.fingerprint(), self.optimizer.model_dump(), self.dtype, self.device]
        content += [implementation] if self.patience is None else [implementation, self.patience]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass
class Trained:
    """What became of one implementation: ``status`` is trained, or as in ``backends.studies.cases``; ``steps`` its
    trace; ``accuracies`` on the held-out examples after each epoch, and ``perplexities`` or ``entities`` where the
    task has them; ``validation_losses`` after each epoch where training may stop by them; ``resumed`` how many epochs
    an earlier run had done; ``stopped`` whether it has been at its end before its last one; ``cpu_seconds`` the
    processor time of all steps in the worker, None before the last one and where an earlier run had done some.
    """

    implementation: str
    twin: bool = False
    status: str = TRAINED
    reason: str = ""
    log: str = ""
    steps: list[Step] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    perplexities: list[float] = field(default_factory=list)
    entities: list[EntityScore] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    resumed: int = 0
    stopped: bool = False
    cpu_seconds: float | None = None

    @property
    def name(self) -> str:
        """The implementation, marked when it is the twin."""
        return f"{self.implementation}, one bit flipped" if self.twin else self.implementation

    @property
    def epochs(self) -> int:
        """How many epochs it has been trained."""
        return len(self.accuracies)

    @property
    def best(self) -> int:
        """The epoch, from 1 on, whose weights are kept: that of the lowest validation loss, or the last one."""
        return best_epoch(self.validation_losses) or self.epochs


class _Stopped(Exception):
    """The training was interrupted."""


class Learner:
    """Trains a course; ``report`` is called after each chunk with what has been trained so far, one at a time.

    Raises
    ------
    InputError
        If a checkpoint of another training lies where one of this is to be.
    """

    def __init__(self, pool: Pool, selection: Selection, course: Course, report: Callable[[Trained], None]) -> None:
        self._pool, self._selection, self._course = pool, selection, course
        self._report = report
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._folder = Path(tempfile.mkdtemp(prefix="course-", dir=pool.folder))
        self._note_sources_and_checkpoints()

    def run(self) -> list[Trained]:
        """Train everything, frameworks side by side; Ctrl-C stops the workers and comes through."""
        task = self._course.task
        self._largest = task.largest()
        self._evaluation = task.evaluation()
        self._validation = task.validation_batches() if self._course.patience is not None else []
        self._lengths: dict[str, int] = {}  # how many epochs each implementation was trained
        self._kept: dict[str, Arrays] = {}  # the weights of each implementation's best epoch
        self._epochs = [task.epoch(number) for number in range(self._course.epochs)]
        chosen = self._selection.implementations
        contestants = {name: [Trained(f"{name}/{each}") for each in group] for name, group in chosen.items()}
        for group in contestants.values():
            group += [
                Trained(self._course.twin, twin=True) for each in group if each.implementation == self._course.twin
            ]
        side_by_side(self._pool, [partial(self._train_all, group) for group in contestants.values()], self._stopped)
        return [each for group in contestants.values() for each in group]

    def _train_all(self, group: Sequence[Trained]) -> None:
        """Train one framework's implementations, one after another."""
        for trained in group:
            try:
                self._train(trained)
            except _Stopped:
                return
            except NoAnswer as error:
                if self._stopped.is_set():
                    return
                reply = error.reply
                trained.status, trained.reason, trained.log = reply.status, reply.reason, reply.log
            with self._lock:
                self._report(trained)

    def _train(self, trained: Trained) -> None:
        """One implementation, from its checkpoint on where there is one that fits."""
        checkpoint = None if trained.twin else self._checkpoints.get(trained.implementation)
        course = self._course
        network = self._network(trained)
        weights, state = course.task.weights, None
        if checkpoint is not None:
            weights, state = checkpoint.last or checkpoint.weights, checkpoint.state
            self._kept[trained.implementation] = checkpoint.weights
            trained.steps = [Step(*step) for step in checkpoint.header.trace]
            trained.accuracies = list(checkpoint.header.accuracies)
            trained.perplexities = list(checkpoint.header.perplexities)
            trained.entities = [EntityScore(*each) for each in checkpoint.header.entities]
            trained.validation_losses = list(checkpoint.header.validation_losses)
            trained.resumed = checkpoint.header.epoch
        elif trained.twin and "embedding" in course.task.spec.first_input:
            weights = flip_one_bit(course.task, course.dtype)[0]
        name = trained.implementation.partition("/")[2]
        network.open(
            course.task.spec, name, course.dtype, course.device, weights, self._largest, course.optimizer, state
        )
        while not self._is_over(trained):
            self._one_epoch(trained, network, trained.epochs)
            self._validate(trained, network)
            self._evaluate(trained, network)
            if course.out is not None and not trained.twin:
                self._save(trained, network)
        if not trained.twin:
            self._lengths[trained.implementation] = trained.epochs
        trained.stopped = trained.epochs < course.epochs
        trained.cpu_seconds = None if trained.resumed else network.cpu_seconds
        network.close()

    def _is_over(self, trained: Trained) -> bool:
        """Whether a training is at its end. The twin's is as long as that of what it is the twin of, which comes before
        it: its trace is what the others' are judged by.
        """
        if trained.twin and trained.implementation in self._lengths:
            return trained.epochs >= self._lengths[trained.implementation]
        patience = self._course.patience
        stopped = patience is not None and is_over(trained.validation_losses, patience)
        return stopped or trained.epochs >= self._course.epochs

    def _network(self, trained: Trained) -> RemoteNetwork:
        """The model in its framework's worker, in which Ctrl-C ends every question."""
        backend = backends()[trained.implementation.partition("/")[0]]

        def ask(request: WorkerRequest[Answer], /) -> Answer | NotDone:
            if self._stopped.is_set():
                raise _Stopped
            return self._pool.ask(backend, request, self._course.timeout_seconds)

        def file(name: str) -> Path:
            return self._folder / f"{name}-{_file_name(trained)}"

        return RemoteNetwork(trained.name, ask, partial(self._pool.distrust, backend), file)

    def _one_epoch(self, trained: Trained, network: RemoteNetwork, epoch: int) -> None:
        """Train on the batches of one epoch; the twin's first has one bit flipped where no embedding has."""
        batches = self._epochs[epoch]
        if trained.twin and epoch == 0 and "embedding" not in self._course.task.spec.first_input:
            batches = [flip_one_bit(self._course.task, self._course.dtype)[1], *batches[1:]]
        for start in range(0, len(batches), CHUNK):
            trained.steps += network.train(batches[start : start + CHUNK])
            with self._lock:
                self._report(trained)

    def _evaluate(self, trained: Trained, network: RemoteNetwork) -> None:
        """Note the share of right answers on the held-out examples, as a user would get them, and the perplexity or the
        entities.
        """
        task = self._course.task
        asked = [task.asked(batch) for batch in self._evaluation]
        name = task.spec.answer
        answers = network.answers(task.spec.question, asked, task.max_steps() if name == "tokens" else None)
        pairs = list(zip(self._evaluation, answers, strict=True))
        try:
            counts = [right_answers(task.spec, batch, answer[name]) for batch, answer in pairs]
            nats = [cross_entropy(batch, answer["logits"]) for batch, answer in pairs if task.has_perplexity]
            scores = [entity_score(task.label_names, batch, answer[name]) for batch, answer in pairs if task.scheme]
        except (InputError, ValueError, KeyError, IndexError) as error:
            raise NoAnswer(network.distrust(f"its answers must be {name} for each batch; got: {error}")) from None
        right, count = (sum(numbers) for numbers in zip(*counts, strict=True))
        trained.accuracies.append(right / max(count, 1))
        if task.has_perplexity:
            trained.perplexities.append(perplexity(sum(nats), count))
        if task.scheme is not None:
            trained.entities.append(sum(scores, EntityScore()))

    def _validate(self, trained: Trained, network: RemoteNetwork) -> None:
        """Note the loss on the validation examples, of all their counted positions together."""
        if not self._validation:
            return
        numbers = [int(counted(self._course.task.spec, batch).sum()) for batch in self._validation]
        answers = network.answers("loss", self._validation)
        try:
            losses = [float(answer["loss"]) for answer in answers]
        except (TypeError, KeyError) as error:
            raise NoAnswer(network.distrust(f"its answers must be a loss for each batch; got: {error}")) from None
        trained.validation_losses.append(float(np.average(losses, weights=numbers)))

    def _save(self, trained: Trained, network: RemoteNetwork) -> None:
        """Write a checkpoint of the epochs so far, with the weights of the best of them."""
        weights, state = network.save()
        task = self._course.task
        if trained.best == trained.epochs:
            self._kept[trained.implementation] = weights
        last = None if trained.best == trained.epochs else weights
        entities = [astuple(each) for each in trained.entities]
        header = CheckpointHeader(
            version=version_of(task.spec, task.name, entities, trained.validation_losses),
            task=task.name,
            model=model_as_json(task.spec),
            vocabularies=task.vocabularies,
            fingerprint=self._course.fingerprint(trained.implementation),
            implementation=trained.implementation,
            dtype=self._course.dtype,
            versions=self._versions(trained.implementation),
            source=self._sources[trained.implementation],
            epoch=trained.epochs,
            trace=[(step.loss, step.accuracy, step.gradient_norm) for step in trained.steps],
            accuracies=trained.accuracies,
            perplexities=trained.perplexities,
            entities=entities,
            validation_losses=trained.validation_losses,
        )
        try:
            checkpoint = Checkpoint(header, task.spec, self._kept[trained.implementation], state, last)
        except InputError as error:
            raise NoAnswer(network.distrust(str(error))) from None
        write_checkpoint(checkpoint, checkpoint_path(self._course, trained.implementation))

    def _note_sources_and_checkpoints(self) -> None:
        """What computes each implementation, and the checkpoints that this course has left for them."""
        self._sources: dict[str, str] = {}
        self._checkpoints: dict[str, Checkpoint] = {}
        if self._course.out is None:
            return
        self._sources = sources_of(self._selection)
        for name in self._sources:
            path = checkpoint_path(self._course, name)
            if not path.exists():
                continue
            try:
                checkpoint = read_checkpoint(path)
                if other := self._is_of_another(checkpoint, name):
                    raise InputError(f"{path}: must be a checkpoint of this training; it is of {other}")
            except InputError as error:
                if not self._course.again:
                    raise InputError(f"{error}; name another --out, or begin anew with --again") from None
            else:
                self._checkpoints[name] = checkpoint

    def _is_of_another(self, checkpoint: Checkpoint, implementation: str) -> str:
        """What a checkpoint is of that this course is not, or "" where it can be gone on from."""
        header, rnn = checkpoint.header, checkpoint.spec.recurrent
        if header.task != self._course.task.name:
            return f"the task {shown(header.task)}"
        if header.implementation != implementation:
            return f"the implementation {shown(header.implementation)}"
        if rnn.num_directions != (asked := self._course.task.spec.recurrent.num_directions):
            return f"a model with num_directions {rnn.num_directions}, not {asked}"
        if header.fingerprint != self._course.fingerprint(implementation):
            return "other data, another seed, model, optimizer, dtype or device"
        if header.versions != self._versions(implementation):
            return f"other versions, {shown(header.versions)}"
        if header.source != self._sources[implementation]:
            return "another state of the source that computes it"
        if header.best < header.epoch and checkpoint.last is None:
            return "a training whose last weights it does not hold"
        if header.epoch > self._course.epochs:
            return f"{header.epoch} epochs, more than {self._course.epochs}"
        return ""

    def _versions(self, implementation: str) -> dict[str, str]:
        """The versions of an implementation's framework."""
        return self._selection.descriptions[implementation.partition("/")[0]].versions


def checkpoint_path(course: Course, implementation: str) -> Path:
    """Where an implementation's checkpoint lies: ``out/framework-name.safetensors``."""
    assert course.out is not None
    return course.out / f"{implementation.replace('/', '-')}.safetensors"


def flip_one_bit(task: Task, dtype: str) -> tuple[Arrays, Arrays]:
    """The first weights and the first batch with the last bit of one number of the input flipped: of the largest
    feature of the first row (a 0 would hardly count), or, for a model of tokens, of the largest number of the first
    token's embedding.
    """
    batch, weights = dict(task.epoch(0)[0]), dict(task.weights)
    name = task.spec.first_input
    if name == "x":
        step, feature = np.unravel_index(np.abs(batch["x"][0]).argmax(), batch["x"].shape[1:])
        batch["x"] = _flipped(batch["x"], (0, int(step), int(feature)), dtype)
    else:
        row = int(batch["tokens"][0, 0])
        weights[name] = _flipped(weights[name], (row, int(np.abs(weights[name][row]).argmax())), dtype)
    return weights, batch


def _flipped(array: np.ndarray, index: tuple[int, ...], dtype: str) -> np.ndarray:
    """The array with the last bit of one element flipped."""
    flipped = array.copy()
    narrow = np.dtype(dtype if dtype in ("float32", "float64") else "float32").type
    flipped[index] = np.nextafter(narrow(array[index]), narrow(np.inf))
    return flipped


def _file_name(trained: Trained) -> str:
    """The implementation's name as a part of a file's."""
    return f"{trained.implementation.replace('/', '-')}{'-twin' if trained.twin else ''}"

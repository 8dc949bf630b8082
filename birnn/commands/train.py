"""What ``birnn train`` does: build the task, train with progress, print the table, write trace and picture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import numpy as np
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from backends.interface.gaps import DECLINED, DEVICES
from backends.studies.training import TRAINED, Course, Learner, Trained
from birnn import exit_codes
from birnn.commands.workers import workers
from birnn.display import close_table, print_fitting, progress, say_written, stderr, stdout
from birnn.options import alone_in, one_of, writable_folder
from common.data.text import TOKEN_UNITS
from common.errors import from_validation
from common.models.optimizers import OptimizerSettings, ScheduleName
from common.specification import CELLS, MERGES
from common.tasks.building import build_task
from common.tasks.parting import TOO_FAST, Parting, compare, compare_stopped, gaps
from common.tasks.task import NAMES, Options, Task
from common.tensorfile import write_bytes

WIDE = ("float32", "float64")
"""The dtypes that models are trained in."""
HEADS = ("softmax", "crf")
"""What turns a tagger's logits into labels."""
DECODERS = ("gru", "bidirectional")
"""What a decoder may be."""
MOST_EPOCHS_SHOWN = (8, 5, 3)
"""How many epochs a table shows, from the widest form to the narrowest."""


@dataclass(frozen=True)
class Chosen:
    """The options of ``birnn train`` that are not the task's; ``changes`` of the optimizer, None where not given."""

    patterns: Sequence[str]
    epochs: int | None
    changes: dict[str, Any]
    dtype: str
    device: str
    out: Path | None
    threads: int
    timeout_seconds: float
    again: bool = False
    patience: int | None = None


def train(name: str, options: Options, chosen: Chosen) -> int:
    """Train, and print what came of it; the exit code."""
    task = _checked_task(name, options, chosen)
    optimizer = _optimizer(task, chosen.changes)
    if chosen.out is None:
        return _train(task, optimizer, chosen)
    with alone_in("--out", writable_folder("--out", chosen.out)):
        return _train(task, optimizer, chosen)


def _train(task: Task, optimizer: OptimizerSettings, chosen: Chosen) -> int:
    """Train and print; the exit code."""
    notes = stderr()
    interrupted = False
    with workers(chosen.patterns, chosen.threads) as (pool, selection):
        every = [f"{framework}/{each}" for framework, group in selection.implementations.items() for each in group]
        if not every:
            return exit_codes.decide(wrong=False, broken=bool(selection.broken), checked=False)
        epochs = chosen.epochs or task.epochs
        steps = len(task.epoch(0)) * epochs
        course = Course(
            task=task,
            optimizer=optimizer.over(steps),
            epochs=epochs,
            dtype=chosen.dtype,
            device=chosen.device,
            timeout_seconds=chosen.timeout_seconds,
            out=chosen.out,
            again=chosen.again,
            twin=every[0],
            patience=chosen.patience,
        )
        bar = progress()
        bars = {each: bar.add_task(each, total=steps) for each in every}

        def report(trained: Trained) -> None:
            if not trained.twin:
                done = len(trained.steps)
                bar.update(bars[trained.implementation], completed=done, total=done if trained.stopped else steps)

        learner = Learner(pool, selection, course, report)
        with bar:
            try:
                trainings = learner.run()
            except KeyboardInterrupt:
                interrupted = True
    if interrupted:
        where = "; the same command goes on from the last epoch" if chosen.out else ""
        notes.print(f"birnn: interrupted{where}", markup=False)
        return exit_codes.INTERRUPTED
    partings = part(trainings, chosen.dtype)
    print_training(stdout(), task, course, trainings, partings)
    if chosen.out is not None:
        write_trace(chosen.out / "trace.json", task, course, trainings, partings)
        if find_spec("matplotlib") is None:  # what was trained does not depend on it
            notes.print(
                "birnn: there is no picture: it needs matplotlib, from pip install 'birnn[models]'", markup=False
            )
        else:
            from birnn.commands.curves import write_curves

            write_curves(chosen.out / "curves.svg", task, trainings, chosen.dtype)
        say_written(chosen.out, "trace and checkpoints")
    return exit_code(trainings, partings, broken=bool(selection.broken))


def exit_code(trainings: Sequence[Trained], partings: dict[str, Parting], *, broken: bool) -> int:
    """The code of ``train``: several implementations are checked where each is held against another, one by training
    at all.
    """
    done = {each.implementation for each in trainings if each.status == TRAINED}
    return exit_codes.decide(
        wrong=any(each.status not in (TRAINED, *DECLINED) for each in trainings)
        or any(parting.verdict == TOO_FAST for parting in partings.values()),
        broken=broken,
        checked=bool(partings) or len(done) == 1,
    )


def _checked_task(name: str, options: Options, chosen: Chosen) -> Task:
    """Build the task, or raise an ``InputError`` for what cannot be asked of it."""
    one_of("MODEL", name, NAMES)
    one_of("--dtype", chosen.dtype, WIDE)
    one_of("--device", chosen.device, DEVICES)
    one_of("--decoder", options.decoder, DECODERS)
    one_of("--head", options.head, HEADS)
    if options.unit is not None:
        one_of("--units", options.unit, TOKEN_UNITS)
    if options.cell is not None:
        one_of("--cell", options.cell, CELLS)
    if options.merge is not None:
        one_of("--merge", options.merge, MERGES)
    try:
        return build_task(name, options)
    except ValidationError as error:
        raise from_validation(error, name) from None


def _optimizer(task: Task, changes: dict[str, Any]) -> OptimizerSettings:
    """The task's optimizer with what was given changed."""
    given = {name: value for name, value in changes.items() if value is not None}
    if "schedule" in given:
        one_of("--schedule", given["schedule"], get_args(ScheduleName))
    try:
        return OptimizerSettings.model_validate(task.optimizer.model_dump() | given)
    except ValidationError as error:
        raise from_validation(error, "the optimizer") from None


def part(trainings: Sequence[Trained], dtype: str) -> dict[str, Parting]:
    """How each trace parts from the first one, by name; the twin is held against the first one, too.

    Empty where the first one, or its twin, could not be trained.
    """
    done = [each for each in trainings if each.status == TRAINED]
    twin = next((each for each in done if each.twin), None)
    first = twin and next((each for each in done if not each.twin and each.implementation == twin.implementation), None)
    if twin is None or first is None:
        return {}
    others = [each for each in done if each is not first]
    if first.validation_losses:
        one, other = ((each.steps, each.validation_losses) for each in (first, twin))
        return {each.name: compare_stopped(one, (each.steps, each.validation_losses), other, dtype) for each in others}
    return {each.name: compare(first.steps, each.steps, twin.steps, dtype) for each in others}


def print_training(
    console: Console, task: Task, course: Course, trainings: Sequence[Trained], partings: dict[str, Parting]
) -> None:
    """One row an implementation: losses, accuracies, where it parts from the first, and the verdict."""
    done = [each for each in trainings if each.status == TRAINED]
    table = Table(
        title=f"{task.name}: {epochs_told(course)}, {optimizer_told(course.optimizer)}, {course.dtype}",
        title_justify="left",
    )
    table.add_column("implementation", overflow="fold")
    judged = "perplexity" if task.has_perplexity else "entity F1" if task.scheme else "accuracy"
    for name in ("first\nloss", "last\nloss", f"held-out\n{judged}", "parts\nat step", "largest\ngap"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold", min_width=8)
    for each in trainings:
        if each.status != TRAINED:
            table.add_row(escape(each.name), "", "", "", "", "", escape(f"{each.status}: {each.reason}"))
            continue
        parting = partings.get(each.name)
        where = "" if parting is None else "never" if parting.step is None else str(parting.step)
        gap = "" if parting is None else f"{parting.largest:.1e}"
        if parting is None:
            verdict = "the others are held against it" if partings else "nothing to be held against"
        else:
            verdict = "the yardstick" if each.twin else parting.verdict
        table.add_row(
            escape(each.name),
            f"{each.steps[0].loss:.6f}",
            f"{each.steps[-1].loss:.6f}",
            held_out_by(task, each),
            where,
            gap,
            verdict,
        )
    console.print(table)
    console.print(
        f"{task.baseline.what}: {task.baseline.accuracy:.4f} of the held-out answers are right; "
        f"{len(done[0].steps) if done else 0} steps",
        soft_wrap=True,
    )
    if task.has_perplexity:
        console.print(perplexity_explained(task), soft_wrap=True)
    if task.scheme is not None:
        for line in entities_explained(task, done):
            console.print(line, soft_wrap=True)
    if task.coverage:
        console.print(escape(task.coverage), soft_wrap=True)
    trained = [each for each in done if not each.twin]
    if task.validation and trained:
        console.print(kept_explained(task, trained), soft_wrap=True)
    print_fitting(console, *([by_epoch(trained, most)] for most in MOST_EPOCHS_SHOWN))
    for each in trainings:
        for line in each.log.splitlines():
            console.print(f"    | {escape(line)}", soft_wrap=True)


def epochs_told(course: Course) -> str:
    """How many epochs a course has, and what may end it before."""
    if course.patience is None:
        return f"{course.epochs} epochs"
    return f"{course.epochs} epochs at most, patience {course.patience}"


def optimizer_told(optimizer: OptimizerSettings) -> str:
    """An optimizer's name, with the schedule of its learning rate where that varies."""
    warm_up = f", warm-up {optimizer.warm_up:g}" if optimizer.warm_up else ""
    return f"{optimizer.name}, {optimizer.schedule}{warm_up}" if optimizer.varies else optimizer.name


def learning_rates(optimizer: OptimizerSettings) -> list[float]:
    """The learning rate of every step of the training that it was set for."""
    return [optimizer.rate(step) for step in range(1, (optimizer.steps or 0) + 1)]


def held_out_by(task: Task, trained: Trained) -> str:
    """What a task is judged by first, after the epoch whose weights are kept."""
    kept = trained.best - 1
    if task.has_perplexity:
        return f"{trained.perplexities[kept]:.2f}"
    return f"{trained.entities[kept].f1 if task.scheme else trained.accuracies[kept]:.4f}"


def entities_explained(task: Task, done: Sequence[Trained]) -> Iterator[str]:
    """What a trivial answer's entities are worth, and the first implementation's, a line of each."""
    yield (
        f"entities, right where words and type are: F1 {task.baseline.entity_f1:.4f} by each word's most common tag; "
        f"no entity at all has F1 0, and {task.baseline.outside:.4f} of the tags right"
    )
    if done:
        last = done[0].entities[done[0].best - 1]
        yield (
            f"{done[0].name}: {last.right} of {last.predicted} found are right, of {last.real} there are; precision "
            f"{last.precision:.4f}, recall {last.recall:.4f}, F1 {last.f1:.4f}"
        )


def kept_explained(task: Task, trained: Sequence[Trained]) -> str:
    """By which loss training stopped, after which epoch, and which epoch's weights are kept, in a sentence or two."""
    ends: dict[tuple[int, int], list[str]] = {}
    for each in trained:
        ends.setdefault((each.best, each.epochs), []).append(each.name)
    told = "; ".join(
        f"{'all' if len(ends) == 1 else ', '.join(names)} epoch {best} of {epochs}"
        for (best, epochs), names in ends.items()
    )
    apart = "" if len(ends) == 1 else ". Each stops by its own loss; where traces part, so may their ends"
    return (
        f"kept and told above is the epoch of the lowest loss on {len(task.validation)} validation examples, held out "
        f"of the training data: {told}{apart}"
    )


def perplexity_explained(task: Task) -> str:
    """What a perplexity is of, and whether it is one of a language model, in a sentence or two."""
    count = sum(int(batch["counted"].sum()) for batch in task.evaluation())
    text = (
        f"perplexity: exp of the mean cross-entropy of {count:,} held-out tokens that training knows, "
        f"{task.baseline.perplexity:.2f} by their frequency alone. "
    )
    if task.spec.recurrent.num_directions == 1:
        return f"{text}It is honest: each token is told from those before it alone."
    return (
        f"{text}It is deceptively low: the second direction reads each token before it is to be told, so this model "
        "sees its own answer, and cannot write; --directions 1 trains one that can."
    )


def by_epoch(done: Sequence[Trained], most: int) -> Table:
    """Mean loss, mean training accuracy and held-out accuracy of each implementation after each epoch, or after the
    first, the last, those that are kept and some between them where there are more than ``most``; nothing after the
    last one that an implementation has been trained.
    """
    epochs = max((each.epochs for each in done), default=0)
    kept = {each.best for each in done} - {epochs}
    others = max(2, most - len(kept)) if epochs > most else epochs
    shown = sorted({round(number) for number in np.linspace(1, epochs, min(epochs, others))} | kept)
    table = close_table("after each epoch")
    table.add_column("implementation", overflow="fold")
    table.add_column("", overflow="fold")
    for epoch in shown:
        table.add_column(str(epoch), justify="right", no_wrap=True)
    for each in done:
        steps = np.array([[step.loss, step.accuracy] for step in each.steps]).reshape(each.epochs, -1, 2)
        loss, accuracy = steps.mean(axis=1).T
        lines = {"loss": loss, "accuracy": accuracy, "held-out accuracy": each.accuracies}
        if each.validation_losses:
            lines = {"loss": loss, "validation loss": each.validation_losses, **lines}
        if each.perplexities:
            lines["held-out perplexity"] = each.perplexities
        if each.entities:
            lines["held-out entity F1"] = [score.f1 for score in each.entities]
        for what, numbers in lines.items():
            name = escape(each.name) if what == "loss" else ""
            digits = 2 if numbers is each.perplexities else 4
            cells = (f"{numbers[epoch - 1]:.{digits}f}" if epoch <= each.epochs else "" for epoch in shown)
            table.add_row(name, what, *cells)
    return table


def write_trace(
    path: Path, task: Task, course: Course, trainings: Sequence[Trained], partings: dict[str, Parting]
) -> None:
    """Everything as JSON, whole or not at all."""
    twin = next((each for each in trainings if each.twin), None)
    first = next(
        (each for each in trainings if twin and not each.twin and each.implementation == twin.implementation), None
    )
    content = {
        "version": 1,
        "task": task.name,
        "baseline": {name: value for name, value in vars(task.baseline).items() if value is not None},
        "epochs": course.epochs,
        **({} if course.patience is None else {"patience": course.patience}),
        "dtype": course.dtype,
        "optimizer": course.optimizer.model_dump(),
        **({"learning_rates": learning_rates(course.optimizer)} if course.optimizer.varies else {}),
        "implementations": {
            each.name: {
                "status": each.status,
                "reason": each.reason,
                "cpu_seconds": each.cpu_seconds,
                "accuracies": each.accuracies,
                **({"perplexities": each.perplexities} if each.perplexities else {}),
                **({"entity_f1": [score.f1 for score in each.entities]} if each.entities else {}),
                **(
                    {"validation_losses": each.validation_losses, "best_epoch": each.best}
                    if each.validation_losses
                    else {}
                ),
                "steps": [[step.loss, step.accuracy, step.gradient_norm] for step in each.steps],
                "gaps": [] if first is None else gaps(first.steps, each.steps).tolist(),
                "parting": vars(partings[each.name]) if each.name in partings else None,
            }
            for each in trainings
        },
    }
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())

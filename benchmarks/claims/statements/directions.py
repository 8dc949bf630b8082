"""Claims on the second direction: what it costs, and when it is worth it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.analysis.statistics import Interval
from benchmarks.claims.claim import NATIVE, Claim, Part, Point, Rule, in_each_framework
from benchmarks.claims.statements.learning import FRAMEWORK, HOW, IMPLEMENTATION, SEEDS, with_rnn
from benchmarks.claims.statements.speed import BATCH, HIDDEN_SIZE, INPUT_SIZE, SEQ_LEN, layer_case, own
from benchmarks.claims.tasks import short_task
from benchmarks.claims.timing import TWIN, Variant, peak_bytes, time_side_by_side
from benchmarks.claims.training import over_seeds, train
from benchmarks.claims.workshop import Workshop
from common.data.examples import SequenceExample
from common.models.specification import SequenceModel, initialise
from common.specification import Cell, Specification
from common.tasks.task import Options, Task
from common.weights import count

TWO, ONE, ONE_WIDE = "two directions", "one direction", f"one direction, {2 * HIDDEN_SIZE} units"
"""The layers that are compared: one direction has the units of each of the two, or of both."""
NEAR = 0.2
"""A factor within this of 2 is twice."""
TRIES = 3
"""A peak is told where three calls have nearly the same one; where they have not, it is asked for again."""
CELLS: tuple[Cell, ...] = ("gru", "lstm")
"""The cells whose second direction is timed."""


def _sizes(units: int) -> tuple[int, int, int, int]:
    """Steps, rows, features and units of a layer that is timed."""
    return SEQ_LEN, BATCH, INPUT_SIZE, units


def _variants(framework: str, cell: Cell) -> list[Variant]:
    """A framework's own layer with one direction, with two, and with a wide one; the first is what others are held
    against.
    """
    cases = {
        ONE: layer_case(cell, _sizes(HIDDEN_SIZE), merge=None),
        TWO: layer_case(cell, _sizes(HIDDEN_SIZE)),
        ONE_WIDE: layer_case(cell, _sizes(2 * HIDDEN_SIZE), merge=None),
    }
    return [Variant(name, case, own(NATIVE[framework])) for name, case in cases.items()]


def off_two(ratio: Interval) -> dict[str, float]:
    """How far a ratio is from 2, as a number with its interval."""
    ends = sorted(abs(end - 2) for end in (ratio.low, ratio.high))
    low = 0.0 if ratio.low <= 2 <= ratio.high else ends[0]
    return {"off": abs(ratio.median - 2), "off_low": low, "off_high": ends[1]}


def _time(workshop: Workshop, framework: str) -> list[Point]:
    """How long two directions take over one, beside one of twice the units and the same one again."""
    points = []
    for cell in CELLS:
        times = time_side_by_side(workshop, framework, _variants(framework, cell))
        for name in (TWO, ONE_WIDE, TWIN):
            numbers = times[name].numbers("twin_ratio" if name == TWIN else "ratio")
            numbers |= off_two(times[name].ratio) if name == TWO else {}
            points.append(Point(where={"framework": framework, "cell": cell, "what": name}, numbers=numbers))
    return points


def _memory(workshop: Workshop, framework: str) -> list[Point]:
    """What a call takes at its peak with one direction, two and a wide one, and two over one where both are known."""
    points = []
    for cell in CELLS:
        known: dict[str, int] = {}
        for _ in range(TRIES):
            peaks = peak_bytes(workshop, framework, _variants(framework, cell))
            known |= {name: peak for name, peak in peaks.items() if peak is not None}
            if known.keys() == peaks.keys():
                break
        numbers = {f"{name.replace(',', '')}, MiB": peak / 2**20 for name, peak in known.items()}
        if ONE in known and TWO in known:
            ratio = known[TWO] / known[ONE]
            numbers |= {"ratio": ratio, "off": abs(ratio - 2)}
        points.append(Point(where={"framework": framework, "cell": cell}, numbers=numbers))
    return points


def one_direction(task: Task, units: int) -> Task:
    """The task with an RNN of one direction."""
    assert isinstance(task.spec, SequenceModel)
    changes = {"merge": None, "num_directions": 1, "hidden_size": units}
    return with_rnn(task, Specification.model_validate(task.spec.rnn.model_dump() | changes))


def units_of_equal_size(rnn: Specification) -> int:
    """The most units of one direction that has no more parameters than both of ``rnn``."""

    def parameters(units: int) -> int:
        changes = {"merge": None, "num_directions": 1, "hidden_size": units}
        return count(Specification.model_validate(rnn.model_dump() | changes))

    return max(units for units in range(1, 3 * rnn.hidden_size) if parameters(units) <= count(rnn))


def past_task(seed: int) -> Task:
    """The pipeline with labels that hang on the past alone."""
    task = short_task("pipeline", Options(seed=seed))
    assert isinstance(task.spec, SequenceModel)
    spec = task.spec.model_copy(update={"classes": 3})

    def without_future(examples: Sequence[object]) -> list[SequenceExample]:
        labelled = [each for each in examples if isinstance(each, SequenceExample) and each.labels is not None]
        return [SequenceExample(each.inputs, each.labels // 2) for each in labelled if each.labels is not None]

    return replace(
        task,
        name="past",
        spec=spec,
        weights=initialise(spec, np.random.default_rng([seed, 1])),
        training=without_future(task.training),
        held_out=without_future(task.held_out),
    )


def _better(name: str, make: Callable[[int], Task]) -> Part:
    """Two directions beside one of as many units, and one of as many parameters, over seeds."""

    def measure(workshop: Workshop) -> list[Point]:
        by_layer: dict[str, list[float]] = {}
        for seed in range(SEEDS):
            task = make(seed)
            assert isinstance(task.spec, SequenceModel)
            rnn = task.spec.rnn
            one = {"as many units": rnn.hidden_size, "as many parameters": units_of_equal_size(rnn)}
            tasks = {TWO: task, **{what: one_direction(task, units) for what, units in one.items()}}
            for what, each in tasks.items():
                workshop.tell(f"{what}, seed {seed}")
                by_layer.setdefault(what, []).append(train(workshop, IMPLEMENTATION, each).accuracies[-1])
        points = []
        for what in one:
            numbers = over_seeds(
                "gain", [two - other for two, other in zip(by_layer[TWO], by_layer[what], strict=True)]
            )
            numbers |= {"two": float(np.mean(by_layer[TWO])), "one": float(np.mean(by_layer[what]))}
            where: dict[str, str | float] = {"framework": FRAMEWORK, "task": name, "one direction of": what}
            points.append(Point(where=where, numbers=numbers))
        return points

    return Part(name, FRAMEWORK, measure)


CLAIMS = (
    Claim(
        name="two-directions-take-twice-as-long",
        module=__name__,
        kind="time",
        sentence="A bidirectional layer takes twice as long as one direction.",
        where="introductions that weigh the second direction",
        measured=f"Forward and backward of each framework's own layer, {BATCH} rows of {SEQ_LEN} steps, {HIDDEN_SIZE} "
        f"units a direction, against one direction; beside it one direction of {2 * HIDDEN_SIZE} units.",
        rule=Rule("off", "how far the time over that of one direction is from 2", "below", NEAR),
        parts=in_each_framework(_time),
        limits="The two directions know nothing of each other, so they can run at once; one of twice the units has "
        "twice as many recurrent weights as both.",
    ),
    Claim(
        name="two-directions-take-twice-the-memory",
        module=__name__,
        kind="time",
        sentence="A bidirectional layer takes twice the memory of one direction.",
        where="introductions that weigh the second direction",
        measured="The memory that a forward and backward call of the same layers takes at its peak, over what was "
        "resident before, in MiB.",
        rule=Rule("off", "how far the peak over that of one direction is from 2", "below", NEAR),
        parts=in_each_framework(_memory),
        limits="Activations and gradients of the directions double; what the framework holds besides does not.",
    ),
    Claim(
        name="two-directions-are-always-better",
        module=__name__,
        sentence="Two directions are always more accurate than one.",
        where="introductions to bidirectional layers",
        measured="The pipeline, whose labels need both sides, the same with labels that hang on the past alone, and "
        f"digits read column by column, beside one direction of as many units and one of as many parameters, {HOW}.",
        rule=Rule("gain", "the accuracy of two directions minus that of one", "above", 0.005, 0.0),
        parts=(
            _better("pipeline", lambda seed: short_task("pipeline", Options(seed=seed))),
            _better("past alone", past_task),
            _better("digits", lambda seed: short_task("classifier", Options(seed=seed))),
        ),
        limits="The second direction helps where the future says something.",
    ),
)
"""The claims on the second direction, in the ledger's order."""

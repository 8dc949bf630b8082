"""Claims on what a model learns: merges, widths, attention, teacher forcing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.claims.claim import Claim, Part, Point, Rule
from benchmarks.claims.tasks import short_task
from benchmarks.claims.training import Learned, over_seeds, right_by_length, train
from benchmarks.claims.workshop import Workshop
from common.models.specification import SequenceModel, initialise
from common.specification import MERGES, Specification
from common.tasks.task import Options, Task

IMPLEMENTATION = "torch/native"
"""What trains: the traces of all four frameworks agree (docs/traces.md), so one stands for all."""
OF_TWO_SIZES = "torch/manual"
"""What trains directions of different sizes, which torch.nn's own layer does not have."""
FRAMEWORK = IMPLEMENTATION.partition("/")[0]
"""The framework of ``IMPLEMENTATION``, as a point's place names it."""
SEEDS = 5
"""How often a model of one RNN is trained, with the seeds from 0 on."""
LITTLE = 0.005
"""Accuracies this near to each other are the same."""
PAIRS, PAIR_SEEDS = 3000, 2
"""Words that an encoder–decoder is trained on, and the seeds of its trainings."""
SOURCES = {"up to 5 letters": (1, 5), "6 or 7": (6, 7), "8 or 9": (8, 9), "10 and more": (10, 99)}
"""The groups of source lengths by which attention's worth is told: their names, and the least and most letters."""


def with_rnn(task: Task, rnn: Specification) -> Task:
    """The task with another bidirectional RNN, drawn from its seed."""
    assert isinstance(task.spec, SequenceModel)
    spec = SequenceModel.model_validate(task.spec.model_dump() | {"rnn": rnn.model_dump()})
    return replace(task, spec=spec, weights=initialise(spec, np.random.default_rng([task.seed, 1])))


def rnn_of_task(task: Task, **changes: object) -> Specification:
    """The task's bidirectional RNN with some things changed."""
    assert isinstance(task.spec, SequenceModel)
    return Specification.model_validate(task.spec.rnn.model_dump() | changes)


def against_usual(
    name: str,
    model: str,
    changes: Mapping[str, Mapping[str, object]],
    usual: str = "usual",
    implementation: str = IMPLEMENTATION,
) -> Callable[[Workshop], list[Point]]:
    """Trains a task as it is and with its RNN changed in each way: a point for each way, with its accuracy minus the
    usual one's, over seeds.
    """

    def measure(workshop: Workshop) -> list[Point]:
        by_change: dict[str, list[float]] = {usual: [], **{what: [] for what in changes}}
        for seed in range(SEEDS):
            task = short_task(model, Options(seed=seed))
            for what, change in [(usual, {}), *changes.items()]:
                workshop.tell(f"{what}, seed {seed}")
                learned = train(workshop, implementation, with_rnn(task, rnn_of_task(task, **change)))
                by_change[what].append(learned.accuracies[-1])
        points = []
        for what, accuracies in by_change.items():
            numbers = over_seeds("accuracy", accuracies)
            if what != usual:
                numbers |= over_seeds("gain", [a - b for a, b in zip(accuracies, by_change[usual], strict=True)])
            points.append(Point(where={"framework": FRAMEWORK, "task": name, "what": what}, numbers=numbers))
        return points

    return measure


OTHER_MERGES: dict[str, dict[str, object]] = {merge: {"merge": merge} for merge in MERGES if merge != "concat"}
"""The merges beside concat, as changes of an RNN."""
SIZES: dict[str, dict[str, object]] = {
    "15 + 5 units": {"hidden_size": 15, "hidden_size_reverse": 5},
    "5 + 15 units": {"hidden_size": 5, "hidden_size_reverse": 15},
}
"""The directions of different sizes, as changes of an RNN."""
PIPELINE_UNITS, DIGITS_UNITS = 10, 32
"""Units of a direction in the one layer that two narrower ones are held against."""


def _narrower(task: str, input_size: int, units: int) -> dict[str, Mapping[str, object]]:
    """Two layers with together no more parameters than one of ``units``."""
    from benchmarks.claims.statements.speed import narrower_size

    narrow = narrower_size("gru", input_size, units)
    return {f"two layers of {narrow} units": {"hidden_size": narrow, "num_layers": 2}}


def _part(name: str, measure: Callable[[Workshop], Sequence[Point]]) -> Part:
    """A part of a claim that is measured in the worker of ``FRAMEWORK``."""
    return Part(name, FRAMEWORK, measure)


def _attention(workshop: Workshop) -> list[Point]:
    """Letters to phonemes with and without attention: accuracies by the length of the source, over seeds."""
    right: dict[bool, list[dict[int, tuple[int, int]]]] = {True: [], False: []}
    for seed in range(PAIR_SEEDS):
        for attention in (True, False):
            workshop.tell(f"{'with' if attention else 'without'} attention, seed {seed}")
            task = short_task("seq2seq", Options(limit=PAIRS, attention=attention, seed=seed))
            right[attention].append(right_by_length(task, train(workshop, IMPLEMENTATION, task).answers))
    points = []
    for source, (least, most) in SOURCES.items():
        accuracies = {
            attention: [_share(of_seed, least, most) for of_seed in of_seeds] for attention, of_seeds in right.items()
        }
        gains = [a - b for a, b in zip(accuracies[True], accuracies[False], strict=True)]
        numbers = over_seeds("with", accuracies[True]) | over_seeds("without", accuracies[False])
        where: dict[str, str | float] = {"framework": FRAMEWORK, "source": source}
        points.append(Point(where=where, numbers=numbers | over_seeds("gain", gains)))
    return points


def _share(of_length: Mapping[int, tuple[int, int]], least: int, most: int) -> float:
    """The share of right answers to sources of ``least`` to ``most`` letters."""
    counts = [count for length, count in of_length.items() if least <= length <= most]
    return sum(right for right, _ in counts) / sum(total for _, total in counts)


def _forcing(workshop: Workshop) -> list[Point]:
    """Letters to phonemes with each way of teacher forcing: the accuracy, and its gain over forcing at every step."""
    shares: dict[str, Callable[[int, int], float]] = {
        "always": lambda epoch, epochs: 1.0,
        "half of the steps": lambda epoch, epochs: 0.5,
        "a quarter of the steps": lambda epoch, epochs: 0.25,
        "falling from 1 to 0": lambda epoch, epochs: 1 - epoch / (epochs - 1),
    }
    by_forcing: dict[str, list[float]] = {name: [] for name in shares}
    for seed in range(PAIR_SEEDS):
        task = short_task("seq2seq", Options(limit=PAIRS, seed=seed))
        for name, share in shares.items():
            workshop.tell(f"{name}, seed {seed}")
            learned: Learned = train(
                workshop,
                IMPLEMENTATION,
                task,
                forcing=lambda epoch, share=share: share(epoch, task.epochs),  # type: ignore[misc]  # noqa: B023
            )
            by_forcing[name].append(learned.accuracies[-1])
    points = []
    for name, accuracies in by_forcing.items():
        numbers = over_seeds("accuracy", accuracies)
        if name != "always":
            numbers |= over_seeds("gain", [a - b for a, b in zip(accuracies, by_forcing["always"], strict=True)])
        points.append(Point(where={"framework": FRAMEWORK, "forced": name}, numbers=numbers))
    return points


HOW = f"{SEEDS} seeds, {IMPLEMENTATION}; held-out accuracy"
"""How the models of one RNN are trained and judged, as a claim says it."""
CLAIMS = (
    Claim(
        name="concat-is-the-most-accurate-merge",
        module=__name__,
        sentence="Concatenating the halves is more accurate than adding, averaging, multiplying or weighting them.",
        where="tutorials on merge_mode",
        measured=f"The pipeline's tagging of steps with each merge beside concat, {HOW}.",
        rule=Rule("gain", "the accuracy minus that of concat", "below", 0.0, LITTLE),
        parts=(_part("pipeline", against_usual("pipeline", "pipeline", OTHER_MERGES, "concat")),),
        limits="With concat the layer above reads twice as many features, and has as many more weights.",
    ),
    Claim(
        name="both-directions-need-one-size",
        module=__name__,
        sentence="Both directions need the same number of units.",
        where="layers that take one hidden_size for both",
        measured=f"The pipeline with 15 + 5 and 5 + 15 units beside 10 + 10, {SEEDS} seeds, {OF_TWO_SIZES}; held-out "
        "accuracy.",
        rule=Rule("gain", "the accuracy minus that of equal halves", "below", -LITTLE, 0.0),
        parts=(_part("pipeline", against_usual("pipeline", "pipeline", SIZES, "10 + 10 units", OF_TWO_SIZES)),),
        limits="The task needs past and future alike; where one matters more, so do its units.",
    ),
    Claim(
        name="two-layers-learn-more-than-one",
        module=__name__,
        sentence="Two stacked bidirectional layers are more accurate than one.",
        where="tutorials on stacking",
        measured=f"Two layers against one at equal parameters, on the pipeline and on scikit-learn's digits, {HOW}.",
        rule=Rule("gain", "the accuracy minus that of one layer", "above", LITTLE, 0.0),
        parts=(
            _part("pipeline", against_usual("pipeline", "pipeline", _narrower("pipeline", 8, PIPELINE_UNITS))),
            _part("digits", against_usual("digits", "classifier", _narrower("digits", 8, DIGITS_UNITS))),
        ),
        limits="At equal parameters the layers have to be narrower; elsewhere the two are often twice the model.",
    ),
    Claim(
        name="attention-helps-long-inputs",
        module=__name__,
        sentence="Attention helps, and above all on long inputs.",
        where="encoder–decoder tutorials that add Bahdanau attention",
        measured=f"Letters to phonemes, {PAIRS} words, 5 epochs, {PAIR_SEEDS} seeds, {IMPLEMENTATION}, with and "
        "without attention: held-out accuracy by the length of the source.",
        rule=Rule("gain", "the accuracy with attention minus that without", "above", 0.02, 0.0),
        parts=(_part("letters to phonemes", _attention),),
        limits="The accuracies by length are in the table.",
    ),
    Claim(
        name="less-teacher-forcing-is-better",
        module=__name__,
        sentence="A decoder that is given its own answers in training, at half of the steps, say, is more accurate.",
        where="encoder–decoder tutorials with teacher_forcing_ratio = 0.5",
        measured=f"Letters to phonemes, {PAIRS} words, 5 epochs, {PAIR_SEEDS} seeds, {IMPLEMENTATION}: teacher forcing "
        "at half and a quarter of the steps, and falling over the epochs, beside always; held-out accuracy.",
        rule=Rule("gain", "the accuracy minus that of teacher forcing at every step", "above", 0.01, -0.01),
        parts=(_part("letters to phonemes", _forcing),),
        limits="After few epochs a decoder's own answers are mostly wrong, and teach little.",
    ),
)
"""The claims on what a model learns, in the ledger's order."""

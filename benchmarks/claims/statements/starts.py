"""Claims on where training starts: first weights, and embeddings that were trained before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.claims.claim import NATIVE, Claim, Part, Point, Rule, in_each_framework
from benchmarks.claims.statements.states import FOLDERS
from benchmarks.claims.tasks import short_task
from benchmarks.claims.training import over_seeds, train
from benchmarks.claims.workshop import Workshop
from common.case import Case
from common.cases.seeded import Shape, make_case
from common.data.vocabulary import vocabulary_from_json
from common.models.specification import Arrays, SequenceModel
from common.specification import Specification
from common.tasks.building import read_words
from common.tasks.task import Options, Start, Task
from common.weights import shapes

SIGMA = 0.01
"""The standard deviation of small random weights."""
SEEDS, FEW_SEEDS = 3, 2
"""How often the pipeline and the tagger are trained from each start, with the seeds from 0 on."""
SENTENCES = (250, 1000, 100_000)
"""Sentences that the tagger is trained on; the last number is more than there are."""
TAGGER = "torch/native"
"""What trains the tagger and the masked model."""
RANDOM = "random"
"""The name of the start from drawn embeddings."""
CONTROL = "random, with that vocabulary"
"""The name of the start that has of the masked model its vocabulary alone, and so is not pre-trained."""
WINDOW = 5
"""Places between two words that count as neighbours, at most, where vectors are made of counts."""


def seed_case(spec: Specification, seed: int) -> Case:
    """A case of one row, as long as the seed says and one step more."""
    return make_case(
        f"claim-seed-{seed}",
        spec,
        Shape(1, SEEDS, (seed + 1,)),
        seed=0,
        with_states=False,
        with_cotangents=False,
        source="a claim, seed 0",
    )


def cut(spec: Specification, numbers: np.ndarray) -> Arrays:
    """The canonical weights that stand one after the other."""
    weights, first = {}, 0
    for name, shape in shapes(spec).items():
        size = int(np.prod(shape))
        weights[name] = numbers[first : first + size].reshape(shape)
        first += size
    assert first == len(numbers), (first, len(numbers))
    return weights


def small_weights(weights: Arrays, seed: int) -> Arrays:
    """Matrices from N(0, ``SIGMA``²), vectors of zeros."""
    rng = np.random.default_rng([seed, 2])
    return {
        name: rng.normal(scale=SIGMA, size=value.shape) if value.ndim > 1 else np.zeros_like(value)
        for name, value in weights.items()
    }


def _sigma(workshop: Workshop, framework: str) -> list[Point]:
    """The accuracy after each epoch from small random weights minus that from the framework's own."""
    file = Path(__file__).with_name("natural") / FOLDERS[framework] / "natural.py"
    usual, small, spreads = [], [], []
    with workshop.own(framework, file, "default_weights") as default_weights:
        for seed in range(SEEDS):
            task = short_task("pipeline", Options(seed=seed))
            assert isinstance(task.spec, SequenceModel)
            rnn = task.spec.rnn
            own = cut(rnn, default_weights(seed_case(rnn, seed), "float64")["output"].ravel())
            spreads.append({name: float(value.std()) for name, value in own.items()})
            workshop.tell(f"seed {seed}")
            first = task.weights | {f"rnn.{name}": value for name, value in own.items()}
            usual.append(train(workshop, NATIVE[framework], task, weights=first))
            small.append(train(workshop, NATIVE[framework], task, weights=small_weights(task.weights, seed)))
    spread = {f"std_{name.removesuffix('_l0')}": spreads[0][name] for name in spreads[0] if name.endswith("_l0")}
    points = []
    for epoch in range(len(usual[0].accuracies)):
        accuracies = [[each.accuracies[epoch] for each in group] for group in (usual, small)]
        numbers = over_seeds("gain", [b - a for a, b in zip(*accuracies, strict=True)])
        numbers |= {"default": float(np.mean(accuracies[0])), "small": float(np.mean(accuracies[1]))}
        points.append(Point(where={"framework": framework, "epoch": epoch + 1}, numbers=numbers | spread))
    return points


def _pretrained(workshop: Workshop) -> list[Point]:
    """The tagger from embeddings made of all the training text, and from a network that has learned its words."""
    training, held_out = workshop.conllu
    ways = _ways(workshop, training, held_out)
    points = []
    for limit in SENTENCES:
        by_way: dict[str, list[float]] = {name: [] for name in ways}
        task: Task | None = None
        for seed in range(FEW_SEEDS):
            for name, changes in ways.items():
                workshop.tell(f"{limit} sentences, {name}, seed {seed}")
                options = Options(data=(training, held_out), limit=limit, seed=seed, **changes)
                task = short_task("tagger", options)
                by_way[name].append(train(workshop, TAGGER, task).accuracies[-1])
        assert task is not None
        for name, accuracies in by_way.items():
            numbers = over_seeds("accuracy", accuracies)
            if name not in (RANDOM, CONTROL):
                numbers |= over_seeds("gain", [a - b for a, b in zip(accuracies, by_way[RANDOM], strict=True)])
            where: dict[str, str | float] = {"framework": "torch", "sentences": len(task.training), "embedding": name}
            points.append(Point(where=where, numbers=numbers))
    return points


def _ways(workshop: Workshop, training: Path, held_out: Path) -> dict[str, dict[str, Any]]:
    """What the tagger starts from, by its name, as options of its task."""
    # The vectors need scipy, which what only reads the ledger does without.
    from benchmarks.claims.word_vectors import make_vectors, write_vectors

    masked = short_task("masked", Options(data=(training, held_out), cell="lstm"))  # the tagger's own cell
    assert isinstance(masked.spec, SequenceModel)
    learned: list[Arrays] = []
    workshop.tell("masked words")
    train(workshop, TAGGER, masked, also=learned)
    words = vocabulary_from_json(masked.vocabularies["words"], "words")
    shape = learned[0]["embedding"].shape
    matrices = {
        "drawn": np.random.default_rng(3).normal(size=shape),
        "counted": make_vectors(read_words(training), words, shape[1], WINDOW),
        "masked": learned[0]["embedding"],
    }
    files = {name: workshop.pool.folder / f"{name}.txt" for name in matrices}
    for name, matrix in matrices.items():
        write_vectors(words, matrix, files[name])
    return {
        RANDOM: {"embeddings": files["drawn"]},
        "counted in the text, fine-tuned": {"embeddings": files["counted"]},
        "counted in the text, frozen": {"embeddings": files["counted"], "frozen": True},
        "of masked words, fine-tuned": {"embeddings": files["masked"]},
        "of masked words, frozen": {"embeddings": files["masked"], "frozen": True},
        "of masked words, with the RNN": {"start": Start("masked words", masked.spec, words, learned[0])},
        CONTROL: {"start": Start("drawn weights", masked.spec, words, masked.weights)},
    }


CLAIMS = (
    Claim(
        name="small-random-weights-are-a-good-start",
        module=__name__,
        sentence="Drawing every weight from N(0, 0.01²) is as good a start as the framework's own.",
        where="from-scratch tutorials",
        measured=f"The pipeline's GRU from all matrices N(0, {SIGMA}²) and zero biases, beside the weights that each "
        f"framework makes a new layer with; {SEEDS} seeds; held-out accuracy after each of five epochs of 50 steps. "
        "The standard deviations of the framework's own weights are in the numbers.",
        rule=Rule("gain", "the accuracy minus that from the framework's own start", "above", -0.01, -0.02),
        parts=in_each_framework(_sigma),
        limits="What is lost is time: look from which epoch on the difference is gone.",
    ),
    Claim(
        name="pre-trained-embeddings-help-with-little-data",
        module=__name__,
        sentence="Pre-trained embeddings help, most of all with little data.",
        where="taggers and classifiers that load word vectors",
        measured="The tagger's held-out accuracy after 5 epochs on 250, 1,000 and all sentences. Its embeddings are "
        "made of all of the training text: by counting (benchmarks.claims.word_vectors), or learned by the masked "
        "model; they are fine-tuned or frozen. From the masked model its RNN comes, too (birnn train tagger --from), "
        f"and its vocabulary, which alone is tried as well. Beside random ones; {FEW_SEEDS} seeds, {TAGGER}.",
        rule=Rule("gain", "the accuracy minus that from random embeddings", "above", 0.005, 0.0),
        parts=(Part("tagger", "torch", _pretrained),),
        limits="Fine-tuned ones help: those of the masked model at 250 sentences, most with its RNN; from 1,000 on "
        "those that were counted, while of the masked model the vocabulary alone is worth as much. Frozen ones do not.",
        needs_conllu=True,
    ),
)
"""The claims on where training starts, in the ledger's order."""

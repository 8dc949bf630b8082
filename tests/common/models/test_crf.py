"""The CRF against all paths one by one, its gradients by complex steps elsewhere; best paths, and what is allowed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from common.errors import InputError
from common.models.batch import Batch, check_batch, padding_mask
from common.models.crf.likelihood import CRF
from common.models.crf.marginals import log_marginals
from common.models.crf.scores import NAMES, Scores, possible_lengths, restricted, scores_of
from common.models.crf.viterbi import best_paths, max_marginals, path_scores
from common.models.layers import Arithmetic, cross_entropy
from common.models.reference import predict, run
from common.models.small_cases import BatchShape, ModelCase, model_cases, random_batch
from common.models.specification import SequenceModel, model_as_json

CASES = {case.name: case for case in model_cases()}
CHAINS = ("tagger-crf", "pipeline-crf")
CLASSES, STEPS = 4, 5
LENGTHS = np.array([5, 1, 3])
REAL = np.arange(STEPS) < LENGTHS[:, None]


class Drawn:
    """Logits, labels and scores from a seed, with garbage past the lengths."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.logits = rng.normal(size=(len(LENGTHS), STEPS, CLASSES))
        self.labels = rng.integers(CLASSES, size=REAL.shape)
        self.scores = Scores(*(rng.normal(size=shape) for shape in ((CLASSES, CLASSES), (CLASSES,), (CLASSES,))))
        self.allowed = rng.random((CLASSES + 2, CLASSES)) < 0.6

    def crf(self) -> CRF:
        return CRF(dict(zip(NAMES, self.scores, strict=True)), Arithmetic(np.dtype(np.float64)))

    def scored(self, row: int, scores: Scores | None = None) -> Iterator[tuple[tuple[int, ...], float]]:
        """Every path through a row with its score, added up one by one."""
        transitions, start, end = scores or self.scores
        for path in itertools.product(range(CLASSES), repeat=int(LENGTHS[row])):
            score = start[path[0]] + end[path[-1]]
            score += sum(self.logits[row, t, label] for t, label in enumerate(path))
            yield path, score + sum(transitions[i, j] for i, j in itertools.pairwise(path))


def test_the_loss_is_that_of_all_paths_one_by_one() -> None:
    drawn = Drawn()
    counted = REAL & np.array([True, True, False])[:, None]
    loss = drawn.crf().loss(drawn.logits, drawn.labels, counted, REAL, divisor=6)
    for row in (0, 1):
        scores = dict(drawn.scored(row))
        right = tuple(drawn.labels[row, : LENGTHS[row]].tolist())
        probability = np.exp(scores[right]) / np.exp(list(scores.values())).sum()
        assert loss.each[row] == pytest.approx(-np.log(probability), rel=1e-12)
    assert loss.each[2] == 0
    best = np.zeros_like(drawn.labels)
    assert loss.mean == pytest.approx(loss.each.sum() / 6, rel=1e-14)
    for row in (0, 1):
        best[row, : LENGTHS[row]] = max(drawn.scored(row), key=lambda each: each[1])[0]
    assert loss.correct == ((best == drawn.labels) & counted).sum() > 0


def test_the_gradients_are_the_probabilities_of_labels_and_pairs_less_the_right_ones() -> None:
    drawn = Drawn(1)
    crf = drawn.crf()
    gradient = crf.loss(drawn.logits, drawn.labels, REAL, REAL, divisor=1).gradient
    d_logits = np.zeros_like(drawn.logits)
    d_scores = Scores(*(np.zeros_like(each) for each in drawn.scores))
    for row in range(len(LENGTHS)):
        scores = dict(drawn.scored(row))
        total = np.exp(list(scores.values())).sum()
        right = tuple(drawn.labels[row, : LENGTHS[row]].tolist())
        for path, score in scores.items():
            weight = np.exp(score) / total - (path == right)
            d_logits[row, np.arange(len(path)), path] += weight
            d_scores.start[path[0]] += weight
            d_scores.end[path[-1]] += weight
            for i, j in itertools.pairwise(path):
                d_scores.transitions[i, j] += weight
    np.testing.assert_allclose(gradient, d_logits, rtol=0, atol=1e-13)
    for name, expected in zip(NAMES, d_scores, strict=True):
        np.testing.assert_allclose(crf.by_name[name], expected, rtol=0, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("constrained", [False, True])
def test_the_best_path_is_the_best_of_all(constrained: bool, seed: int) -> None:
    """Of those that are allowed; where there is none, the batch is refused before."""
    drawn = Drawn(seed)
    possible = possible_lengths(drawn.allowed, STEPS)
    scores = restricted(drawn.scores, drawn.allowed if constrained else None)
    paths = best_paths(drawn.logits, REAL, scores)
    best = max_marginals(drawn.logits, REAL, scores)
    for row, length in enumerate(LENGTHS):
        every = {path: score for path, score in drawn.scored(row, scores) if score > -np.inf}
        assert bool(every) == (possible[length - 1] if constrained else True)
        if not every:
            continue
        path = max(every, key=every.__getitem__)
        assert tuple(paths[row, :length]) == path
        assert not paths[row, length:].any()
        assert path_scores(drawn.logits, REAL, scores, paths)[row] == pytest.approx(every[path], rel=1e-12)
        for t, label in itertools.product(range(length), range(CLASSES)):
            through = max((score for each, score in every.items() if each[t] == label), default=-np.inf)
            assert best[row, t, label] == pytest.approx(through, rel=1e-12)


@pytest.mark.parametrize("constrained", [False, True])
def test_marginals_are_the_probabilities_of_labels_over_all_paths(constrained: bool) -> None:
    drawn = Drawn(4)
    drawn.allowed[-2:] = True
    scores = restricted(drawn.scores, drawn.allowed if constrained else None)
    probabilities = np.exp(log_marginals(drawn.logits, REAL, scores))
    for row, length in enumerate(LENGTHS):
        expected = np.zeros((length, CLASSES))
        for path, score in drawn.scored(row, scores):
            expected[np.arange(length), path] += np.exp(score)
        np.testing.assert_allclose(probabilities[row, :length], expected / expected[0].sum(), rtol=1e-12, atol=1e-15)


def test_of_equally_good_paths_the_first_labels_are_taken() -> None:
    logits, nothing = np.zeros((1, 3, 4)), Scores(np.zeros((4, 4)), np.zeros(4), np.zeros(4))
    np.testing.assert_array_equal(best_paths(logits, np.ones((1, 3), bool), nothing), [[0, 0, 0]])


def test_with_scores_of_0_it_is_cross_entropy() -> None:
    drawn = Drawn(2)
    drawn.scores = Scores(*(np.zeros_like(each) for each in drawn.scores))
    loss = drawn.crf().loss(drawn.logits, drawn.labels, REAL, REAL, divisor=9)
    plain = cross_entropy(drawn.logits, drawn.labels, REAL, 9, Arithmetic(np.dtype(np.float64)))
    assert loss.mean == pytest.approx(plain.mean, rel=1e-12)
    assert loss.correct == plain.correct
    np.testing.assert_allclose(loss.gradient, plain.gradient, rtol=0, atol=1e-14)


def test_large_scores_and_long_rows_stay_finite() -> None:
    drawn = Drawn(3)
    logits = 1000 * np.tile(drawn.logits, (1, 40, 1))
    real = np.ones(logits.shape[:2], bool)
    loss = drawn.crf().loss(logits, np.tile(drawn.labels, (1, 40)), real, real, divisor=1)
    assert np.isfinite(loss.each).all()
    assert np.isfinite(loss.gradient).all()
    assert np.abs(loss.gradient.sum(axis=-1)).max() < 1e-12


@pytest.mark.parametrize("name", CHAINS)
def test_predictions_are_the_best_paths_of_those_that_are_allowed(name: str) -> None:
    case = CASES[name]
    source, allowed = asked(case), case.allowed()
    assert isinstance(case.spec, SequenceModel)
    assert allowed is not None
    free = predict(case.spec, case.weights, source)
    check_batch(case.spec, source | {"allowed": allowed}, labelled=False)
    bound = predict(case.spec, case.weights, source | {"allowed": allowed})
    np.testing.assert_array_equal(free["logits"], bound["logits"])
    assert (free["labels"] != bound["labels"]).any()
    assert (free["labels"] != free["logits"].argmax(axis=-1)).any()
    scores = restricted(scores_of(case.weights), allowed)
    real = ~padding_mask(source)
    assert np.isfinite(path_scores(bound["logits"], real, scores, bound["labels"])).all()
    assert not np.isfinite(path_scores(free["logits"], real, scores, free["labels"])).all()


def asked(case: ModelCase) -> dict[str, np.ndarray]:
    """What of a case's batch is there at prediction."""
    return {name: case.batch[name] for name in ("x", "tokens", "lengths") if name in case.batch}


def test_nothing_of_a_longer_batch_is_felt_by_a_row() -> None:
    """A row alone, without its padding, has the loss that it has among longer ones."""
    case = CASES["tagger-crf"]
    row = int(case.batch["lengths"].argmin())
    length = int(case.batch["lengths"][row])
    alone = {key: value[row : row + 1, :length] for key, value in case.batch.items() if value.ndim == 2}
    alone["counted"] = np.ones((1, length), bool)
    among: Batch = {**case.batch, "counted": ~padding_mask(case.batch) & (np.arange(5) == row)[:, None]}
    first, second = (run(case.spec, case.weights, batch) for batch in (alone, among))
    assert length < case.batch["tokens"].shape[1]
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-12)
    for name in NAMES:
        np.testing.assert_allclose(first[f"grad.{name}"], second[f"grad.{name}"], rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("name", "allowed", "sentence"),
    [
        ("tagger", np.ones((9, 7), bool), "a batch must have no 'allowed' here"),
        ("tagger-crf", np.ones((8, 7), bool), "allowed must have shape (9, 7); got (8, 7)"),
        ("tagger-crf", np.ones((9, 7)), "allowed must be bool; got float64"),
        ("tagger-crf", np.zeros((9, 7), bool), "allowed must leave a path through every row; there is none of"),
    ],
)
def test_what_is_allowed_must_fit(name: str, allowed: np.ndarray, sentence: str) -> None:
    case = CASES[name]
    with pytest.raises(InputError) as refused:
        check_batch(case.spec, {**asked(case), "allowed": allowed}, labelled=False)
    assert sentence in str(refused.value)


def test_a_labelled_batch_has_nothing_allowed() -> None:
    case = CASES["tagger-crf"]
    with pytest.raises(InputError, match="must have no 'allowed' here"):
        check_batch(case.spec, {**case.batch, "allowed": np.ones((9, 7), bool)})


def test_a_model_without_a_crf_is_written_as_before() -> None:
    assert "head" not in model_as_json(CASES["tagger"].spec)
    assert model_as_json(CASES["tagger-crf"].spec)["head"] == "crf"


def test_whole_rows_count() -> None:
    batch = random_batch(CASES["tagger-crf"].spec, BatchShape(6, 5), np.random.default_rng(1))
    rows = np.atleast_1d(batch["counted"].any(axis=1))
    np.testing.assert_array_equal(batch["counted"], rows[:, None] & ~padding_mask(batch))
    assert 0 < rows.sum() < 6

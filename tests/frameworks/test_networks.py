"""The models of every framework, inside its own environment: results, answers, training and checkpoints."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

from backends.interface.framework import Framework
from backends.interface.network import Network
from common.judging.exact import differing
from common.judging.models import judge_model, model_yardstick
from common.models.batch import Batch, check_batch, has_dropout, padding_mask
from common.models.optimizers import OptimizerName, OptimizerSettings, state_shapes
from common.models.reference import decode, predict, run
from common.models.small_cases import BatchShape, ModelCase, model_cases, random_batch
from common.models.specification import END, PADDING, Arrays, Model, Seq2Seq, SequenceModel, initialise, parameters
from common.models.trace import ReferenceTrainer, Step
from common.specification import Specification


def tagger(**rnn: Any) -> SequenceModel:
    """By default of a GRU that resets after the product: some rows of its ``bias_hh`` are trained, and some are not."""
    sizes = {"cell": "gru", "input_size": 3, "hidden_size": 4, "num_layers": 1, "bias": True, "merge": "concat"}
    dropout = 0.4 if rnn.get("num_layers", 1) > 1 else 0.0
    return SequenceModel(
        rnn=Specification.model_validate(sizes | rnn), num_embeddings=6, readout="steps", classes=5, dropout=dropout
    )


def a_case(name: str, spec: Model) -> ModelCase:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return ModelCase(name, spec, initialise(spec, rng), random_batch(spec, BatchShape(3, 4), rng))


CASES = {
    **{case.name: case for case in model_cases()},
    "weighted": a_case("weighted", tagger(merge="weighted", num_layers=2)),
    "unequal": a_case("unequal", tagger(hidden_size_reverse=3, num_layers=2)),
}
IN_EVERY_IMPLEMENTATION = ("classifier", "weighted")
LIKE_A_TAGGER = ("masked-tokens", "language")
"""Models that differ from a tagger in the number of their classes alone."""
FLOAT64 = [name for name in CASES if name not in (*IN_EVERY_IMPLEMENTATION, *LIKE_A_TAGGER)]
FLOAT32 = ("relu", "tagger", "tagger-crf", "translator-attention")
MODELS: dict[str, Model] = {
    "gru-tagger": tagger(),
    "lstm-tagger-frozen": tagger(cell="lstm", num_layers=2).model_copy(update={"frozen_embedding": True}),
    **{
        name: case.spec
        for name, case in CASES.items()
        if name not in ("language", "language-forward", "classifier-forward", "translator-forward")
    },
}
RATES: dict[OptimizerName, float] = {"sgd": 0.5, "momentum": 0.05, "adam": 0.02}


def capable(framework: Framework, spec: Model, batches: Sequence[Batch], dtype: str) -> list[str]:
    """The implementations that can be the model's rnn, each first for some models: so all of them take part."""
    names = [
        name
        for name in framework.implementations
        if not any(framework.model_refusal(name, spec, batch, dtype, "cpu") for batch in batches)
    ]
    start = zlib.crc32(f"{spec}{dtype}".encode()) % len(names)
    return names[start:] + names[:start]


@cache
def network_of(framework: Framework, name: str, dtype: str = "float64", implementation: str = "") -> Network:
    """A case's network, the same one in every test that does not train: what it has compiled is kept."""
    case = CASES[name]
    implementation = implementation or capable(framework, case.spec, [case.batch], dtype)[0]
    network = framework.network(case.spec, implementation, dtype, "cpu")
    network.reuse_programs()
    return network


def disagreement(network: Network, case: ModelCase, batch: Batch, dtype: str = "float64") -> list[str]:
    """What is wrong with a network's results for a case's weights and a batch."""
    check_batch(case.spec, batch)
    yard = model_yardstick(case.spec, case.weights, batch, dtype)
    network.load_weights(yard.weights)
    return judge_model(network.results(yard.batch), yard).reasons


# Results: loss, right answers, logits and gradients.


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, "float64") for name in FLOAT64), *((name, "float32") for name in FLOAT32)]
)
def test_results_agree_with_the_reference(framework: Framework, name: str, dtype: str) -> None:
    assert disagreement(network_of(framework, name, dtype), CASES[name], CASES[name].batch, dtype) == []


@pytest.mark.parametrize("name", ["tagger-crf", "translator-attention"])
def test_the_loss_alone_is_that_of_the_results(framework: Framework, name: str) -> None:
    case, network = CASES[name], network_of(framework, name)
    network.load_weights(case.weights)
    assert network.loss(case.batch) == pytest.approx(float(run(case.spec, case.weights, case.batch)["loss"]), rel=1e-12)


@pytest.mark.parametrize("name", IN_EVERY_IMPLEMENTATION)
def test_every_implementation_can_be_a_models_rnn(framework: Framework, implementation: str, name: str) -> None:
    """With rows that are all full where it cannot do shorter ones."""
    case = CASES[name]
    batch = case.batch
    if framework.model_refusal(implementation, case.spec, batch, "float64", "cpu"):
        steps = batch["x" if "x" in batch else "tokens"].shape[1]
        batch = {**batch, "lengths": np.full_like(batch["lengths"], steps)}
    if declined := framework.model_refusal(implementation, case.spec, batch, "float64", "cpu"):
        pytest.skip(f"{declined.status}: {declined.reason}")
    network = network_of(framework, name, "float64", implementation)
    assert disagreement(network, case, batch) == []


def test_nan_and_infinity_in_the_padding_of_features_change_nothing(framework: Framework, implementation: str) -> None:
    case = CASES["classifier"]
    wild = np.resize([np.nan, np.inf, -np.inf, 1e300, 7.0], case.batch["x"].shape)
    batch = {**case.batch, "x": np.where(padding_mask(case.batch)[..., None], wild, case.batch["x"])}
    if declined := framework.model_refusal(implementation, case.spec, batch, "float64", "cpu"):
        pytest.skip(f"{declined.status}: {declined.reason}")
    network = network_of(framework, "classifier", "float64", implementation)
    network.load_weights(case.weights)
    check_batch(case.spec, batch)
    assert differing(network.results(case.batch), network.results(batch)) == []


@pytest.mark.parametrize("name", ["tagger", "classifier", "translator-attention"])
def test_results_depend_on_the_batch_and_the_weights_of_the_call_alone(framework: Framework, name: str) -> None:
    """What was computed before, in the same shapes, with other lengths, coin flips, masks and weights, leaves
    nothing behind."""
    case, network = CASES[name], network_of(framework, name)
    rows, steps = case.batch["x" if "x" in case.batch else "tokens"].shape[:2]
    shape = BatchShape(rows, steps, case.batch["targets"].shape[1] if "targets" in case.batch else 1)
    rng = np.random.default_rng(3)
    other = ModelCase("other", case.spec, initialise(case.spec, rng), random_batch(case.spec, shape, rng))
    if "forced" in case.batch:
        other.batch["forced"][:] = ~case.batch["forced"]
    assert disagreement(network, other, other.batch) == []
    assert disagreement(network, case, case.batch) == []


@pytest.mark.parametrize("name", ["pipeline", "classifier", "translator-attention"])
def test_where_nothing_counts_loss_and_gradients_are_0(framework: Framework, name: str) -> None:
    case, network = CASES[name], network_of(framework, name)
    batch = dict(case.batch)
    if isinstance(case.spec, SequenceModel):
        batch["counted"] = np.zeros_like(batch["counted"])
    else:
        batch["targets"], batch["target_lengths"] = np.zeros_like(batch["targets"]), 0 * batch["target_lengths"]
    check_batch(case.spec, batch)
    network.load_weights(case.weights)
    results = network.results(batch)
    assert results["loss"] == 0
    assert results["correct"] == 0
    assert all((value == 0).all() for key, value in results.items() if key.startswith("grad."))


@pytest.mark.parametrize("name", ["translator", "translator-attention"])
def test_a_row_without_targets_only_fills_the_batch_up(framework: Framework, name: str) -> None:
    case = CASES[name]
    batch = {key: value.copy() for key, value in case.batch.items()}
    batch["targets"][1], batch["target_lengths"][1] = PADDING, 0
    assert disagreement(network_of(framework, name), case, batch) == []


# Answers.


def unlabelled(batch: Batch) -> Arrays:
    return {name: batch[name] for name in ("x", "tokens", "lengths") if name in batch}


@pytest.mark.parametrize("name", ["pipeline", "tagger", "classifier"])
def test_predictions_are_the_references(framework: Framework, name: str) -> None:
    case, network = CASES[name], network_of(framework, name)
    batch = unlabelled(case.batch)
    check_batch(case.spec, batch, labelled=False)
    assert isinstance(case.spec, SequenceModel)
    expected = predict(case.spec, case.weights, batch)
    network.load_weights(case.weights)
    answers = network.predict(batch)
    assert set(answers) == {"labels", "logits", "vectors"}
    assert answers["labels"].dtype == np.int64
    np.testing.assert_array_equal(answers["labels"], expected["labels"])
    for key in ("logits", "vectors"):
        np.testing.assert_allclose(answers[key], expected[key], rtol=0, atol=1e-13, err_msg=key)
    assert (answers["vectors"][padding_mask(batch)] == 0).all()
    assert len(np.unique(expected["labels"])) > 1


@pytest.mark.parametrize("name", ["tagger-crf", "pipeline-crf"])
def test_a_crfs_paths_are_the_references(framework: Framework, name: str) -> None:
    """With and without what is allowed, and of equally good paths the first."""
    case, network = CASES[name], network_of(framework, name)
    assert isinstance(case.spec, SequenceModel)
    free, allowed = unlabelled(case.batch), case.allowed()
    assert allowed is not None
    for weights in (case.weights, {key: 0 * value for key, value in case.weights.items()}):
        network.load_weights(weights)
        for batch in (free, free | {"allowed": allowed}):
            expected = predict(case.spec, weights, batch)
            answer = network.predict(batch)
            assert answer["labels"].dtype == np.int64
            np.testing.assert_array_equal(answer["labels"], expected["labels"])
            np.testing.assert_allclose(answer["logits"], expected["logits"], rtol=0, atol=1e-13)


def test_of_equal_logits_the_first_is_the_answer(framework: Framework) -> None:
    case, network = CASES["tagger"], network_of(framework, "tagger")
    bias = np.array([0.0, -1, 2, 1, 2, 0, 2])
    network.load_weights(case.weights | {"head.0.weight": 0 * case.weights["head.0.weight"], "head.0.bias": bias})
    real = np.arange(case.batch["tokens"].shape[1]) < case.batch["lengths"][:, None]
    np.testing.assert_array_equal(network.predict(unlabelled(case.batch))["labels"], np.where(real, 2, 0))
    right = ((case.batch["labels"] == 2) & case.batch["counted"]).sum()
    assert network.results(case.batch)["correct"] == right > 0


TALKATIVE = {"translator": 18, "translator-bidirectional-attention": 12}
"""Seeds of weights with which a decoder says different things and ends some rows, not all."""


@pytest.mark.parametrize("name", TALKATIVE)
def test_greedy_decoding_is_the_references(framework: Framework, name: str) -> None:
    case, network = CASES[name], network_of(framework, name)
    assert isinstance(case.spec, Seq2Seq)
    drawn = initialise(case.spec, np.random.default_rng(TALKATIVE[name]))
    weights, batch = {key: 3 * value for key, value in drawn.items()}, unlabelled(case.batch)
    check_batch(case.spec, batch, labelled=False)
    expected = decode(case.spec, weights, batch, 7)
    network.load_weights(weights)
    answer = network.decode(batch, 7)
    assert answer.dtype == np.int64
    np.testing.assert_array_equal(answer, expected)
    ends = (expected == END).argmax(axis=1)  # 0 where a row does not end
    assert (ends > 0).any()
    assert (ends == 0).any()
    np.testing.assert_array_equal(network.decode(batch, 1), expected[:, :1])


# Training.


def settings(name: OptimizerName, weight_decay: float = 0.0, clip_norm: float | None = None) -> OptimizerSettings:
    """Numbers other than the usual ones, epsilon large enough for its place to show."""
    return OptimizerSettings(
        name=name,
        learning_rate=RATES[name],
        momentum=0.7,
        beta1=0.8,
        beta2=0.95,
        epsilon=1e-3,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
    )


class Course:
    """A model's first weights and the batches of some steps of training."""

    def __init__(self, model: str, num_steps: int) -> None:
        self.spec = MODELS[model]
        rng = np.random.default_rng(zlib.crc32(model.encode()))
        self.weights = initialise(self.spec, rng)
        batches = [random_batch(self.spec, BatchShape(3, 4, target_len=3), rng) for _ in range(3)]
        self.batches = [batches[i % len(batches)] for i in range(num_steps)]
        for batch in batches:
            check_batch(self.spec, batch)
            assert has_dropout(batch) == bool(self.spec.dropout or self.spec.decoder_dropout)

    def reference(self, optimizer: OptimizerSettings) -> ReferenceTrainer:
        return ReferenceTrainer(self.spec, self.weights, optimizer)

    def network(self, framework: Framework, optimizer: OptimizerSettings) -> Network:
        """In the implementation that the optimizer's turn brings."""
        names = capable(framework, self.spec, self.batches, "float64")
        name = names[list(RATES).index(optimizer.name) % len(names)]
        network = framework.network(self.spec, name, "float64", "cpu")
        network.reuse_programs()
        network.load_weights(self.weights)
        network.set_optimizer(optimizer)
        return network


def assert_same_trace(steps: Sequence[Step], expected: Sequence[Step], tolerance: float = 1e-9) -> None:
    assert len(steps) == len(expected)
    for name in ("loss", "accuracy", "gradient_norm"):
        actual, desired = ([getattr(step, name) for step in trace] for trace in (steps, expected))
        np.testing.assert_allclose(actual, desired, rtol=tolerance, atol=0, err_msg=name)


def assert_same_arrays(arrays: Arrays, expected: Arrays, tolerance: float = 1e-9) -> None:
    assert set(arrays) == set(expected)
    for name, value in expected.items():
        assert arrays[name].dtype == value.dtype, name
        np.testing.assert_allclose(arrays[name], value, rtol=0, atol=tolerance, err_msg=name)


TRACES: list[tuple[str, OptimizerName, float, bool]] = [
    *(("gru-tagger", name, 0.1, False) for name in RATES),
    ("lstm-tagger-frozen", "sgd", 0.1, True),
    ("weighted", "momentum", 0.1, True),
    ("translator-attention", "adam", 0.1, True),
    ("tagger-crf", "adam", 0.1, True),
]


@pytest.mark.parametrize(
    ("model", "name", "decay", "clip"),
    TRACES,
    ids=[f"{model}-{name}{'-decay' * bool(decay)}{'-clip' * clip}" for model, name, decay, clip in TRACES],
)
def test_a_trace_is_the_references(
    framework: Framework, model: str, name: OptimizerName, decay: float, clip: bool
) -> None:
    """Twice on one network: loading the weights starts the optimizer anew."""
    course = Course(model, 12)
    optimizer = settings(name, decay)
    if clip:
        norms = [step.gradient_norm for step in course.reference(optimizer).train(course.batches[:6])]
        optimizer = settings(name, decay, float(np.median(norms)))
    reference = course.reference(optimizer)
    expected = reference.train(course.batches)
    if optimizer.clip_norm is not None:
        clipped = [step.gradient_norm > optimizer.clip_norm for step in expected]
        assert any(clipped)
        assert not all(clipped)
    network = course.network(framework, optimizer)
    assert_same_trace(network.train(course.batches), expected)
    assert_same_arrays(network.weights(), reference.weights())
    assert_same_arrays(network.optimizer_state(), reference.optimizer_state())
    network.load_weights(course.weights)
    assert_same_trace(network.train(course.batches[:3]), expected[:3])


@pytest.mark.parametrize("name", CASES)
def test_weights_come_back_as_they_were_loaded(framework: Framework, name: str) -> None:
    """To the last bit, but for a ``bias_ih`` that was added to its ``bias_hh`` in between."""
    case, network = CASES[name], network_of(framework, name)
    network.load_weights(case.weights)
    weights = network.weights()
    assert [(key, value.shape) for key, value in weights.items()] == list(parameters(case.spec).items())
    for key, value in weights.items():
        assert value.dtype == np.float64
        np.testing.assert_allclose(value, case.weights[key], rtol=0, atol=1e-15 if "bias_ih" in key else 0)


@pytest.mark.parametrize("cell", [{"cell": "rnn_relu"}, {"cell": "lstm"}, {"cell": "gru"}, {"reset_after": False}])
def test_both_biases_come_back_from_every_implementation(
    framework: Framework, implementation: str, cell: dict[str, Any]
) -> None:
    """Where its layout holds their sum alone, too: it has declared of which gates."""
    case = a_case("biases", tagger(**cell))
    if declined := framework.model_refusal(implementation, case.spec, case.batch, "float64", "cpu"):
        pytest.skip(f"{declined.status}: {declined.reason}")
    network = framework.network(case.spec, implementation, "float64", "cpu")
    network.load_weights(case.weights)
    weights = network.weights()
    for name in [name for name in weights if "bias" in name]:
        np.testing.assert_allclose(weights[name], case.weights[name], rtol=0, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("name", RATES)
def test_optimizer_state_is_zeros_before_the_first_step(framework: Framework, name: OptimizerName) -> None:
    course, optimizer = Course("gru-tagger", 1), settings(name)
    state = course.network(framework, optimizer).optimizer_state()
    shapes = state_shapes(course.spec, optimizer) | {"count": ()}
    assert {key: value.shape for key, value in state.items()} == shapes
    assert all((value == 0).all() for value in state.values())


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_training_goes_on_from_a_checkpoint_as_if_never_stopped(framework: Framework, name: OptimizerName) -> None:
    """From this framework's own weights and state, and from the reference's."""
    course, optimizer = Course("gru-tagger", 6), settings(name, 0.1, 1.0)
    expected = course.reference(optimizer).train(course.batches)
    first = course.network(framework, optimizer)
    assert_same_trace(first.train(course.batches[:3]), expected[:3])
    second = course.network(framework, optimizer)
    second.load_weights(first.weights())
    second.set_optimizer(optimizer)
    second.load_optimizer_state(first.optimizer_state())
    uninterrupted = first.train(course.batches[3:])
    assert_same_trace(second.train(course.batches[3:]), uninterrupted, tolerance=1e-12)
    assert_same_trace(uninterrupted, expected[3:])
    reference = course.reference(optimizer)
    reference.train(course.batches[:3])
    second.load_weights(reference.weights())
    second.set_optimizer(optimizer)
    second.load_optimizer_state(reference.optimizer_state())
    assert_same_trace(second.train(course.batches[3:]), expected[3:])

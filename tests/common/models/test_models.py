"""The models' reference: gradients, padding, what counts, its parts, specifications and batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from common.errors import InputError
from common.models import layers
from common.models.batch import Batch, check_batch, sizes
from common.models.layers import Arithmetic
from common.models.reference import decode, predict, reference_of, run
from common.models.small_cases import BatchShape, ModelCase, model_cases, random_batch
from common.models.specification import (
    Arrays,
    Seq2Seq,
    SequenceModel,
    initialise,
    model_as_json,
    model_from_json,
    parameters,
)
from common.reference import Reference
from common.weights import initialise as initialise_layer
from common.weights import join_layers, split_layers

CASES = {case.name: case for case in model_cases()}
SEQUENCE = [name for name, case in CASES.items() if isinstance(case.spec, SequenceModel)]
SEQ2SEQ = [name for name, case in CASES.items() if isinstance(case.spec, Seq2Seq)]
STEPS = [name for name in SEQUENCE if CASES[name].batch["labels"].ndim == 2]

every_case = pytest.mark.parametrize("name", CASES)


# Gradients, and what they and the loss depend on.


def slope(case: ModelCase, moved: str, direction: np.ndarray, choices: np.ndarray) -> float:
    """The derivative of the loss along a direction of one parameter, by a complex step."""
    weights = case.weights | {moved: case.weights[moved] + 1e-100j * direction}
    outputs = reference_of(case.spec, weights, Arithmetic(np.dtype(np.complex128)), choices).forward(case.batch)
    return float(outputs["loss"].imag / 1e-100)


@every_case
def test_gradients_are_those_of_the_loss(name: str) -> None:
    """Of every parameter, along two random directions."""
    case = CASES[name]
    results = run(case.spec, case.weights, case.batch)
    choices = layers.best(results["logits"])
    frozen = {"embedding"} if isinstance(case.spec, SequenceModel) and case.spec.frozen_embedding else set()
    assert {key for key in results if key.startswith("grad.")} == {f"grad.{key}" for key in {*case.weights} - frozen}
    rng = np.random.default_rng(1)
    for key, value in case.weights.items():
        if key not in frozen:
            for direction in rng.normal(size=(2, *value.shape)):
                expected = slope(case, key, direction, choices)
                assert (results[f"grad.{key}"] * direction).sum() == pytest.approx(expected, rel=1e-10, abs=1e-14), key


def repadded(case: ModelCase) -> Batch:
    """The case's batch with all the padding's content replaced."""
    rng = np.random.default_rng(5)
    other = random_batch(case.spec, BatchShape(*sizes(case.batch)), rng)
    steps = np.arange(sizes(case.batch)[1])
    real = steps < case.batch.get("lengths", np.full(sizes(case.batch)[0], len(steps)))[:, None]
    changed = dict(case.batch)
    if "x" in changed:
        changed["x"] = np.where(real[..., None], changed["x"], np.resize([np.nan, np.inf, 1e300], other["x"].shape))
    else:
        changed["tokens"] = np.where(real, changed["tokens"], other["tokens"])
    if "counted" in changed:
        changed["labels"] = np.where(changed["counted"], changed["labels"], 0)
    return changed


@every_case
def test_the_content_of_the_padding_changes_nothing(name: str) -> None:
    case = CASES[name]
    batch = repadded(case)
    assert any((batch[key] != case.batch[key]).any() for key in batch)
    first, second = (run(case.spec, case.weights, each) for each in (case.batch, batch))
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], key)


@pytest.mark.parametrize("name", [*STEPS, *SEQ2SEQ])
def test_logits_past_a_length_are_0(name: str) -> None:
    case = CASES[name]
    logits = run(case.spec, case.weights, case.batch)["logits"]
    lengths = case.batch.get("target_lengths" if isinstance(case.spec, Seq2Seq) else "lengths")
    past = np.zeros(logits.shape[:2], bool) if lengths is None else np.arange(logits.shape[1]) >= lengths[:, None]
    assert (logits[past] == 0).all()
    assert (logits[~past] != 0).all()


@pytest.mark.parametrize("name", [name for name in SEQUENCE if CASES[name].spec.head == "softmax"])
def test_loss_and_accuracy_are_over_the_counted_positions_alone(name: str) -> None:
    case = CASES[name]
    results = run(case.spec, case.weights, case.batch)
    counted, labels = case.batch["counted"], case.batch["labels"]
    assert 0 < counted.sum() < counted.size
    logits = results["logits"][counted]
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    right = labels[counted]
    assert results["loss"] == pytest.approx(-np.log(shares[np.arange(len(right)), right]).mean(), rel=1e-12)
    assert results["correct"] == (logits.argmax(axis=-1) == right).sum()


@every_case
def test_where_nothing_counts_loss_and_gradients_are_0(name: str) -> None:
    case = CASES[name]
    batch = dict(case.batch)
    if isinstance(case.spec, SequenceModel):
        batch["counted"] = np.zeros_like(batch["counted"])
    else:
        batch["targets"], batch["target_lengths"] = np.zeros_like(batch["targets"]), 0 * batch["target_lengths"]
    check_batch(case.spec, batch)
    results = run(case.spec, case.weights, batch)
    assert all((value == 0).all() for key, value in results.items() if key not in ("logits", "vectors", "attention"))


# The parts against a second way of computing them.


def test_the_stack_without_dropout_is_the_layers_reference() -> None:
    case = CASES["tagger-mul"]
    rnn = case.spec.recurrent
    weights = initialise_layer(rnn, np.random.default_rng(2))
    x = np.random.default_rng(3).normal(size=(5, 7, rnn.input_size))
    stack = layers.Stack(rnn, weights, Arithmetic(np.dtype(np.float64)))
    output, h_n = stack.forward(x, case.batch["lengths"], ())
    zeros = np.zeros((rnn.num_layers * 2, 5, rnn.hidden_size))
    outputs = Reference(rnn, weights, np.float64).forward(x, case.batch["lengths"], zeros, zeros)
    np.testing.assert_array_equal(output, outputs["output"])
    np.testing.assert_array_equal(h_n, outputs["h_n"])


def test_dropout_of_nothing_is_evaluation() -> None:
    case = CASES["tagger"]
    ones = {key: np.ones_like(value) if key.startswith("dropout") else value for key, value in case.batch.items()}
    without = {key: value for key, value in case.batch.items() if not key.startswith("dropout")}
    first, second, dropped = (run(case.spec, case.weights, each) for each in (ones, without, case.batch))
    np.testing.assert_array_equal(first["logits"], second["logits"])
    assert abs(first["loss"] - dropped["loss"]) > 1e-3


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_greedy_decoding_is_what_an_unforced_decoder_chooses(name: str) -> None:
    case = CASES[name]
    spec, max_steps = case.spec, 9
    assert isinstance(spec, Seq2Seq)
    source = {key: case.batch[key] for key in ("tokens", "lengths")}
    check_batch(spec, source, labelled=False)
    full = {"targets": np.full((4, max_steps), 3), "target_lengths": np.full(4, max_steps)}
    for boost in np.arange(0, 2, 0.05):  # of the end token, until a row ends before its last step
        bias = case.weights["head.0.bias"] + boost * (np.arange(spec.target_size) == 2)
        weights = case.weights | {"head.0.bias": bias}
        own = layers.best(run(spec, weights, source | full | {"forced": np.zeros(max_steps, bool)})["logits"])
        ended = np.cumsum(own == 2, axis=1) - (own == 2) > 0
        np.testing.assert_array_equal(decode(spec, weights, source, max_steps), np.where(ended, 0, own))
        if ended.any():
            return
    pytest.fail("no row ended")


def test_forced_steps_are_given_the_right_tokens() -> None:
    """The logits of step u hang on the target of step u − 1 where u is forced, and else not."""
    case = CASES["translator"]
    batch = dict(case.batch)
    batch["target_lengths"] = np.full_like(batch["target_lengths"], 5)
    batch["targets"] = np.random.default_rng(0).integers(3, 10, size=batch["targets"].shape)
    for forced in (True, False):
        batch["forced"] = np.full(5, forced)
        changed = batch | {"targets": np.where(np.arange(5) == 2, 3 + (batch["targets"] - 2) % 7, batch["targets"])}
        first, second = (run(case.spec, case.weights, each)["logits"] for each in (batch, changed))
        np.testing.assert_array_equal(first[:, :3], second[:, :3])
        assert (first[:, 3:] != second[:, 3:]).any() == forced


@pytest.mark.parametrize("name", ["translator-attention", "translator-bidirectional-attention"])
def test_attention_is_a_share_of_every_real_step_and_the_context_their_mean(name: str) -> None:
    """With all the head's weights but one at 0, that one's column says what it reads, by the definition."""
    case = CASES[name]
    spec, batch = case.spec, case.batch
    assert isinstance(spec, Seq2Seq)
    results = run(spec, case.weights, batch)
    source, target = (
        np.arange(width) < batch[lengths][:, None] for width, lengths in ((6, "lengths"), (5, "target_lengths"))
    )
    assert results["attention"].shape == (4, 5, 6)
    np.testing.assert_array_equal(results["attention"] > 0, target[:, :, None] & source[:, None])
    np.testing.assert_allclose(results["attention"].sum(axis=-1), target, rtol=1e-14)
    for unit in range(spec.memory_size):
        head = np.zeros_like(case.weights["head.0.weight"])
        head[4, spec.state_size + unit] = 1.0  # behind the states stands the context
        forced = {**batch, "forced": np.ones(5, bool)}
        read = run(spec, case.weights | {"head.0.weight": head, "head.0.bias": np.zeros(10)}, forced)
        context = (read["attention"][..., None] * read["vectors"][:, None]).sum(axis=2)  # (batch, target_len, memory)
        np.testing.assert_allclose(read["logits"][..., 4], context[..., unit], rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", ["tagger-mul", "classifier-tokens"])
def test_vectors_are_the_layers_output_by_its_own_reference(name: str) -> None:
    """Of both readouts, 0 past a length."""
    case = CASES[name]
    rnn, batch = case.spec.recurrent, case.batch
    weights = {key.removeprefix("rnn."): value for key, value in case.weights.items() if key.startswith("rnn.")}
    zeros = np.zeros((rnn.num_layers * 2, 5, rnn.hidden_size))
    x = case.weights["embedding"][batch["tokens"]]
    output = Reference(rnn, weights, np.float64).forward(x, batch["lengths"], zeros, zeros)["output"]
    results = run(case.spec, case.weights, batch)
    np.testing.assert_array_equal(results["vectors"], output)
    assert isinstance(case.spec, SequenceModel)
    source = {key: batch[key] for key in ("tokens", "lengths")}
    np.testing.assert_array_equal(predict(case.spec, case.weights, source)["vectors"], output)


def test_predictions_are_the_best_logits() -> None:
    case = CASES["tagger"]
    source = {key: case.batch[key] for key in ("tokens", "lengths")}
    assert isinstance(case.spec, SequenceModel)
    answers = predict(case.spec, case.weights, source)
    real = np.arange(7) < source["lengths"][:, None]
    np.testing.assert_array_equal(answers["labels"], np.where(real, answers["logits"].argmax(axis=-1), 0))
    assert answers["labels"].any()


# Specifications and batches.


@every_case
def test_a_specification_survives_json_and_its_weights_have_its_shapes(name: str) -> None:
    case = CASES[name]
    assert model_from_json(model_as_json(case.spec)) == case.spec
    assert {key: value.shape for key, value in case.weights.items()} == parameters(case.spec)
    check_batch(case.spec, case.batch)


def test_initial_weights_are_those_of_the_seed() -> None:
    spec = CASES["translator-attention"].spec
    first, second = (initialise(spec, np.random.default_rng(4)) for _ in range(2))
    assert all((first[name] == second[name]).all() for name in first)
    assert all(np.abs(value).max() <= 1 for name, value in first.items() if "embedding" not in name)


@pytest.mark.parametrize("name", ["tagger", "translator-attention"])
def test_initial_weights_fill_the_range_of_their_layer(name: str) -> None:
    """torch.nn.RNNBase's is 1/√hidden_size, torch.nn.Linear's 1/√in."""
    spec = CASES[name].spec
    drawn = [initialise(spec, np.random.default_rng(seed)) for seed in range(40)]
    for key in drawn[0]:
        if "embedding" in key:
            continue
        of_rnn = key.startswith(("rnn.", "encoder.", "decoder."))
        width = spec.recurrent.hidden_size if of_rnn else drawn[0][key.replace(".bias", ".weight")].shape[-1]
        largest = max(np.abs(each[key]).max() for each in drawn)
        assert 0.9 / np.sqrt(width) < largest <= 1 / np.sqrt(width), key


def test_layers_split_and_keep_their_names() -> None:
    case = CASES["tagger"]
    rnn = case.spec.recurrent
    weights = {key.removeprefix("rnn."): value for key, value in case.weights.items() if key.startswith("rnn.")}
    first, second = split_layers(rnn, weights)
    assert second["weight_ih_l0_reverse"] is weights["weight_ih_l1_reverse"]
    assert list(join_layers([first, second])) == list(weights)


def without(key: str) -> Callable[[Arrays], Arrays]:
    return lambda batch: {name: value for name, value in batch.items() if name != key}


def with_array(key: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda batch: {**batch, key: change(batch[key])}


BAD_BATCHES: dict[str, tuple[str, Callable[[Arrays], Arrays], str]] = {
    "no tokens": ("tagger", without("tokens"), "a batch must have tokens; it has"),
    "no rows": (
        "tagger",
        with_array("tokens", lambda v: v[:0]),
        "tokens must have shape (batch, seq_len) with nothing",
    ),
    "no labels": ("tagger", without("labels"), "a batch must have labels; it is missing"),
    "unknown": ("tagger", lambda batch: {**batch, "forced": batch["lengths"]}, "must have no 'forced' here"),
    "dropout without": ("g2pm", lambda batch: {**batch, "dropout.0": batch["lengths"]}, "no 'dropout.0' here"),
    "dropout of a layer": ("tagger", with_array("dropout.0", lambda v: v[:, :2]), "dropout.0 must have shape"),
    "a decoder's dropout without": (
        "translator-attention",
        lambda batch: {**batch, "dropout.decoder.0": batch["lengths"]},
        "no 'dropout.decoder.0' here",
    ),
    "a decoder layer without its dropout": (
        "translator",
        without("dropout.decoder.1"),
        "a batch must have dropout.decoder.1; it is missing",
    ),
    "float tokens": ("tagger", with_array("tokens", lambda v: v * 1.0), "tokens must be int64; got float64"),
    "unknown token": ("tagger", with_array("tokens", lambda v: v + 8), "tokens must lie between 0 and 10"),
    "empty row": ("tagger", with_array("lengths", lambda v: v * 0), "lengths must lie between 1 and 7; got 0"),
    "label": ("tagger", with_array("labels", lambda v: v - 9), "labels must lie between 0 and 6"),
    "padding counted": ("tagger", with_array("counted", lambda v: v | True), "counted must be false past the lengths"),
    "not finite within the lengths": ("relu", with_array("x", lambda v: v / 0.0), "x must be finite"),
    "not finite": ("pipeline", with_array("x", lambda v: v / 0.0), "x must be finite"),
    "width": ("pipeline", with_array("x", lambda v: v[..., :2]), "x must have shape"),
    "no lengths": ("translator", without("lengths"), "a batch must have lengths; it is missing"),
    "some steps of a row counted": (
        "tagger-crf",
        with_array("counted", lambda v: v & (np.arange(v.shape[1]) > 0)),
        "counted must be true for all real steps of a row or for none, with a CRF; row",
    ),
    "targets": ("translator", with_array("targets", lambda v: v * 0), "targets must be 0 past the target_lengths"),
}


@pytest.mark.parametrize("bad", BAD_BATCHES)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_a_batch_that_does_not_fit_is_refused(bad: str) -> None:
    name, change, reason = BAD_BATCHES[bad]
    with pytest.raises(InputError) as refused:
        check_batch(CASES[name].spec, change(dict(CASES[name].batch)))
    assert reason in str(refused.value)


BAD_SPECIFICATIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "frozen": ("pipeline", {"frozen_embedding": True}, "num_embeddings where frozen_embedding is true"),
    "dropout": ("pipeline", {"dropout": 0.5}, "must have dropout 0 where the rnn has one layer"),
    "kind": ("pipeline", {"kind": "transformer"}, "got"),
    "readout": ("pipeline", {"readout": "mean"}, "readout"),
    "head": ("tagger", {"head": "hmm"}, "head"),
    "a CRF without steps": ("classifier", {"head": "crf"}, "must have the readout steps where the head is crf"),
    "attention": ("translator", {"attention": True}, "attention_size where attention is true, and there alone"),
    "embedding": ("translator", {"embedding_size": 3}, "must have an encoder of input_size 3"),
    "encoder": ("translator", {"encoder": model_as_json(CASES["tagger"].spec)["rnn"]}, "must have a reset-after gru"),
    "decoder's dropout": ("translator", {"decoder_dropout": 1.0}, "decoder_dropout should be less than 1; got 1.0"),
    "target": ("translator", {"target_size": 2}, "target_size"),
}


@pytest.mark.parametrize("bad", BAD_SPECIFICATIONS)
def test_a_specification_that_does_not_fit_is_refused(bad: str) -> None:
    name, change, reason = BAD_SPECIFICATIONS[bad]
    with pytest.raises(InputError, match=reason):
        model_from_json(model_as_json(CASES[name].spec) | change)

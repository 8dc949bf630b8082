"""Judging of models: correct arithmetic agrees, and the mistakes that people make do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from common.judging.models import ModelYardstick, judge_model, model_yardstick
from common.judging.precision import DTYPES
from common.judging.yardstick import truth_dtype
from common.models import layers
from common.models.attention import Attention
from common.models.batch import Batch, sizes
from common.models.decoder import Bridge, split_top
from common.models.layers import Arithmetic
from common.models.reference import all_results, reference_of, run
from common.models.seq2seq import Seq2SeqReference
from common.models.sequence import SequenceReference
from common.models.small_cases import ModelCase, model_cases
from common.models.specification import (
    Arrays,
    SequenceModel,
)
from common.specification import GATES

CASES = {case.name: case for case in model_cases()}


@cache
def yard_of(name: str, dtype: str) -> ModelYardstick:
    case = CASES[name]
    return model_yardstick(case.spec, case.weights, case.batch, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_the_plain_loop_agrees(name: str, dtype: str) -> None:
    yard = yard_of(name, dtype)
    assert judge_model(yard.plain | {"correct": np.array(yard.correct)}, yard).agrees


@pytest.mark.parametrize("name", CASES)
def test_float32_in_a_float64_lane_is_caught(name: str) -> None:
    case, yard = CASES[name], yard_of(name, "float64")
    assert not judge_model(run(case.spec, case.weights, case.batch, np.float32), yard).agrees


class MeanOverAllSteps(SequenceReference):
    def divisor(self, counted: np.ndarray) -> int:
        return counted.size


class AllRealStepsCounted(SequenceReference):
    def counted(self, batch: Batch) -> np.ndarray:
        return np.arange(batch["counted"].shape[1]) < batch["lengths"][:, None]


class WithoutDropout(SequenceReference):
    def factors(self, batch: Batch) -> list[np.ndarray]:
        return []


class DropoutUnscaled(SequenceReference):
    def factors(self, batch: Batch) -> list[np.ndarray]:
        return [(each > 0) * 1.0 for each in super().factors(batch)]


class StatesReverseFirst(SequenceReference):
    def final_states(self, h_n: np.ndarray) -> np.ndarray:
        return np.concatenate([h_n[-1], h_n[-2]], axis=-1)

    def final_states_gradient(self, gradient: np.ndarray, h_n: np.ndarray) -> np.ndarray:
        return super().final_states_gradient(np.concatenate(np.split(gradient, 2, axis=-1)[::-1], axis=-1), h_n)


class StatesOfTheFirstLayer(SequenceReference):
    def final_states(self, h_n: np.ndarray) -> np.ndarray:
        return super().final_states(h_n[:2])

    def final_states_gradient(self, gradient: np.ndarray, h_n: np.ndarray) -> np.ndarray:
        return np.concatenate([super().final_states_gradient(gradient, h_n[:2]), np.zeros_like(h_n[2:])])


class EncoderWithoutDropout(Seq2SeqReference):
    def factors(self, batch: Batch) -> list[np.ndarray]:
        return []


class DecoderWithoutDropout(Seq2SeqReference):
    def decoder_factors(self, batch: Batch) -> list[np.ndarray]:
        return []


class DecoderWithOtherLayersDropout(Seq2SeqReference):
    def decoder_factors(self, batch: Batch) -> list[np.ndarray]:
        return super().decoder_factors(batch)[::-1]


class DecoderWithTheStepBeforesDropout(Seq2SeqReference):
    def decoder_factors(self, batch: Batch) -> list[np.ndarray]:
        return [np.roll(each, 1, axis=1) for each in super().decoder_factors(batch)]


class StateDropped(Seq2SeqReference):
    """On the way to the next step, too."""

    def step(self, tokens: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        factors = [each[:, len(self._tokens)] for each in self._factors]
        logits, states = super().step(tokens, states)
        return logits, states * np.stack([split_top(each, states.shape[1]) for each in factors])


class PaddingAttended(Seq2SeqReference):
    def attended(self, batch: Batch) -> np.ndarray:
        return np.ones(sizes(batch), bool)


class AlwaysForced(Seq2SeqReference):
    def given(self, batch: Batch, logits: list[np.ndarray]) -> np.ndarray:
        return super().given({**batch, "forced": np.ones_like(batch["forced"])}, logits)


class NeverForced(Seq2SeqReference):
    def given(self, batch: Batch, logits: list[np.ndarray]) -> np.ndarray:
        return super().given({**batch, "forced": np.zeros_like(batch["forced"])}, logits)


class ThisStepsTargetGiven(Seq2SeqReference):
    """The target of the step itself, not of the one before it."""

    def given(self, batch: Batch, logits: list[np.ndarray]) -> np.ndarray:
        return super().given({**batch, "targets": np.roll(batch["targets"], -1, axis=1)}, logits)


class MeanOverThePaddingToo(Seq2SeqReference):
    def divisor(self, counted: np.ndarray) -> int:
        return counted.size


class BridgeReverseFirst(Bridge):
    def joined(self, h_n: np.ndarray) -> np.ndarray:
        return super().joined(_directions_swapped(h_n))

    def joined_gradient(self, gradient: np.ndarray) -> np.ndarray:
        return _directions_swapped(super().joined_gradient(gradient))


def _directions_swapped(h_n: np.ndarray) -> np.ndarray:
    by_layer = h_n.reshape(-1, 2, *h_n.shape[1:])
    return by_layer[:, ::-1].reshape(h_n.shape)  # the two directions of a layer exchanged


class BridgeOfTheWrongLayer(Bridge):
    """The final states read as all forward ones, then all reverse ones."""

    def joined(self, h_n: np.ndarray) -> np.ndarray:
        return np.concatenate(np.split(h_n, 2), axis=-1)

    def joined_gradient(self, gradient: np.ndarray) -> np.ndarray:
        return np.concatenate(np.split(gradient, 2, axis=-1))


class WrongBridge(Seq2SeqReference):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.bridge = BridgeReverseFirst(self.spec, self.weights, self.arithmetic)


class OtherLayersBridge(Seq2SeqReference):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.bridge = BridgeOfTheWrongLayer(self.spec, self.weights, self.arithmetic)


class AttentionUntrained(Attention):
    """No gradient goes from the weights back to the decoder's state."""

    def back_step(self, d_context: np.ndarray) -> np.ndarray:
        return np.zeros_like(super().back_step(d_context))


class StateDetached(Seq2SeqReference):
    def encode(self, batch: Batch) -> np.ndarray:
        states = super().encode(batch)
        self._attention = AttentionUntrained(self.weights, self.arithmetic, self._memory, self.attended(batch))
        return states


Change = Callable[[ModelCase, Arrays], Arrays]


def unchanged(case: ModelCase, weights: Arrays) -> Arrays:
    return weights


def gates_swapped(prefix: str) -> Change:
    """The first two gates of every kernel under a prefix exchanged."""

    def change(case: ModelCase, weights: Arrays) -> Arrays:
        gates = len(GATES[case.spec.recurrent.cell])

        def swap(value: np.ndarray) -> np.ndarray:
            first, second, *rest = np.split(value, gates)  # (hidden_size, …) each
            return np.concatenate([second, first, *rest])

        return {key: swap(value) if key.startswith(prefix) else value for key, value in weights.items()}

    return change


def decoder_directions_swapped(case: ModelCase, weights: Arrays) -> Arrays:
    def other(key: str) -> str:
        if not key.startswith("decoder."):
            return key
        return key.removesuffix("_reverse") if key.endswith("_reverse") else f"{key}_reverse"

    return {key: weights[other(key)] for key in weights}


@dataclass(frozen=True)
class Mistake:
    """Code with a mistake: another reference, or weights loaded (and gradients read back) in a wrong order."""

    case: str
    kind: type | None = None
    change: Change = unchanged

    def results(self, yard: ModelYardstick) -> Arrays:
        case = CASES[self.case]
        usual = SequenceReference if isinstance(case.spec, SequenceModel) else Seq2SeqReference
        weights = self.change(case, yard.weights)
        computed = all_results(
            (self.kind or usual)(case.spec, weights, Arithmetic(truth_dtype(yard.dtype))), yard.batch
        )
        gradients = self.change(case, {key[5:]: value for key, value in computed.items() if key.startswith("grad.")})
        return computed | {f"grad.{key}": value for key, value in gradients.items()}


MISTAKES = {
    "gates of the rnn swapped": Mistake("tagger", change=gates_swapped("rnn.")),
    "mean over all steps": Mistake("pipeline", MeanOverAllSteps),
    "steps that do not count, counted": Mistake("masked-tokens", AllRealStepsCounted),
    "dropout ignored": Mistake("tagger", WithoutDropout),
    "dropout without its scale": Mistake("tagger", DropoutUnscaled),
    "final states: reverse, forward": Mistake("classifier", StatesReverseFirst),
    "final states of the first layer": Mistake("classifier", StatesOfTheFirstLayer),
    "gates of the decoder swapped": Mistake("translator", change=gates_swapped("decoder.")),
    "gates of the encoder swapped": Mistake("translator", change=gates_swapped("encoder.")),
    "directions of the decoder swapped": Mistake("translator-bidirectional", change=decoder_directions_swapped),
    "dropout of the encoder ignored": Mistake("translator-attention", EncoderWithoutDropout),
    "dropout of the decoder ignored": Mistake("translator", DecoderWithoutDropout),
    "dropout of the decoder's layers swapped": Mistake("translator", DecoderWithOtherLayersDropout),
    "dropout of the decoder a step late": Mistake(
        "translator-bidirectional-attention", DecoderWithTheStepBeforesDropout
    ),
    "dropout on the decoder's state": Mistake("translator-bidirectional-attention", StateDropped),
    "padding attended": Mistake("translator-attention", PaddingAttended),
    "padding attended, two directions": Mistake("translator-bidirectional-attention", PaddingAttended),
    "attention's state detached": Mistake("translator-attention", StateDetached),
    "always forced": Mistake("translator", AlwaysForced),
    "never forced": Mistake("translator", NeverForced),
    "this step's target given": Mistake("translator-attention", ThisStepsTargetGiven),
    "mean over the target's padding, too": Mistake("translator", MeanOverThePaddingToo),
    "bridge: reverse, forward": Mistake("translator", WrongBridge),
    "bridge: all forward, all reverse": Mistake("translator-bidirectional-attention", OtherLayersBridge),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_caught(mistake: str, dtype: str) -> None:
    yard = yard_of(MISTAKES[mistake].case, dtype)
    assert not judge_model(MISTAKES[mistake].results(yard), yard).agrees


def test_a_gradient_that_keeps_one_of_a_tokens_places_is_caught() -> None:
    """As table.grad[tokens] = gradient does, where the places of a token must be added up."""
    case, yard = CASES["tagger"], yard_of("tagger", "float32")
    results = yard.plain | {"correct": np.array(yard.correct)}
    assert judge_model(results, yard).agrees
    twice = np.flatnonzero(np.bincount(case.batch["tokens"].ravel()) > 1)[0]
    wrong = results["grad.embedding"].copy()
    wrong[twice] /= 2
    assert not judge_model(results | {"grad.embedding": wrong}, yard).agrees


@pytest.mark.parametrize("name", ["tagger", "translator"])
def test_wrong_counts_and_missing_tensors_disagree(name: str) -> None:
    yard = yard_of(name, "float64")
    right = yard.plain | {"correct": np.array(yard.correct)}
    assert judge_model(yard.plain, yard).reasons == ["the result must have correct; it is missing"]
    off = judge_model(right | {"correct": np.array(yard.correct + 1)}, yard)
    assert off.reasons == [
        f"correct must be {yard.correct}, give or take 0 that rounding decides; got {yard.correct + 1}"
    ]
    del right["logits"]
    assert judge_model(right, yard).reasons == ["the result must have logits; it is missing"]


def tied(margin: float) -> tuple[ModelCase, np.ndarray]:
    """A decoder that chooses between two tokens a margin apart at its first step, and the choices with the second."""
    case = CASES["translator"]
    batch = {key: value[:1] if key != "forced" else np.zeros_like(value) for key, value in case.batch.items()}
    batch["targets"], batch["target_lengths"] = np.array([[4, 5, 6, 7, 2]]), np.array([5])
    case = replace(case, batch=batch)
    logits = run(case.spec, case.weights, batch)["logits"]
    first, second = np.argsort(logits[0, 0])[::-1][:2]
    bias = case.weights["head.0.bias"].copy()
    bias[second] += logits[0, 0, first] - logits[0, 0, second] - margin
    case = replace(case, weights=case.weights | {"head.0.bias": bias})
    choices = np.full((1, 5), second)
    for u in range(1, 5):  # what it chooses later, having chosen so
        logits = reference_of(case.spec, case.weights, Arithmetic(np.dtype(np.float64)), choices).forward(batch)[
            "logits"
        ]
        choices[0, u] = layers.best(logits)[0, u]
    return case, choices


@pytest.mark.parametrize(("margin", "agrees"), [(1e-9, True), (1e-2, False)])
def test_a_decoder_may_choose_either_of_two_tokens_that_tie(margin: float, agrees: bool) -> None:
    case, choices = tied(margin)
    yard = model_yardstick(case.spec, case.weights, case.batch, "float32")
    other = reference_of(case.spec, yard.weights, Arithmetic(np.dtype(np.float64)), choices)
    results = all_results(other, yard.batch)
    results["logits"][0, 0, choices[0, 0]] = results["logits"][0, 0].max() + 1e-9  # as the code's own rounding has it
    assert np.abs(results["logits"][0, 1] - yard.truth["logits"][0, 1]).max() > 1e-3
    verdict = judge_model(results, yard)
    assert verdict.agrees == agrees
    assert agrees or "the choice of row 0, step 0 must be the best token" in verdict.reasons[-1]


def test_gradients_may_fall_on_either_side_of_the_heads_kink() -> None:
    """A unit whose pre-activation rounding puts on the other side of 0 changes gradients by more than rounding."""
    case = CASES["relu"]
    reference = reference_of(case.spec, case.weights, Arithmetic(np.dtype(np.float64)))
    reference.forward(case.batch)
    counted = np.argwhere(case.batch["counted"])[0]
    at_zero = reference.sums[0][tuple(counted)][3]

    def with_unit_at(sum_: float) -> tuple[ModelYardstick, list[Arrays]]:
        bias = case.weights["head.0.bias"].copy()
        bias[3] -= at_zero - sum_
        yard = model_yardstick(case.spec, case.weights | {"head.0.bias": bias}, case.batch, "float32")
        kinks = (Arithmetic(np.dtype(np.float64), head_kink=kink) for kink in (1e-6, -1e-6))
        return yard, [all_results(reference_of(case.spec, yard.weights, each), yard.batch) for each in kinks]

    def agree(yard: ModelYardstick, sides: list[Arrays]) -> bool:
        return all(judge_model(each, yard).agrees for each in sides)

    yard, sides = with_unit_at(1e-9)
    assert np.abs(sides[0]["grad.head.0.bias"] - sides[1]["grad.head.0.bias"]).max() > 1e-4
    assert agree(yard, sides)
    # Without leeway only where the plain loop, too, has fallen on the other side; which, its rounding decides.
    nudged = [with_unit_at(sum_) for sum_ in (-1e-7, 1e-9, 1e-7)]
    assert not all(agree(replace(yard, ambiguity={}), sides) for yard, sides in nudged)

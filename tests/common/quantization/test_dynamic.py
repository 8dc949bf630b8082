"""Dynamic products against whole numbers added one by one, and models of them against the unquantized reference."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import InputError
from common.models.reference import decode, predict
from common.models.seq2seq import Seq2SeqReference
from common.models.sequence import SequenceReference
from common.models.small_cases import ModelCase, model_cases
from common.models.specification import Seq2Seq, SequenceModel
from common.quantization.dynamic import MOST_INPUTS, dynamic_product, dynamic_reference
from common.quantization.kernels import QuantizedKernel, quantize, rounded
from common.tasks.task import unlabelled

CASES = {case.name: case for case in model_cases()}


def by_hand(x: np.ndarray, weight: np.ndarray) -> list[list[float]]:
    """The product number by number, sums in Python's whole numbers."""
    kernel, rows = quantize(weight), []
    for row in x:
        scale = float(np.float32(max(map(abs, row.tolist())) / 127))
        numbers = [round(each / scale) if scale else 0 for each in row.tolist()]  # Python rounds a half to even, too
        sums = [sum(int(q) * u for q, u in zip(line, numbers, strict=True)) for line in kernel.numbers]
        rows.append([scale * float(s) * n for s, n in zip(kernel.scales, sums, strict=True)])
    return rows


def test_a_product_is_the_one_by_hand() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(3, 4)) * [[1e-6], [1], [1e6]], rng.normal(size=(6, 4))
    x[1, 2] = 0
    x = np.concatenate([x, np.zeros((1, 4))])
    np.testing.assert_allclose(dynamic_product(x, quantize(weight)), by_hand(x, weight), rtol=1e-14)


def test_a_row_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(1)
    x, kernel = rng.normal(size=(3, 4)), quantize(rng.normal(size=(6, 4)))
    x[2] *= 1000
    assert np.array_equal(dynamic_product(x, kernel)[:2], dynamic_product(x[:2], kernel))


def test_sums_stay_in_int32() -> None:
    assert MOST_INPUTS * 127**2 < 2**31 <= (MOST_INPUTS + 1) * 127**2
    wide = QuantizedKernel(np.zeros((1, MOST_INPUTS + 1), np.int8), np.ones(1, np.float32))
    with pytest.raises(InputError, match=f"at most {MOST_INPUTS} inputs"):
        dynamic_product(np.ones((1, MOST_INPUTS + 1)), wide)
    with pytest.raises(InputError, match="activations must hold numbers up to"):
        dynamic_product(np.array([[np.nan, 1]]), quantize(np.ones((1, 2))))


def logits(case: ModelCase, kind: str) -> np.ndarray:
    """The logits of a sequence model: as trained, with rounded kernels, or with dynamic products."""
    assert isinstance(case.spec, SequenceModel)
    batch = unlabelled(case.batch)
    if kind == "dynamic":
        reference = dynamic_reference(case.spec, case.weights)
        assert isinstance(reference, SequenceReference)
        return reference.predict(batch)["logits"]
    return predict(case.spec, rounded(case.weights) if kind == "rounded" else case.weights, batch)["logits"]


@pytest.mark.parametrize("name", ["relu", "tagger", "tagger-mul", "classifier", "g2pm", "tagger-forward"])
def test_a_quantized_model_is_near_the_trained_one_and_not_it(name: str) -> None:
    """Rounding the activations besides moves the answers again."""
    trained, weights_alone, dynamic = (logits(CASES[name], kind) for kind in ("trained", "rounded", "dynamic"))
    scale = np.abs(trained).max()
    assert 1e-4 < np.abs(weights_alone - trained).max() / scale < 0.05
    assert 1e-4 < np.abs(dynamic - trained).max() / scale < 0.05
    assert np.abs(dynamic - weights_alone).max() / scale > 1e-4


def test_padding_does_not_reach_the_scales() -> None:
    """What stands in the padding, however large, moves no answer."""
    case = CASES["relu"]
    batch = unlabelled(case.batch)
    past = np.arange(batch["x"].shape[1]) >= batch["lengths"][:, None]
    moved = batch | {"x": np.where(past[..., None], np.nan, batch["x"])}
    reference = dynamic_reference(case.spec, case.weights)
    assert isinstance(reference, SequenceReference)
    assert np.array_equal(reference.predict(moved)["logits"], reference.predict(batch)["logits"])


def test_a_decoder_with_attention_answers_from_its_kernels_in_int8() -> None:
    """Softmax and the mean over the steps stay in floats: attention's weights are 1 together."""
    case = CASES["translator-attention"]
    assert isinstance(case.spec, Seq2Seq)
    reference = dynamic_reference(case.spec, case.weights)
    assert isinstance(reference, Seq2SeqReference)
    results = reference.forward(case.batch)
    trained = Seq2SeqReference(case.spec, case.weights, type(reference.arithmetic)(np.dtype(np.float64)))
    exact = trained.forward(case.batch)
    assert 1e-5 < np.abs(results["attention"] - exact["attention"]).max() < 0.01
    real = np.arange(case.batch["targets"].shape[1]) < case.batch["target_lengths"][:, None]
    np.testing.assert_allclose(results["attention"].sum(axis=-1)[real], 1, rtol=1e-12)
    answer = reference.decode(unlabelled(case.batch), 3)
    assert answer.shape == decode(case.spec, case.weights, unlabelled(case.batch), 3).shape

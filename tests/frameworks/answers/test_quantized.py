"""Kernels in int8 in every framework: the reference's answers with the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from backends.interface.framework import Framework
from common.models.reference import decode, predict
from common.models.specification import Seq2Seq, SequenceModel
from common.quantization.kernels import rounded
from tests.frameworks.test_networks import CASES, network_of, unlabelled


@pytest.mark.parametrize("name", ["tagger-crf", "translator-attention"])
def test_kernels_in_int8_give_the_references_answers(framework: Framework, name: str) -> None:
    case, network = CASES[name], network_of(framework, name)
    batch, weights = unlabelled(case.batch), rounded(case.weights)
    network.load_weights(weights)
    if isinstance(case.spec, Seq2Seq):
        np.testing.assert_array_equal(network.decode(batch, 5), decode(case.spec, weights, batch, 5))
        return
    assert isinstance(case.spec, SequenceModel)
    answer, expected, before = network.predict(batch), *(predict(case.spec, w, batch) for w in (weights, case.weights))
    np.testing.assert_allclose(answer["logits"], expected["logits"], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(answer["labels"], expected["labels"])
    assert np.abs(answer["logits"] - before["logits"]).max() > 1e-3

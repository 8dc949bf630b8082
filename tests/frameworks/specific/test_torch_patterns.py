"""What the suite says of the patterns in examples/torch_patterns.py: the first is right, the others are not."""

from __future__ import annotations

import pytest

from tests.cases import a_case
from tests.frameworks.conftest import only_with

only_with("torch")

import birnn  # noqa: E402, after the skip
from backends.worker.own_layer import Layer  # noqa: E402
from examples import torch_patterns  # noqa: E402

NAMED = {
    "padding_fed": "lengths ignored, outputs masked in the end (forward pass only, ",
    "padded_batch_flipped": "lengths ignored, outputs masked in the end (forward pass only, ",
    "relu_for_tanh": "relu for tanh",
}
"""The known mistake that the suite names, where it has one that gives the same numbers."""
ONLY = {"states_in_keras_order": ["lstm"], "relu_for_tanh": ["rnn_tanh"]}
"""The cells that a pattern is about, where it is not about all."""
PAIRS = [
    (pattern, cell)
    for pattern in torch_patterns.PATTERNS
    for cell in ONLY.get(pattern.__name__, ["rnn_tanh", "gru", "lstm"])
]


@pytest.mark.parametrize(("pattern", "cell"), PAIRS, ids=lambda value: getattr(value, "__name__", value))
def test_the_right_pattern_agrees_and_every_other_one_is_located_and_named_where_it_is_known(
    pattern: Layer, cell: str
) -> None:
    found = birnn.verify(pattern, framework="torch", cases=[a_case(cell)], dtypes=["float32"])
    (outcome,) = found.outcomes
    assert outcome.verdict is not None, outcome.reason
    assert found.agrees is (pattern is torch_patterns.packed)
    if not found.agrees:
        assert outcome.verdict.where
        assert outcome.verdict.matches.startswith(NAMED.get(pattern.__name__, ""))

"""What the suite says of the patterns in examples/*_patterns.py: the first is right, the others are not."""

from __future__ import annotations

import importlib
from typing import Any

import birnn
from backends.interface.framework import Framework
from tests.cases import a_case

AGREES, RAISES, NO_NAME = "agrees", "raises", "no name"
PADDING_FED = "lengths ignored, outputs masked in the end"
ROW_FLIPPED = "whole padded row flipped, outputs masked in the end"
SHARED = {
    "padding_fed": PADDING_FED,
    "reverse_half_not_flipped_back": "reverse half not flipped back",
    "last_output_as_state": "last real output taken for the final state",
}
VERDICTS = {
    "torch": {
        "packed": AGREES,
        **SHARED,
        "padded_batch_flipped": PADDING_FED,  # both halves run over all of it
        "time_over_the_batch": RAISES,
        "states_reversed": "final states alone in the order: reverse, forward",
        "states_in_flax_order": "(c, h) for (h, c) in the initial states alone",
        "relu_for_tanh": "relu for tanh",
    },
    "jax": {
        "with_lengths": AGREES,
        **SHARED,
        "padded_batch_flipped": ROW_FLIPPED,
        "time_over_the_batch": RAISES,
        "states_in_torch_order": "(c, h) for (h, c)",
    },
    "tensorflow": {
        "masked": AGREES,
        **SHARED,
        "padded_batch_flipped": ROW_FLIPPED,
        "states_unpacked_by_kind": NO_NAME,
        "relu_for_tanh": "relu for tanh",
    },
    "mxnet": {
        "reversed_by_length": AGREES,
        **SHARED,
        "padded_batch_flipped": PADDING_FED,
        "lengths_given_to_the_fused_layer": PADDING_FED,
        "time_over_the_batch": RAISES,
        "relu_by_default": "relu for tanh",
    },
}
"""Of each pattern, that it agrees or raises, or which known mistake the suite names."""
CELLS = {"torch": ("rnn_tanh", "gru", "lstm"), "tensorflow": ("rnn_tanh", "lstm"), "mxnet": ("rnn_tanh", "gru")}
OF_AN_LSTM = {"states_in_flax_order", "states_in_torch_order", "states_unpacked_by_kind"}
OF_A_TANH_RNN = {"relu_for_tanh", "relu_by_default"}


def cells_of(framework: str, pattern: str) -> tuple[str, ...]:
    """The cells that a pattern is tried with; with Flax, whose programs compile, one."""
    if pattern in OF_AN_LSTM:
        return ("lstm",)
    return ("rnn_tanh",) if pattern in OF_A_TANH_RNN else CELLS.get(framework, ("rnn_tanh",))


def test_every_pattern_has_its_verdict(framework: Framework) -> None:
    patterns = {each.__name__: each for each in importlib.import_module(f"examples.{framework.name}_patterns").PATTERNS}
    assert patterns.keys() == VERDICTS[framework.name].keys()
    gradients = False if framework.compiles else "auto"
    options: dict[str, Any] = {"framework": framework.name, "dtypes": ["float32"], "gradients": gradients}
    for name, wanted in VERDICTS[framework.name].items():
        for cell in cells_of(framework.name, name):
            (outcome,) = birnn.verify(patterns[name], cases=[a_case(cell)], **options).outcomes
            if wanted == RAISES:
                assert outcome.status == "failed", (name, cell, outcome)
                square = a_case(cell, batch=5, lengths=(4, 2, 5, 1, 3))
                (outcome,) = birnn.verify(patterns[name], cases=[square], **options).outcomes
                wanted_here = NO_NAME
            else:
                wanted_here = wanted
            assert outcome.verdict is not None, (name, cell, outcome.reason)
            if wanted == AGREES:
                assert outcome.status == AGREES, (name, cell, outcome.reason)
                continue
            assert outcome.status == "disagrees", (name, cell)
            assert outcome.verdict.where, (name, cell)
            named = outcome.verdict.matches.partition(" (forward pass only, ")[0]
            assert named == ("" if wanted_here == NO_NAME else wanted_here), (name, cell)


def test_what_a_pattern_does_not_support_it_says(framework: Framework) -> None:
    patterns = importlib.import_module(f"examples.{framework.name}_patterns").PATTERNS
    case = a_case("lstm", lengths=None, num_layers=2)
    for pattern in patterns:
        (outcome,) = birnn.verify(pattern, framework=framework.name, cases=[case], dtypes=["float32"]).outcomes
        assert outcome.declined, pattern.__name__

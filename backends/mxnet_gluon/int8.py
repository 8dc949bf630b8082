"""MXNet 1.9.1 has an int8 operator of an LSTM that cannot be run."""

from __future__ import annotations

from backends.interface.gaps import Refusal
from backends.interface.int8 import Int8Offer
from common.specification import Specification


def int8_layers(spec: Specification) -> Int8Offer:
    """The reason that there are none."""
    if spec.cell == "lstm":
        return Refusal(
            "mxnet.contrib.quantization (1.9.1) makes an operator of an LSTM that no Gluon block can run: it is said "
            "to be non-differentiable, even where nothing is differentiated"
        )
    return Refusal("mxnet.contrib.quantization (1.9.1) has an operator for LSTM alone")

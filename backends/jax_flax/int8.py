"""JAX and Flax have no int8 kernels of recurrent layers."""

from __future__ import annotations

from backends.interface.gaps import Refusal
from backends.interface.int8 import Int8Offer
from common.specification import Specification


def int8_layers(spec: Specification) -> Int8Offer:
    """The reason that there are none."""
    return Refusal(
        "flax 0.12 and JAX 0.10 have no quantized layers; those of AQT, a package of its own, are dense or convolutions"
    )

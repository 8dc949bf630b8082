"""What JAX's implementations cannot do, and why; imports no framework."""

from __future__ import annotations

from backends.interface.gaps import Gap, has_empty_row

GAPS = (
    Gap(
        implementations=("native-linen", "native-nnx", "manual"),
        what="GRU with reset_after=false",
        reason="flax's GRUCell (linen and nnx, 0.12.8) applies the reset gate after the recurrent product only",
        applies=lambda request: not request.spec.reset_after,
        link="https://flax.readthedocs.io/en/latest/api_reference/flax.linen/_autosummary/flax.linen.GRUCell.html",
    ),
    Gap(
        implementations=("native-linen", "native-nnx"),
        what="lengths of 0",
        reason="flax's RNN (linen and nnx, 0.12.8) picks the final state at index length - 1, for a length of 0 the "
        "state after all the padding",
        applies=lambda request: has_empty_row(request),
    ),
    Gap(
        implementations=("native-linen", "native-nnx"),
        what="gradients where the padding is not finite",
        reason="flax's RNN (linen and nnx, 0.12.8) runs over the padding and drops what it finds afterwards: NaN and "
        "infinity there make the gradients NaN",
        applies=lambda request: request.gradients and not request.finite_padding,
        link="https://github.com/jax-ml/jax/issues/347",
    ),
    Gap(
        implementations=("native-linen", "native-nnx", "manual", "scratch", "tuned"),
        what="subnormal inputs, on the CPU",
        reason="XLA on a CPU (jaxlib 0.10.2) takes subnormal numbers for 0",
        applies=lambda request: request.device == "cpu" and request.subnormal,
        link="https://github.com/jax-ml/jax/issues/16200",
    ),
)
"""What JAX's implementations do not do."""

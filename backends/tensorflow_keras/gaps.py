"""What TensorFlow's implementations cannot do, and why; imports no framework."""

from __future__ import annotations

from backends.interface.gaps import Gap, has_empty_row
from common.specification import Specification


def uses_cudnn(spec: Specification, device: str) -> bool:
    """Whether a Keras layer takes its cuDNN kernel (Keras 3.15, keras/src/backend/tensorflow/rnn.py: cudnn_ok)."""
    return device == "gpu" and spec.cell in ("gru", "lstm") and spec.bias and spec.reset_after


GAPS = (
    Gap(
        implementations=("native",),
        what="lengths of 0 on a GPU",
        reason="the cuDNN kernel of Keras 3.15 asserts that no row is masked as a whole",
        applies=lambda request: uses_cudnn(request.spec, request.device) and has_empty_row(request),
        link="https://github.com/tensorflow/tensorflow/issues/43103",
        read=True,
    ),
    Gap(
        implementations=("native",),
        what="gradients where the padding is not finite, but for cuDNN's kernel",
        reason="Keras 3.15 runs over masked steps and drops what it finds afterwards: NaN and infinity there make the "
        "gradients NaN",
        applies=lambda request: (
            request.gradients and not request.finite_padding and not uses_cudnn(request.spec, request.device)
        ),
        link="https://github.com/tensorflow/tensorflow/issues/38349",
    ),
    Gap(
        implementations=("tuned",),
        what="GRU with reset_after=false",
        reason="tensorflow/tuned has one recurrent product a step, and this GRU needs two in sequence",
        applies=lambda request: not request.spec.reset_after,
    ),
    Gap(
        implementations=("tuned",),
        what="GPUs",
        reason="tensorflow/tuned is written for CPUs: on a GPU Keras' GRU and LSTM have cuDNN's fused kernels",
        applies=lambda request: request.device == "gpu",
        read=True,
        slower=True,
    ),
    Gap(
        implementations=("native", "manual", "scratch", "tuned"),
        what="subnormal inputs, on the CPU",
        reason="TensorFlow 2.21 takes subnormal numbers for 0 on a CPU",
        applies=lambda request: request.device == "cpu" and request.subnormal,
        link="https://github.com/tensorflow/tensorflow/issues/11902",
    ),
)
"""What TensorFlow's implementations do not do."""

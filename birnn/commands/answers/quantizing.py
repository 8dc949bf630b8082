"""Quantize a trained model for its answers, say what that saves and costs, and write it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors

from birnn.commands.answers.labelled import right_among
from birnn.commands.answers.trained import G2PM, TrainedModel
from birnn.display import say_written, stderr
from birnn.options import one_of, writable_file
from common.errors import InputError
from common.models.specification import parameters
from common.quantization.files import write_quantized
from common.quantization.kernels import INT8, INT8_DYNAMIC, KINDS, rounded, sizes
from common.tasks.checkpoint import METADATA_KEY
from common.tensorfile import read_metadata


@dataclass(frozen=True)
class Quantizing:
    """The kind of quantization that is asked for, None for none, and the file that the quantized model is saved to."""

    kind: str | None = None
    save: Path | None = None

    @property
    def is_dynamic(self) -> bool:
        """Whether activations are rounded, too, which the NumPy reference does."""
        return self.kind == INT8_DYNAMIC


def check_quantizing(quantizing: Quantizing, model: str) -> None:
    """Raise an ``InputError`` for another kind, or a file that it cannot be, or must not be, saved to."""
    if quantizing.kind is not None:
        one_of("--quantize", quantizing.kind, KINDS)
    save = quantizing.save
    if save is None:
        return
    if quantizing.kind is None:
        raise InputError(f"--save must stand with --quantize, whose model it writes; got --save {save} alone")
    if model == G2PM:
        raise InputError("--save must be asked of a model with a checkpoint; g2pm brings its own weights")
    if save.suffix != ".safetensors":
        raise InputError(f"--save must name a file that ends in .safetensors; got {str(save)!r}")
    writable_file("--save", save)
    if _is_trained_from(save):
        raise InputError(f"--save must not name a checkpoint of birnn train, which would be lost; got {save}")


def _is_trained_from(path: Path) -> bool:
    """Whether a file is a checkpoint that is not quantized."""
    try:
        return path.is_file() and METADATA_KEY in read_metadata(path)
    except (InputError, safetensors.SafetensorError):
        return False


def quantized(trained: TrainedModel, quantizing: Quantizing) -> TrainedModel:
    """The model with its kernels quantized, and saved where that is asked for; sizes are said on stderr.

    Raises
    ------
    InputError
        If its kernels are quantized already, or cannot be, or the file cannot be written.
    """
    if quantizing.kind is None:
        return trained
    if trained.kind is not None and (quantizing.save is not None or not quantizing.is_dynamic):
        raise InputError(f"{trained.where}: must not be quantized yet; its kernels are {trained.kind} already")
    after = replace(trained, weights=rounded(trained.weights), kind=INT8)
    size = sizes(parameters(trained.spec))
    stderr().print(
        f"birnn: {quantizing.kind}: {size.in_kernels:,} of {size.numbers:,} numbers are in kernels; "
        f"{size.float32:,} bytes in float32 become {size.quantized:,}, {size.ratio:.2f} times less",
        markup=False,
    )
    if quantizing.save is not None:
        assert trained.checkpoint is not None
        write_quantized(trained.checkpoint, quantizing.save)
        say_written(quantizing.save, "the quantized model")
    if quantizing.is_dynamic:
        stderr().print(
            "birnn: int8-dynamic: answered by the NumPy reference, which rounds activations as docs/int8.md says; what "
            "frameworks have of their own rounds them otherwise",
            markup=False,
        )
    return after


def say_accuracy(
    trained: TrainedModel,
    quantizing: Quantizing,
    answers: Sequence[np.ndarray],
    given: Sequence[np.ndarray],
    before: Sequence[np.ndarray],
) -> None:
    """Say on stderr how many answers are right; ``before`` are those of the model as it is without quantizing it, none
    where it was not.
    """
    text = f"accuracy {right_among(given, answers)}"
    if before:
        same = right_among(given, before).share
        first = "as trained" if trained.kind is None else f"in {trained.kind}"
        text = f"accuracy {first} {right_among(before, answers)}, in {quantizing.kind} {right_among(given, answers)}"
        text = f"{text}; {same:.2%} of the answers are the same"
    sys.stdout.flush()
    stderr().print(f"birnn: {text}", markup=False)

"""What TensorFlow and Keras's probes run: sizes, inputs and layers, and how far results are apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from backends.interface.probe import Probes

PROBES = Probes()
"""The framework's probes; silent.py and then odd.py put theirs in."""
Behaviour = Callable[..., Any]
"""The behaviour under test of a probe."""
BATCH, SEQ_LEN, FEATURES, HIDDEN = 3, 5, 4, 6
"""The sizes of what the probes run."""
MASK = np.arange(SEQ_LEN) < np.array([5, 3, 1])[:, None]
"""The real steps, (batch, seq_len), by the lengths 5, 3 and 1."""
PADDING = ~MASK
"""The steps past the lengths."""
X = np.random.default_rng(0).normal(size=(BATCH, SEQ_LEN, FEATURES)).astype(np.float32)
"""The input of the probes, from N(0, 1)."""
SAME = 1e-5
"""Results in float32 closer than this are the same; what the probes tell apart lies a thousand times further apart."""


def filled(layer: keras.Layer) -> keras.Layer:
    """The layer, built, with weights from N(0, ¼): the same numbers for every layer of the same shape."""
    rng = np.random.default_rng(2)
    layer.build((BATCH, SEQ_LEN, FEATURES))
    layer.set_weights([rng.normal(scale=0.5, size=array.shape) for array in layer.get_weights()])
    return layer


def run(layer: keras.Layer, x: Any = X, mask: Any = MASK, **options: Any) -> list[np.ndarray]:
    """What the layer gives after ``filled``, as a list of arrays."""
    outputs = filled(layer)(tf.convert_to_tensor(x), mask=None if mask is None else tf.constant(mask), **options)
    return [np.asarray(part) for part in (outputs if isinstance(outputs, list | tuple) else [outputs])]


def apart(one: Any, other: Any) -> float:
    """The largest difference."""
    return float(np.abs(np.asarray(one) - np.asarray(other)).max())


def halves_apart(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """The largest differences in the forward and in the reverse half of concatenated outputs."""
    return apart(one[..., :HIDDEN], other[..., :HIDDEN]), apart(one[..., HIDDEN:], other[..., HIDDEN:])


def same(one: Any, other: Any) -> bool:
    """Whether two results are the same but for rounding."""
    return np.shape(one) == np.shape(other) and apart(one, other) < SAME


def raised(call: Behaviour) -> str:
    """Type and text of the exception that ``call`` raises, in one line; empty when it raises none."""
    try:
        call()
    except Exception as error:
        text = re.sub(r"\x1b\[\d*m", "", str(error))  # Keras prints in bold
        return f"{type(error).__name__}: {' '.join(text.split())}"
    return ""


# Wrong answers without an error.

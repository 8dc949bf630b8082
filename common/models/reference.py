"""The reference of the models: loss, answers and gradients of a batch, in NumPy and in any float type.

No gradient here comes from a framework; they are written out by hand in the modules beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from common.answers.beam import beam_search
from common.models.batch import Batch, repeated
from common.models.layers import Arithmetic
from common.models.seq2seq import Seq2SeqReference
from common.models.sequence import SequenceReference
from common.models.specification import Arrays, Model, Seq2Seq, SequenceModel, parameters

ModelReference = SequenceReference | Seq2SeqReference
"""The reference of a model of any kind."""


def reference_of(
    spec: Model, weights: Mapping[str, np.ndarray], arithmetic: Arithmetic, choices: np.ndarray | None = None
) -> ModelReference:
    """The reference of a model; ``choices`` see ``Seq2SeqReference``."""
    if isinstance(spec, Seq2Seq):
        return Seq2SeqReference(spec, weights, arithmetic, choices)
    return SequenceReference(spec, weights, arithmetic)


def all_results(reference: ModelReference, batch: Batch) -> Arrays:
    """Everything that judging compares, from a reference of any kind; gradients in the order of ``parameters``."""
    results = reference.forward(batch)
    gradients = reference.backward()
    return results | {f"grad.{name}": gradients[name] for name in parameters(reference.spec) if name in gradients}


def run(
    spec: Model, weights: Mapping[str, np.ndarray], batch: Batch, dtype: np.dtype | type | str = np.float64
) -> Arrays:
    """``loss`` (), ``correct`` () int64, ``logits``, ``vectors``, for a decoder with attention ``attention``, and
    ``grad.<parameter>`` for a labelled batch.

    The gradients are raw: the two-bias rule is not applied; a frozen embedding has none.
    """
    return all_results(reference_of(spec, weights, Arithmetic(np.dtype(dtype))), batch)


def predict(
    spec: SequenceModel, weights: Mapping[str, np.ndarray], batch: Batch, dtype: np.dtype | type | str = np.float64
) -> Arrays:
    """A sequence model's ``labels``, ``logits`` and ``vectors`` for an unlabelled batch (see
    ``backends.interface.network.Network``).
    """
    return SequenceReference(spec, weights, Arithmetic(np.dtype(dtype))).predict(batch)


def decode(
    spec: Seq2Seq,
    weights: Mapping[str, np.ndarray],
    batch: Batch,
    max_steps: int,
    dtype: np.dtype | type | str = np.float64,
) -> np.ndarray:
    """An encoder–decoder's greedy answers (batch, max_steps) for an unlabelled batch."""
    return Seq2SeqReference(spec, weights, Arithmetic(np.dtype(dtype))).decode(batch, max_steps)


def beam(
    spec: Seq2Seq,
    weights: Mapping[str, np.ndarray],
    batch: Batch,
    max_steps: int,
    width: int,
    dtype: np.dtype | type | str = np.float64,
) -> Arrays:
    """An encoder–decoder's answers by a beam search (``common.answers.beam``): ``tokens`` and ``scores``."""
    stepper = Seq2SeqReference(spec, weights, Arithmetic(np.dtype(dtype))).stepper(repeated(batch, width))
    return beam_search(stepper, len(batch["tokens"]), width, max_steps)

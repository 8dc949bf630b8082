"""Batches: a model's inputs, labels and coin flips as a dictionary of NumPy arrays, the same in every framework.

Sequence model: ``x`` (batch, seq_len, input_size) float64 (anything in the padding, NaN and infinity included), or
``tokens`` (batch, seq_len) int64 (any valid id there); ``lengths`` (batch,) int64, or absent when all rows are full;
``labels`` int64 and ``counted`` bool, both (batch, seq_len) for the readout ``steps`` and (batch,) for ``final``: the
loss and the accuracy are over the counted positions, and what is past a length is never counted; with a CRF all real
steps of a row count, or none. For prediction with a CRF, ``allowed`` (classes + 2, classes) bool where not every path
is (``common.models.crf.scores``).

Encoder–decoder: ``tokens`` and ``lengths`` as above (always there); ``targets`` (batch, target_len) int64, each row
ended by the end token, then padding; ``target_lengths`` (batch,) int64, the end token included (0: a row that only
fills the batch up); ``forced`` (target_len,) bool: whether step u is given the right token before it, else the model's
own best one (step 0 is given the start token in any case).

Both, in training with dropout: ``dropout.{l}`` (batch, seq_len, output_size) float64 for every layer l but the top:
factors 0 or 1 / (1 − dropout) on the layer's merged output. With dropout in the decoder: ``dropout.decoder.{l}``
(batch, target_len, state_size) float64 for every layer l of it, on its states on their way up.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from common.errors import InputError, shown
from common.models.crf.scores import ALLOWED, possible_lengths
from common.models.specification import PADDING, Arrays, Model, SequenceModel, Shapes
from common.reference import step_mask

Batch = Mapping[str, np.ndarray]
"""A batch by array name."""
KINDS = {"i": np.int64, "f": np.float64, "b": np.bool_}
"""The dtype of each kind of array."""
DROPOUT = "dropout."
"""What the names of all dropout's factors begin with."""


def dropout_name(layer: int) -> str:
    """The name of the factors on the output of an rnn layer."""
    return f"{DROPOUT}{layer}"


def decoder_dropout_name(layer: int) -> str:
    """The name of the factors on the output of a decoder layer."""
    return f"{DROPOUT}decoder.{layer}"


def has_dropout(batch: Batch) -> bool:
    """Whether the batch holds dropout's factors, and so is for training."""
    return any(name.startswith(DROPOUT) for name in batch)


def sizes(batch: Batch) -> tuple[int, int]:
    """(batch, seq_len) of the model's input."""
    rows, steps = (batch["x"] if "x" in batch else batch["tokens"]).shape[:2]
    return rows, steps


def padding_mask(batch: Batch) -> np.ndarray:
    """(batch, seq_len) bool, true where a step of the model's input is padding."""
    return ~step_mask(batch.get("lengths"), *sizes(batch))


def counted(spec: Model, batch: Batch) -> np.ndarray:
    """Which labels the loss and the accuracy are over, bool in the shape of the labels or targets."""
    if isinstance(spec, SequenceModel):
        return batch["counted"]
    return np.arange(batch["targets"].shape[1]) < batch["target_lengths"][:, None]


def labels(spec: Model, batch: Batch) -> np.ndarray:
    """The right answers: a sequence model's labels, an encoder–decoder's targets."""
    return batch[spec.right]


def dropout_factors(spec: Model, rows: int, steps: int, rng: np.random.Generator) -> Arrays:
    """Factors for one batch, drawn for every layer but the top; none for a model without dropout."""
    return _drawn(_factor_shapes(spec, rows, steps), spec.dropout, rng)


def decoder_dropout_factors(spec: Model, rows: int, target_len: int, rng: np.random.Generator) -> Arrays:
    """Factors for one batch, drawn for every layer of the decoder; none for a model without dropout in one."""
    return _drawn(_decoder_factor_shapes(spec, rows, target_len), spec.decoder_dropout, rng)


def _drawn(shapes: Shapes, share: float, rng: np.random.Generator) -> Arrays:
    """Factors of these shapes: 0 for a share of them, and what makes up for that for the others."""
    return {name: (rng.random(shape) >= share) / (1 - share) for name, shape in shapes.items()}


def _factor_shapes(spec: Model, rows: int, steps: int) -> Shapes:
    """Name and shape of the factors on all layers of the rnn but the top; none for one without dropout."""
    layers = range(spec.recurrent.num_layers - 1) if spec.dropout else ()
    return {dropout_name(layer): (rows, steps, spec.recurrent.output_size) for layer in layers}


def _decoder_factor_shapes(spec: Model, rows: int, target_len: int) -> Shapes:
    """Name and shape of the factors on all layers of the decoder; none for one without dropout."""
    if isinstance(spec, SequenceModel) or not spec.decoder_dropout:
        return {}
    layers = range(spec.encoder.num_layers)
    return {decoder_dropout_name(layer): (rows, target_len, spec.state_size) for layer in layers}


def repeated(batch: Batch, times: int) -> Arrays:
    """The batch with each row so many times, one behind the other."""
    return {name: np.repeat(value, times, axis=0) for name, value in batch.items()}


def check_batch(spec: Model, batch: Batch, labelled: bool = True) -> None:
    """Check that a batch fits a model.

    ``labelled`` says whether labels and what goes with them must be there (training, judging) or must not (prediction).

    Raises
    ------
    InputError
        One sentence on the first thing that does not fit.
    """
    source = "x" if spec.num_tokens is None else "tokens"
    if source not in batch:
        raise InputError(f"a batch must have {source}; it has {', '.join(sorted(batch)) or 'nothing'}")
    if batch[source].ndim != (2 if source == "tokens" else 3) or 0 in batch[source].shape:
        features = "" if source == "tokens" else f", {spec.recurrent.input_size}"
        what = f"{source} must have shape (batch, seq_len{features}) with nothing empty"
        raise InputError(f"{what}; got {batch[source].shape}")
    expected = _expected(spec, batch, source, labelled)
    for name in batch:
        if name not in expected:
            raise InputError(f"a batch must have no {shown(name)} here; it has")
    for name, (kind, shape) in expected.items():
        if name in batch:
            _check_array(name, batch[name], kind, shape)
        elif name not in ("lengths", ALLOWED) or (spec.decodes and name == "lengths"):
            raise InputError(f"a batch must have {name}; it is missing")
    _check_values(spec, batch, source, labelled)


def _expected(spec: Model, batch: Batch, source: str, labelled: bool) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Kind and shape of every array that a batch can hold."""
    rows, steps = batch[source].shape[:2]
    expected: dict[str, tuple[str, tuple[int, ...]]] = {"lengths": ("i", (rows,))}
    expected[source] = ("i", (rows, steps)) if source == "tokens" else ("f", (rows, steps, spec.recurrent.input_size))
    if not labelled:
        return expected | ({ALLOWED: ("b", (spec.num_answers + 2, spec.num_answers))} if spec.head == "crf" else {})
    target_len = batch["targets"].shape[-1] if "targets" in batch else 0
    if has_dropout(batch):
        factors = _factor_shapes(spec, rows, steps) | _decoder_factor_shapes(spec, rows, target_len)
        expected |= {name: ("f", shape) for name, shape in factors.items()}
    if isinstance(spec, SequenceModel):
        shape = (rows, steps) if spec.readout == "steps" else (rows,)
        return expected | {"labels": ("i", shape), "counted": ("b", shape)}
    targets = {"targets": ("i", (rows, target_len)), "target_lengths": ("i", (rows,)), "forced": ("b", (target_len,))}
    return expected | targets


def _check_array(name: str, array: np.ndarray, kind: str, shape: tuple[int, ...]) -> None:
    """Raise an ``InputError`` for another dtype or shape."""
    if array.dtype != KINDS[kind]:
        raise InputError(f"{name} must be {np.dtype(KINDS[kind])}; got {array.dtype}")
    if array.shape != shape:
        raise InputError(f"{name} must have shape {shape}; got {array.shape}")


def _check_finite(name: str, array: np.ndarray, free: np.ndarray | bool) -> None:
    """Raise for a number that is not finite where not ``free``, which broadcasts to the array."""
    wrong = ~(np.isfinite(array) | free)
    if wrong.any():
        raise InputError(f"{name} must be finite; got {array[wrong][0]}")


def _check_values(spec: Model, batch: Batch, source: str, labelled: bool) -> None:
    """Raise an ``InputError`` for a value that the model does not know, or that contradicts the lengths."""
    steps = batch[source].shape[1]
    if "lengths" in batch:
        _check_range("lengths", batch["lengths"], 1, steps)
    for name, array in batch.items():
        if array.dtype.kind == "f":
            _check_finite(name, array, padding_mask(batch)[..., None] if name == "x" else False)
    if source == "tokens":
        _check_range("tokens", batch["tokens"], 0, (spec.num_tokens or 1) - 1)
    if not labelled:
        if ALLOWED in batch:
            _check_allowed(batch)
        return
    if isinstance(spec, SequenceModel):
        _check_range("labels", batch["labels"], 0, spec.classes - 1)
        if spec.head == "crf":
            _check_whole_rows(batch)
        if spec.readout == "steps" and "lengths" in batch:
            wrong = batch["counted"] & padding_mask(batch)
            if wrong.any():
                row, step = (int(i) for i in np.argwhere(wrong)[0])
                raise InputError(f"counted must be false past the lengths; it is true at row {row}, step {step}")
        return
    _check_range("targets", batch["targets"], 0, spec.target_size - 1)
    _check_range("target_lengths", batch["target_lengths"], 0, batch["targets"].shape[1])
    padding = ~counted(spec, batch)
    if (batch["targets"][padding] != PADDING).any() or (batch["targets"][~padding] == PADDING).any():
        raise InputError(f"targets must be {PADDING} past the target_lengths and nowhere else; they are not")


def _check_whole_rows(batch: Batch) -> None:
    """Raise an ``InputError`` where some real steps of a row count and others do not."""
    wrong = batch["counted"].any(axis=1) & (~batch["counted"] & ~padding_mask(batch)).any(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"counted must be true for all real steps of a row or for none, with a CRF; row {row} has both"
        )


def _check_allowed(batch: Batch) -> None:
    """Raise an ``InputError`` where no path through a row is allowed."""
    lengths = (~padding_mask(batch)).sum(axis=1)
    possible = possible_lengths(batch[ALLOWED], int(lengths.max()))[lengths - 1]
    if not possible.all():
        raise InputError(
            f"allowed must leave a path through every row; there is none of {int(lengths[possible.argmin()])} steps"
        )


def _check_range(name: str, array: np.ndarray, least: int, most: int) -> None:
    """Raise an ``InputError`` for a value outside of a range."""
    wrong = np.argwhere((array < least) | (array > most))
    if wrong.size:
        index = tuple(int(i) for i in wrong[0])
        raise InputError(f"{name} must lie between {least} and {most}; got {array[index]} at {index}")

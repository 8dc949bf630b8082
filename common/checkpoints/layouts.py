"""How each suite lays out one cell's weights, to and from the canonical layout (``Half``).

Gates lie along the rows in the canonical order r, z, n (gru) and i, f, g, o (lstm). Where a layout has one bias for the
canonical two, it holds their sum; read back, that is bias_ih, and bias_hh is zeros. Measured on torch 2.13, Keras 3.15,
flax 0.12.8 and MXNet 1.9.1; ONNX by its specification of RNN, GRU and LSTM, version 14.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from common.checkpoints.contents import NUM_GATES, Arrays, Gates, Half, RecurrentKind, summed
from common.errors import InputError
from common.weights import KINDS

CANONICAL: dict[Gates, str] = {"rnn": "h", "gru": "rzn", "lstm": "ifgo"}
"""The canonical order of each cell's gates along the rows."""
KERAS: dict[Gates, str] = CANONICAL | {"gru": "zrn"}
"""The order of each cell's gates in Keras, whose GRU has z first."""
ONNX: dict[Gates, str] = {"rnn": "h", "gru": "zrn", "lstm": "iofg"}
"""The order of each cell's gates in ONNX."""
GLUON = dict(zip(KINDS, ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias"), strict=True))
"""Gluon's name of each canonical weight."""


class Layout(NamedTuple):
    """A cell's layout: ``pack`` makes its arrays of a half, ``unpack`` a half of its arrays by name."""

    pack: Callable[[RecurrentKind, Half], Arrays]
    unpack: Callable[[Mapping[str, np.ndarray], str], Half]


def reordered(array: np.ndarray, before: str, after: str) -> np.ndarray:
    """Put the gates along the rows, (G·units, …), from the order ``before`` into the order ``after``."""
    return array if before == after else np.concatenate(gates_in_order(array, before, after))


def gates_in_order(array: np.ndarray, before: str, after: str) -> list[np.ndarray]:
    """The gates, (units, …) each, of an array (G·units, …) with the order ``before``, in the order ``after``."""
    units, rest = divmod(len(array), len(before))
    if rest:
        raise ValueError(f"{len(array)} rows are not {len(before)} gates of equal size")
    # np.split takes ten times as long.
    places = {gate: slice(i * units, (i + 1) * units) for i, gate in enumerate(before)}
    return [array[places[gate]] for gate in after]


def gates_of(recurrent: np.ndarray, units_axis: int, what: str) -> Gates:
    """Which cell a recurrent kernel is of, (units, G·units) or (G·units, units); ``units_axis`` has the units."""
    if recurrent.ndim != 2 or 0 in recurrent.shape:
        raise InputError(f"{what}: the recurrent kernel must have two dimensions, none empty; got {recurrent.shape}")
    units, rows = recurrent.shape[units_axis], recurrent.shape[1 - units_axis]
    for gates, count in NUM_GATES.items():
        if rows == count * units:
            return gates
    raise InputError(f"{what}: the recurrent kernel must have 1, 3 or 4 gates of {units} units; got {recurrent.shape}")


# PyTorch and the canonical layout; MXNet's differs in its names alone.


def pack_canonical(kind: RecurrentKind, half: Half) -> Arrays:
    """A half's weights by their kinds, without the biases that are not there."""
    weights = {name: getattr(half, name) for name in KINDS}
    return {name: value for name, value in weights.items() if value is not None}


def unpack_canonical(arrays: Mapping[str, np.ndarray], what: str) -> Half:
    """A half of its weights by their kinds; biases may be missing."""
    _require(arrays, KINDS[:2], KINDS, what)
    return Half(*(arrays.get(name) for name in KINDS))  # type: ignore[arg-type]


def pack_gluon(kind: RecurrentKind, half: Half) -> Arrays:
    """A half's weights by Gluon's names, with biases of zeros where there are none."""
    return {GLUON[name]: value for name, value in pack_canonical(kind, half.with_bias()).items()}


def unpack_gluon(arrays: Mapping[str, np.ndarray], what: str) -> Half:
    """A half of Gluon's four arrays."""
    names = tuple(GLUON.values())
    _require(arrays, names, names, what)
    return Half(*(arrays[name] for name in names))


# Keras: kernels (in, G·units) and (units, G·units), z before r, one bias but for a reset-after GRU's (2, 3·units).


def pack_keras(kind: RecurrentKind, half: Half) -> Arrays:
    """A half as Keras' cell has it: kernels (in, G·units), both biases of a reset-after GRU, and others' sum."""
    order = CANONICAL[kind.gates], KERAS[kind.gates]
    kernels = (reordered(each, *order).T for each in (half.weight_ih, half.weight_hh))  # (G·units, in) to (in, G·units)
    arrays = dict(zip(("kernel", "recurrent_kernel"), kernels, strict=True))
    if half.bias_ih is not None and half.bias_hh is not None:
        biases = [reordered(each, *order) for each in (half.bias_ih, half.bias_hh)]
        two = kind.gates == "gru" and kind.reset_after
        arrays["bias"] = np.stack(biases) if two else summed(*biases)
    return arrays


def unpack_keras(arrays: Mapping[str, np.ndarray], what: str) -> Half:
    """A half of a Keras cell's kernel, recurrent_kernel and, where there is one, bias."""
    _require(arrays, ("kernel", "recurrent_kernel"), ("kernel", "recurrent_kernel", "bias"), what)
    gates = gates_of(arrays["recurrent_kernel"], 0, what)
    order = KERAS[gates], CANONICAL[gates]
    columns = arrays["recurrent_kernel"].shape[1]
    if arrays["kernel"].ndim != 2 or arrays["kernel"].shape[1] != columns:
        raise InputError(f"{what}: kernel must have shape (input, {columns}); got {arrays['kernel'].shape}")
    kernels = _pair(reordered(arrays[name].T, *order) for name in ("kernel", "recurrent_kernel"))  # to (G·units, in)
    if "bias" not in arrays:
        return Half(*kernels)
    bias = arrays["bias"]
    if bias.shape == (2, columns) and gates == "gru":
        return Half(*kernels, reordered(bias[0], *order), reordered(bias[1], *order))
    if bias.shape != (columns,):
        raise InputError(f"{what}: bias must have shape ({columns},), or (2, {columns}) of a GRU; got {bias.shape}")
    return Half(*kernels, reordered(bias, *order), np.zeros_like(bias))


# flax.linen, and flax.nnx.LSTMCell: a kernel (in, units) for each gate, one bias but for the GRU's n.


def pack_linen(kind: RecurrentKind, half: Half) -> Arrays:
    """A half as flax.linen's cell has it: a kernel (in, units) for each gate."""
    return _pack_gates(kind, half, "h" if kind.gates == "lstm" else "i")


def unpack_linen(arrays: Mapping[str, np.ndarray], what: str) -> Half:
    """A half of a flax.linen cell's arrays, or of ``nnx.LSTMCell``'s, which has ``if_`` for ``if``."""
    arrays = {name.replace("if_/", "if/"): value for name, value in arrays.items()}
    gates = next((gates for gates, (x, h) in LINEN.items() if f"{x[0]}/kernel" in arrays), None)
    if gates is None:
        raise InputError(f"{what} must have the kernels of a cell; got {', '.join(sorted(arrays))}")
    x, h = LINEN[gates]
    biased = {"rnn": x, "lstm": h, "gru": (*x, "hn")}[gates]
    kernels = tuple(f"{name}/kernel" for name in x + h)
    _require(arrays, kernels, (*kernels, *(f"{name}/bias" for name in biased)), what)
    for name in kernels:
        if arrays[name].ndim != 2:
            raise InputError(f"{what}: {name} must have two dimensions; got {arrays[name].shape}")
    weight_ih, weight_hh = (_joined([arrays[f"{name}/kernel"].T for name in part], what) for part in (x, h))
    if f"{biased[0]}/bias" not in arrays:
        return Half(weight_ih, weight_hh)
    _require(arrays, tuple(f"{name}/bias" for name in biased), tuple(arrays), what)
    bias_ih = _joined([arrays[f"{name}/bias"] for name in biased if name != "hn"], what)
    bias_hh = np.zeros_like(bias_ih)
    if gates == "gru":
        units = bias_ih.shape[0] // 3
        if arrays["hn/bias"].shape != (units,):
            raise InputError(f"{what}: hn/bias must have shape ({units},); got {arrays['hn/bias'].shape}")
        bias_hh[2 * units :] = arrays["hn/bias"]
    return Half(weight_ih, weight_hh, bias_ih, bias_hh)


LINEN: dict[Gates, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "lstm": (("ii", "if", "ig", "io"), ("hi", "hf", "hg", "ho")),
    "gru": (("ir", "iz", "in"), ("hr", "hz", "hn")),
    "rnn": (("i",), ("h",)),
}
"""The names of flax.linen's dense layers for the gates, on the input and on the state, in the canonical order."""


def _pack_gates(kind: RecurrentKind, half: Half, biased: str) -> Arrays:
    """A kernel for each gate, biases on the input (``biased`` "i") or on the state ("h"), and a GRU's b_hn apart."""
    x, h = LINEN[kind.gates]
    full = half.with_bias()
    assert full.bias_ih is not None
    assert full.bias_hh is not None
    count = len(x)
    arrays: Arrays = {}
    for names, kernel in ((x, half.weight_ih), (h, half.weight_hh)):
        for name, rows in zip(names, np.split(kernel, count), strict=True):
            arrays[f"{name}/kernel"] = rows.T  # (units, in) to (in, units)
    ih, hh = np.split(full.bias_ih, count), np.split(full.bias_hh, count)
    for i, name in enumerate(h if biased == "h" else x):
        apart = kind.gates == "gru" and name == "in"
        arrays[f"{name}/bias"] = ih[i] if apart else summed(ih[i], hh[i])
    if kind.gates == "gru":
        arrays["hn/bias"] = hh[2]
    return arrays


# flax.nnx: the gates joined in two layers, one bias; that of the GRU is on the input, without b_hn.


def pack_nnx(kind: RecurrentKind, half: Half) -> Arrays:
    """A half as flax.nnx's cells have it that join all gates in two layers: one bias, so that a GRU's b_hn is lost."""
    full = half.with_bias()
    assert full.bias_ih is not None
    assert full.bias_hh is not None
    bias = summed(full.bias_ih, full.bias_hh)
    if kind.gates == "gru":
        rows = 2 * half.weight_hh.shape[1]
        bias = np.concatenate([bias[:rows], full.bias_ih[rows:]])
    return {
        "dense_i/kernel": half.weight_ih.T,  # (G·units, in) to (in, G·units)
        "dense_h/kernel": half.weight_hh.T,
        f"{'dense_h' if kind.gates == 'lstm' else 'dense_i'}/bias": bias,
    }


def unpack_nnx(arrays: Mapping[str, np.ndarray], what: str) -> Half:
    """A half of a flax.nnx cell's arrays: of ``nnx.LSTMCell``, too, and of a GRU whose ``dense_h`` was given a bias."""
    if "dense_i/kernel" not in arrays:
        return unpack_linen(arrays, what)
    names = ("dense_i/kernel", "dense_h/kernel")
    _require(arrays, names, (*names, "dense_i/bias", "dense_h/bias"), what)
    gates_of(arrays["dense_h/kernel"], 0, what)
    kernels = _pair(arrays[name].T for name in names)  # (in, G·units) to (G·units, in)
    on_x, on_h = arrays.get("dense_i/bias"), arrays.get("dense_h/bias")
    if on_x is not None and on_h is not None:
        return Half(*kernels, on_x, on_h)
    one = on_h if on_x is None else on_x
    return Half(*kernels) if one is None else Half(*kernels, one, np.zeros_like(one))


# ONNX: z before r, o before f; B is both biases after each other.


def pack_onnx(kind: RecurrentKind, half: Half) -> Arrays:
    """A half as ONNX' operators have it: W, R and, where there are biases, B of both, (2·G·units,)."""
    return {leaf: np.concatenate(parts) for leaf, parts in parts_onnx(kind, half).items()}


def parts_onnx(kind: RecurrentKind, half: Half) -> dict[str, list[np.ndarray]]:
    """The rows of ``pack_onnx``'s arrays gate by gate, where they lie."""
    order = CANONICAL[kind.gates], ONNX[kind.gates]
    parts = {"W": gates_in_order(half.weight_ih, *order), "R": gates_in_order(half.weight_hh, *order)}
    if half.bias_ih is not None and half.bias_hh is not None:
        parts["B"] = gates_in_order(half.bias_ih, *order) + gates_in_order(half.bias_hh, *order)
    return parts


def unpack_onnx(arrays: Mapping[str, np.ndarray], what: str) -> Half:
    """A half of one direction's W, R and, where there is one, B."""
    _require(arrays, ("W", "R"), ("W", "R", "B"), what)
    gates = gates_of(arrays["R"], 1, what)
    order = ONNX[gates], CANONICAL[gates]
    rows = arrays["R"].shape[0]
    if arrays["W"].ndim != 2 or arrays["W"].shape[0] != rows:
        raise InputError(f"{what}: W must have {rows} rows as R has; got {arrays['W'].shape}")
    kernels = _pair(reordered(arrays[name], *order) for name in ("W", "R"))
    if "B" not in arrays:
        return Half(*kernels)
    if arrays["B"].shape != (2 * rows,):
        raise InputError(f"{what}: B must have shape ({2 * rows},); got {arrays['B'].shape}")
    bias_ih, bias_hh = (reordered(each, *order) for each in np.split(arrays["B"], 2))
    return Half(*kernels, bias_ih, bias_hh)


def _pair(kernels: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Two kernels, as a pair to type checkers."""
    weight_ih, weight_hh = kernels
    return weight_ih, weight_hh


def _joined(rows: Sequence[np.ndarray], what: str) -> np.ndarray:
    """The gates' arrays one after the other, if they have one shape and dtype."""
    if len({each.shape for each in rows}) > 1 or len({each.dtype for each in rows}) > 1:
        shapes = ", ".join(f"{each.dtype} {each.shape}" for each in rows)
        raise InputError(f"{what}: the gates must have one shape and dtype; got {shapes}")
    return np.concatenate(rows)


def _require(arrays: Mapping[str, np.ndarray], needed: Sequence[str], known: Sequence[str], what: str) -> None:
    """Raise an ``InputError`` where a needed array is missing, or one is not known."""
    for name in needed:
        if name not in arrays:
            raise InputError(f"{what} must have {name}; it is missing")
    for name in arrays:
        if name not in known:
            raise InputError(f"{what} must have {', '.join(known)} alone; got {name}")


CANONICAL_LAYOUT = Layout(pack_canonical, unpack_canonical)
"""The layout of PyTorch and of birnn's own files."""
GLUON_LAYOUT = Layout(pack_gluon, unpack_gluon)
"""The layout of MXNet's Gluon."""
KERAS_LAYOUT = Layout(pack_keras, unpack_keras)
"""The layout of Keras' cells."""
LINEN_LAYOUT = Layout(pack_linen, unpack_linen)
"""The layout of flax.linen's cells."""
NNX_LAYOUT = Layout(pack_nnx, unpack_nnx)
"""The layout of flax.nnx's cells."""
ONNX_LAYOUT = Layout(pack_onnx, unpack_onnx)
"""The layout of ONNX' operators."""

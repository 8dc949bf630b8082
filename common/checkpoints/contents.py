"""What a checkpoint holds: recurrent layers in the canonical layout, layers around them, and tensors of no known kind.

The canonical layout is that of ``common.weights``, for one direction or two. Files do not always say all that a layer
is; what they leave open is None in a ``RecurrentKind`` and named by ``untold``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import numpy as np

from common.errors import InputError
from common.specification import Specification, specification_from_json
from common.weights import KINDS, merge_weight_name, weight_name

Arrays = dict[str, np.ndarray]
"""Arrays by name."""
Gates = Literal["rnn", "gru", "lstm"]
"""The cells by their gates alone: not every file tells whether an RNN is of tanh or of relu."""
NUM_GATES: dict[Gates, int] = {"rnn": 1, "gru": 3, "lstm": 4}
"""How many gates each cell has, whose rows lie one after the other in its kernels."""
ACTIVATIONS = ("tanh", "relu")
"""The activations that an RNN's candidate may have."""
OPEN_KEYS = ("activation", "reset_after", "merge")
"""What a file may leave open."""


@dataclass(frozen=True)
class RecurrentKind:
    """A recurrent layer without its weights, as far as its file tells; sizes are those of ``Specification``.

    ``directions`` is 1 or 2; ``activation`` that of the candidate, tanh or relu for an RNN and tanh for the others;
    ``merge`` and ``reset_after`` as in ``Specification``. None is what the file leaves open.
    """

    gates: Gates
    input_size: int
    hidden_size: int
    num_layers: int
    directions: int
    bias: bool
    hidden_size_reverse: int | None = None
    activation: str | None = None
    reset_after: bool | None = None
    merge: str | None = None

    @property
    def untold(self) -> tuple[str, ...]:
        """The keys of ``OPEN_KEYS`` that concern this layer and that nothing has said yet."""
        concerned = {"activation": True, "reset_after": self.gates == "gru", "merge": self.directions == 2}
        return tuple(key for key in OPEN_KEYS if concerned[key] and getattr(self, key) is None)

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """Units of each direction."""
        return (self.hidden_size, self.hidden_size_reverse or self.hidden_size)[: self.directions]

    @property
    def output_size(self) -> int:
        """Width of a layer's output; of two directions whose merge is open, that of concat."""
        return sum(self.hidden_sizes) if self.merge in (None, "concat") else self.hidden_size

    @property
    def cell(self) -> str:
        """The specification's cell; ``rnn`` where its activation is open."""
        if self.gates != "rnn":
            return self.gates
        return "rnn" if self.activation is None else f"rnn_{self.activation}"

    def layer_input_size(self, layer: int) -> int:
        """Width of what layer ``layer`` reads."""
        return self.input_size if layer == 0 else self.output_size

    def specification(self) -> Specification:
        """The specification; nothing may be untold."""
        content = {
            "cell": self.cell,
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "bias": self.bias,
            "merge": self.merge,
            "reset_after": self.reset_after is not False,
            "hidden_size_reverse": self.hidden_size_reverse,
            "num_directions": self.directions,
        }
        return specification_from_json(content, "a recurrent layer")

    def __str__(self) -> str:
        units = "+".join(map(str, dict.fromkeys(self.hidden_sizes)))
        parts = [f"{self.cell} {self.input_size}→{units}×{self.num_layers}"]
        parts += ["one direction"] if self.directions == 1 else [self.merge or "merge not told"]
        parts += ["reset-before"] if self.gates == "gru" and self.reset_after is False else []
        return " ".join(parts + ([] if self.bias else ["no-bias"]))


def kind_of(spec: Specification) -> RecurrentKind:
    """A specification, of which nothing is open, as a ``RecurrentKind``."""
    gates, _, activation = spec.cell.partition("_")
    return RecurrentKind(
        cast("Gates", gates),
        spec.input_size,
        spec.hidden_size,
        spec.num_layers,
        spec.num_directions,
        spec.bias,
        spec.hidden_size_reverse,
        activation or "tanh",
        spec.reset_after if gates == "gru" else None,
        spec.merge,
    )


@dataclass(frozen=True)
class Half:
    """One layer's weights in one direction, canonical: weight_ih (G·H, in), weight_hh (G·H, H), biases (G·H,) or
    None.
    """

    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias_ih: np.ndarray | None = None
    bias_hh: np.ndarray | None = None

    def arrays(self, layer: int, direction: int) -> Arrays:
        """The weights by canonical name, without the biases that are not there."""
        arrays = {weight_name(kind, layer, direction): getattr(self, kind) for kind in KINDS}
        return {name: value for name, value in arrays.items() if value is not None}

    def without_bias(self) -> Half:
        """The weights of the direction without biases."""
        return Half(self.weight_ih, self.weight_hh)

    def with_bias(self) -> Half:
        """The weights of the direction with biases of zeros where it has none."""
        zeros = np.zeros(self.weight_ih.shape[0], self.weight_ih.dtype)
        biases = (zeros if bias is None else bias for bias in (self.bias_ih, self.bias_hh))
        return Half(self.weight_ih, self.weight_hh, *biases)


@dataclass(frozen=True)
class RecurrentLayer:
    """A recurrent layer: its name in the file, what it is, its canonical weights, and what is unusual about it.

    Each of ``unusual`` is the reason why nothing else can hold the layer, and so why it is converted to nothing.
    ``sides`` are the names in the file of the two layers that are its directions, where it has them apart.
    """

    name: str
    kind: RecurrentKind
    weights: Arrays
    unusual: tuple[str, ...] = ()
    sides: tuple[str, ...] = ()

    def half(self, layer: int, direction: int) -> Half:
        """The weights of one layer in one direction."""
        return Half(*(self.weights.get(weight_name(kind, layer, direction)) for kind in KINDS))  # type: ignore[arg-type]

    def halves(self, layer: int) -> list[Half]:
        """The weights of one layer, forward first."""
        return [self.half(layer, direction) for direction in range(self.kind.directions)]


@dataclass(frozen=True)
class PlainLayer:
    """A layer around the recurrent ones, or tensors of no known kind.

    ``embedding``: weight (rows, width). ``dense``: weight (out, in) and, where it has one, bias (out,). ``tensor``:
    what no table knows, by its own names.
    """

    name: str
    kind: Literal["embedding", "dense", "tensor"]
    arrays: Arrays


@dataclass(frozen=True)
class Contents:
    """What a checkpoint holds: layers by name in the model's order, and sentences on what its file does not say.

    ``checkpoint`` is the header of a checkpoint of ``birnn train``, or None.
    """

    format: str
    layers: dict[str, RecurrentLayer | PlainLayer]
    notes: tuple[str, ...] = ()
    checkpoint: dict[str, Any] | None = field(default=None)

    @property
    def recurrent(self) -> list[RecurrentLayer]:
        """The recurrent layers."""
        return [layer for layer in self.layers.values() if isinstance(layer, RecurrentLayer)]

    @property
    def plain(self) -> list[PlainLayer]:
        """All others."""
        return [layer for layer in self.layers.values() if isinstance(layer, PlainLayer)]


def recurrent_layer(name: str, kind: RecurrentKind, halves: Mapping[tuple[int, int], Half]) -> RecurrentLayer:
    """A layer of its halves by (layer, direction); shapes must be checked by ``check_halves`` before."""
    weights: Arrays = {}
    for layer in range(kind.num_layers):
        for direction in range(kind.directions):
            weights |= halves[layer, direction].arrays(layer, direction)
    return RecurrentLayer(name, kind, weights)


def kind_of_halves(halves: Mapping[tuple[int, int], Half], what: str, **told: Any) -> RecurrentKind:
    """What a layer is by the shapes of its halves, by (layer, direction); ``told`` goes to ``RecurrentKind``.

    Raises
    ------
    InputError
        If a half is missing, or shapes do not fit each other; ``what`` names the layer.
    """
    num_layers = 1 + max(layer for layer, _ in halves)
    directions = 1 + max(direction for _, direction in halves)
    for layer in range(num_layers):
        for direction in range(directions):
            if (layer, direction) not in halves:
                which = ("forward", "reverse")[direction]
                raise InputError(f"{what} must have weights for layer {layer}, {which}; they are missing")
    first = halves[0, 0]
    gates = _gates(first, what)
    sizes = [halves[0, direction].weight_hh.shape[-1] for direction in range(directions)]
    kind = RecurrentKind(
        gates,
        first.weight_ih.shape[-1],
        sizes[0],
        num_layers,
        directions,
        first.bias_ih is not None,
        hidden_size_reverse=None if len(set(sizes)) == 1 else sizes[1],
        **({"activation": None if gates == "rnn" else "tanh"} | told),
    )
    for (layer, direction), half in halves.items():
        _check_half(half, kind, layer, direction, what)
    return kind


def _gates(half: Half, what: str) -> Gates:
    """The cell that a half is of, by the shape of its recurrent kernel."""
    if half.weight_ih.ndim != 2 or half.weight_hh.ndim != 2 or 0 in half.weight_ih.shape + half.weight_hh.shape:
        shapes = f"{half.weight_ih.shape} and {half.weight_hh.shape}"
        raise InputError(f"{what} must have kernels of two dimensions with nothing empty; got {shapes}")
    rows, units = half.weight_hh.shape
    for gates, count in NUM_GATES.items():
        if rows == count * units:
            return gates
    raise InputError(f"{what} must have 1, 3 or 4 gates of {units} units each; got {rows} rows")


def _check_half(half: Half, kind: RecurrentKind, layer: int, direction: int, what: str) -> None:
    """Raise an ``InputError`` where a half's shapes, dtypes or biases are not those of its layer."""
    units = kind.hidden_sizes[direction]
    rows = NUM_GATES[kind.gates] * units
    wanted: dict[str, tuple[int, ...]] = {
        "weight_ih": (rows, kind.layer_input_size(layer)),
        "weight_hh": (rows, units),
        "bias_ih": (rows,),
        "bias_hh": (rows,),
    }
    for name, shape in wanted.items():
        value = getattr(half, name)
        where = f"{what}: {weight_name(name, layer, direction)}"
        if value is None:
            if kind.bias:
                raise InputError(f"{where} must be there, as others' biases are; it is missing")
            continue
        if name.startswith("bias") and not kind.bias:
            raise InputError(f"{where} must not be there, as others' biases are not")
        if value.shape != shape:
            raise InputError(f"{where} must have shape {shape}; got {value.shape}")
        if value.dtype != half.weight_ih.dtype:
            raise InputError(f"{where} must be {half.weight_ih.dtype} as weight_ih is; got {value.dtype}")


def parts_of(layer: RecurrentLayer) -> Iterator[RecurrentLayer]:
    """The layers of a stack, each as a layer of its own named ``<name>_l<k>``; a single one keeps its name."""
    kind = layer.kind
    if kind.num_layers == 1:
        yield layer
        return
    for k in range(kind.num_layers):
        halves = {(0, direction): half for direction, half in enumerate(layer.halves(k))}
        part = recurrent_layer(
            f"{layer.name}_l{k}", replace(kind, num_layers=1, input_size=kind.layer_input_size(k)), halves
        )
        learned = {merge_weight_name(0): layer.weights[merge_weight_name(k)]} if kind.merge == "weighted" else {}
        yield replace(part, weights=part.weights | learned, unusual=layer.unusual)


def joined(name: str, kind: RecurrentKind, parts: list[RecurrentLayer]) -> RecurrentLayer:
    """The inverse of ``parts_of``, for parts that ``kind`` is known to be made of."""
    halves = {(k, direction): half for k, part in enumerate(parts) for direction, half in enumerate(part.halves(0))}
    stack = recurrent_layer(name, kind, halves)
    learned = {
        merge_weight_name(k): part.weights[merge_weight_name(0)]
        for k, part in enumerate(parts)
        if merge_weight_name(0) in part.weights
    }
    return replace(stack, weights=stack.weights | learned)


def summed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The sum of two biases, where one of them is 0 the other to the last bit (−0 + 0 would be 0)."""
    total = first + second
    return np.where(second == 0, first, np.where(first == 0, second, total)).astype(first.dtype, copy=False)

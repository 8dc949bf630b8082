"""ONNX: RNN, GRU and LSTM nodes with their initialisers read, and a graph of our own written.

Operators: ONNX's specification of RNN, GRU and LSTM, opset 14: W [D, G·H, in], R [D, G·H, H], B [D, 2·G·H]. What is
written has, for each recurrent layer, inputs ``<layer>.x`` (batch, seq_len, in), ``<layer>.lengths`` (batch,) int32 and
``<layer>.h_0``, for an LSTM ``<layer>.c_0``, (num_layers·directions, batch, H), and outputs ``<layer>.output`` and
``<layer>.h_n``, ``<layer>.c_n``; an embedding has ``<layer>.ids``, a dense layer ``<layer>.x``, and both have
``<layer>.output``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common.checkpoints.containers.protobuf import Parts, split, write_model
from common.checkpoints.contents import (
    Arrays,
    Contents,
    Half,
    PlainLayer,
    RecurrentKind,
    RecurrentLayer,
    kind_of_halves,
    recurrent_layer,
)
from common.checkpoints.layouts import parts_onnx, unpack_onnx
from common.checkpoints.limits import (
    DTYPES,
    array_in,
    checked_bytes,
    checked_count,
    checked_name,
    checked_shape,
    needed,
    num_bytes,
    one_sentence,
    opened,
)
from common.errors import InputError, shown

OPERATORS = {"RNN": "rnn", "GRU": "gru", "LSTM": "lstm"}
"""The cell of each recurrent operator."""
NODES = {gates: name for name, gates in OPERATORS.items()}
"""The operator of each cell."""
OPSET, IR_VERSION = 14, 8
"""The versions of the operators and of the format that a graph is written in."""
SHAPED = ("Expand", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze")
"""Operators whose initialisers are shapes and axes."""
MERGES = {"sum": "Add", "mul": "Mul", "ave": "Mean"}
"""The operators that merge two halves, but for concat, which is a transpose and a reshape."""
TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}
"""The dtypes by ONNX' numbers for them."""
FIELDS = {1: "float_data", 11: "double_data", 6: "int32_data", 7: "int64_data"}
"""The fields that hold an initialiser's numbers by its type, where it has no raw data."""


def read(path: Path) -> Contents:
    """The recurrent nodes of a graph, and its other initialisers; an ``InputError`` says what is wrong with it."""
    content = opened(path)
    onnx = needed("onnx", f"reading {path}")
    with one_sentence(path, "an ONNX model"):
        parts = split(content, str(path))
        model = onnx.ModelProto()
        model.ParseFromString(parts.slim)
        graph = model.graph
        if not graph.node and not graph.initializer:
            raise InputError(f"{path}: must be an ONNX model; it has neither nodes nor initialisers")
        checked_count(len(graph.initializer) + len(graph.node), str(path))
        nothing = np.zeros(0, np.uint8)
        arrays = {each.name: (each, parts.raw.get(i, nothing)) for i, each in enumerate(graph.initializer)}
        known = {each.key: each.value for each in model.metadata_props}
        nodes = _Graph(path, arrays)
        for node in graph.node:
            nodes.take(node)
        return nodes.contents(known)


@dataclass
class _Graph:
    """What the nodes of a graph tell, taken one after the other."""

    path: Path
    initialisers: dict[str, tuple[Any, np.ndarray]]
    layers: dict[str, RecurrentLayer | PlainLayer] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def take(self, node: Any) -> None:
        """A node, which counts where it is one of ``OPERATORS``."""
        attributes = {each.name: _attribute(each) for each in node.attribute}
        if node.op_type in SHAPED:
            self.used.update(node.input[1:])
        if node.op_type in OPERATORS:
            names = [*node.input] + [""] * 8
            name = checked_name(node.name or names[1].rpartition(".")[0] or names[1], str(self.path))
            if name in self.layers:
                raise InputError(f"{self.path}: nodes must have names of their own; got {shown(name)} twice")
            self.layers[name] = self._recurrent(name, node.op_type, names, attributes)

    def _recurrent(self, name: str, operator: str, names: list[str], attributes: dict[str, Any]) -> RecurrentLayer:
        """The layer that a node is, by its inputs' names and its attributes."""
        what = f"{self.path}: the node {name}"
        w, r = (self._array(each, what) for each in names[1:3])
        b = self._array(names[3], what) if names[3] else None
        if w.ndim != 3 or r.ndim != 3 or w.shape[0] != r.shape[0] or w.shape[0] not in (1, 2):
            raise InputError(
                f"{what} must have W and R of three dimensions, one or two directions; got {w.shape}, {r.shape}"
            )
        directions = w.shape[0]
        halves: dict[tuple[int, int], Half] = {}
        for direction in range(directions):
            part = {"W": w[direction], "R": r[direction]}
            if b is not None:
                if b.ndim != 2 or b.shape[0] != directions:
                    raise InputError(f"{what}: B must have a row for each direction; got {b.shape}")
                part["B"] = b[direction]
            halves[0, direction] = unpack_onnx(part, what)
        kind = kind_of_halves(halves, what, activation=None)
        if kind.gates != OPERATORS[operator]:
            raise InputError(f"{what} must have the gates of a {operator}; its R has the shape {r.shape}")
        kind, unusual = _described(kind, attributes, what)
        if names[7] and operator == "LSTM":
            unusual.append("it has peepholes (P)")
        return replace(recurrent_layer(name, kind, halves), unusual=tuple(unusual))

    def _array(self, name: str, what: str) -> np.ndarray:
        """An initialiser that a node names, as an array."""
        if name not in self.initialisers:
            raise InputError(f"{what} must have its weights as initialisers; {shown(name)} is none")
        self.used.add(name)
        return _numbers(*self.initialisers[name], what)

    def contents(self, known: dict[str, str]) -> Contents:
        """The nodes' layers, and the initialisers that no node has used; ``known`` are the model's properties."""
        for name, each in self.initialisers.items():
            if name not in self.used:
                module, _, leaf = checked_name(name, str(self.path)).rpartition(".")
                module = module or leaf
                layer = self.layers.get(module)
                if isinstance(layer, RecurrentLayer):
                    module, layer = name, None
                arrays = {} if layer is None else layer.arrays
                arrays = arrays | {leaf: _numbers(*each, f"{self.path}: {name}")}
                self.layers[module] = _plain(module, arrays, known.get(f"birnn.kind.{module}"))
        return Contents("onnx", self.layers, ("what joins the nodes is not read",))


def _plain(name: str, arrays: Arrays, kind: str | None) -> PlainLayer:
    """A layer around the recurrent ones by its arrays' shapes, and by its ``kind`` where birnn has written it."""
    weight = arrays.get("weight")
    if weight is not None and weight.ndim == 2 and set(arrays) <= {"weight", "bias"}:
        if "bias" in arrays and arrays["bias"].shape == weight.shape[:1]:
            return PlainLayer(name, "dense", arrays)
        if kind in ("embedding", "dense"):
            return PlainLayer(name, kind, arrays)  # type: ignore[arg-type]
    return PlainLayer(name, "tensor", arrays)


def _attribute(attribute: Any) -> Any:
    """An attribute's value: a number, a text, a list of texts, or one of numbers, None where it is empty."""
    if attribute.type == 1:
        return attribute.f
    if attribute.type == 2:
        return attribute.i
    if attribute.type == 3:
        return attribute.s.decode(errors="replace")
    if attribute.type == 8:
        return [each.decode(errors="replace") for each in attribute.strings]
    return [*attribute.floats] or None


def _described(kind: RecurrentKind, attributes: dict[str, Any], what: str) -> tuple[RecurrentKind, list[str]]:
    """A node's kind with what its attributes say, and what is unusual about it."""
    unusual = []
    direction = attributes.get("direction", "forward")
    if (direction == "bidirectional") != (kind.directions == 2):
        raise InputError(f"{what}: direction must be {kind.directions} as W has; got {shown(direction)}")
    if direction == "reverse":
        unusual.append("it runs in the reverse direction alone")
    if attributes.get("hidden_size", kind.hidden_size) != kind.hidden_size:
        raise InputError(f"{what}: hidden_size must be {kind.hidden_size} as R has; got {attributes['hidden_size']}")
    if attributes.get("layout", 0) == 1:
        unusual.append("its layout is 1, batch first, which ONNX Runtime has not")
    if "clip" in attributes:
        unusual.append(f"it clips what goes into its activations (clip = {attributes['clip']:g})")
    if attributes.get("input_forget"):
        unusual.append("its input and forget gates are coupled (input_forget)")
    usual = {"rnn": ["Tanh"], "gru": ["Sigmoid", "Tanh"], "lstm": ["Sigmoid", "Tanh", "Tanh"]}[kind.gates]
    given = attributes.get("activations") or usual * kind.directions
    if kind.gates == "rnn" and given == ["Relu"] * kind.directions:
        activation = "relu"
    else:
        activation = "tanh"
        if [each.lower() for each in given] != [each.lower() for each in usual] * kind.directions:
            unusual.append(f"its activations are {', '.join(given)[:80]}")
    kind = replace(kind, activation=activation)
    if kind.gates == "gru":
        kind = replace(kind, reset_after=bool(attributes.get("linear_before_reset", 0)))
    return kind, unusual


def _numbers(tensor: Any, content: np.ndarray, what: str) -> np.ndarray:
    """An initialiser's array, whose raw data is ``content``; one whose data lies in another file is refused."""
    if tensor.data_location == 1 or tensor.external_data:
        raise InputError(f"{what} must hold its data itself; got data in another file")
    if tensor.data_type not in TYPES:
        raise InputError(f"{what} must have one of ONNX's types {sorted(TYPES)}; got {tensor.data_type}")
    dtype, shape = DTYPES[TYPES[tensor.data_type]], checked_shape(tensor.dims, what)
    if content.size or 0 in shape:
        if checked_bytes(shape, dtype, content.size, what) != content.size:
            raise InputError(f"{what} must have as many bytes as its shape says; got {content.size:,}")
        return array_in(content, 0, dtype, shape, what)
    if tensor.data_type not in FIELDS:
        raise InputError(f"{what} must have its numbers as raw data; got none")
    numbers = np.array(getattr(tensor, FIELDS[tensor.data_type]), dtype)
    if checked_bytes(shape, dtype, numbers.nbytes, what) != numbers.nbytes:
        raise InputError(f"{what} must have as many numbers as its shape says; got {numbers.size:,}")
    return numbers.reshape(shape)


# Writing.


def write(contents: Contents, file: BinaryIO) -> None:
    """Write a graph in which each layer has inputs and outputs of its own."""
    onnx = needed("onnx", "writing ONNX")
    writer = _Writer(onnx)
    for layer in contents.layers.values():
        if isinstance(layer, RecurrentLayer):
            writer.recurrent(layer)
        else:
            writer.plain(layer)
    graph = onnx.helper.make_graph(writer.nodes, "converted", writer.inputs, writer.outputs)
    opset = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="birnn")
    onnx.helper.set_model_props(model, writer.properties)
    write_model(model, writer.initialisers, file)


def _packed(kind: RecurrentKind, halves: list[Half], leaf: str) -> list[np.ndarray]:
    """The rows of an initialiser, direction by direction and gate by gate."""
    return [part for half in halves for part in parts_onnx(kind, half)[leaf]]


class _Writer:
    """The parts of a graph, added up layer by layer."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self._types = {DTYPES[name]: number for number, name in TYPES.items()}
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.initialisers: list[tuple[Any, int, Parts]] = []
        self.properties: dict[str, str] = {}

    def recurrent(self, layer: RecurrentLayer) -> None:
        """A node for each layer of a stack, between transposes, with one merge after each."""
        kind, name = layer.kind, layer.name
        dtype = layer.weights["weight_ih_l0"].dtype
        states = ("h", "c") if kind.gates == "lstm" else ("h",)
        rows = kind.num_layers * kind.directions
        self._value(self.inputs, f"{name}.x", dtype, ["batch", "seq_len", kind.input_size])
        self._value(self.inputs, f"{name}.lengths", np.dtype(np.int32), ["batch"])
        for state in states:
            self._value(self.inputs, f"{name}.{state}_0", dtype, [rows, "batch", kind.hidden_size])
        x = self._node("Transpose", [f"{name}.x"], f"{name}.x_time_first", perm=[1, 0, 2])
        initial = {state: self._per_layer(f"{name}.{state}_0", kind) for state in states}
        finals: dict[str, list[str]] = {state: [] for state in states}
        for k in range(kind.num_layers):
            part = name if kind.num_layers == 1 else f"{name}_l{k}"
            self._weights(part, layer, k)
            every = self._operator(part, kind, x, f"{name}.lengths", [initial[state][k] for state in states])
            for state in states:
                finals[state].append(f"{part}.Y_{state}")
            x = self._merged(part, kind, every)
        self._node("Transpose", [x], f"{name}.output", perm=[1, 0, 2])
        for state in states:
            self._node("Concat", finals[state], f"{name}.{state}_n", axis=0)
            self._value(self.outputs, f"{name}.{state}_n", dtype, [rows, "batch", kind.hidden_size])
        self._value(self.outputs, f"{name}.output", dtype, ["batch", "seq_len", kind.output_size])

    def _per_layer(self, states: str, kind: RecurrentKind) -> list[str]:
        """The names of each layer's part of the initial states, which are split where there are several layers."""
        if kind.num_layers == 1:
            return [states]
        names = [f"{states}_of_{k}" for k in range(kind.num_layers)]
        split = self._constant(f"{states}_split", np.full(kind.num_layers, kind.directions, np.int64))
        self.nodes.append(self._onnx.helper.make_node("Split", [states, split], names, axis=0))
        return names

    def _weights(self, part: str, layer: RecurrentLayer, k: int) -> None:
        """A layer's W, R and B, whose gates are put into ONNX's order when they are written, one after the other."""
        kind = replace(layer.kind, num_layers=1, input_size=layer.kind.layer_input_size(k))
        halves = layer.halves(k)
        rows, units = halves[0].weight_hh.shape
        shapes = {"W": (rows, kind.input_size), "R": (rows, units), "B": (2 * rows,)}
        for leaf, shape in shapes.items():
            if leaf != "B" or kind.bias:
                made = partial(_packed, kind, halves, leaf)
                self._initialiser(f"{part}.{leaf}", (len(halves), *shape), halves[0].weight_ih.dtype, made)

    def _operator(self, part: str, kind: RecurrentKind, x: str, lengths: str, initial: list[str]) -> str:
        """Add the recurrent node of one layer; gives the name of its outputs at every step."""
        attributes: dict[str, Any] = {
            "direction": "bidirectional" if kind.directions == 2 else "forward",
            "hidden_size": kind.hidden_size,
        }
        if kind.gates == "gru":
            attributes["linear_before_reset"] = int(bool(kind.reset_after))
        if kind.gates == "rnn":
            attributes["activations"] = [str(kind.activation).capitalize()] * kind.directions
        inputs = [x, f"{part}.W", f"{part}.R", f"{part}.B" if kind.bias else "", lengths, *initial]
        outputs = [f"{part}.Y", f"{part}.Y_h", *([f"{part}.Y_c"] if kind.gates == "lstm" else [])]
        node = self._onnx.helper.make_node(NODES[kind.gates], inputs, outputs, name=part, **attributes)
        self.nodes.append(node)
        return outputs[0]

    def _merged(self, part: str, kind: RecurrentKind, every: str) -> str:
        """(seq_len, directions, batch, units) to (seq_len, batch, width)."""
        if kind.merge in (None, "concat"):
            moved = self._node("Transpose", [every], f"{part}.Y_moved", perm=[0, 2, 1, 3])
            shape = self._constant(f"{part}.Y_shape", np.array([0, 0, -1], np.int64))
            return self._node("Reshape", [moved, shape], f"{part}.merged")
        both = [f"{part}.Y_forward", f"{part}.Y_reverse"]
        self.nodes.append(self._onnx.helper.make_node("Split", [every], [f"{each}_1" for each in both], axis=1))
        axis = self._constant(f"{part}.axis", np.array([1], np.int64))
        halves = [self._node("Squeeze", [f"{each}_1", axis], each) for each in both]
        return self._node(MERGES[str(kind.merge)], halves, f"{part}.merged")

    def plain(self, layer: PlainLayer) -> None:
        """A Gather for an embedding, a product for a dense layer."""
        name, weight = layer.name, layer.arrays["weight"]
        self.properties[f"birnn.kind.{name}"] = layer.kind
        for leaf, value in layer.arrays.items():
            self._constant(f"{name}.{leaf}", value)
        if layer.kind == "embedding":
            self._value(self.inputs, f"{name}.ids", np.dtype(np.int64), ["batch", "seq_len"])
            self._node("Gather", [f"{name}.weight", f"{name}.ids"], f"{name}.output", axis=0)
            self._value(self.outputs, f"{name}.output", weight.dtype, ["batch", "seq_len", weight.shape[1]])
            return
        self._value(self.inputs, f"{name}.x", weight.dtype, ["batch", "seq_len", weight.shape[1]])
        self._node("Transpose", [f"{name}.weight"], f"{name}.kernel", perm=[1, 0])
        product = f"{name}.product" if "bias" in layer.arrays else f"{name}.output"
        self._node("MatMul", [f"{name}.x", f"{name}.kernel"], product)
        if "bias" in layer.arrays:
            self._node("Add", [product, f"{name}.bias"], f"{name}.output")
        self._value(self.outputs, f"{name}.output", weight.dtype, ["batch", "seq_len", weight.shape[0]])

    def _node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node with one output; gives the output's name."""
        self.nodes.append(self._onnx.helper.make_node(operator, inputs, [output], **attributes))
        return output

    def _constant(self, name: str, value: np.ndarray) -> str:
        """Add an initialiser of an array; gives its name."""
        self._initialiser(name, value.shape, value.dtype, lambda: [value])
        return name

    def _initialiser(self, name: str, shape: tuple[int, ...], dtype: np.dtype, parts: Parts) -> None:
        """Add an initialiser whose numbers are made when the file is written."""
        if dtype not in self._types:
            raise InputError(f"{name} must have a dtype that ONNX has; got {dtype}")
        tensor = self._onnx.TensorProto(name=name, data_type=self._types[dtype], dims=shape)
        self.initialisers.append((tensor, num_bytes(shape, dtype), parts))

    def _value(self, group: list[Any], name: str, dtype: np.dtype, shape: list[Any]) -> None:
        """Add an input or an output of a dtype and shape."""
        group.append(self._onnx.helper.make_tensor_value_info(name, self._types[dtype], shape))

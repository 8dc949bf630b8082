"""Keras' configurations of layers, read as JSON and never built from: what a layer is, and the other way round.

Keras 2.15 and 3.15 share the keys; Keras 3 wraps an object as ``{"module", "class_name", "config"}``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from common.checkpoints.contents import RecurrentKind, RecurrentLayer
from common.errors import InputError, shown

CELLS = {"SimpleRNN": "rnn", "GRU": "gru", "LSTM": "lstm"}
"""The cell of each of Keras' recurrent classes."""
CLASSES = {gates: name for name, gates in CELLS.items()}
"""The class of each cell."""
MERGES = ("concat", "sum", "mul", "ave")
"""The merges that Keras' Bidirectional has under the suite's names."""


MODELS = ("Functional", "Model", "Sequential")
"""The classes of models whose configuration lists their layers."""


@dataclass(frozen=True)
class Config:
    """One layer of a model's configuration: its name, its class, and what that was made with."""

    name: str
    class_name: str
    values: dict[str, Any]


def layers_of(content: Any, what: str) -> Iterator[Config]:
    """The layers of a model's configuration in its order.

    Raises
    ------
    InputError
        If it is none of a Sequential or Functional model.
    """
    if not isinstance(content, dict) or content.get("class_name") not in MODELS:
        got = content.get("class_name") if isinstance(content, dict) else content
        raise InputError(f"{what} must be of a Functional or Sequential model; got {shown(got)}")
    config = content.get("config")
    layers = config.get("layers") if isinstance(config, dict) else config
    if not isinstance(layers, list):
        raise InputError(f"{what} must have a list of layers")
    for layer in layers:
        yield one(layer, what)


def one(layer: Any, what: str) -> Config:
    """A layer's configuration, checked for its three parts."""
    if not isinstance(layer, dict) or not isinstance(layer.get("class_name"), str):
        raise InputError(f"{what}: a layer must have a class_name; got {shown(layer)}")
    values = layer.get("config")
    if not isinstance(values, dict) or not isinstance(values.get("name"), str):
        raise InputError(f"{what}: a layer must have a config with a name; got {shown(values)}")
    return Config(values["name"], layer["class_name"], values)


def described(config: Config, kind: RecurrentKind, what: str) -> tuple[RecurrentKind, list[str]]:
    """A layer's kind by its weights, with what its configuration adds, and what is unusual about it.

    Raises
    ------
    InputError
        If configuration and weights contradict each other.
    """
    unusual: list[str] = []
    halves = [config]
    if config.class_name == "Bidirectional":
        halves = [one(config.values.get("layer"), what)]
        if isinstance(config.values.get("backward_layer"), dict):
            halves.append(one(config.values["backward_layer"], what))
        mode = config.values.get("merge_mode", "concat")
        if mode is not None and mode not in MERGES:
            raise InputError(f"{what}: merge_mode must be one of {', '.join(MERGES)} or null; got {shown(mode)}")
        kind = replace(kind, merge=mode)
        backwards = [half.values.get("go_backwards", False) for half in halves]
        if backwards not in ([False], [False, True]):
            unusual.append("its forward half goes backwards")
    elif config.values.get("go_backwards"):
        unusual.append("it goes backwards (go_backwards) without a Bidirectional around it")
    for half in halves:
        if CELLS.get(half.class_name) != kind.gates:
            raise InputError(f"{what} must be a {CLASSES[kind.gates]} as its weights are; got {shown(half.class_name)}")
        kind, reasons = _cell(half, kind, what)
        unusual += reasons
    return kind, list(dict.fromkeys(unusual))


def _cell(half: Config, kind: RecurrentKind, what: str) -> tuple[RecurrentKind, list[str]]:
    """A kind with what one direction's configuration adds, and what is unusual about that."""
    values, unusual = half.values, []
    units = values.get("units")
    if units not in kind.hidden_sizes:
        raise InputError(f"{what}: units must be {kind.hidden_sizes} as its weights have; got {shown(units)}")
    activation = _function(values.get("activation", "tanh"))
    allowed = ("tanh", "relu") if kind.gates == "rnn" else ("tanh",)
    if activation not in allowed:
        unusual.append(f"its activation is {shown(activation)}")
    elif kind.gates == "rnn" and kind.activation not in (None, activation):
        unusual.append("its two directions have unequal activations")
    if kind.gates != "rnn":
        recurrent = _function(values.get("recurrent_activation", "hard_sigmoid"))
        if recurrent != "sigmoid":
            meaning = ", which is 0.2x + 0.5 in Keras 2 and x/6 + 0.5 in Keras 3" if recurrent == "hard_sigmoid" else ""
            unusual.append(f"its recurrent activation is {shown(recurrent)}{meaning}")
    if values.get("time_major"):
        unusual.append("it reads time first (time_major)")
    reset_after = kind.reset_after
    if kind.gates == "gru" and "reset_after" in values:
        if kind.bias and bool(values["reset_after"]) != kind.reset_after:
            raise InputError(f"{what}: reset_after must be {kind.reset_after} as the shape of its bias says")
        reset_after = bool(values["reset_after"])
    known = activation if activation in allowed else "tanh"
    return replace(kind, activation=known, reset_after=reset_after), unusual


def _function(value: Any) -> Any:
    """An activation's name; Keras 3 may write a registered function as an object."""
    return value.get("config") if isinstance(value, dict) and isinstance(value.get("config"), str) else value


def recurrent_config(layer: RecurrentLayer, name: str, dtype: str) -> dict[str, Any]:
    """The configuration of a single layer, as an object with class_name and config, sequences and states given out."""
    kind = layer.kind
    prefixes = ("forward", "backward") if kind.directions == 2 else ("",)
    cells = [
        _cell_config(kind, units, f"{prefix}_{name}" if prefix else name, bool(direction), dtype)
        for direction, (prefix, units) in enumerate(zip(prefixes, kind.hidden_sizes, strict=True))
    ]
    if kind.directions == 1:
        return cells[0]
    values = {
        "name": name,
        "trainable": True,
        "dtype": dtype,
        "merge_mode": kind.merge,
        "layer": cells[0],
        "backward_layer": cells[1],
    }
    return {"class_name": "Bidirectional", "config": values}


def _cell_config(kind: RecurrentKind, units: int, name: str, reverse: bool, dtype: str) -> dict[str, Any]:
    """The configuration of one direction, which goes backwards where ``reverse``."""
    values: dict[str, Any] = {
        "name": name,
        "trainable": True,
        "dtype": dtype,
        "return_sequences": True,
        "return_state": False,
        "go_backwards": reverse,
        "stateful": False,
        "unroll": False,
        "units": units,
        "activation": kind.activation,
        "use_bias": kind.bias,
    }
    if kind.gates != "rnn":
        values["recurrent_activation"] = "sigmoid"
    if kind.gates == "lstm":
        values["unit_forget_bias"] = True  # of a new layer alone; what is stored has it in it
    if kind.gates == "gru":
        values["reset_after"] = kind.reset_after
    return {"class_name": CLASSES[kind.gates], "config": values}


def dense_config(name: str, units: int, bias: bool, dtype: str) -> dict[str, Any]:
    """The configuration of a Dense layer."""
    values = {"name": name, "trainable": True, "dtype": dtype, "units": units, "activation": "linear", "use_bias": bias}
    return {"class_name": "Dense", "config": values}


def embedding_config(name: str, rows: int, width: int, dtype: str) -> dict[str, Any]:
    """The configuration of an Embedding layer."""
    values = {"name": name, "trainable": True, "dtype": dtype, "input_dim": rows, "output_dim": width}
    return {"class_name": "Embedding", "config": values}

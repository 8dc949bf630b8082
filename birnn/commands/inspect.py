"""What ``birnn inspect`` does: read a checkpoint and show what is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from birnn import exit_codes
from birnn.display import say, stdout
from common.checkpoints.contents import Contents, PlainLayer, RecurrentLayer
from common.checkpoints.told import read_known


def inspect(file: Path, spec: Path | None, json_wanted: bool) -> int:
    """Print what is in a checkpoint, as tables or as a JSON object; the exit code."""
    contents = read_known(file, spec)
    if json_wanted:
        say(json.dumps(as_json(contents), indent=1, ensure_ascii=False))
    else:
        show(contents)
    return exit_codes.AGREED


def as_json(contents: Contents) -> dict[str, Any]:
    """What is in a checkpoint as a JSON object."""
    layers = {}
    for layer in contents.recurrent:
        kind = layer.kind
        layers[layer.name] = {
            "cell": kind.cell,
            "input_size": kind.input_size,
            "hidden_sizes": list(kind.hidden_sizes),
            "num_layers": kind.num_layers,
            "directions": kind.directions,
            "bias": kind.bias,
            "activation": kind.activation,
            "reset_after": kind.reset_after,
            "merge": kind.merge,
            "dtype": dtype_of(layer),
            "not_told": list(kind.untold),
            "unusual": list(layer.unusual),
        }
    others = {
        layer.name: {
            "kind": layer.kind,
            "tensors": {n: {"dtype": v.dtype.name, "shape": list(v.shape)} for n, v in layer.arrays.items()},
        }
        for layer in contents.plain
    }
    return {"version": 1, "format": contents.format, "layers": layers, "others": others, "notes": list(contents.notes)}


def dtype_of(layer: RecurrentLayer) -> str:
    """The dtype of a layer's weights."""
    return layer.weights["weight_ih_l0"].dtype.name


def show(contents: Contents) -> None:
    """Print a table of the layers, then sentences."""
    console = stdout()
    table = Table("layer", "what it is", "dtype", "tensors")
    for layer in contents.layers.values():
        if isinstance(layer, PlainLayer):
            shapes = ", ".join(f"{name} {value.shape}" for name, value in layer.arrays.items())
            dtypes = ", ".join(dict.fromkeys(value.dtype.name for value in layer.arrays.values()))
            table.add_row(escape(layer.name), layer.kind, dtypes, escape(shapes))
        else:
            count = sum(value.size for value in layer.weights.values())
            table.add_row(escape(layer.name), escape(str(layer.kind)), dtype_of(layer), f"{count:,} numbers")
    console.print(f"{contents.format}, {len(contents.recurrent)} recurrent layers", markup=False)
    console.print(table)
    for layer in contents.recurrent:
        for reason in layer.unusual:
            console.print(f"{layer.name}: {reason}", markup=False, soft_wrap=True)
        if layer.kind.untold:
            keys = ", ".join(layer.kind.untold)
            console.print(f"{layer.name}: not in the file: {keys} (--spec)", markup=False, soft_wrap=True)
    for note in contents.notes:
        console.print(note, markup=False, soft_wrap=True)

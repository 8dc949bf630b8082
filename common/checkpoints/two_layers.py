"""Two layers of a file that are the two directions of one, as a user says with ``--spec``, and how such a layer is run.

Many programs have two layers of one direction each where others have a bidirectional one: flax.linen gives the two
cells of ``nn.Bidirectional(nn.RNN(nn.LSTMCell(4)), nn.RNN(nn.LSTMCell(4)))`` names of their own, ``LSTMCell_0`` and
``LSTMCell_1``, when it is written in a compact method (0.12.8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from common.case import Case
from common.checkpoints.contents import Arrays, Contents, PlainLayer, RecurrentLayer, kind_of_halves, recurrent_layer
from common.checkpoints.formats.flax import SEPARATE
from common.errors import InputError, shown
from common.reference import flip, step_mask
from common.weights import SUFFIXES

SIDES = ("forward", "reverse")
"""The keys of ``--spec`` that name the layers which are a layer's directions."""


def with_two_joined(contents: Contents, named: Mapping[str, dict[str, Any]], spec: Path) -> Contents:
    """The contents with the layers that ``--spec`` makes of two; each stands where its forward direction stood.

    Raises
    ------
    InputError
        If one of the two is not in the file, not of one direction, unlike the other, or used twice.
    """
    layers, notes = dict(contents.layers), contents.notes
    for name, content in named.items():
        if not set(SIDES) & content.keys():
            continue
        what = f"{spec}: the layer {name}"
        sides = [_side(layers, content.get(side), side, what) for side in SIDES]
        if name in layers and name not in [side.name for side in sides]:
            raise InputError(f"{what} must have a name of its own; the file has another layer of that name")
        whole = _joined(name, sides, what)
        places = {side.name for side in sides}
        remaining: dict[str, RecurrentLayer | PlainLayer] = {}
        for old, layer in layers.items():
            if old == sides[0].name:
                remaining[name] = whole
            elif old not in places:
                remaining[old] = layer
        layers = remaining
        notes = tuple(note for note in notes if note != SEPARATE)
    return replace(contents, layers=layers, notes=notes)


def taken_apart(contents: Contents) -> Contents:
    """The contents with the layers that were made of two as those two again, as their file has them."""
    layers: dict[str, RecurrentLayer | PlainLayer] = {}
    for name, layer in contents.layers.items():
        if not isinstance(layer, RecurrentLayer) or not layer.sides:
            layers[name] = layer
            continue
        for direction, side in enumerate(layer.sides):
            kind = replace(layer.kind, directions=1, hidden_size_reverse=None, merge=None)
            kind = replace(kind, hidden_size=layer.kind.hidden_sizes[direction])
            layers[side] = recurrent_layer(side, kind, {(0, 0): layer.half(0, direction)})
    return replace(contents, layers=layers)


def _side(layers: Mapping[str, RecurrentLayer | PlainLayer], name: Any, side: str, what: str) -> RecurrentLayer:
    """The layer of the file that is one direction."""
    layer = layers.get(name) if isinstance(name, str) else None
    single = [each.name for each in layers.values() if isinstance(each, RecurrentLayer) and _is_single(each)]
    if not isinstance(layer, RecurrentLayer) or not _is_single(layer):
        there = ", ".join(single) or "none"
        raise InputError(f"{what}: {side} must name a layer of one direction ({there}); got {shown(name)}")
    return layer


def _is_single(layer: RecurrentLayer) -> bool:
    """Whether a layer is one layer of one direction."""
    return layer.kind.directions == 1 and layer.kind.num_layers == 1


def _joined(name: str, sides: list[RecurrentLayer], what: str) -> RecurrentLayer:
    """One layer of two, which must be alike but for their sizes."""
    first, second = (replace(side.kind, hidden_size=1) for side in sides)
    if sides[0].name == sides[1].name:
        raise InputError(f"{what}: forward and reverse must be two layers; got {shown(sides[0].name)} twice")
    if first != second:
        raise InputError(
            f"{what}: forward and reverse must be alike but for their units; got {sides[0].kind} and {sides[1].kind}"
        )
    halves = {(0, direction): side.half(0, 0) for direction, side in enumerate(sides)}
    kind = kind_of_halves(halves, what, activation=first.activation, reset_after=first.reset_after)
    whole = recurrent_layer(name, kind, halves)
    unusual = tuple(dict.fromkeys(reason for side in sides for reason in side.unusual))
    return replace(whole, unusual=unusual, sides=(sides[0].name, sides[1].name))


def case_of_side(case: Case, direction: int) -> Case:
    """The case of one direction of a layer, as a layer of one direction: what the reverse one reads is turned round
    within each length.
    """
    spec = case.spec.of_direction(0, direction)
    suffix = SUFFIXES[direction]
    names = [name for name in case.weights if name.endswith(SUFFIXES[1]) == (direction == 1)]
    weights = {name.removesuffix(suffix) if suffix else name: case.weights[name] for name in names}
    rows = slice(direction, direction + 1)
    h_0, c_0 = (None if state is None else state[rows, :, : spec.hidden_size] for state in (case.h_0, case.c_0))
    x = flip(case.x, case.lengths) if direction else case.x
    return replace(case, spec=spec, x=x, weights=weights, h_0=h_0, c_0=c_0, file_sha256=None)


def result_of_sides(case: Case, sides: list[Arrays]) -> Arrays:
    """The result of a layer of what its two directions gave for ``case_of_side``."""
    spec = case.spec
    forward, reverse = sides[0]["output"], flip(sides[1]["output"], case.lengths)
    merged = {
        "concat": lambda: np.concatenate([forward, reverse], axis=2),
        "sum": lambda: forward + reverse,
        "mul": lambda: forward * reverse,
        "ave": lambda: (forward + reverse) / 2,
    }[str(spec.merge)]()
    real = step_mask(case.lengths, case.batch, case.seq_len)[..., None]
    result = {"output": np.where(real, merged, 0).astype(forward.dtype)}
    for name in sides[0].keys() - {"output"}:
        wide = [np.pad(side[name], ((0, 0), (0, 0), (0, spec.state_size - side[name].shape[2]))) for side in sides]
        result[name] = np.concatenate(wide)  # two of (1, batch, units) to (2, batch, state_size)
    return result

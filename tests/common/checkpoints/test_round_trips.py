"""Every specification from every format to every other and back: the same to the last bit, or as the verdict says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from birnn.commands.convert import write_checkpoint_file
from common.cases.builtin import CELLS
from common.checkpoints.contents import Arrays, Contents, PlainLayer, RecurrentLayer, kind_of
from common.checkpoints.converting import EXACT, IMPOSSIBLE, REPARAMETERISED, judged, same_bits
from common.checkpoints.limits import DTYPES
from common.checkpoints.table import FORMATS
from common.checkpoints.told import read_known
from common.specification import Cell, Specification
from common.weights import shapes
from tests.common.checkpoints.packages import require_packages

require_packages()
FEW = ("deep", "bare")
"""The changes of an LSTM that are tried; a GRU's are all."""
SPECIAL = (-0.0, np.nan, np.inf, 1e-40)
"""What a sum, a copy or a cast would change: the sign of a zero, a NaN, a subnormal number."""


def specifications() -> Iterator[tuple[str, Specification]]:
    """Names and specifications: all cells, one option after the other changed."""
    usual: dict[str, Any] = {"input_size": 3, "hidden_size": 2, "num_layers": 1, "bias": True, "merge": "concat"}
    changes: dict[str, dict[str, Any]] = {
        "plain": {},
        "deep": {"num_layers": 2},
        "summed": {"merge": "sum", "num_layers": 2},
        "bare": {"bias": False},
        "uneven": {"hidden_size_reverse": 4},
    }
    cells: tuple[Cell, ...] = ("gru", "lstm")
    for cell, (change, values) in product(cells, changes.items()):
        if cell == "gru" or change in FEW:
            yield f"{cell}_{change}", Specification(cell=cell, **usual | values)
    for cell in cells:
        yield (
            f"{cell}_single",
            Specification(cell=cell, **usual | {"num_layers": 2, "merge": None, "num_directions": 1}),
        )
    yield "rnn_tanh_plain", Specification(cell="rnn_tanh", **usual)
    yield "rnn_relu_plain", Specification(cell="rnn_relu", **usual)
    for merge in ("ave", "weighted"):
        yield f"gru_{merge}", Specification(cell="gru", **usual | {"merge": merge})
    yield "gru_before", Specification(cell="gru", **usual, reset_after=False)


@cache
def everything(dtype: str) -> Contents:
    """A checkpoint with a layer of every specification (of some alone but in float32) and what is around them."""
    random = np.random.default_rng(0)

    def numbers(shape: tuple[int, ...]) -> np.ndarray:
        return random.normal(size=shape).astype(DTYPES[dtype])

    layers: dict[str, RecurrentLayer | PlainLayer] = {}
    for name, spec in specifications():
        if dtype != "float32" and name not in ("gru_plain", "gru_bare"):
            continue
        kind = kind_of(spec)
        weights: Arrays = {weight: numbers(shape) for weight, shape in shapes(spec).items()}
        layers[name] = RecurrentLayer(name, kind, weights)
        if name.endswith(("_plain", "_deep")):  # the same with one bias, which nothing has to sum
            zeros = {n: np.zeros_like(v) if n.startswith("bias_hh") else v for n, v in weights.items()}
            zeros = {n: v.copy() for n, v in zeros.items()}
            for key in (key for key in zeros if key.startswith(("bias_ih", "weight_hh"))):
                zeros[key].flat[:2] = SPECIAL[:2]
                zeros[key].flat[-2:] = SPECIAL[2:]
            layers[f"{name}_once"] = RecurrentLayer(f"{name}_once", kind, zeros)
    layers["embedding"] = PlainLayer("embedding", "embedding", {"weight": numbers((7, 3))})
    layers["head.0"] = PlainLayer("head.0", "dense", {"weight": numbers((2, 3)), "bias": numbers((2,))})
    layers["head.1"] = PlainLayer("head.1", "dense", {"weight": numbers((4, 2))})
    return Contents("birnn", layers)


def holdable(contents: Contents, target: str) -> Contents:
    """What of it a format can hold."""
    good = {each.layer for each in judged(contents, target) if each.verdict != IMPOSSIBLE}
    return replace(contents, layers={name: layer for name, layer in contents.layers.items() if name in good})


def through(contents: Contents, name: str, folder: Path) -> Contents:
    """The contents written in a format and read again."""
    endings = {"flax-linen": ".msgpack", "flax-nnx": ".msgpack", "mxnet-prefix": ".params", "birnn": ".safetensors"}
    path = folder / f"f{FORMATS[name].ending or endings[name]}"
    write_checkpoint_file(contents, name, path, durable=False)
    return read_known(path)


def differing(a: Contents, b: Contents, *, but_biases: bool = False) -> list[str]:
    """Layers that are not the same, to the last bit; without a look at biases on demand."""
    assert list(a.layers) == list(b.layers)
    names = []
    for name, layer in a.layers.items():
        other = b.layers[name]
        if isinstance(layer, PlainLayer):
            same = isinstance(other, PlainLayer) and layer.kind == other.kind
            mine, its = layer.arrays, other.arrays if isinstance(other, PlainLayer) else {}
        else:
            same = isinstance(other, RecurrentLayer) and layer.kind == other.kind
            mine, its = layer.weights, other.weights if isinstance(other, RecurrentLayer) else {}
        same = same and mine.keys() == its.keys()
        skipped = {key for key in mine if but_biases and key.startswith("bias")}
        if not same or not all(same_bits(np.asarray(mine[key]), np.asarray(its[key])) for key in mine.keys() - skipped):
            names.append(name)
    return names


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("first", FORMATS)
def test_from_every_format_to_every_other_and_back(first: str, dtype: str, tmp_path: Path) -> None:
    whole = holdable(everything(dtype), first)
    if dtype not in FORMATS[first].dtypes:
        assert not whole.recurrent
        return
    begun = through(whole, first, tmp_path)
    for second in [*FORMATS][[*FORMATS].index(first) + 1 :]:  # and back, so each pair once
        part = holdable(begun, second)
        if not part.recurrent:
            assert dtype not in FORMATS[second].dtypes
            continue
        verdicts = {each.layer: each.verdict for each in judged(part, second)}
        there = through(part, second, tmp_path)
        back = through(holdable(there, first), first, tmp_path)
        changed = [name for name, verdict in verdicts.items() if verdict == REPARAMETERISED]
        assert differing(part, there) == changed, (second, "a verdict of exact, and of nothing else, is bit for bit")
        assert differing(part, there, but_biases=True) == []
        assert differing(there, back) == [], (second, "what has been summed once is exact from there on")


OPTIONS: dict[str, dict[str, Any]] = {
    **{merge: {"merge": merge} for merge in ("concat", "sum", "mul", "ave", "weighted")},
    "uneven": {"merge": "concat", "hidden_size_reverse": 3},
    "single": {"merge": None, "num_directions": 1},
}
"""What a specification may say besides cell, depth and biases."""


@cache
def every_specification(dtype: str) -> Contents:
    """A layer of every cell with every option, those with concat or one direction deep and flat, with and without
    biases; in other dtypes than float32, which change no layout, those with concat alone.
    """
    random = np.random.default_rng(1)
    layers: dict[str, RecurrentLayer | PlainLayer] = {}
    for cell, (option, values), num_layers, bias in product(CELLS, OPTIONS.items(), (1, 2), (True, False)):
        usual = option == "concat" or (dtype == "float32" and (option == "single" or (num_layers == 2 and bias)))
        if usual:
            spec = Specification(input_size=3, hidden_size=2, num_layers=num_layers, bias=bias, **CELLS[cell], **values)
            name = f"{cell}_{option}_{num_layers}_{'biased' if bias else 'bare'}"
            weights = {key: random.normal(size=shape).astype(DTYPES[dtype]) for key, shape in shapes(spec).items()}
            layers[name] = RecurrentLayer(name, kind_of(spec), weights)
    return Contents("birnn", layers)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_specification_comes_back(name: str, dtype: str, tmp_path: Path) -> None:
    """As two formats meet in the canonical layout alone, what each gives back is what every pair gives; and once what
    has one bias is summed, all of it is exact.
    """
    whole = every_specification(dtype)
    part = holdable(whole, name)
    verdicts = {each.layer: each for each in judged(whole, name)}
    refused = {layer: verdicts[layer].reasons for layer in whole.layers.keys() - part.layers.keys()}
    assert all(refused.values()), "with the reason"
    assert name == "flax-nnx" or not any("b_hn" in reason for reasons in refused.values() for reason in reasons)
    if dtype not in FORMATS[name].dtypes:
        assert not part.layers
        return
    assert len(part.layers) >= len(whole.layers) // 4
    there = through(part, name, tmp_path)
    changed = [layer for layer in part.layers if verdicts[layer].verdict == REPARAMETERISED]
    assert differing(part, there) == changed
    assert differing(part, there, but_biases=True) == []
    once = replace(there, layers={layer: there.layers[layer] for layer in changed})
    assert not changed or differing(once, through(once, name, tmp_path)) == []


def test_the_verdicts_are_what_the_table_says() -> None:
    verdicts = {
        target: {each.layer: each.verdict for each in judged(everything("float32"), target)} for target in FORMATS
    }
    assert set(verdicts["birnn"].values()) == {EXACT}
    for target in ("torch", "safetensors", "mxnet", "mxnet-prefix"):
        assert verdicts[target]["lstm_deep"] == verdicts[target]["gru_plain"] == EXACT
        assert verdicts[target]["gru_before"] == verdicts[target]["gru_uneven"] == IMPOSSIBLE
    for target in ("keras", "keras-weights", "keras2"):
        assert verdicts[target]["lstm_deep"] == verdicts[target]["gru_before"] == REPARAMETERISED
        assert verdicts[target]["gru_plain"] == verdicts[target]["lstm_deep_once"] == EXACT
    assert verdicts["flax-linen"]["gru_plain"] == REPARAMETERISED
    assert verdicts["flax-nnx"]["gru_plain"] == IMPOSSIBLE
    assert verdicts["flax-nnx"]["gru_plain_once"] == EXACT
    assert verdicts["onnx"]["lstm_deep"] == verdicts["onnx"]["gru_before"] == EXACT
    assert {target for target in FORMATS if verdicts[target]["gru_weighted"] != IMPOSSIBLE} == {"birnn"}

"""Files whose layers are named by somebody's program: two that are one's directions, models in models, own classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.case import Case
from common.checkpoints.blocks import same_bits
from common.checkpoints.containers.hdf5 import write_hdf5
from common.checkpoints.contents import Contents, PlainLayer, RecurrentLayer, kind_of
from common.checkpoints.formats import flax
from common.checkpoints.formats.keras import model_config, pack_keras, read_weights
from common.checkpoints.proof_case import case_of
from common.checkpoints.table import FORMATS
from common.checkpoints.told import read_known
from common.checkpoints.two_layers import case_of_side, result_of_sides, taken_apart
from common.errors import InputError
from common.judging.agreement import judge
from common.judging.yardstick import yardstick
from common.reference import Reference
from common.specification import Specification
from common.weights import initialise
from tests.common.checkpoints.packages import require_packages

require_packages()
USUAL: dict[str, Any] = {"input_size": 3, "hidden_size": 2, "num_layers": 1, "bias": True}


def layer_of(name: str, seed: int = 0, **changes: Any) -> RecurrentLayer:
    spec = Specification(**USUAL | {"cell": "lstm"} | changes)
    weights = initialise(spec, np.random.default_rng(seed))
    return RecurrentLayer(name, kind_of(spec), {key: value.astype(np.float32) for key, value in weights.items()})


SINGLE = {"merge": None, "num_directions": 1}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of Flax with two cells of their own names, as a compact method gives them, a third, and a dense layer."""
    layers: dict[str, RecurrentLayer | PlainLayer] = {
        "LSTMCell_0": layer_of("LSTMCell_0", 0, **SINGLE),
        "LSTMCell_1": layer_of("LSTMCell_1", 1, hidden_size=4, **SINGLE),
        "GRUCell_0": layer_of("GRUCell_0", 2, cell="gru", **SINGLE),
        "Dense_0": PlainLayer("Dense_0", "dense", {"weight": np.ones((2, 6), np.float32)}),
    }
    file_path = tmp_path / "compact.msgpack"
    with file_path.open("w+b") as file:
        tree = flax.linen_tree(Contents("birnn", layers))
        flax._write({name.replace("/cell/", "/"): value for name, value in tree.items()}, file)
    return file_path


def told(path: Path, content: Any) -> Contents:
    spec = path.with_name("spec.json")
    spec.write_text(json.dumps(content))
    return read_known(path, spec)


def test_two_cells_become_one_layer_where_spec_says_so(path: Path) -> None:
    apart = read_known(path)
    assert any('--spec says it, as in {"encoder": {"forward":' in note for note in apart.notes)
    sides = {"forward": "LSTMCell_0", "reverse": "LSTMCell_1"}
    contents = told(path, {"activation": "tanh", "encoder": {**sides, "merge": "concat"}})
    assert list(contents.layers) == ["encoder", "GRUCell_0", "Dense_0"]
    assert not any("belong together" in note for note in contents.notes)
    (encoder,) = [each for each in contents.recurrent if each.name == "encoder"]
    assert (encoder.kind.hidden_sizes, encoder.kind.merge, encoder.sides) == ((2, 4), "concat", tuple(sides.values()))
    halves = [next(each for each in apart.recurrent if each.name == name) for name in sides.values()]
    for direction, half in enumerate(halves):
        found = encoder.half(0, direction)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            assert same_bits(getattr(found, name), getattr(half.half(0, 0), name))
    again = taken_apart(contents).layers
    assert list(again) == ["LSTMCell_0", "LSTMCell_1", "GRUCell_0", "Dense_0"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"forward": "LSTMCell_0"}, "reverse must name a layer of one direction .LSTMCell_0, .*; got None"),
        ({"forward": "LSTMCell_0", "reverse": "nosuch"}, "reverse must name a layer of one direction .* 'nosuch'"),
        ({"forward": "LSTMCell_0", "reverse": "Dense_0"}, "reverse must name a layer of one direction"),
        ({"forward": "LSTMCell_0", "reverse": ["LSTMCell_1"]}, "reverse must name a layer of one direction"),
        ({"forward": "LSTMCell_0", "reverse": "LSTMCell_0"}, "must be two layers; got 'LSTMCell_0' twice"),
        ({"forward": "LSTMCell_0", "reverse": "GRUCell_0"}, "must be alike but for their units; got lstm .* and gru "),
    ],
)
def test_what_cannot_be_two_directions_is_a_sentence(path: Path, content: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        told(path, {"encoder": content})


def test_a_name_that_another_layer_has_is_refused(path: Path) -> None:
    with pytest.raises(InputError, match="must have a name of its own"):
        told(path, {"Dense_0": {"forward": "LSTMCell_0", "reverse": "LSTMCell_1"}})


CASES: list[dict[str, Any]] = [
    *({"merge": merge, "cell": "gru"} for merge in ("concat", "sum", "mul", "ave")),
    {"merge": "concat", "cell": "lstm", "hidden_size_reverse": 5},
]


def run(case: Case) -> dict[str, np.ndarray]:
    states = [case.initial_state(name) for name in ("h", "c")]
    return Reference(case.spec, case.weights, np.float32).forward(case.x, case.lengths, *states)


@pytest.mark.parametrize("changes", CASES, ids=str)
def test_a_layer_run_as_two_of_one_direction_gives_what_it_gives(changes: dict[str, Any]) -> None:
    case = case_of(layer_of("encoder", **changes))
    sides = [run(case_of_side(case, direction)) for direction in (0, 1)]
    assert judge(result_of_sides(case, sides), yardstick(case, "float32")).agrees
    unturned = [sides[0], run(case_of_side(case, 1)) | {"output": sides[1]["output"][:, ::-1]}]
    assert not judge(result_of_sides(case, unturned), yardstick(case, "float32")).agrees


def test_a_keras_model_of_somebodys_own_class_loses_no_layer(tmp_path: Path) -> None:
    """Its layers lie under its attributes' names, and beside them those that only stand in its list of layers."""
    layer = layer_of("encoder", cell="gru", merge="concat")
    places = ("encoder/forward_layer", "encoder/backward_layer")
    arrays = {}
    for place, half in zip(places, layer.halves(0), strict=True):
        for number, value in enumerate(pack_keras(layer.kind, half).values()):
            arrays[f"{place}/cell/vars/{number}"] = value
    arrays |= {"layers/dense/vars/0": np.ones((4, 2), np.float32), "layers/dense/vars/1": np.ones(2, np.float32)}
    arrays |= {"optimizer/vars/0": np.ones(3, np.float32)}
    file_path = tmp_path / "own.weights.h5"
    with file_path.open("w+b") as file:
        write_hdf5(file, arrays, {"encoder/vars": {"name": "bidirectional"}, "layers/dense/vars": {"name": "head"}})
    contents = read_weights(file_path)
    assert list(contents.layers) == ["encoder", "head"]
    (encoder,) = contents.recurrent
    assert all(same_bits(encoder.weights[name], np.ascontiguousarray(value)) for name, value in layer.weights.items())


def test_a_keras_model_within_a_model_is_read_by_both_names(tmp_path: Path) -> None:
    import io
    import zipfile

    layer = layer_of("bi", merge="concat")
    inner = model_config([layer])
    inner["config"]["name"] = "inner"
    outer = {"class_name": "Sequential", "config": {"name": "outer", "layers": [inner]}}
    own = io.BytesIO()
    FORMATS["keras-weights"].write(Contents("birnn", {"bi": layer}), own)
    h5py = pytest.importorskip("h5py")
    weights = io.BytesIO()
    with h5py.File(own) as source, h5py.File(weights, "w") as target:
        target.create_group("layers/functional")
        source.copy("layers", target["layers/functional"])
        target.create_dataset("layers/unknown/vars/0", data=np.ones(3, np.float32))
    file_path = tmp_path / "nested.keras"
    with zipfile.ZipFile(file_path, "w") as archive:
        archive.writestr("config.json", json.dumps(outer))
        archive.writestr("model.weights.h5", weights.getvalue())
    contents = read_known(file_path)
    assert {name: type(each).__name__ for name, each in contents.layers.items()} == {
        "inner.bi": "RecurrentLayer",
        "unknown": "PlainLayer",
    }, "what no configuration has is listed and not lost"
    (found,) = contents.recurrent
    assert found.kind.merge == "concat"
    assert same_bits(found.weights["weight_ih_l0_reverse"], layer.weights["weight_ih_l0_reverse"])

"""The certificate of ``birnn convert``: both files run in workers; nothing that was not run is called proved.

Here NumPy's worker (tests/numpy_loop) loads torch's files; the frameworks' own loaders are in tests/frameworks.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.registry import SHIPPED
from birnn.commands import convert
from common.checkpoints.contents import Contents, PlainLayer, RecurrentLayer, kind_of
from common.checkpoints.table import FORMATS
from common.checkpoints.told import sha256_of
from common.weights import initialise
from tests.attacks.test_files import TAGGER, checkpoint_file
from tests.cases import a_case
from tests.command_line.running import birnn

FILES = Path(__file__).parents[1] / "common" / "checkpoints" / "files"
ABSENT = {f"BIRNN_PYTHON_{backend.name.upper()}": "/no/such/python" for backend in SHIPPED}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({"rnn": {"activation": "relu"}, "embedding": {"kind": "embedding"}}))
    return path


@pytest.fixture
def _numpy_loads_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "safetensors", "mxnet"):
        monkeypatch.setitem(FORMATS, name, replace(FORMATS[name], backend="numpy"))


def certificate(target: Path) -> dict[str, Any]:
    return json.loads(target.with_name(f"{target.name}.proof.json").read_text())


@pytest.mark.usefixtures("_numpy_loads_torch")
def test_a_conversion_that_ran_on_both_sides_is_proved(tmp_path: Path, spec: Path) -> None:
    source, target = FILES / "mxnet.params", tmp_path / "o.pt"
    done = birnn("convert", source, target, "--spec", spec, "--layer", "lstm=encoder")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("proved")
    proof = certificate(target)
    assert proof["proved"] is True
    assert proof["source"] == {"file": "mxnet.params", "format": "mxnet", "sha256": sha256_of(source)}
    assert proof["target"] == {"file": "o.pt", "format": "torch", "sha256": sha256_of(target)}
    assert {each["layer"]: each["target"]["status"] for each in proof["layers"]} == dict.fromkeys(
        ("encoder", "gru", "rnn"), "agrees"
    )
    assert proof["others"] == {"embedding": "same", "head": "same"}
    assert set(proof["versions"]) == {"source", "target"}


@pytest.mark.usefixtures("_numpy_loads_torch")
def test_tensors_that_are_of_no_known_layer_are_proved_too(tmp_path: Path) -> None:
    source = checkpoint_file(tmp_path / "c.safetensors", TAGGER.model_copy(update={"head": "crf"}))
    done = birnn("convert", source, tmp_path / "o.pt")
    assert done.returncode == 0, done.stderr
    proof = certificate(tmp_path / "o.pt")
    assert (proof["proved"], proof["others"]) == (True, dict.fromkeys(("embedding", "head.0", "crf"), "same"))


@pytest.mark.usefixtures("_numpy_loads_torch")
def test_a_writer_that_is_wrong_is_1_and_named(tmp_path: Path, spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directions swapped in one layer, and a number changed in the dense layer."""
    right = FORMATS["torch"].write

    def wrong(contents: Contents, file: Any) -> None:
        layers: dict[str, RecurrentLayer | PlainLayer] = dict(contents.layers)
        gru, head = layers["gru"], layers["head"]
        assert isinstance(gru, RecurrentLayer)
        assert isinstance(head, PlainLayer)
        weights = {name: gru.weights[_other(name)] for name in gru.weights}
        layers["gru"] = replace(gru, weights=weights)
        layers["head"] = replace(head, arrays={name: value * 2 for name, value in head.arrays.items()})
        right(replace(contents, layers=layers), file)

    monkeypatch.setitem(FORMATS, "torch", replace(FORMATS["torch"], write=wrong))
    target = tmp_path / "o.pt"
    done = birnn("convert", FILES / "mxnet.params", target, "--spec", spec)
    assert done.returncode == 1
    assert "gru, target: disagrees" in done.stdout
    assert "matches: the two directions' weights swapped" in done.stdout
    assert done.stdout.strip().endswith("WRONG: do not use the target")
    proof = certificate(target)
    assert proof["proved"] is False
    assert proof["others"] == {"embedding": "same", "head": "different"}
    statuses = {each["layer"]: (each["source"]["status"], each["target"]["status"]) for each in proof["layers"]}
    assert statuses == {"lstm": ("agrees",) * 2, "rnn": ("agrees",) * 2, "gru": ("agrees", "disagrees")}


@pytest.mark.usefixtures("_numpy_loads_torch")
def test_two_layers_that_are_one_are_run_as_the_file_has_them(tmp_path: Path) -> None:
    """Each direction is a layer of its own there, and tensors that no layer holds stand beside them."""
    made, source, target = tmp_path / "made.safetensors", tmp_path / "two.safetensors", tmp_path / "o.pt"
    contents = birnn_contents_of_two()
    with made.open("w+b") as file:
        FORMATS["safetensors"].write(contents, file)
    made.rename(source)
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"encoder": {"forward": "ahead", "reverse": "back", "merge": "concat"}}))
    done = birnn("convert", source, target, "--spec", spec)
    assert done.returncode == 0, done.stdout + done.stderr
    proof = certificate(target)
    assert [each["source"]["status"] for each in proof["layers"]] == ["agrees"]
    assert (proof["others"], proof["proved"]) == ({"odd": "same"}, True)


def birnn_contents_of_two() -> Contents:
    layers: dict[str, RecurrentLayer | PlainLayer] = {}
    for seed, name in enumerate(("ahead", "back")):
        spec = a_case("gru", merge=None, num_directions=1, num_layers=1).spec
        weights = initialise(spec, np.random.default_rng(seed))
        own = {key: value.astype(np.float32) for key, value in weights.items()}
        layers[name] = RecurrentLayer(name, kind_of(spec), own)
    layers["odd"] = PlainLayer("odd", "tensor", {"odd": np.asarray(3, np.int64)})  # without a dimension
    return Contents("birnn", layers)


def _other(name: str) -> str:
    return name.removesuffix("_reverse") if name.endswith("_reverse") else f"{name}_reverse"


def test_without_an_environment_nothing_is_proved_and_that_is_3(tmp_path: Path, spec: Path) -> None:
    target = tmp_path / "o.pt"
    done = birnn("convert", FILES / "mxnet.params", target, "--spec", spec, **ABSENT)
    assert done.returncode == 3, done.stderr
    assert "gru, target: not run: the environment of torch must exist" in done.stdout
    assert done.stdout.strip().endswith("not proved")
    assert certificate(target)["proved"] is False
    assert target.exists()


def test_no_prove_says_proved_false(tmp_path: Path, spec: Path) -> None:
    target = tmp_path / "o.pt"
    assert birnn("convert", FILES / "mxnet.params", target, "--spec", spec, "--no-prove").returncode == 0
    proof = certificate(target)
    assert (proof["proved"], proof["why_not"]) == (False, "--no-prove")
    assert convert.proof_as_json(convert.Proof())["proved"] is False, "a proof of nothing is none"

"""The graphs that birnn writes, run by ONNX Runtime for the proof of a conversion (tox run -e onnxruntime)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from backends.studies.conversions import judged_side, same_plain
from backends.worker.checkpoints import run_checkpoint
from backends.worker.messages import AskedPlain, AskedRecurrent, RunCheckpoint
from common.case import write_case
from common.checkpoints.contents import Contents, PlainLayer, RecurrentLayer, kind_of
from common.checkpoints.formats.onnx import write
from common.checkpoints.proof_case import case_of
from common.judging.agreement import AGREES, DISAGREES
from common.judging.yardstick import yardstick
from common.specification import Specification
from common.tensorfile import read
from common.weights import initialise
from tests.onnx_runtime.loaded import framework

FRAMEWORK = framework()
USUAL: dict[str, Any] = {"input_size": 4, "hidden_size": 3, "num_layers": 2, "bias": True}
LAYERS = {
    "lstm": Specification(cell="lstm", merge="concat", **USUAL),
    "gru": Specification(cell="gru", merge="sum", **USUAL),
    "before": Specification(cell="gru", merge="ave", reset_after=False, **USUAL),
    "relu": Specification(cell="rnn_relu", merge="mul", **USUAL | {"bias": False}),
    "single": Specification(cell="lstm", num_directions=1, **USUAL),
}


def test_its_answers_are_the_references_and_a_wrong_graph_is_found(tmp_path: Path) -> None:
    layers: dict[str, RecurrentLayer | PlainLayer] = {}
    for name, spec in LAYERS.items():
        weights = initialise(spec, np.random.default_rng(0))
        layers[name] = RecurrentLayer(name, kind_of(spec), {k: v.astype(np.float32) for k, v in weights.items()})
    dense = {"weight": np.eye(3, 2, dtype=np.float32), "bias": np.ones(3, np.float32)}
    layers["head.0"] = PlainLayer("head.0", "dense", dense)
    layers["embedding"] = PlainLayer("embedding", "embedding", {"weight": np.eye(5, 4, dtype=np.float32)})
    path = tmp_path / "f.onnx"
    with path.open("w+b") as file:
        write(Contents("birnn", layers), file)
    asked = []
    for name, spec in LAYERS.items():
        layer = layers[name]
        assert isinstance(layer, RecurrentLayer)
        case = tmp_path / f"{name}.case"
        write_case(case_of(layer), case)
        result = tmp_path / f"{name}.result"
        asked.append(AskedRecurrent(name=name, spec=spec, parts=(name,), case=case, dtype="float32", result=result))
    plain = (
        AskedPlain(name="head.0", kind="dense", result=tmp_path / "head.plain"),
        AskedPlain(name="embedding", kind="embedding", result=tmp_path / "embedding.plain"),
    )
    reply = run_checkpoint(FRAMEWORK, RunCheckpoint(file=path, format="onnx", layers=tuple(asked), plain=plain))
    assert set(reply.layers.values()) | set(reply.plain.values()) == {""}, reply
    for each in asked:
        layer = layers[each.name]
        assert isinstance(layer, RecurrentLayer)
        results = read(each.result)[0]
        assert judged_side(results, yardstick(case_of(layer), "float32"), layer).status == AGREES, each.name
        wrong = results | {"h_n": results["h_n"][::-1].copy()}
        assert judged_side(wrong, yardstick(case_of(layer), "float32"), layer).status == DISAGREES, each.name
    for one in plain:
        other = layers[one.name]
        assert isinstance(other, PlainLayer)
        assert same_plain(other, read(one.result)[0]) == "same"

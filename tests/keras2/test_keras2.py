"""Keras 2 loads what it wrote and what birnn writes for it; in the environment keras2 (tox run -e keras2)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backends.registry import LOADERS
from backends.studies.conversions import judged_side, same_plain
from backends.worker.checkpoints import run_checkpoint
from backends.worker.messages import AskedPlain, AskedRecurrent, RunCheckpoint
from common.case import write_case
from common.checkpoints.proof_case import case_of
from common.checkpoints.table import FORMATS
from common.checkpoints.told import read_known
from common.judging.agreement import AGREES
from common.judging.yardstick import yardstick
from common.tensorfile import read

FILE = Path(__file__).parents[1] / "common" / "checkpoints" / "files" / "keras2.h5"

try:
    FRAMEWORK = LOADERS["keras2"].load_framework()
    if not FRAMEWORK.versions()["keras"].startswith("2."):
        raise ImportError("this is Keras 3")
except ImportError as error:
    if os.environ.get("TOX_ENV_NAME") == "keras2":
        raise
    pytest.skip(f"needs Keras 2: {error}", allow_module_level=True)


@pytest.mark.parametrize("written_by", ["keras2", "birnn"])
def test_its_files_run_as_the_reference_has_them(written_by: str, tmp_path: Path) -> None:
    contents = read_known(FILE)
    path = FILE
    if written_by == "birnn":
        path = tmp_path / "f.h5"
        with path.open("w+b") as file:
            FORMATS["keras2"].write(contents, file)
    asked = []
    for layer in contents.recurrent:
        if layer.unusual:
            continue
        case = tmp_path / f"{layer.name}.case"
        write_case(case_of(layer), case)
        result = tmp_path / f"{layer.name}.result"
        spec = layer.kind.specification()
        asked.append(
            AskedRecurrent(name=layer.name, spec=spec, parts=(layer.name,), case=case, dtype="float32", result=result)
        )
    plain = [
        AskedPlain(name=each.name, kind=each.kind, result=tmp_path / f"{each.name}.plain")
        for each in contents.plain
        if each.kind != "tensor"
    ]
    request = RunCheckpoint(file=path, format="keras2", layers=tuple(asked), plain=tuple(plain))
    reply = run_checkpoint(FRAMEWORK, request)
    assert set(reply.layers.values()) | set(reply.plain.values()) == {""}, reply
    assert len(asked) == 5
    for layer in contents.recurrent:
        if not layer.unusual:
            results = read(tmp_path / f"{layer.name}.result")[0]
            proof = judged_side(results, yardstick(case_of(layer), "float32"), layer)
            assert proof.status == AGREES, (layer.name, proof)
    for each in contents.plain:
        assert same_plain(each, read(tmp_path / f"{each.name}.plain")[0]) == "same"

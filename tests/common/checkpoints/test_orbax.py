"""Orbax's folders: written and read to the last bit, replaced whole, and refused where they lie."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from birnn.commands.convert import write_checkpoint_file
from common.checkpoints.contents import Contents, RecurrentLayer, kind_of
from common.checkpoints.converting import same_bits
from common.checkpoints.formats.orbax import METADATA, kvstore, tree, write
from common.checkpoints.told import read_known, sha256_of
from common.errors import InputError
from common.specification import Specification
from common.weights import initialise
from tests.common.checkpoints.packages import require_packages

require_packages()


def contents(seed: int) -> Contents:
    spec = Specification(cell="lstm", input_size=3, hidden_size=2, num_layers=2, bias=True, merge="sum")
    weights = initialise(spec, np.random.default_rng(seed))
    once = {name: np.zeros_like(value) if name.startswith("bias_hh") else value for name, value in weights.items()}
    return Contents("birnn", {"enc": RecurrentLayer("enc", kind_of(spec), once)})


@pytest.mark.parametrize("name", ["flax-linen", "flax-nnx"])
def test_a_folder_is_written_read_and_replaced_whole(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    hashes = []
    for seed in range(2):
        write_checkpoint_file(contents(seed), name, folder, durable=False)
        known = read_known(folder)
        assert known.format == name
        (layer,) = known.recurrent
        wanted = contents(seed).recurrent[0]
        assert layer.kind == wanted.kind
        assert all(same_bits(layer.weights[key], value) for key, value in wanted.weights.items())
        hashes.append(sha256_of(folder))
    assert hashes[0] != hashes[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "checkpoint.birnn.json"]


def test_another_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="must be a folder of Orbax, or not be there"):
        write({"a": np.zeros(2)}, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    with pytest.raises(InputError, match="_METADATA: must be there"):
        tree(tmp_path)


def test_a_shape_that_lies_and_a_link_are_refused(tmp_path: Path) -> None:
    import tensorstore

    folder = tmp_path / "f"
    write({"a/kernel": np.zeros((2, 3), np.float32)}, folder)
    store = tensorstore.KvStore.open(kvstore(folder, "a.kernel", ocdbt=True)).result()
    header = json.loads(store.read(".zarray").result().value)
    store.write(".zarray", json.dumps(header | {"shape": [10**18, 3]}).encode()).result()
    with pytest.raises(InputError, match=r"a.kernel must lie within its file: float32 \(1000000000000000000, 3\)"):
        tree(folder)
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="must hold its data itself; got the link"):
        tree(folder)
    (folder / "link").unlink()
    (folder / METADATA).write_text("[" * 100_000)
    with pytest.raises(InputError, match="_METADATA: must be JSON"):
        tree(folder)

"""Checkpoints that mean harm: nothing in them is run, nothing large is made, one sentence is said, nothing is left."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.maintain.fuzz_readers import mutant, outcome
from common.checkpoints.containers.pickled import unpickled
from common.errors import InputError
from tests.command_line.running import birnn
from tests.command_line.test_bad_input import assert_one_sentence
from tests.common.checkpoints.packages import require_packages

require_packages()
FILES = Path(__file__).parents[1] / "common" / "checkpoints" / "files"
HUGE = 10**18


class Runs:
    """What a pickle runs when Python's own reader loads it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch {self.file}",)


def zipped(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def torch_pickle(shape: tuple[int, ...], stride: tuple[int, ...], count: int) -> bytes:
    """A state_dict of one tensor, as torch pickles it."""

    def number(value: int) -> bytes:
        return pickle.dumps(value, 2)[2:-1]

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + number(count) + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n" + storage + number(0) + numbers(shape) + numbers(stride)
    return b"\x80\x02}X\x01\0\0\0x" + tensor + b"\x89ccollections\nOrderedDict\n)RtRs."


def malicious_pickle(folder: Path) -> Path:
    return zipped(folder / "f.pt", {"a/data.pkl": pickle.dumps({"x": Runs(folder / "ran")}, 2)})


def malicious_old_pickle(folder: Path) -> Path:
    path = folder / "f.pt"
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(Runs(folder / "ran"), 2))
    return path


def zip_bomb(folder: Path) -> Path:
    return zipped(folder / "f.pt", {"a/data.pkl": b"\0" * (2**26 + 1)}, zipfile.ZIP_DEFLATED)


def compressed_storage(folder: Path) -> Path:
    entries = {"a/data.pkl": torch_pickle((4,), (1,), 4), "a/data/0": b"\0" * 16}
    return zipped(folder / "f.pt", entries, zipfile.ZIP_DEFLATED)


def path_out_of_the_archive(folder: Path) -> Path:
    return zipped(folder / "f.pt", {"a/data.pkl": torch_pickle((1,), (1,), 1), "a/../../../evil": b"x"})


def huge_shape(folder: Path) -> Path:
    return zipped(folder / "f.pt", {"a/data.pkl": torch_pickle((HUGE,), (1,), 4), "a/data/0": bytes(16)})


def huge_by_strides_of_0(folder: Path) -> Path:
    return zipped(folder / "f.pt", {"a/data.pkl": torch_pickle((HUGE, 4), (0, 1), 4), "a/data/0": bytes(16)})


def past_the_storage(folder: Path) -> Path:
    return zipped(folder / "f.pt", {"a/data.pkl": torch_pickle((2, 2), (3, 1), 4), "a/data/0": bytes(16)})


def cyclic_pickle(folder: Path) -> Path:
    return zipped(folder / "f.pt", {"a/data.pkl": b"\x80\x02}q\x00X\x01\0\0\0xh\x00s."})


def doubling_pickle(folder: Path) -> Path:
    """60 tuples, each twice in the next: 2⁶⁰ paths from a few hundred bytes."""
    body = b"]" + b"2\x86" * 60  # DUP and TUPLE2
    return zipped(folder / "f.pt", {"a/data.pkl": b"\x80\x02}X\x01\0\0\0x" + body + b"s."})


def lying_header(folder: Path) -> Path:
    path = folder / "f.safetensors"
    path.write_bytes(struct.pack("<Q", 2**63) + b"{}")
    return path


def huge_tensor(folder: Path) -> Path:
    path = folder / "f.safetensors"
    header = json.dumps({"x": {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 4 * HUGE]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    return path


def name_of_10_megabytes(folder: Path) -> Path:
    path = folder / "f.safetensors"
    header = json.dumps({"x" * 10_000_000: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    return path


def params_with_a_count_that_lies(folder: Path) -> Path:
    path = folder / "f.params"
    path.write_bytes(struct.pack("<QQQ", 0x112, 0, HUGE) + bytes(64))
    return path


def params_with_a_shape_that_lies(folder: Path) -> Path:
    path = folder / "f.params"
    array = struct.pack("<Iiiqqiii", 0xF993FAC9, 0, 2, HUGE, HUGE, 1, 0, 0)
    path.write_bytes(struct.pack("<QQQ", 0x112, 0, 1) + array + bytes(64))
    return path


def msgpack_with_a_shape_that_lies(folder: Path) -> Path:
    import msgpack

    array = msgpack.ExtType(1, msgpack.packb([[HUGE], "float32", b"\0" * 4]))
    path = folder / "f.msgpack"
    path.write_bytes(msgpack.packb({"params": {"x": {"kernel": array}}}))
    return path


def msgpack_in_msgpack(folder: Path) -> Path:
    path = folder / "f.msgpack"
    path.write_bytes(b"\x81\xa1x" * 600 + b"\xc0")
    return path


def hdf5(folder: Path, fill: Callable[[Any], None]) -> Path:
    import h5py

    path = folder / "f.weights.h5"
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def hdf5_with_an_external_link(folder: Path) -> Path:
    import h5py

    return hdf5(folder, lambda file: file.__setitem__("layers", h5py.ExternalLink("/etc/passwd", "/")))


def hdf5_with_a_soft_link(folder: Path) -> Path:
    import h5py

    return hdf5(folder, lambda file: file.__setitem__("layers", h5py.SoftLink("/")))


def hdf5_with_a_group_in_itself(folder: Path) -> Path:
    def fill(file: Any) -> None:
        group = file.create_group("layers")
        group["again"] = group

    return hdf5(folder, fill)


def hdf5_with_data_elsewhere(folder: Path) -> Path:
    (folder / "other").write_bytes(bytes(64))

    def fill(file: Any) -> None:
        file.create_dataset("layers/dense/vars/0", (4, 4), "f4", external=[(str(folder / "other"), 0, 64)])

    return hdf5(folder, fill)


def hdf5_of_zeros_that_are_not_there(folder: Path) -> Path:
    def fill(file: Any) -> None:
        file.create_dataset("layers/dense/vars/0", (10**6, 10**6), "f4", chunks=(1000, 1000), compression="gzip")

    return hdf5(folder, fill)


def onnx_with_data_elsewhere(folder: Path) -> Path:
    import onnx

    tensor = onnx.TensorProto(name="x", data_type=1, dims=[4], data_location=1)
    tensor.external_data.add(key="location", value="/etc/passwd")
    path = folder / "f.onnx"
    path.write_bytes(onnx.ModelProto(graph=onnx.GraphProto(initializer=[tensor])).SerializeToString())
    return path


def onnx_with_a_shape_that_lies(folder: Path) -> Path:
    import onnx

    tensor = onnx.TensorProto(name="x", data_type=1, dims=[HUGE, HUGE], raw_data=bytes(16))
    path = folder / "f.onnx"
    path.write_bytes(onnx.ModelProto(graph=onnx.GraphProto(initializer=[tensor])).SerializeToString())
    return path


def keras_of_another_kind(folder: Path) -> Path:
    """A configuration that names a Lambda layer, which Keras would run."""
    config = {"class_name": "Lambda", "config": {"name": "x", "function": "os.system"}}
    weights = (FILES / "keras.weights.h5").read_bytes()
    entries = {"config.json": json.dumps(config).encode(), "model.weights.h5": weights}
    return zipped(folder / "f.keras", entries)


def nothing(folder: Path) -> Path:
    path = folder / "f.pt"
    path.write_bytes(b"")
    return path


ATTACKS: dict[Callable[[Path], Path], str] = {
    malicious_pickle: "asks for 'posix system', which is not loaded",
    malicious_old_pickle: "asks for 'posix system', which is not loaded",
    zip_bomb: "data.pkl must have at most 67,108,864 bytes",
    compressed_storage: "must be stored without compression",
    path_out_of_the_archive: "entries must stay within it",
    huge_shape: "must lie within its file",
    huge_by_strides_of_0: "must lie within its file",
    past_the_storage: "must lie in its storage of 4 numbers; it ends at 5",
    cyclic_pickle: "nested at most 64 deep",
    doubling_pickle: "at most 100,000 values",
    lying_header: "ends after the file",
    huge_tensor: "must lie within its file",
    name_of_10_megabytes: "at most 1,024 characters; got 10,000,000",
    params_with_a_count_that_lies: "at most 100,000 tensors",
    params_with_a_shape_that_lies: "must lie within its file",
    msgpack_with_a_shape_that_lies: "must lie within its file",
    msgpack_in_msgpack: "nested",
    hdf5_with_an_external_link: "to elsewhere",
    hdf5_with_a_soft_link: "to elsewhere",
    hdf5_with_a_group_in_itself: "must be a tree",
    hdf5_with_data_elsewhere: "whose data lies in other files",
    hdf5_of_zeros_that_are_not_there: "must lie within its file",
    onnx_with_data_elsewhere: "data in another file",
    onnx_with_a_shape_that_lies: "must lie within its file",
    keras_of_another_kind: "must be of a Functional or Sequential model",
    nothing: "must be a checkpoint of a known format",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attack_is_one_sentence_and_leaves_nothing(attack: Callable[[Path], Path], tmp_path: Path) -> None:
    path = attack(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert_one_sentence(birnn("convert", path, tmp_path / "o.birnn", "--to", "birnn"), ATTACKS[attack])
    assert_one_sentence(birnn("inspect", path), ATTACKS[attack])
    assert sorted(tmp_path.iterdir()) == before, "nothing was run and nothing was written"


def test_the_malicious_pickle_would_have_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Runs(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02cos\nsystem\n.",
        b"\x80\x02ccollections\nOrderedDict\n(K\x01K\x02tR.",
        b"\x80\x02(ios\nsystem\n.",
        b"\x80\x02c__builtin__\neval\n(X\x01\0\0\x001tR.",
        b"\x80\x02ctorch\nFloatStorage\n)\x81.",
        b"\x80\x02r\xff\xff\xff\xff.",
        b"\x80\x02K\x01K\x02R.",
        b"\x80\x02.",
        b"",
        b"\x80\x02" + b"(" * 1000,
    ],
)
def test_no_pickle_does_more_than_hold_plain_parts(content: bytes) -> None:
    with pytest.raises(InputError):
        unpickled(io.BytesIO(content))


MUTATED = [path.name for path in sorted(FILES.iterdir()) if path.is_file() and path.suffix != ".json"]


@pytest.mark.parametrize("name", [name for name in MUTATED if "answers" not in name])
def test_mutated_files_are_read_or_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    content = (FILES / name).read_bytes()
    said = set()
    for seed in range(12):
        path = tmp_path / name
        path.write_bytes(mutant(content, seed))
        said.add(outcome(path).replace(str(path), "")[:40])
    assert len(said) > 1, "mutants are refused for their own reasons"


@pytest.mark.parametrize("name", ["torch.pt", "keras.keras", "keras2.h5", "flax-nnx.msgpack", "mxnet.params"])
def test_a_file_cut_anywhere_is_refused(name: str, tmp_path: Path) -> None:
    content = (FILES / name).read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        path = tmp_path / name
        path.write_bytes(content[: int(len(content) * share)])
        assert outcome(path) != "read", share


def test_random_bytes_after_each_beginning_are_refused(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    beginnings = {"f.pt": b"PK\x03\x04", "g.pt": b"\x80\x02", "f.h5": b"\x89HDF\r\n\x1a\n", "f.params": b"\x12\x01"}
    for name, first in (beginnings | {"f.onnx": b"", "f.msgpack": b"", "f.safetensors": b""}).items():
        for size in (0, 10, 2000):
            (tmp_path / name).write_bytes(first + random.bytes(size))
            assert outcome(tmp_path / name) != "read", (name, size)

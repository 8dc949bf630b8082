"""Checkpoints of ``birnn train`` through every format in a row: they predict the same, and are checkpoints again."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from birnn.commands.convert import write_checkpoint_file
from common.checkpoints import told
from common.checkpoints.converting import IMPOSSIBLE, judged
from common.checkpoints.table import FORMATS
from common.checkpoints.told import read_known
from common.models.reference import decode, predict
from common.models.specification import Model, Seq2Seq, SequenceModel
from common.specification import Specification
from common.tasks.checkpoint import read_checkpoint
from common.tensorfile import as_bytes, read
from tests.attacks.test_files import PAIRS, TAGGER, checkpoint_file, words
from tests.common.checkpoints.packages import require_packages

require_packages()
ENDINGS = {"flax-linen": ".msgpack", "flax-nnx": ".msgpack", "mxnet-prefix": ".params", "birnn": ".safetensors"}
LSTM = Specification(cell="lstm", input_size=4, hidden_size=3, num_layers=2, bias=True, merge="concat")
ATTENTION = PAIRS.model_copy(update={"attention": True, "attention_size": 5})


def through(path: Path, name: str) -> Path:
    """A file converted to a format, in a new one."""
    contents = read_known(path)
    assert all(each.verdict != IMPOSSIBLE for each in judged(contents, name)), (name, judged(contents, name))
    target = path.with_name(f"{path.name[:1]}-{name}{FORMATS[name].ending or ENDINGS[name]}")
    write_checkpoint_file(contents, name, target, durable=False)
    return target


def answers(path: Path) -> dict[str, np.ndarray]:
    """What a checkpoint answers to a batch."""
    checkpoint = read_checkpoint(path)
    batch = {"tokens": np.array([[3, 4, 3], [4, 0, 0]]), "lengths": np.array([3, 1])}
    if isinstance(checkpoint.spec, Seq2Seq):
        batch = {"tokens": np.array([[3, 3, 2], [3, 2, 0]]), "lengths": np.array([3, 2])}
        return {"tokens": decode(checkpoint.spec, checkpoint.weights, batch, 5)}
    return predict(checkpoint.spec, checkpoint.weights, batch)


@pytest.mark.parametrize(
    ("spec", "left_out"),
    [(TAGGER.model_copy(update={"rnn": LSTM}), ()), (TAGGER, ("flax-nnx",)), (ATTENTION, ("flax-nnx",))],
    ids=["lstm", "gru", "seq2seq"],
)
def test_all_formats_in_a_row_answer_the_same(spec: Model, left_out: tuple[str, ...], tmp_path: Path) -> None:
    """A GRU's b_hn cannot pass through flax.nnx."""
    changes: dict[str, Any] = {}
    if isinstance(spec, Seq2Seq):
        changes = {"task": "seq2seq", "vocabularies": {"source": words(1), "target": words(2)}}
    else:
        assert isinstance(spec, SequenceModel)
    path = first = checkpoint_file(tmp_path / "c.safetensors", spec, **changes)
    for name in FORMATS:
        if name not in left_out:
            path = through(path, name)
    assert path.name == "c-birnn.safetensors"
    before, after = read_checkpoint(first), read_checkpoint(path)
    assert (before.header, before.spec, list(before.weights)) == (after.header, after.spec, list(after.weights))
    for name, value in answers(first).items():
        if value.dtype.kind == "f":
            assert np.allclose(value, answers(path)[name], rtol=1e-13, atol=1e-15), name
        else:
            assert np.array_equal(value, answers(path)[name]), name


def test_a_crf_passes_through_the_formats_that_hold_its_scores(tmp_path: Path) -> None:
    """And is refused in a sentence by those that hold layers they know alone."""
    spec = TAGGER.model_copy(update={"rnn": LSTM, "head": "crf"})
    path = first = checkpoint_file(tmp_path / "c.safetensors", spec)
    held = [name for name, each in FORMATS.items() if each.tensors]
    assert 0 < len(held) < len(FORMATS)
    for name in FORMATS:
        if name in held:
            path = through(path, name)
            continue
        (refused,) = [each for each in judged(read_known(first), name) if each.verdict == IMPOSSIBLE]
        assert refused.layer == "crf"
        assert refused.reasons[0].startswith("no row of the table says what it is in")
    before, after = read_checkpoint(first), read_checkpoint(path)
    assert (before.header, before.spec, list(before.weights)) == (after.header, after.spec, list(after.weights))
    assert np.array_equal(answers(first)["labels"], answers(path)["labels"])


def test_a_header_whose_length_begins_like_a_pickle_is_no_pickle(tmp_path: Path) -> None:
    path = checkpoint_file(tmp_path / "c.safetensors")
    tensors, metadata = read(path)
    for spaces in range(0, 256, 8):
        path.write_bytes(as_bytes(tensors, metadata | {"note": " " * spaces}))
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    assert read_known(path).format == "birnn"


def test_the_optimizer_is_left_behind_and_that_is_said(tmp_path: Path) -> None:
    path = checkpoint_file(tmp_path / "c.safetensors")
    tensors, metadata = read(path)
    path.write_bytes(as_bytes(tensors | {"optimizer.m": np.zeros(3)}, metadata))
    assert read_known(path).notes == ("the optimizer's state, 1 tensors, is left behind",)
    path.write_bytes(as_bytes(tensors | {"last.m": np.zeros(3), "last.n": np.zeros(3)}, metadata))
    assert read_known(path).notes == ("the network's state after the last epoch, 2 tensors, is left behind",)


def test_a_file_is_hashed_once_and_one_that_was_written_anew_again(tmp_path: Path) -> None:
    path = tmp_path / "f"
    told._sha256_of_file.cache_clear()
    for content in (b"one", b"two", b"one"):  # at once, and in the same place
        path.write_bytes(content)
        assert told.sha256_of(path) == hashlib.sha256(content).hexdigest()
    assert told._sha256_of_file.cache_info().misses == 0
    later = time.time_ns() + 10 * told.NEW_NANOSECONDS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(told.time, "time_ns", lambda: later)
        assert {told.sha256_of(path) for _ in range(3)} == {hashlib.sha256(b"one").hexdigest()}
        assert told._sha256_of_file.cache_info().misses == 1
        (tmp_path / "g").write_bytes(b"two")
        (tmp_path / "g").replace(path)
        assert told.sha256_of(path) == hashlib.sha256(b"two").hexdigest()

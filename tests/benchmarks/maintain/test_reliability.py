"""The maintainers' attacks notice what is lost: each is given a loss, and tells it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.maintain.reliability.__main__ import row
from benchmarks.maintain.reliability.hard_ends import (
    Tally,
    blocks_of,
    counts,
    missing_blocks,
    missing_epochs,
    missing_runs,
    run,
    unfinished,
)
from benchmarks.store.store import Store
from common.models.specification import SequenceModel, parameters
from common.specification import Specification
from common.tasks.checkpoint import VERSION, Checkpoint, CheckpointHeader, write_checkpoint
from tests.benchmarks.made_up import START, a_block, a_row, a_run

RUN = a_run().run


def test_ends_that_are_not_good_are_told() -> None:
    tally = Tally("something")
    for code, errors in ((0, "a note\n"), (2, "birnn: one sentence\n"), (-9, "")):
        tally.ended(code, errors)
    assert tally.lost == []
    assert row(tally) == "| something | 3 | 1 done, 1 killed, 1 refused in one sentence | nothing |"
    for code, errors in (
        (4, "birnn: an error\n"),
        (2, "one\ntwo\n"),
        (0, "Traceback (most recent call last)"),
        (-11, ""),
    ):
        tally.ended(code, errors)
    assert len(tally.lost) == 4
    assert row(tally).endswith("| **4**: exit 4: birnn: an error |")
    assert row(Tally("b", not_run="no root")) == "| b | not run: no root | | |"


def test_a_command_is_killed_where_it_takes_longer_and_heard_where_it_does_not() -> None:
    code, errors, _ = run([sys.executable, "-c", "import sys; sys.exit('said')"], 60)
    assert (code, errors) == (1, "said\n")
    assert run([sys.executable, "-c", "import time; time.sleep(600)"], 0.2)[0] == -9


def test_a_store_killed_before_its_first_byte_holds_nothing(tmp_path: Path) -> None:
    store = tmp_path / "r.duckdb"
    assert (blocks_of(store), counts(store)) == ([], {})
    store.touch()
    assert (blocks_of(store), counts(store)) == ([], {})
    assert missing_runs({}, store) == []
    assert missing_runs({RUN: 2}, store) == [f"run {RUN}: 0 of 2 blocks"]


def test_lost_blocks_runs_and_whole_runs_are_told(tmp_path: Path) -> None:
    path = tmp_path / "r.duckdb"
    with Store.open(path, write=True) as store:
        store.add_run(a_run())
        store.add_block(a_block(RUN))
        store.put_row(a_row(RUN, processes=1))
    assert missing_blocks([a_block(RUN)], path) == []
    assert missing_blocks([a_block(RUN), a_block(RUN, cycle=1)], path) == ["1 blocks of r.duckdb"]
    assert missing_runs({RUN: 1}, path) == []
    assert missing_runs({RUN: 2, "other": 1}, path) == [f"run {RUN}: 1 of 2 blocks", "run other: 0 of 1 blocks"]
    assert unfinished(path) == ["a run that ended and is not whole"]
    with Store.open(path, write=True) as store:
        store.put_row(a_row(RUN, processes=2))
        store.finish_run(RUN, START, None)
    assert unfinished(path) == []
    path.write_text("torn")
    assert "cannot be read" in missing_blocks([], path)[0]
    assert "cannot be read" in missing_runs({}, path)[0]
    path.unlink()
    assert missing_blocks([a_block(RUN)], path) == ["1 blocks of r.duckdb"]
    assert missing_runs({RUN: 2}, path) == [f"run {RUN}: 0 of 2 blocks"]


def a_checkpoint(losses: list[float], path: Path) -> Checkpoint:
    """One epoch a step."""
    rnn = Specification(cell="gru", input_size=2, hidden_size=3, num_layers=1, bias=True, merge="concat")
    spec = SequenceModel(rnn=rnn, readout="steps", classes=2)
    header = CheckpointHeader(
        version=VERSION,
        task="pipeline",
        model=spec.model_dump(mode="json"),
        vocabularies={},
        fingerprint="f",
        implementation="numpy/loop",
        dtype="float64",
        versions={},
        epoch=len(losses),
        trace=[(loss, 0.5, 1.0) for loss in losses],
        accuracies=[0.5] * len(losses),
    )
    checkpoint = Checkpoint(header, spec, {name: np.zeros(shape) for name, shape in parameters(spec).items()}, {})
    write_checkpoint(checkpoint, path)
    return checkpoint


def test_lost_epochs_and_other_traces_are_told(tmp_path: Path) -> None:
    path = tmp_path / "numpy-loop.safetensors"
    whole = a_checkpoint([3.0, 2.0, 1.0], path)
    assert missing_epochs(3, whole, tmp_path) == (3, [])
    assert missing_epochs(4, whole, tmp_path) == (3, ["4 epochs"])
    other = replace(whole, header=whole.header.model_copy(update={"trace": [(9.0, 0.5, 1.0)]}))
    assert missing_epochs(3, other, tmp_path)[1] == ["the trace: it is another one than without a kill"]
    path.write_bytes(path.read_bytes()[:-1])
    assert "cannot be read" in missing_epochs(3, whole, tmp_path)[1][0]
    path.unlink()
    assert missing_epochs(0, whole, tmp_path) == (0, [])
    assert missing_epochs(3, whole, tmp_path) == (0, ["a checkpoint of 3 epochs"])

"""What the benchmark asks of a framework beside the passes: lanes, ceilings, memory, and what really ran."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.interface.framework import LANES, Framework
from backends.interface.layer import PASSES, Implementation, inputs_of
from backends.interface.profile import LONGEST_NAME, MOST_TEXTS, added_up, most_important
from backends.worker.messages import CanTrainSystem, TimeBlock
from backends.worker.opening import require_system
from backends.worker.timing import Timing
from benchmarks.cases.case import PASSES_OF_SYSTEM, BenchmarkCase
from benchmarks.measure.case_on_disk import OPTIMIZER, opening
from benchmarks.measure.judging import SystemJudge
from benchmarks.measure.settings import Job
from common import tensorfile
from common.errors import InputError
from common.models.specification import SequenceModel
from common.models.trace import ReferenceTrainer
from common.specification import Specification
from tests.cases import a_case, a_training

PRODUCT_SIZE, COPY_BYTES = 2048, 1 << 28
TRIALS = 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_product_can_be_called_again_and_again(framework: Framework, dtype: str) -> None:
    compute = framework.product(64, dtype, "cpu")
    assert [compute() for _ in range(3)] == [None, None, None]


def test_copy_can_be_called_again_and_again(framework: Framework) -> None:
    compute = framework.copy(1 << 16, "cpu")
    assert [compute() for _ in range(3)] == [None, None, None]


def part_left_undone(compute: Callable[[], None]) -> float:
    """CPU seconds, of all threads, spent after ``compute`` has returned, over those spent in it; the least of a few."""
    compute()
    parts = []
    for _ in range(TRIALS):
        started = time.process_time()
        compute()
        returned = time.process_time()
        time.sleep(0.1)
        parts.append((time.process_time() - returned) / max(returned - started, 1e-9))
    return min(parts)


def test_a_product_is_done_when_its_call_returns(framework: Framework) -> None:
    assert part_left_undone(framework.product(PRODUCT_SIZE, "float32", "cpu")) < 0.8


def test_a_copy_is_done_when_its_call_returns(framework: Framework) -> None:
    assert part_left_undone(framework.copy(COPY_BYTES, "cpu")) < 0.8


def test_work_that_is_not_waited_for_is_noticed() -> None:
    a = np.ones((1024, 1024), np.float32)

    def compute() -> None:
        threading.Thread(target=np.matmul, args=(a, a)).start()

    assert part_left_undone(compute) > 0.8


def test_exactly_the_two_lanes_are_taken(framework: Framework) -> None:
    try:
        for lane in LANES:
            framework.use_lane(lane)
        with pytest.raises(InputError, match="lane must be exact or fast; got 'fastest'"):
            framework.use_lane("fastest")
    finally:
        framework.use_lane("exact")


def test_without_a_gpu_there_is_no_peak_of_its_memory(framework: Framework) -> None:
    framework.reset_peak()
    peak = framework.peak_device_bytes()
    if "gpu" not in framework.devices():
        assert peak is None


def a_network(framework: Framework) -> Implementation:
    """One that is ready for every pass."""
    case = a_case("rnn_tanh", lengths=None, bias=False)
    network = framework.implementations["scratch"](case.spec, "float64", "cpu")
    network.load_weights(case.weights)
    network.move_inputs(inputs_of(case))
    network.load_training(a_training(case, learning_rate=0.5))
    return network


@pytest.mark.parametrize("work", PASSES)
def test_every_pass_says_what_ran(framework: Framework, work: str) -> None:
    texts = a_network(framework).kernels(work)
    assert 0 < len(texts) <= MOST_TEXTS
    assert all("×" in text for text in texts)


def test_looking_at_what_ran_leaves_the_machine_as_it_was(
    framework: Framework, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe stands for /dev/null, which a profiler once removed; never try with the real one."""
    null, temporary, here = tmp_path / "null", tmp_path / "temporary", tmp_path / "here"
    os.mkfifo(null)
    for folder in (temporary, here):
        folder.mkdir()
    monkeypatch.setattr("os.devnull", str(null))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.chdir(here)
    assert a_network(framework).kernels("forward")
    assert null.is_fifo()
    assert list(here.iterdir()) == []
    assert [path for path in temporary.rglob("*") if not path.is_dir()] == []  # torch makes an empty folder


def test_a_systems_train_step_is_opened_judged_and_timed(framework: Framework, tmp_path: Path) -> None:
    """What is timed is training: as many steps of the reference lead to the same weights."""
    rnn = Specification(cell="rnn_tanh", input_size=3, hidden_size=4, num_layers=1, bias=True, merge="concat")
    system = SequenceModel(rnn=rnn, num_embeddings=6, readout="steps", classes=5)
    sizes: dict[str, Any] = {"seq_len": 4, "batch": 3, "lengths": (2, 4, 1)}
    case = BenchmarkCase(name="tagger", spec=rnn, system=system, passes=PASSES_OF_SYSTEM, **sizes)
    judge = SystemJudge(case)
    how: dict[str, Any] = {"implementation": "manual", "dtype": "float64", "device": "cpu"}
    require_system(framework, CanTrainSystem(**how, **sizes, system=system))
    timing = Timing(framework)
    job = Job(case, "train_step", "float64", "cpu", "exact", threads=1)
    reply = timing.open(opening(judge, job, "manual", "a tagger", tmp_path, result=tmp_path / "result"))
    result, _ = tensorfile.read(tmp_path / "result")
    assert judge.judge("train_step", "float64", result).reasons == []
    assert "by length" in reply.path
    network = timing.opened["a tagger"].run.network  # type: ignore[attr-defined]
    before = int(network.optimizer_state()["count"])
    samples = timing.block(TimeBlock(handle="a tagger", seconds=0.0, least=3, most=3)).samples
    assert len(samples) == 3
    assert min(samples) > 0
    state = network.optimizer_state()
    assert int(state["count"]) == before + 3
    reference = ReferenceTrainer(system, judge.made.weights, OPTIMIZER)
    reference.train([judge.made.batch] * int(state["count"]))
    weights, expected = network.weights(), reference.weights()
    for name, value in expected.items():
        np.testing.assert_allclose(weights[name], value, rtol=0, atol=1e-12, err_msg=name)
    moved = max(np.abs(value - judge.made.weights[name]).max() for name, value in expected.items())
    assert moved > OPTIMIZER.learning_rate


def test_parts_are_added_up_and_the_largest_come_first() -> None:
    parts = [("add", 1.0), ("product", 40.0), ("product", 58.9), ("tiny", 0.1), ("x" * 200, 0.0)]
    assert most_important(added_up(parts)) == ["product ×2, 99%", "add ×1, 1%"]
    assert most_important(added_up(parts), most=1) == ["product ×2, 99%"]
    (long,) = most_important({"x" * 200: added_up(parts)["add"]})
    assert long == "x" * (LONGEST_NAME - 1) + "… ×1, 100%"

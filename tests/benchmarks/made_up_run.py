"""A whole made-up run for the tests of the report: every status, two lanes, two numbers of threads.

Its numbers come from a seed and a formula, were measured nowhere, and are shown nowhere but in tests.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np

from backends.interface.gaps import UNSUPPORTED
from benchmarks.analysis.noise import Floor, floors_of
from benchmarks.analysis.summary import ceilings_of, new_row, with_times
from benchmarks.cases.case import BenchmarkCase
from benchmarks.cases.files import load_set
from benchmarks.report.content import Content
from benchmarks.store import records
from benchmarks.store.records import Block, Ceiling, Environment, Key, Process, Row, Run

RUN = "20261120-131501"
START = datetime(2026, 11, 20, 13, 15, 1, tzinfo=UTC)
PASSES = {"forward": 1.0, "forward_backward": 3.1}
TRACKS = (("exact", 2), ("exact", 1), ("fast", 2))
SPEEDS = {
    "torch/native": 1.3,
    "torch/manual": 1.6,
    "jax/native-linen": 1.25,
    "jax/native-nnx": 1.24,
    "jax/tuned": 0.8,
    "tensorflow/native": 2.4,
    "mxnet/native": 1.7,
    "numpy_loop/plain": 9.0,
}
TWIN = "torch/native"
HOSTILE = (
    "</script><script>window.hurt = true</script><img src=x onerror='window.hurt = true'> & \"so on\" \u2028 \udc80"
)
PROCESSES, CYCLES, SAMPLES = 2, 3, 5


def made_up_content(seed: int = 7, cases: Sequence[BenchmarkCase] | None = None) -> Content:
    """A run over ``cases``, by default four of the laptop set."""
    cases = load_set("laptop").cases[3:6] + load_set("laptop").cases[18:19] if cases is None else cases
    return pickle.loads(_pickled(seed, tuple(cases)))


@cache
def _pickled(seed: int, cases: tuple[BenchmarkCase, ...]) -> bytes:
    """The run, made once in a process, in a form of which nobody can change the next one's."""
    rng = np.random.default_rng(seed)
    ceilings = list(_ceilings())
    environments = list(_environments())
    rows: list[Row] = []
    blocks: list[Block] = []
    for case in cases:
        for passed in PASSES:
            for lane, threads in TRACKS:
                for name in SPEEDS:
                    key = Key(name, case.name, passed, "float32", "cpu", lane, threads)
                    row, mine = _measured(key, case, rng, ceilings)
                    rows.append(replace(row, environment=environments[_place(key.framework)].environment))
                    blocks += mine
    _spoil(rows)
    rng.shuffle(rows)
    kept = {row.key for row in rows if row.status in records.TIMED}
    blocks = [block for block in blocks if block.key in kept]
    processes = [
        Process(RUN, each.framework, each.environment, ordinal, threads, rng.uniform(0.8, 4), threads * 0.99)
        for each in environments
        for threads in (1, 2)
        for ordinal in range(PROCESSES)
    ]
    return pickle.dumps(Content(_run(cases, floors_of(blocks).of_run), rows, blocks, ceilings, environments, processes))


def _run(cases: Sequence[BenchmarkCase], floor: Floor | None) -> Run:
    return Run(
        run=RUN,
        label="made up",
        settings={
            "set_name": "laptop",
            "cases": [{"name": case.name, "spec": case.spec.model_dump()} for case in cases],
            "passes": {case.name: list(PASSES) for case in cases},
            "processes": PROCESSES,
            "budget_seconds": 600,
        },
        fingerprint="0f" * 32,
        seed=7,
        machine={
            "processor": "A made-up <b>processor</b>",
            "cores": 2,
            "memory_bytes": 8 * 2**30,
            "kernel": "6.1",
            "governor": None,
            "gpu": None,
            "python": "3.11.7",
        },
        suite_version="0.1.0",
        commit="0123456789abcdef",
        command="birnn bench --cases laptop",
        started=START,
        finished=START + timedelta(minutes=9),
        noise_floor=None if floor is None else floor.part,
        noise_floor_low=None if floor is None else floor.low,
        noise_floor_high=None if floor is None else floor.high,
    )


def _ceilings() -> Iterator[Ceiling]:
    for threads in (1, 2):
        yield Ceiling(RUN, "product", "cpu", "float32", threads, 6e10 * threads, "a product of 2048, torch")
        yield Ceiling(RUN, "copy", "cpu", "float32", threads, 8e9, "a copy of 256 MiB, torch")
        yield Ceiling(RUN, "barrier", "cpu", "", threads, 4e-7 * (threads - 1), "1,000 barriers, torch")


def _environments() -> Iterator[Environment]:
    for place, (framework, version) in enumerate(
        {"torch": "2.13.0", "jax": "0.10.2", "tensorflow": "2.21.0", "mxnet": "1.9.1", "numpy_loop": "1"}.items()
    ):
        packages = {framework: version} | {f"package-{index}": f"1.{index}" for index in range(30 + place)}
        yield Environment(f"{place}a1b2c3d4e5f", framework, {framework: version}, packages)


def _place(framework: str) -> int:
    return ["torch", "jax", "tensorflow", "mxnet", "numpy_loop"].index(framework)


def _measured(
    key: Key, case: BenchmarkCase, rng: np.random.Generator, ceilings: Sequence[Ceiling]
) -> tuple[Row, list[Block]]:
    """A row with its blocks; the time is a part for each step and a part for each flop."""
    spec = case.spec
    gates = {"lstm": 4, "gru": 3}.get(spec.cell, 1)
    flops = 4 * gates * spec.hidden_size * (spec.input_size + spec.hidden_size) * case.batch * case.seq_len
    ties = spec.cell == "rnn_tanh" and key.framework == "jax"
    speed = SPEEDS["jax/native-nnx"] if ties else SPEEDS[key.implementation]
    seconds = PASSES[key.passed] * (4e-6 * case.longest() + flops / (5e10 * key.threads)) * speed
    seconds *= 1 + 0.5 * (zlib.crc32(f"{key.framework}{case.name}".encode()) % 100) / 100
    seconds *= 0.7 if key.lane == "fast" else 1.0
    blocks = []
    for process in range(PROCESSES):
        level = seconds * rng.normal(1, 0.004)
        for cycle in range(CYCLES):
            for twin in (0, 1) if key.implementation == TWIN else (0,):
                samples = tuple((level * (1 + rng.gamma(1.5, 0.006, SAMPLES))).tolist())
                blocks.append(Block(RUN, key, process, cycle, twin, False, START, samples))
    command = f"birnn bench --cases laptop -i {key.implementation} --passes {key.passed} --threads {key.threads}"
    compiles = key.framework in ("jax", "tensorflow")
    row = replace(
        new_row(RUN, key, case, command),
        import_seconds={"torch": 1.4, "jax": 0.9, "tensorflow": 4.1}.get(key.framework, 0.3),
        build_seconds=rng.uniform(0.002, 0.02),
        first_call_seconds=seconds + (rng.uniform(0.3, 2.5) if compiles else 0.001),
        peak_host_bytes=int(rng.uniform(3e8, 2e9)),
        error_rms=rng.uniform(1, 4),
        error_max=rng.uniform(2, 5),
        path="one fused layer" if key.implementation.endswith("native") else "jitted",
        kernels=["gemm_f32", "tanh_f32"] if key.framework == "jax" else [],
    )
    return with_times(row, blocks, case, ceilings_of(ceilings, key), 0, PROCESSES), blocks


def _spoil(rows: list[Row]) -> None:
    """Give some rows of the first track each of the other statuses, in place."""
    without = dict.fromkeys(
        "median_seconds low_seconds high_seconds microseconds_per_step limit_seconds fraction_of_limit import_seconds "
        "build_seconds first_call_seconds peak_host_bytes error_rms error_max".split()
    )
    nothing: dict[str, Any] = {
        **without,
        "path": "",
        "binding": "",
        "samples": 0,
        "processes": 0,
        "bimodal": False,
        "kernels": [],
    }
    first = [index for index, row in enumerate(rows) if (row.key.lane, row.key.threads) == TRACKS[0]]
    for index in first:
        if rows[index].key.implementation == "mxnet/native" and rows[index].cell == "lstm":
            reason = "the fused layer ignores sequence lengths"
            rows[index] = replace(rows[index], status=UNSUPPORTED, reason=reason, **nothing)
    spoilt: dict[int, dict[str, Any]] = {
        3: {**nothing, "status": records.CRASHED, "reason": HOSTILE, "log": f"Segmentation fault\n{HOSTILE}"},
        5: {**nothing, "status": records.TIMED_OUT, "reason": "no answer within 120 s", "log": "step 1\nstep 2"},
        7: {**nothing, "status": records.OUT_OF_MEMORY, "reason": "asked for 12.0 GiB"},
        9: {**nothing, "status": records.DISAGREES, "reason": "output[0, 3, 1]", "error_rms": 4321.0},
        11: {**nothing, "status": records.DISAGREES, "reason": "not finite", "error_rms": np.inf, "error_max": np.nan},
        13: {**nothing, "status": records.NOT_REACHED, "reason": "the budget ended first"},
        17: {"status": records.NEVER_STEADY, "reason": "the calls did not come to take an even time"},
        20: {"bimodal": True, "kernels": [HOSTILE]},
    }
    for place, changes in spoilt.items():
        rows[first[place]] = replace(rows[first[place]], **changes)

"""Hold the harness against a plain timing loop: five cases, each timed by both in turn, in the same environment.

    python -m benchmarks.maintain.plain_loops

The loops are backends/*/by_hand.py; they know nothing of this suite. The table goes to docs/benchmarks.md.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import typer

from backends.pool.environments import ROOT, interpreter, worker_environment
from backends.registry import backends
from benchmarks.cases.case import BenchmarkCase
from benchmarks.cases.files import load_set
from benchmarks.machine import description
from benchmarks.maintain.marked_pages import replaced
from benchmarks.measure.runs import commit_of_suite, run_for
from benchmarks.measure.session import Progress, Session
from benchmarks.measure.settings import Settings
from benchmarks.store.store import Store
from common.tensorfile import write_bytes

PAGE = ROOT / "docs" / "benchmarks.md"
"""The page that the table is written into."""
COMPARED = (
    ("torch", "native", "gru-T128-B32-I128-H128"),
    ("torch", "native", "lstm-T25-B16-I512-H512"),
    ("jax", "native-linen", "gru-T150-B64-I125-H100"),
    ("tensorflow", "native", "rnn_tanh-T512-B8-I64-H64"),
    ("mxnet", "native", "lstm-T128-B32-I128-H128"),
)
"""The combinations that are timed by hand and by the suite."""
TURNS = 3
"""Fresh processes of each, one after the other."""
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**33)}
"""Variables with which glibc keeps what a call has freed for the next one, instead of giving it to the kernel."""


def by_hand(framework: str, case: BenchmarkCase, threads: int, variables: Mapping[str, str]) -> list[float]:
    """Seconds of each call of the plain loop, in a fresh process of the framework's environment with more variables."""
    backend = backends()[framework]
    python = interpreter(backend)
    if python is None:
        raise SystemExit(f"the environment of {framework} must exist; create it with: tox run -e {framework} --notest")
    module = f"{backend.load.partition(':')[0]}.by_hand"
    sizes = [case.seq_len, case.batch, case.spec.input_size, case.spec.hidden_size]
    done = subprocess.run(
        [str(python), "-P", "-m", module, case.spec.cell, *map(str, sizes)],
        env=worker_environment(threads) | dict(variables),
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def by_harness(store: Store, settings: Settings) -> list[float]:
    """Seconds of each call of the harness, in a fresh process: one more turn of a run."""
    run = run_for(store, settings, [], {}, label="", seed=None, command="", again=True)
    quiet = Progress(job=lambda *_: None, row=lambda _: None, note=print)
    Session(store, run, settings, quiet).measure()
    return [sample for block in store.blocks(run.run) if block.twin == 0 for sample in block.samples]


def compare(framework: str, implementation: str, case: BenchmarkCase) -> str:
    """One row of the table; the turns alternate, so that both meet the same description."""
    threads = len(os.sched_getaffinity(0))
    settings = Settings(
        set_name="laptop",
        cases=(case,),
        passes={case.name: ("forward_backward",)},
        patterns=(f"{framework}/{implementation}",),
        dtypes=("float32",),
        device="cpu",
        lane="exact",
        threads=(threads,),
        processes=1,
        budget_seconds=60.0,
        timeout_seconds=60.0,
    )
    hand, kept, harness = [], [], []
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "turns.duckdb", write=True) as store:
        for _ in range(TURNS):
            hand.append(statistics.median(by_hand(framework, case, threads, {})))
            kept.append(statistics.median(by_hand(framework, case, threads, KEEP_MEMORY)))
            harness.append(statistics.median(by_harness(store, settings)))
    ours = statistics.median(harness)
    apart = [f"{ours / statistics.median(loop) - 1:+.1%}" for loop in (hand, kept)]
    cells = [f"{framework}/{implementation}", case.name, *map(_spread, (hand, kept, harness)), *apart]
    return f"| {' | '.join(cells)} |"


def _spread(seconds: list[float]) -> str:
    """The median and the range of some times, in milliseconds."""
    return f"{statistics.median(seconds) * 1e3:.4g} ({min(seconds) * 1e3:.4g} to {max(seconds) * 1e3:.4g})"


def main() -> None:
    """Measure, and write the table into docs/benchmarks.md."""
    cases = {case.name: case for case in load_set("laptop").cases}
    lines = [
        "| implementation | case | plain loop, ms | plain loop that keeps its memory, ms | harness, ms | harness to "
        "first | to second |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for framework, implementation, name in COMPARED:
        lines.append(compare(framework, implementation, cases[name]))
        print(lines[-1], flush=True)
    machine = description.fingerprint()
    day = datetime.now(UTC).date().isoformat()
    lines += [
        "",
        f"Medians over {TURNS} fresh processes each, in turn, of the median call, with the least and the largest of "
        f"them; forward_backward, float32. Measured by `python -m benchmarks.maintain.plain_loops` on "
        f"{description.cores_told(machine)}, commit {commit_of_suite()}, {day}.",
    ]
    write_bytes(PAGE, replaced(PAGE, {"hand loop": "\n".join(lines)}).encode())


if __name__ == "__main__":
    typer.run(main)

"""Commands that are killed at random, started at once, or short of disk: what each attack is made of."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backends.pool.environments import ROOT
from benchmarks.store.placing import is_new
from benchmarks.store.records import Block
from benchmarks.store.store import Store
from benchmarks.store.transfer import merge
from common.errors import InputError
from common.tasks.checkpoint import Checkpoint, read_checkpoint

IMPLEMENTATION = "numpy/loop"
"""The implementation that is killed."""
PROCESSES = 2
"""Sets of processes of a run that is killed."""
EPOCHS = 20
"""Epochs of a training that is killed."""
LONGEST = 600.0
"""Seconds after which a command hangs."""
GOOD_ENDS = (0, 2, -signal.SIGKILL)
"""Done, refused in one sentence, or killed by us."""
CASES = """
[[case]]
cell = ["gru", "rnn_tanh"]
seq_len = 6
batch = 3
input_size = 4
hidden_size = 5
"""
"""The set of cases of a run that is killed."""


@dataclass
class Tally:
    """How often something was tried, how it ended, and a sentence for each thing that was lost or went wrong."""

    attack: str
    times: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    not_run: str = ""

    def ended(self, code: int, errors: str) -> None:
        """Count one end; one that is not good, or a traceback, is noted as lost."""
        self.times += 1
        name = {0: "done", 2: "refused in one sentence", -signal.SIGKILL: "killed"}.get(code, f"exit {code}")
        self.ends[name] = self.ends.get(name, 0) + 1
        if code not in GOOD_ENDS or "Traceback" in errors or (code == 2 and errors.strip().count("\n")):
            self.lost.append(f"{name}: {errors.strip()[-500:]}")


def birnn(*arguments: object) -> list[str]:
    """The command in a process of its own."""
    return [sys.executable, "-m", "birnn", *map(str, arguments)]


def run(command: Sequence[str], kill_after: float | None = None) -> tuple[int, str, float]:
    """Exit code, stderr and seconds of a command, which is killed outright after so many seconds, if not done."""
    with tempfile.TemporaryFile("w+") as errors:
        started = time.monotonic()
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            child.wait(LONGEST if kill_after is None else kill_after)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        errors.seek(0)
        return child.returncode, errors.read(), time.monotonic() - started


# Bench.


def bench(folder: Path, store: Path) -> list[str]:
    """A run of a few seconds."""
    cases = folder / "few.toml"
    cases.write_text(CASES)
    options = (
        "--cases",
        cases,
        "-i",
        IMPLEMENTATION,
        "--threads",
        1,
        "--processes",
        PROCESSES,
        "--seed",
        1,
        "--wait",
        0,
    )
    return birnn("bench", *options, "--store", store)


def blocks_of(store: Path) -> list[Block]:
    """All blocks of a store's runs; nothing where there is none yet, or a file without a byte in it."""
    if is_new(store):
        return []
    with Store.open(store) as opened:
        return [block for run in opened.runs() for block in opened.blocks(run.run)]


def missing_blocks(before: Iterable[Block], store: Path) -> list[str]:
    """A sentence where a store lacks blocks that it had."""
    try:
        there = set(blocks_of(store))
    except InputError as error:
        return [f"a store that cannot be read: {error}"]
    gone = [block for block in before if block not in there]
    return [f"{len(gone)} blocks of {store.name}"] if gone else []


def unfinished(store: Path) -> list[str]:
    """A sentence where a run that came to its end is not whole."""
    with Store.open(store) as opened:
        rows = [row for run in opened.runs() for row in opened.rows(run.run)]
        whole = rows and all(row.processes == PROCESSES and row.median_seconds for row in rows)
        return [] if whole and all(run.finished for run in opened.runs()) else ["a run that ended and is not whole"]


def kill_bench(times: int, folder: Path, rng: random.Random) -> Tally:
    """Kill ``birnn bench`` at random; what was in the store must stay there, and the last call make the run whole."""
    tally = Tally("`birnn bench` killed at random")
    longest = run(bench(folder, folder / "whole.duckdb"))[2]
    number, before = 0, list[Block]()
    while tally.times < times:
        store = folder / f"killed-{number}.duckdb"
        code, errors, seconds = run(bench(folder, store), rng.uniform(0, longest))
        tally.ended(code, errors)
        longest = min(longest, seconds) if code == 0 else longest  # the first may have been slow
        tally.lost += missing_blocks(before, store)
        before = blocks_of(store)
        if code == 0:
            tally.lost += unfinished(store)
            number, before = number + 1, []
    last = folder / f"killed-{number}.duckdb"
    code, errors, _ = run(bench(folder, last))
    tally.lost += [*missing_blocks(before, last), *unfinished(last)] if code == 0 else [errors]
    return tally


# Train.


def train(folder: Path, out: Path) -> list[str]:
    """A training of many short epochs."""
    data = folder / "tagged.conllu"
    words = [("the", "DET"), ("dog", "NOUN"), ("runs", "VERB"), (".", "PUNCT")]
    sentence = "\n".join(f"{i}\t{word}\t_\t{tag}\t_\t_\t_\t_\t_\t_" for i, (word, tag) in enumerate(words, 1))
    data.write_text("\n\n".join([sentence] * 64) + "\n\n")
    options = ("--data", data, "-i", IMPLEMENTATION, "--epochs", EPOCHS, "--dtype", "float64", "--batch-size", 4)
    return birnn("train", "tagger", *options, "--out", out)


def checkpoint_of(out: Path) -> Checkpoint | None:
    """What a training has left."""
    path = out / f"{IMPLEMENTATION.replace('/', '-')}.safetensors"
    return read_checkpoint(path) if path.exists() else None


def missing_epochs(epoch: int, whole: Checkpoint, out: Path) -> tuple[int, list[str]]:
    """How many epochs there are, and a sentence where they are fewer than before, or others than without a kill."""
    try:
        checkpoint = checkpoint_of(out)
    except InputError as error:
        return 0, [f"a checkpoint that cannot be read: {error}"]
    if checkpoint is None:
        return 0, [f"a checkpoint of {epoch} epochs"] if epoch else []
    trace = checkpoint.header.trace
    told = [] if trace == whole.header.trace[: len(trace)] else ["the trace: it is another one than without a kill"]
    return checkpoint.header.epoch, [*told, *([f"{epoch} epochs"] if checkpoint.header.epoch < epoch else [])]


def kill_train(times: int, folder: Path, rng: random.Random) -> Tally:
    """Kill ``birnn train`` at random; epochs that were there must stay, and the trace be that of a whole training."""
    tally = Tally("`birnn train --out` killed at random")
    longest = run(train(folder, folder / "whole"))[2]
    whole = checkpoint_of(folder / "whole")
    assert whole is not None
    number, epoch = 0, 0
    while tally.times < times:
        out = folder / f"killed-{number}"
        code, errors, seconds = run(train(folder, out), rng.uniform(0, longest))
        tally.ended(code, errors)
        longest = min(longest, seconds) if code == 0 else longest
        epoch, told = missing_epochs(epoch, whole, out)
        tally.lost += told
        if code == 0:
            number, epoch = number + 1, 0
    return tally


# Merge.


def stores(folder: Path, count: int) -> list[Path]:
    """Stores with a run of hundreds of blocks each, made of one that was measured."""
    first = folder / "measured.duckdb"
    code, errors, _ = run(bench(folder, first))
    if code:
        raise SystemExit(f"a store must be measured first; got: {errors}")
    files = []
    for number in range(count):
        path = folder / f"in-{number}.duckdb"
        merge(path, [first])
        with Store.open(path, write=True) as store, store.transaction():
            for _ in range(4):
                store.execute("INSERT INTO blocks SELECT * FROM blocks")
            for table in ("processes", "blocks", "ceilings", "rows", "runs"):
                store.execute(f"UPDATE {table} SET run = run || '-{number}'")
            store.execute(f"UPDATE runs SET fingerprint = fingerprint || '{number}'")
        files.append(path)
    return files


def counts(store: Path) -> dict[str, int]:
    """The blocks of each run; nothing where there is no store yet, or a file without a byte in it."""
    if is_new(store):
        return {}
    with Store.open(store) as opened:
        return {run.run: len(opened.blocks(run.run)) for run in opened.runs()}


def missing_runs(before: dict[str, int], out: Path) -> list[str]:
    """A sentence where a store lacks runs, or blocks of them."""
    try:
        there = counts(out)
    except InputError as error:
        return [f"a store that cannot be read: {error}"]
    return [
        f"run {run}: {there.get(run, 0)} of {count} blocks" for run, count in before.items() if there.get(run) != count
    ]


def kill_merge(times: int, folder: Path, rng: random.Random) -> Tally:
    """Kill ``birnn results merge`` at random; OUT must have all that it had, and all of IN when it was done."""
    tally = Tally("`birnn results merge` killed at random")
    first, second = stores(folder, 2)
    every = counts(first) | counts(second)
    longest = run(birnn("results", "merge", folder / "whole.duckdb", first, second))[2]
    while tally.times < times:
        out = folder / f"out-{tally.times}.duckdb"
        before = {}
        if tally.times % 2:
            merge(out, [first])
            before = counts(first)
        code, errors, seconds = run(birnn("results", "merge", out, first, second), rng.uniform(0.3, 1) * longest)
        tally.ended(code, errors)
        longest = min(longest, seconds) if code == 0 else longest
        tally.lost += missing_runs(every if code == 0 else before, out)
        code, errors, _ = run(birnn("results", "merge", out, first, second)) if code else (code, errors, 0)
        tally.lost += missing_runs(every, out) if code == 0 else [errors]
        tally.lost += [f"{left.name} is left" for left in folder.glob(f".{out.name}*")]
        out.unlink(missing_ok=True)
    return tally


def merge_at_once(times: int, folder: Path) -> Tally:
    """Two merges into one store at once; the runs of each that said that it was done must be there."""
    tally = Tally("two `birnn results merge` into one store at once")
    pair = stores(folder, 2)
    while tally.times < 2 * times:
        out = folder / f"out-{tally.times}.duckdb"
        children = [
            subprocess.Popen(birnn("results", "merge", out, each), cwd=ROOT, stdout=-3, stderr=-1, text=True)
            for each in pair
        ]
        for source, child in zip(pair, children, strict=True):
            errors = child.communicate(timeout=LONGEST)[1]
            tally.ended(child.returncode, errors)
            if child.returncode == 0:
                source.with_suffix(".done").touch()
        for source in pair:
            with contextlib.suppress(FileNotFoundError):
                source.with_suffix(".done").unlink()
                tally.lost += missing_runs(counts(source), out)
        out.unlink(missing_ok=True)
    return tally


# Starts beside orphans.

HOLDER = """
import os, sys
from backends.pool.shared_folder import EXCHANGE, _bases, _make
folder, lock = _make(EXCHANGE, _bases())
(folder / "arrays").write_text("mine")
print(folder, flush=True)
sys.stdin.read()
print((folder / "arrays").read_text())
"""
"""A program that makes an exchange folder and holds it until its input ends."""
ORPHANS = 20
"""Exchange folders that are left behind."""
STARTS_AT_ONCE = 5
"""Processes that sweep at once."""


def holder() -> tuple[subprocess.Popen[str], Path]:
    """A process with an exchange folder, and that folder; it sweeps nothing before."""
    child = subprocess.Popen([sys.executable, "-c", HOLDER], cwd=ROOT, stdin=-1, stdout=-1, text=True)
    assert child.stdout is not None
    return child, Path(child.stdout.readline().strip())


def start_beside_orphans(times: int, folder: Path) -> Tally:
    """Start commands at once where killed ones have left their folders; none may fail, and no living one lose its."""
    tally = Tally(f"starts of `birnn run`, {STARTS_AT_ONCE} at once, beside {ORPHANS} orphaned folders")
    case = folder / "case.safetensors"
    run(birnn("case", "new", "--cell", "gru", "--input-size", 3, "--hidden-size", 4, case))
    living, kept = holder()
    while tally.times < times:
        dead = [holder() for _ in range(ORPHANS)]
        for child, _ in dead:
            child.kill()
            child.wait()
        outs = [folder / f"out-{tally.times}-{number}" for number in range(STARTS_AT_ONCE)]
        options = ("-i", IMPLEMENTATION, "--dtype", "float32")
        started = [
            subprocess.Popen(birnn("run", case, *options, "--out", out), cwd=ROOT, stdout=-3, stderr=-1, text=True)
            for out in outs
        ]
        for child in started:
            errors = child.communicate(timeout=LONGEST)[1]
            tally.ended(child.returncode, errors)
            tally.lost += [] if child.returncode == 0 else ["a start"]
        tally.lost += [f"the orphan {orphan.name} is left" for _, orphan in dead if orphan.exists()]
    said = living.communicate("", timeout=LONGEST)[0]
    tally.lost += [] if "mine" in said and living.returncode == 0 else [f"the folder {kept} of a living process"]
    return tally


def may_mount() -> bool:
    """Whether this process may mount file systems that nobody else sees."""
    command = ["unshare", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return os.name == "posix" and subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False

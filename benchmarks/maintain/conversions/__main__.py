"""Measure how fast ``birnn convert`` is and how much memory it takes, and put the figures into docs/moving.md.

    python -m benchmarks.maintain.conversions [--mib 1024] [--format NAME]... [--folder DIR] [--write]

makes a torch checkpoint of ``--mib`` MiB (a two-layer bidirectional LSTM in float32), converts it to each format and
each of these files back to torch, by the command that a user gives, without the proof, so with all that it does: start,
reading, verdicts, writing, flushing to the disk, both files' SHA-256. Beside it stand, for the same file, a copy that
is flushed to the disk, and the framework's own load and save in its environment, where that exists (warm caches,
without imports and without a flush). Times are the median of ``--runs`` runs, memory is the largest.

What is aimed at: a quarter of the copy's speed, and at most twice the file in memory. Counted are the resident pages
that are the process's own (RssAnon and RssShmem of proc_pid_status(5), looked at every few milliseconds); those of the
mapped file are the kernel's cache, which it takes back when it needs it.

Needs an idle machine, the extra ``convert``, and 5 times ``--mib`` of disk in ``--folder``; ``--write`` puts the table
between the markers ``conversions`` of docs/moving.md. Exit 1 where an aim is missed.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from backends.pool.environments import ROOT, interpreter
from benchmarks.maintain.conversions.own_loaders import OWN, script
from benchmarks.maintain.marked_pages import replaced
from benchmarks.maintain.own_speed import machine
from common.checkpoints.contents import Contents, RecurrentLayer, kind_of
from common.checkpoints.table import FORMATS
from common.specification import Specification
from common.tensorfile import write_bytes
from common.weights import shapes

PAGE = ROOT / "docs" / "moving.md"
"""The page with the table."""
LOOK_SECONDS = 0.003
"""How often a process's memory is looked at."""
SLOWEST, LARGEST = 4.0, 2.0
"""How many times as long as a copy a conversion may take, and how many times the file it may hold in memory."""
NUMBERS_PER_UNIT = 40
"""How many times H² the parameters of a two-layer bidirectional LSTM with H units and inputs are, about: 2 directions,
4 gates, H + H columns in the first layer and 2·H + H in the second.
"""


@dataclass(frozen=True)
class Conversion:
    """One conversion: seconds, and the most bytes that were its own at a time."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Line:
    """What was measured of one format: seconds, and bytes of its file; ``own`` are load and save, or None."""

    format: str
    file_bytes: int
    copy_seconds: float
    to: Conversion
    back: Conversion
    own: tuple[float, float] | None

    @property
    def slowest(self) -> float:
        """The longer conversion, in copies."""
        return max(self.to.seconds, self.back.seconds) / self.copy_seconds

    @property
    def largest(self) -> float:
        """The larger conversion's peak, in files."""
        return max(self.to.peak_bytes, self.back.peak_bytes) / self.file_bytes

    @property
    def good(self) -> bool:
        """Whether both aims are met."""
        return self.slowest <= SLOWEST and self.largest <= LARGEST


def main(
    mib: Annotated[int, typer.Option(min=1, help="Size of the checkpoint.")] = 1024,
    formats: Annotated[list[str], typer.Option("--format", help="One of the formats; default: all.")] = [],  # noqa: B006
    folder: Annotated[Path | None, typer.Option(help="Where the files lie; default: a temporary one.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Of which the median counts.")] = 3,
    write: Annotated[bool, typer.Option("--write", help="Put the table into docs/moving.md.")] = False,
) -> None:
    """Measure, print a table, and write it where that is asked."""
    for name in formats:
        if name not in FORMATS:
            raise SystemExit(f"--format must be one of {', '.join(FORMATS)}; got {name}")
    lines = []
    with tempfile.TemporaryDirectory(prefix="birnn-conversions-", dir=folder) as scratch:
        source = made(Path(scratch), mib)
        for name in formats or list(FORMATS):
            lines.append(measured(name, source, runs))
            print(f"{name}: {lines[-1].slowest:.1f} copies, {lines[-1].largest:.2f} files", file=sys.stderr)
    text = table(lines)
    print(text)
    if write:
        write_bytes(PAGE, replaced(PAGE, {"conversions": text}).encode())
    raise typer.Exit(0 if all(line.good for line in lines) else 1)


def made(folder: Path, mib: int) -> Path:
    """A torch checkpoint of about so many MiB."""
    units = int((mib * 2**20 / 4 / NUMBERS_PER_UNIT) ** 0.5)
    spec = Specification(
        cell="lstm", input_size=units, hidden_size=units, num_layers=2, bias=True, merge="concat", reset_after=True
    )
    random = np.random.default_rng(0)
    weights = {name: random.standard_normal(shape, np.float32) for name, shape in shapes(spec).items()}
    path = folder / "source.pt"
    with path.open("w+b") as file:
        FORMATS["torch"].write(Contents("torch", {"encoder": RecurrentLayer("encoder", kind_of(spec), weights)}), file)
    return path


def measured(name: str, source: Path, runs: int) -> Line:
    """Convert a torch file to a format and the result back, copy it, and have its framework load and save it."""
    held = FORMATS[name]
    ending = held.ending or (".safetensors" if name == "birnn" else ".params" if "mxnet" in name else ".msgpack")
    target, back = source.with_name(f"target{ending}"), source.with_name("back.pt")
    copied = source.with_name("copy")
    to = median([converted(source, target, name) for _ in range(runs)])
    copies = [seconds_of(lambda: copy(target, copied)) for _ in range(runs)]
    returned = median([converted(target, back, "torch") for _ in range(runs)])
    own = own_load_and_save(name, target, copied, runs)
    line = Line(name, target.stat().st_size, statistics.median(copies), to, returned, own)
    for path in source.parent.iterdir():
        if path != source:
            path.unlink()
    return line


def converted(source: Path, target: Path, name: str) -> Conversion:
    """One conversion by the command, in a process of its own."""
    command = ["-m", "birnn", "convert", str(source), str(target), "--to", name, "--no-prove", "--force"]
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, *command], stdout=output, stderr=output)
        peak = 0
        while process.poll() is None:
            peak = max(peak, own_bytes(process.pid))
            time.sleep(LOOK_SECONDS)
        seconds = time.perf_counter() - started
        if process.returncode != 0:
            output.seek(0)
            raise SystemExit(f"birnn {' '.join(command[2:])} must succeed; got: {output.read().decode()[-2000:]}")
    return Conversion(seconds, peak)


def own_bytes(pid: int) -> int:
    """Resident bytes that are a process's own, 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def median(several: list[Conversion]) -> Conversion:
    """The median of the seconds, and the largest peak."""
    return Conversion(statistics.median(each.seconds for each in several), max(each.peak_bytes for each in several))


def seconds_of(act: Callable[[], None]) -> float:
    """Wall seconds of a call."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def copy(source: Path, target: Path) -> None:
    """Copy a file as this system does it fastest, and wait until it is on the disk."""
    shutil.copyfile(source, target)
    with target.open("r+b") as file:
        os.fsync(file.fileno())


def own_load_and_save(name: str, source: Path, target: Path, runs: int) -> tuple[float, float] | None:
    """Seconds in which the format's own framework loads a file, and saves it; None without its environment."""
    if name not in OWN:
        return None
    backend, _ = OWN[name]
    python = Path(sys.executable) if backend is None else interpreter(backend)
    if python is None:
        return None
    target = target.with_name(f"own{source.suffix}")
    seconds = []
    for _ in range(runs):
        command = [str(python), "-c", script(name), str(source), str(target)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{name}'s own loader must load what was written; got: {done.stderr[-2000:]}")
        load, save = map(float, done.stdout.split()[-2:])
        seconds.append((load, save))
    return statistics.median(load for load, _ in seconds), statistics.median(save for _, save in seconds)


def table(lines: list[Line]) -> str:
    """The figures as a table of Markdown, with what was measured on which machine."""
    rows = [
        "| format | MiB | copied, s | from torch, s | to torch, s | slower than a copy | memory / file "
        "| own load, save, s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for line in lines:
        own = "–" if line.own is None else f"{line.own[0]:.2f}, {line.own[1]:.2f}"
        slow, large = (" (missed)" if missed else "" for missed in (line.slowest > SLOWEST, line.largest > LARGEST))
        rows.append(
            f"| `{line.format}` | {line.file_bytes / 2**20:.0f} | {line.copy_seconds:.2f} | {line.to.seconds:.2f} | "
            f"{line.back.seconds:.2f} | {line.slowest:.1f} ×{slow} | {line.largest:.2f}{large} | {own} |"
        )
    return "\n".join([*rows, "", f"Measured by `python -m benchmarks.maintain.conversions --write` on {machine()}."])


if __name__ == "__main__":
    typer.run(main)

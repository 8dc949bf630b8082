"""Attack the suite with hundreds of real processes, and write docs/reliability.md's table: what was lost.

    .tox/core/bin/python -m benchmarks.maintain.reliability

kills `birnn bench`, `train` and `results merge` at random, merges at once, starts beside orphans, and fills disks; the
last needs to mount a tmpfs, as root may. It needs the implementation numpy/loop of tests/numpy_loop, which is quick.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from backends.pool.environments import ROOT
from benchmarks.maintain.marked_pages import replaced
from benchmarks.maintain.own_speed import machine
from benchmarks.maintain.reliability.hard_ends import (
    Tally,
    kill_bench,
    kill_merge,
    kill_train,
    may_mount,
    merge_at_once,
    start_beside_orphans,
)
from common.tensorfile import write_bytes

PAGE = ROOT / "docs" / "reliability.md"
"""The page that the outcome is written into."""
FULL_DISKS = "bench, train, merge and export on a disk that gets full"
"""The name of the trials on a disk that gets full."""


def full_disks(times: int, folder: Path, seed: int) -> list[Tally]:
    """The tallies of benchmarks/maintain/reliability/full_disk.py, or one that says why there are none."""
    if not may_mount():
        return [Tally(FULL_DISKS, not_run="a tmpfs cannot be mounted here; run it as root")]
    command = [sys.executable, "-m", "benchmarks.maintain.reliability.full_disk", str(folder), str(times), str(seed)]
    isolated = ["unshare", "--mount", "--propagation", "private", *command]
    done = subprocess.run(isolated, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return [Tally(**each) for each in json.loads(done.stdout)]


def attacked(attack: Callable[[Path], list[Tally]]) -> list[Tally]:
    """An attack in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="birnn-attack-") as folder:
        return attack(Path(folder))


def row(tally: Tally) -> str:
    """A line of the table."""
    if tally.not_run:
        return f"| {tally.attack} | not run: {tally.not_run} | | |"
    ends = ", ".join(f"{count} {name}" for name, count in sorted(tally.ends.items()))
    lost = "nothing" if not tally.lost else f"**{len(tally.lost)}**: {tally.lost[0].splitlines()[-1]}"
    return f"| {tally.attack} | {tally.times} | {ends} | {lost} |"


def main(
    kills: Annotated[int, typer.Option(min=1, help="Kills of bench, and of train.")] = 100,
    merges: Annotated[int, typer.Option(min=1, help="Kills of merge; half as many pairs at once.")] = 100,
    starts: Annotated[int, typer.Option(min=1, help="Starts beside orphans.")] = 100,
    fills: Annotated[int, typer.Option(min=1, help="Full disks for each command.")] = 20,
    seed: Annotated[int | None, typer.Option(help="Of the moments; drawn where none is given.")] = None,
    page: Annotated[bool, typer.Option(help="Write the table into docs/reliability.md.")] = True,
) -> None:
    """Attack, and write the table; exit 1 when anything was lost."""
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    attacks: list[Callable[[Path], list[Tally]]] = [
        lambda folder: [kill_bench(kills, folder, random.Random(seed))],
        lambda folder: [kill_train(kills, folder, random.Random(seed))],
        lambda folder: [kill_merge(merges, folder, random.Random(seed))],
        lambda folder: [merge_at_once(max(1, merges // 2), folder)],
        lambda folder: [start_beside_orphans(starts, folder)],
        lambda folder: full_disks(fills, folder, seed),
    ]
    started, tallies = time.monotonic(), list[Tally]()
    with ThreadPoolExecutor(len(attacks)) as side_by_side:
        for done in [side_by_side.submit(attacked, attack) for attack in attacks]:
            for tally in done.result():
                tallies.append(tally)
                print(f"{time.monotonic() - started:5.0f} s {row(tally)}", flush=True)
                for text in tally.lost:
                    print(f"    {text}", flush=True)
    minutes = (time.monotonic() - started) / 60
    lines = ["| attack | times | how they ended | lost |", "|---|---:|---|---|", *map(row, tallies), ""]
    told = f"By `python -m benchmarks.maintain.reliability --seed {seed}` in {minutes:.0f} minutes on {machine()}."
    if page:
        write_bytes(PAGE, replaced(PAGE, {"attacks": "\n".join([*lines, told])}).encode())
    raise typer.Exit(1 if any(tally.lost for tally in tallies) else 0)


if __name__ == "__main__":
    typer.run(main)

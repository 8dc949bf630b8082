"""Commands whose disk gets full: each writes to a small tmpfs that has a random number of bytes left.

Started by benchmarks/maintain/reliability/__main__.py in a mount namespace of its own; prints its tallies as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.maintain.reliability.hard_ends import (
    Tally,
    bench,
    birnn,
    blocks_of,
    checkpoint_of,
    counts,
    missing_blocks,
    missing_epochs,
    missing_runs,
    run,
    stores,
    train,
    unfinished,
)

SIZE = 64 << 20
"""Bytes of the disk."""
LEAST_LEFT = 4096
"""Bytes that are left on it, at least."""


class Disk:
    """A tmpfs of which only so much is left as is said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(folder)], check=True)
        self._filler = folder / "filler"

    def leave(self, count: int) -> None:
        """Fill the disk but for so many bytes."""
        room = os.statvfs(self.folder)
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, room.f_bavail * room.f_frsize - count))

    def free(self) -> None:
        """Leave all of it."""
        self._filler.unlink()


def attacked(name: str, times: int, disk: Disk, most: int, rng: random.Random, once: Callable[[Tally], None]) -> Tally:
    """``once`` with up to ``most`` bytes left, so many times."""
    tally = Tally(name)
    while tally.times < times:
        disk.leave(round(LEAST_LEFT * (most / LEAST_LEFT) ** rng.random()))
        try:
            once(tally)
        finally:
            if disk._filler.exists():
                disk.free()
    return tally


def fill_bench(times: int, folder: Path, disk: Disk, rng: random.Random) -> Tally:
    """What is in the store stays; when there is room again the same command ends the run."""
    store = disk.folder / "r.duckdb"

    def once(tally: Tally) -> None:
        before = blocks_of(store)
        code, errors, _ = run(bench(folder, store))
        tally.ended(code, errors)
        tally.lost += missing_blocks(before, store) if store.exists() or before else []
        if code == 0 or rng.random() < 0.25:
            disk.free()
            code, errors, _ = run(bench(folder, store))
            tally.lost += unfinished(store) if code == 0 else [errors]
            store.unlink()

    return attacked("`birnn bench` on a disk that gets full", times, disk, 300_000, rng, once)


def fill_train(times: int, folder: Path, disk: Disk, rng: random.Random) -> Tally:
    """Epochs that are there stay."""
    run(train(folder, folder / "whole"))
    whole = checkpoint_of(folder / "whole")
    assert whole is not None
    out = disk.folder / "out"

    def once(tally: Tally) -> None:
        epoch = missing_epochs(0, whole, out)[0]
        code, errors, _ = run(train(folder, out))
        tally.ended(code, errors)
        tally.lost += missing_epochs(epoch, whole, out)[1]
        if code == 0:
            for file in out.iterdir():
                file.unlink()

    return attacked("`birnn train --out` on a disk that gets full", times, disk, 200_000, rng, once)


def fill_merge(times: int, folder: Path, disk: Disk, rng: random.Random) -> Tally:
    """OUT has what it had, or all; nothing is left beside it."""
    first, second = stores(folder, 2)
    out = disk.folder / "out.duckdb"
    size = first.stat().st_size

    def once(tally: Tally) -> None:
        before = {}
        if rng.random() < 0.5:
            disk.free()
            run(birnn("results", "merge", out, first))
            before = counts(out)
            disk.leave(round(rng.uniform(LEAST_LEFT, 3 * size)))
        code, errors, _ = run(birnn("results", "merge", out, first, second))
        tally.ended(code, errors)
        tally.lost += missing_runs(counts(first) | counts(second) if code == 0 else before, out)
        tally.lost += [f"{left.name} is left" for left in disk.folder.glob(f".{out.name}*")]
        tally.lost += ["an OUT that was not there"] if code and not before and out.exists() else []
        out.unlink(missing_ok=True)

    return attacked("`birnn results merge` on a disk that gets full", times, disk, 3 * size, rng, once)


def fill_export(times: int, folder: Path, disk: Disk, rng: random.Random) -> Tally:
    """A file that is there is whole: the old one or the new one."""
    (store,) = stores(folder, 1)
    file = disk.folder / "rows.csv"
    run(birnn("results", "export", store, "-o", folder / "whole.csv"))
    good = (b"old", (folder / "whole.csv").read_bytes())

    def once(tally: Tally) -> None:
        file.write_bytes(b"")
        disk.free()
        file.write_bytes(b"old")
        disk.leave(round(rng.uniform(0, 8192)))
        code, errors, _ = run(birnn("results", "export", store, "-o", file))
        tally.ended(code, errors)
        tally.lost += [] if file.read_bytes() == good[code == 0] else ["the file that was there"]

    return attacked("`birnn results export` on a disk that gets full", times, disk, 8192, rng, once)


def main(folder: Path, times: int, seed: int) -> None:
    """All of it."""
    rng = random.Random(seed)
    disk = Disk(folder / "disk")
    tallies = []
    for number, fill in enumerate((fill_bench, fill_train, fill_merge, fill_export)):
        own = folder / str(number)
        own.mkdir()
        tallies.append(fill(times, own, disk, rng))
    print(json.dumps([dataclasses.asdict(tally) for tally in tallies]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

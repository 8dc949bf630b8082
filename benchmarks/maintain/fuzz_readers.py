"""Mutate checkpoints byte by byte and read them: every reader answers with contents or one sentence, in time.

``python -m benchmarks.maintain.fuzz_readers --seconds 3600 FILE…`` reads mutants of real files, each batch in a process
of its own, so that a library that crashes or hangs is told with the seed that made it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from common.checkpoints.opening import read_checkpoint_file
from common.errors import InputError

BATCH = 20
"""Mutants that one process reads."""
LONGEST_SECONDS = 60.0
"""How long a batch may take; a reader that needs longer hangs."""
MOST_MEMORY = 4 * 2**30
"""Bytes of memory that a reader may take."""
EDGES = (0, 1, 0x7F, 0x80, 0xFF)
"""Bytes that readers are likely to trip over."""


def mutant(content: bytes, seed: int) -> bytes:
    """A file's bytes with a few of them changed, moved, repeated or cut off; the same for the same seed."""
    random = np.random.default_rng(seed)
    changed = bytearray(content)
    for _ in range(int(random.integers(1, 5))):
        if not changed:
            break
        place = int(random.integers(len(changed)) if random.random() < 0.5 else random.integers(min(512, len(changed))))
        kind = int(random.integers(6))
        if kind == 0:
            changed[place] = int(random.choice(EDGES))
        elif kind == 1:
            changed[place] ^= 1 << int(random.integers(8))
        elif kind == 2:
            changed[place : place + 8] = int(random.choice([2**63 - 1, 2**62, 2**31, 10**18])).to_bytes(8, "little")
        elif kind == 3:
            del changed[place:]
        elif kind == 4:
            del changed[place : place + int(random.integers(1, 64))]
        else:
            changed[place:place] = changed[place : place + int(random.integers(1, 64))]
    return bytes(changed)


def outcome(path: Path) -> str:
    """``read``, or the sentence with which a reader refuses a file; anything else that it raises comes through."""
    try:
        read_checkpoint_file(path)
    except InputError as error:
        text = str(error)
        if "\n" in text:
            raise AssertionError(f"a refusal must be one sentence; got {text!r}") from None
        return text
    return "read"


def read_mutants(file: Path, seeds: Sequence[int], folder: Path) -> None:
    """Read mutants of a file, one after the other."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    content = file.read_bytes()
    for seed in seeds:
        path = folder / file.name
        path.write_bytes(mutant(content, seed))
        (folder / "seed").write_text(str(seed))
        outcome(path)


def failures(files: Sequence[Path], first: int, seconds: float) -> Iterator[str]:
    """A sentence for each batch that crashed, hung or raised what is no ``InputError``, until the time is over."""
    end = time.monotonic() + seconds
    start = first
    context = multiprocessing.get_context("fork")
    while time.monotonic() < end:
        for file in files:
            folder = Path(tempfile.mkdtemp(prefix="birnn-fuzz-"))
            process = context.Process(target=read_mutants, args=(file, range(start, start + BATCH), folder))
            process.start()
            process.join(LONGEST_SECONDS)
            hung = process.is_alive()
            if hung:
                process.kill()
                process.join()
            seed = (folder / "seed").read_text() if (folder / "seed").exists() else str(start)
            shutil.rmtree(folder)
            if hung or process.exitcode:
                yield f"{file.name}, seed {seed}: {'hung' if hung else f'ended with {process.exitcode}'}"
        start += BATCH


def main() -> None:
    """Fuzz for as long as is asked for; exit 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="real checkpoints")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--first-seed", type=int, default=0)
    arguments = parser.parse_args()
    failed = 0
    for text in failures(arguments.files, arguments.first_seed, arguments.seconds):
        print(text, flush=True)
        failed += 1
    print(f"{failed} batches failed")
    sys.exit(int(failed > 0))


if __name__ == "__main__":
    main()

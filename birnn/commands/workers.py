"""Workers for a command: started with a word on stderr, matched with what was asked for, and what is missing said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from backends.pool.pool import Pool
from backends.pool.selection import Selection, select
from birnn.display import stderr


@contextmanager
def workers(
    patterns: Sequence[str], threads: int = 1, option: str = "--implementation"
) -> Iterator[tuple[Pool, Selection]]:
    """A pool with a worker in each environment that the patterns may mean, and the implementations that match.

    Raises
    ------
    InputError
        If a pattern, given by ``option``, matches nothing, or an environment that it names is missing.
    """
    notes = stderr()
    with Pool.open(threads) as pool:
        with notes.status("starting a worker in each environment"):
            selection = select(pool, patterns, option)
        for text in selection.notes():
            notes.print(f"birnn: {text}", markup=False)
        yield pool, selection

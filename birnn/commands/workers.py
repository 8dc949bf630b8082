"""Workers for a command: started with a word on stderr, matched with what was asked for, and what is missing said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from backends.pool.pool import Pool
from backends.pool.selection import Selection, select
from birnn.display import stderr


@contextmanager
def workers(
    patterns: Sequence[str],
    threads: int = 1,
    option: str = "--implementation",
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[tuple[Pool, Selection]]:
    """A pool with a worker in each environment that the patterns may mean, and the implementations that match; workers
    have ``variables`` in their environment.

    Raises
    ------
    InputError
        If a pattern, given by ``option``, matches nothing, or an environment that it names is missing.
    """
    notes = stderr()
    with Pool.open(threads, variables) as pool:
        with notes.status("starting a worker in each environment"):
            selection = select(pool, patterns, option)
        for text in selection.notes():
            notes.print(f"birnn: {text}", markup=False)
        yield pool, selection

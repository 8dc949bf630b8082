"""Do the frameworks' work side by side, as many at a time as there are cores, and stop it all when one is stopped."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from backends.pool.pool import Channel, Pool
from backends.pool.waiting import result_of
from backends.registry import backends

Group = TypeVar("Group")
"""What belongs together and stays in one worker."""
MOST_WORKERS = 8
"""Workers at once; each takes up to 1 GB."""


def side_by_side(pool: Pool, work: Iterable[Callable[[], None]], stopped: threading.Event) -> None:
    """Run each piece of work in a thread; an exception of one, or Ctrl-C, sets ``stopped``, kills the workers and
    comes through.
    """
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        running = [threads.submit(piece) for piece in work]
        try:
            for future in running:
                result_of(future)
        except BaseException:
            stopped.set()
            pool.kill()
            raise


def share_out(
    pool: Pool,
    groups: Mapping[str, Sequence[Group]],
    run: Callable[[Channel, Group], None],
    stopped: threading.Event,
) -> None:
    """Run every backend's groups of work on as many workers as there are cores.

    Each backend has one worker at first. When all have theirs, a core that is free starts a second one for the backend
    that has most groups left, and so on, while a backend has more than one. So two groups of a backend may run in
    different processes, and what one compiles ought to be of no use to another.

    Parameters
    ----------
    groups
        The groups of work by the backend's name.
    run
        Does a group's work through a channel to a worker.
    stopped
        Set when one piece of work failed or was interrupted; the others then end.
    """
    known = backends()
    left = {name: list(group) for name, group in groups.items() if group}
    # Those first that were slow to start: they are slow to compile, too.
    waiting = sorted(left, key=lambda name: pool.worker(known[name]).start_seconds)
    workers = dict.fromkeys(left, 0)
    lock = threading.Lock()

    def choose() -> Channel | None:
        with lock:
            name = waiting.pop() if waiting else max(left, key=lambda name: len(left[name]), default="")
            if not name or (workers[name] and len(left[name]) < 2):
                return None
            workers[name] += 1
            return Channel(pool, known[name], workers[name] - 1)

    def core() -> None:
        while not stopped.is_set() and (channel := choose()) is not None:
            while not stopped.is_set():
                with lock:
                    if not left[channel.backend.name]:
                        break
                    group = left[channel.backend.name].pop(0)
                run(channel, group)

    side_by_side(pool, [core] * min(os.cpu_count() or 1, MOST_WORKERS), stopped)

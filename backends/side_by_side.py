"""Do the frameworks' work side by side, as many at a time as there are cores, and stop it all when one is stopped."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from backends.pool import Pool


def side_by_side(pool: Pool, work: Iterable[Callable[[], None]], stopped: threading.Event) -> None:
    """Run each piece of work in a thread; an exception of one, or Ctrl-C, sets ``stopped``, kills the workers and
    comes through.
    """
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        running = [threads.submit(piece) for piece in work]
        try:
            for future in running:
                future.result()
        except BaseException:
            stopped.set()
            pool.kill()
            raise

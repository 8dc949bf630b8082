"""Waiting in which Ctrl-C is heard.

A signal that arrives when Python has looked for one and not yet blocked in a lock or in poll(2) is heard only when that
returns (CPython 3.11: the handler sets a flag, which is looked at between instructions). So nothing waits for long at
once: of 40 interrupts at the start of workers on a busy machine, one or two were not heard before.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

HEARD_SECONDS = 0.5
"""The longest that a thread waits at once."""
Found = TypeVar("Found")
"""What a future gives."""


def wait_for(futures: Iterable[Future[Any]]) -> None:
    """Return when all are done, whatever became of them."""
    waiting = list(futures)
    while wait(waiting, timeout=HEARD_SECONDS).not_done:
        pass


def result_of(future: Future[Found]) -> Found:
    """A future's result when it is there; what its work raised comes through."""
    wait_for([future])
    return future.result()

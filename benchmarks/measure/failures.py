"""Why an implementation is not timed, from what its worker answered."""

from __future__ import annotations

from dataclasses import dataclass

from backends.interface.gaps import DECLINED
from backends.worker.messages import NotDone
from benchmarks.store.records import CRASHED, FAILED, OUT_OF_MEMORY, TIMED_OUT

MEMORY_WORDS = ("out of memory", "outofmemory", "resource_exhausted", "memoryerror", "cannot allocate", "bad_alloc")
"""What errors say, in lower case, when memory runs out."""


@dataclass(frozen=True)
class Failure:
    """Why an implementation is not timed: a status of ``records``, a reason, and the end of the worker's log."""

    status: str
    reason: str
    log: str = ""


def failure_of(reply: NotDone) -> Failure:
    """A worker's reply that something is not done, as a failure."""
    status, reason = reply.status, reply.reason
    if status in DECLINED:
        return Failure(status, reason)
    if any(word in reason.lower() for word in MEMORY_WORDS):
        status = OUT_OF_MEMORY
    elif "SIGKILL" in reason and status == CRASHED:
        status, reason = OUT_OF_MEMORY, f"{reason}, as Linux does when memory runs out"
    known = status in (CRASHED, TIMED_OUT, OUT_OF_MEMORY)
    return Failure(status if known else FAILED, reason, reply.log)

"""What a budget is spent on first, and what it cannot hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from benchmarks.measure.settings import Job, Settings
from common.errors import InputError

STARTING_SECONDS = 1.0
"""The least that starting workers takes."""
GPU_FASTER = 200.0
"""How many times as fast a GPU is assumed to be."""
AMPLE = 0.2
"""A budget is ample for a round that is expected to take this part of what is left of it."""
Item = TypeVar("Item")
"""What is put in turn."""


def require_room(settings: Settings, product: float) -> None:
    """Raise an ``InputError`` when a budget cannot hold one implementation's block of the quickest job.

    ``product`` is the rate that is assumed of a processor, in flops a second.
    """
    if settings.device == "gpu":
        product *= GPU_FASTER
    least = STARTING_SECONDS + min(job.expected_seconds(1, False, product) for job in settings.jobs())
    if settings.budget_seconds < least:
        raise InputError(
            f"--budget must hold at least one block, which takes {least:.1f} s with the start of a worker; "
            f"got {settings.budget_seconds:g} s"
        )


def in_turn(cases: Sequence[Sequence[Job]], is_new: Callable[[Job], bool], ample: bool) -> list[Job]:
    """The jobs of a round, given by case in the order that was drawn: those of which nothing has a time first.

    Jobs of one case stand together, whose reference is then computed once; where the budget is not ``ample`` each case
    has one of its new jobs before any has its second, so that none is left without a time for another's passes.
    """
    new = [[job for job in case if is_new(job)] for case in cases]
    known = [job for case in cases for job in case if not is_new(job)]
    if ample:
        return [*_joined(new), *known]
    return [*_joined(case[:1] for case in new), *_joined(case[1:] for case in new), *known]


def _joined(groups: Iterable[Sequence[Item]]) -> list[Item]:
    """The groups in one list."""
    return [each for group in groups for each in group]


def time_left(seconds: float) -> str:
    """``1.5 min left at most``, or in seconds at the end."""
    return f"{seconds / 60:.1f} min left at most" if seconds >= 60 else f"{seconds:.0f} s left at most"

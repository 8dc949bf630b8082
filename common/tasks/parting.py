"""Where two training traces part, and whether faster than chaos explains.

Training multiplies small differences: rounding alone makes two correct frameworks part sooner or later. How fast is a
matter of the model, the data and the learning rate, so no fixed number tells right from wrong; the yardstick is the
same implementation trained again with the last bit of one number of its input flipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from common.judging.precision import epsilon
from common.models.trace import Step

PARTED = 1e-3
"""Two traces have parted at the first step whose losses differ by more than this part."""
EXPLAINED = 100.0
"""A gap is explained when it is at most so many times the twin's largest so far: a twin starts with one wrong bit, two
frameworks with rounding errors in every number."""
Stopped = tuple[Sequence[Step], Sequence[float]]
"""A trace, and the validation loss after each of its epochs."""
AGREES, PARTS, TOO_FAST = "agrees", "parts as chaos does", "parts faster than chaos explains"
"""The verdicts on two traces."""


@dataclass(frozen=True)
class Parting:
    """How one trace compares with another.

    ``step`` is the first step (from 0) at which they have parted, None when never; ``largest`` the largest relative
    gap between the losses; ``unexplained`` the first step at which the gap is more than chaos explains, None when
    never; ``verdict`` one of the three above.
    """

    step: int | None
    largest: float
    unexplained: int | None
    verdict: str


def gaps(a: Sequence[Step], b: Sequence[Step]) -> np.ndarray:
    """The differences |loss_a − loss_b| over |loss_a|, for each step that both have; infinite where either is not a
    number.
    """
    count = min(len(a), len(b))
    first, second = (np.array([step.loss for step in trace[:count]]) for trace in (a, b))
    gaps_of = np.abs(first - second) / np.maximum(np.abs(first), np.finfo(float).tiny)
    return np.where(np.isfinite(gaps_of), gaps_of, np.inf)


def compare(a: Sequence[Step], b: Sequence[Step], twin: Sequence[Step], dtype: str) -> Parting:
    """How trace b parts from trace a, against how a's twin does; all in ``dtype``."""
    apart = gaps(a, b)
    chaos = np.maximum.accumulate(gaps(a, twin))[: len(apart)]
    chaos = np.pad(chaos, (0, len(apart) - len(chaos)), mode="edge") if len(chaos) else np.zeros_like(apart)
    allowed = EXPLAINED * np.maximum(chaos, epsilon(dtype))
    step, unexplained = _first(apart > PARTED), _first(apart > allowed)
    verdict = TOO_FAST if unexplained is not None else AGREES if step is None else PARTS
    return Parting(step, float(apart.max(initial=0.0)), unexplained, verdict)


def compare_stopped(a: Stopped, b: Stopped, twin: Stopped, dtype: str) -> Parting:
    """How a trace with validation losses parts from another one: its validation losses are held against the other's,
    too, each as if it were a step behind the last one of its epoch, whose number it has.

    Where one has been stopped before the other, what they have in common is compared.
    """
    per_epoch = len(a[0]) // len(a[1])
    first, other, flipped = (_interleaved(*trace, per_epoch) for trace in (a, b, twin))
    parting = compare(first, other, flipped, dtype)
    step, unexplained = (
        None if where is None else where // (per_epoch + 1) * per_epoch + min(where % (per_epoch + 1), per_epoch - 1)
        for where in (parting.step, parting.unexplained)
    )
    return replace(parting, step=step, unexplained=unexplained)


def _interleaved(steps: Sequence[Step], validation_losses: Sequence[float], per_epoch: int) -> list[Step]:
    """The steps, behind those of each epoch its validation loss."""
    trace: list[Step] = []
    for epoch, loss in enumerate(validation_losses):
        trace += [*steps[epoch * per_epoch : (epoch + 1) * per_epoch], Step(loss, 0.0, 0.0)]
    return trace


def _first(where: np.ndarray) -> int | None:
    """The first position where something holds; None where it never does."""
    return int(np.argmax(where)) if where.any() else None

"""What an implementation does not do: the request, the table of known gaps, and the refusal that follows from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.case import Case
from common.judging.precision import has_finite_padding, is_subnormal
from common.specification import Specification

DEVICES = ("cpu", "gpu")
"""Where an implementation may run."""


@dataclass(frozen=True)
class Request:
    """What is asked of an implementation: enough to say whether it can do it.

    ``lengths`` is (batch,) int64 or None; ``seq_len`` the padded length; ``finite_padding`` whether what x holds past
    the lengths is finite in ``dtype``; ``subnormal`` whether some input is nothing but numbers below the smallest
    normal one of ``dtype``, and zeros; ``largest`` the largest absolute value of the steps that count, the initial
    states and the biases, infinite where they are not known.
    """

    spec: Specification
    dtype: str
    device: str
    batch: int
    seq_len: int
    lengths: np.ndarray | None
    gradients: bool
    finite_padding: bool = True
    subnormal: bool = False
    largest: float = math.inf


UNSUPPORTED, NOT_OFFERED = "unsupported", "not offered"
"""The statuses of what an implementation cannot do, and of what would be slower than what is there."""
DECLINED = (UNSUPPORTED, NOT_OFFERED)
"""How an implementation declines: what it cannot do, and what could be written and is left out, for it would be slower
than what is there."""
READ = "read, not run"
"""The mark of what was read in sources or documentation and never run here."""


@dataclass(frozen=True)
class Gap:
    """Something that an implementation cannot do, with the reason: one row of a framework's table of known gaps.

    Parameters
    ----------
    implementations
        Names within the framework, for example ``("native",)``.
    what
        What is not supported, in a few words.
    reason
        Why not, in one sentence that names versions where they matter.
    applies
        Whether a request falls into the gap.
    link
        The upstream issue, where there is one.
    read
        Whether it was only read, in sources or documentation, and never run: so of a GPU, while none was at hand.
    slower
        Whether it could be done, and is left out because it would be slower than what is there: it is then
        ``NOT_OFFERED``, not ``UNSUPPORTED``.
    """

    implementations: tuple[str, ...]
    what: str
    reason: str
    applies: Callable[[Request], bool]
    link: str = ""
    read: bool = False
    slower: bool = False

    @property
    def told(self) -> str:
        """The reason as a user meets it, marked where it was only read."""
        return f"{self.reason} ({READ})" if self.read else self.reason

    @property
    def status(self) -> str:
        """``UNSUPPORTED`` or ``NOT_OFFERED``."""
        return NOT_OFFERED if self.slower else UNSUPPORTED


@dataclass(frozen=True)
class Refusal:
    """What an implementation declares that it does not do: why, and whether it cannot or is left out."""

    reason: str
    status: str = UNSUPPORTED


def request_of(case: Case, dtype: str, device: str) -> Request:
    """What running ``case`` asks of an implementation."""
    finite = has_finite_padding(case.x, case.padding_mask(), dtype)
    inputs = (case.x[~case.padding_mask()], case.h_0, case.c_0, *case.weights.values(), *case.cotangents.values())
    subnormal = any(is_subnormal(array, dtype) for array in inputs if array is not None)
    biases = [value for name, value in case.weights.items() if name.startswith("bias")]
    sizes = [np.abs(array).max(initial=0) for array in (inputs[0], case.h_0, case.c_0, *biases) if array is not None]
    shape = (case.batch, case.seq_len, case.lengths)
    return Request(case.spec, dtype, device, *shape, bool(case.cotangents), finite, subnormal, float(max(sizes)))


def has_empty_row(request: Request) -> bool:
    """Whether some row has length 0."""
    return request.lengths is not None and bool((request.lengths == 0).any())

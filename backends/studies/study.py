"""The skeleton of a study: cases in implementations, frameworks side by side, every outcome told at once."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from backends.interface.gaps import DECLINED
from backends.pool.calculator import CalculationEnded, Once
from backends.pool.pool import Channel, NoAnswer, Pool
from backends.pool.schedule import share_out
from backends.pool.selection import Selection
from backends.studies.kept_yardsticks import KeptYardsticks, kept_folder
from backends.studies.pace import Pace
from common.judging.agreement import AGREES, NOT_JUDGED, Verdict

RAN, FAILED = "ran", "failed"
"""The statuses of what nothing was to be judged of, and of an exception."""
GOOD = (AGREES, RAN, *DECLINED)
"""The statuses that leave nothing open."""


@dataclass(frozen=True)
class Outcome:
    """What became of one case in one implementation and dtype.

    ``status`` is agrees, disagrees, not judged (nothing could be told), ran (nothing was to be judged), unsupported,
    not offered (it would be slower than what is there), failed (an exception), crashed or timed out; ``reason`` says
    why where it is not agrees or ran; ``log`` is the end of the worker's log where it died. ``no_gradients`` says why
    none was computed or judged of a case that asks for them, where the implementation has none; empty otherwise.
    """

    case: str
    implementation: str
    dtype: str
    device: str
    status: str
    reason: str = ""
    log: str = ""
    seconds: float = 0.0
    path: str = ""
    verdict: Verdict | None = None
    no_gradients: str = ""

    @property
    def wrong(self) -> bool:
        """Whether this is a failure."""
        return self.status not in (*GOOD, NOT_JUDGED)

    @property
    def declined(self) -> bool:
        """Whether the implementation has declared that it does not do this."""
        return self.status in DECLINED

    @property
    def good(self) -> bool:
        """Whether nothing is left open: what is declared is no failure, and what could not be judged is no success."""
        return self.status in GOOD

    def as_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        content = {name: value for name, value in vars(self).items() if name != "verdict"}
        return content | {"verdict": None if self.verdict is None else self.verdict.as_json()}


class NamedCase(Protocol):
    """A case of any kind."""

    @property
    def name(self) -> str:
        """The name by which outcomes tell the case."""
        ...


CaseKind = TypeVar("CaseKind", bound=NamedCase)
"""The kind of case that a study runs."""


class Study(ABC, Generic[CaseKind]):
    """Runs every case in every selected implementation and dtype; ``report`` gets each outcome, one at a time.

    Parameters
    ----------
    pool
        The workers.
    selection
        What ``backends.pool.selection.select`` found.
    cases, dtypes, device
        What to run, in what, and where.
    timeout_seconds
        For each answer of a worker, and for each run of the reference.
    report
        Called with each outcome.
    """

    title = "{}"
    """How an outcome names a case."""

    def __init__(
        self,
        pool: Pool,
        selection: Selection,
        cases: Sequence[CaseKind],
        dtypes: Sequence[str],
        device: str,
        timeout_seconds: float,
        report: Callable[[Outcome], None],
    ) -> None:
        self._pool, self._selection = pool, selection
        self._cases, self._dtypes, self._device = cases, dtypes, device
        self._timeout, self._report = timeout_seconds, report
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._reference = Once(KeptYardsticks(pool.compute, kept_folder()).compute, timeout_seconds)
        self._groups = {
            name: [(implementation, dtype) for dtype in dtypes for implementation in chosen]
            for name, chosen in selection.implementations.items()
        }
        self._pace = Pace({(name, *each): len(cases) for name, group in self._groups.items() for each in group})

    def size(self) -> int:
        """How many outcomes there will be."""
        return sum(map(len, self._groups.values())) * len(self._cases)

    def seconds_left(self) -> float | None:
        """About how long the rest takes; None before the first outcome."""
        return self._pace.seconds_left()

    def run(self) -> None:
        """Run everything, frameworks side by side; Ctrl-C stops the workers and comes through."""
        self._prepare()
        share_out(self._pool, self._groups, self._run_group, self._stopped)

    def _prepare(self) -> None:
        """What has to be there before the first case."""
        return

    @abstractmethod
    def _run_one(self, channel: Channel, case: CaseKind, implementation: str, dtype: str) -> Outcome:
        """What became of a case; ``CalculationEnded`` and ``NoAnswer`` may come through."""

    def _run_group(self, channel: Channel, group: tuple[str, str]) -> None:
        for case in self._cases:
            if self._stopped.is_set():
                return
            started = time.monotonic()
            try:
                outcome = self._run_one(channel, case, *group)
            except CalculationEnded as error:
                reason = f"the reference, which --timeout bounds too, {error}"
                outcome = self._outcome(channel, case, *group, NOT_JUDGED, reason)
            except NoAnswer as error:
                reply = error.reply
                outcome = self._outcome(channel, case, *group, reply.status, reply.reason, log=reply.log)
            if self._stopped.is_set():
                return
            with self._lock:
                self._pace.note((channel.backend.name, *group), time.monotonic() - started)
                self._report(outcome)

    def _outcome(
        self,
        channel: Channel,
        case: CaseKind,
        implementation: str,
        dtype: str,
        status: str,
        reason: str = "",
        **details: Any,
    ) -> Outcome:
        name = f"{channel.backend.name}/{implementation}"
        return Outcome(self.title.format(case.name), name, dtype, self._device, status, reason, **details)

    def _judged(
        self, channel: Channel, case: CaseKind, implementation: str, dtype: str, verdict: Verdict, **details: Any
    ) -> Outcome:
        reason = "; ".join(verdict.reasons)
        return self._outcome(channel, case, implementation, dtype, verdict.status, reason, verdict=verdict, **details)

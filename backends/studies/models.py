"""Hold models in every implementation against the reference: outputs, loss and gradients."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from backends.pool.calculator import CalculationEnded, Once
from backends.pool.pool import Channel, Pool
from backends.pool.schedule import share_out
from backends.pool.selection import Selection
from backends.registry import Backend
from backends.studies.cases import NOT_JUDGED, Outcome
from backends.worker.networks import read_batches, write_batches
from common.errors import InputError
from common.judging.agreement import Verdict
from common.judging.models import ModelYardstick, judge_model, model_yardstick
from common.judging.trial import judge_trial
from common.models.small_cases import ModelCase
from common.models.specification import Arrays, model_as_json
from common.tasks.task import right_answers, unlabelled
from common.tensorfile import as_bytes, write_bytes


class ModelStudy:
    """Runs model cases in the selected implementations and dtypes; ``report`` gets each outcome, one at a time."""

    def __init__(
        self,
        pool: Pool,
        selection: Selection,
        cases: Sequence[ModelCase],
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
        self._reference = Once(pool.compute, timeout_seconds)

    def size(self) -> int:
        """How many outcomes there will be."""
        count = sum(len(names) for names in self._selection.implementations.values())
        return count * len(self._cases) * len(self._dtypes)

    def run(self) -> None:
        """Run everything, frameworks side by side; Ctrl-C stops the workers and comes through."""
        groups = {
            name: [(implementation, dtype) for dtype in self._dtypes for implementation in chosen]
            for name, chosen in self._selection.implementations.items()
        }
        share_out(self._pool, groups, self._run_group, self._stopped)

    def _run_group(self, channel: Channel, group: tuple[str, str]) -> None:
        for case in self._cases:
            if self._stopped.is_set():
                return
            try:
                outcome = self._run_one(channel, *group, case)
            except CalculationEnded as error:
                reason = f"the reference, which --timeout bounds too, {error}"
                outcome = self._outcome(channel.backend, group[0], case, group[1], NOT_JUDGED, reason)
            if self._stopped.is_set():
                return
            with self._lock:
                self._report(outcome)

    def _run_one(self, channel: Channel, implementation: str, dtype: str, case: ModelCase) -> Outcome:
        """Results against the reference, or, for a case that is only answered, its labels, without exception."""
        yard = None if case.answered else self._yardstick(case, dtype)
        weights, batch = (case.weights, case.batch) if yard is None else (yard.weights, yard.batch)
        asked = unlabelled(batch) if yard is None else dict(batch)
        names = ("weights", "batch", "batches", "answers")
        files = {name: channel.file(name) for name in names}
        files["answers"].unlink(missing_ok=True)  # those of a worker that died when it had written them
        write_bytes(files["weights"], as_bytes(weights, {}), durable=False)
        write_bytes(files["batch"], as_bytes(dict(batch), {}), durable=False)
        write_batches([asked], files["batches"])
        request: dict[str, Any] = {"op": "network_open", "handle": "judged", "spec": model_as_json(case.spec)}
        request |= {"implementation": implementation, "dtype": dtype, "device": self._device}
        request |= {name: str(files[name]) for name in ("weights", "batch")}
        started = time.perf_counter()
        reply = channel.ask(request, self._timeout)
        if reply["status"] == "done":
            request = {"op": "network_ask", "handle": "judged", "question": "results" if yard else "predict"}
            request |= {name: str(files[name]) for name in ("batches", "answers")}
            reply = channel.ask(request, self._timeout)
        seconds = time.perf_counter() - started
        if reply["status"] == "done":
            try:
                (found,) = read_batches(files["answers"])
            except (InputError, ValueError) as error:
                reply = channel.distrust(f"its answers must be those to one batch; got: {error}")
        if reply["status"] != "done":
            status, reason = reply["status"], reply["reason"]
            return self._outcome(channel.backend, implementation, case, dtype, status, reason, log=reply.get("log", ""))
        # Judging may run the reference once more, for a decoder that chose otherwise where two tokens were near.
        verdict = (
            _same_answers(found, case)
            if yard is None
            else judge_trial(found, yard, judge=partial(self._pool.compute, self._timeout, judge_model), explain=None)
        )
        status = verdict.status
        reason = "; ".join(verdict.reasons)
        return self._outcome(
            channel.backend, implementation, case, dtype, status, reason, verdict=verdict, seconds=seconds
        )

    def _yardstick(self, case: ModelCase, dtype: str) -> ModelYardstick:
        return self._reference((case.name, dtype), model_yardstick, case.spec, case.weights, case.batch, dtype)

    def _outcome(
        self, backend: Backend, implementation: str, case: ModelCase, dtype: str, status: str, reason: str, **rest: Any
    ) -> Outcome:
        name = f"{backend.name}/{implementation}"
        return Outcome(f"model {case.name}", name, dtype, self._device, status, reason, **rest)


def _same_answers(found: Arrays, case: ModelCase) -> Verdict:
    """Whether every counted label is the case's own."""
    right, count = right_answers(case.spec, case.batch, found["labels"])
    return Verdict(right == count, [] if right == count else [f"all {count} answers must be the model's; {right} are"])

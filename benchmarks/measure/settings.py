"""What a benchmark run is asked for, the jobs that it falls into, and how its time is shared out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from backends.interface.framework import uses_tf32
from benchmarks.cases.case import BenchmarkCase, CaseSet
from benchmarks.measure.judging import forward_flops
from benchmarks.store.records import Key

FLOPS_OF_PASS = {"forward": 1.0, "forward_backward": 3.0, "train_step": 3.0}
"""Flops of each pass over those of a forward pass."""
REACHED = 0.3
"""The part of the product rate that estimates assume."""
STEP_SECONDS = 30e-6
"""What estimates assume a step to take besides its products."""
SET_UP_SECONDS = 1.2
"""Seconds that estimates assume the set-up of an implementation to take when its programs have to be compiled."""
SET_UP_AGAIN_SECONDS = 0.4
"""Seconds that estimates assume the set-up of an implementation to take when its programs are kept."""
CALLS_BEFORE, CALLS_AGAIN, CALLS_TIMED = 7, 3, 4
"""Calls that estimates assume before the timed ones, in a first process and in a further one, and timed ones."""


@dataclass(frozen=True)
class Settings:
    """What a run measures, and how.

    Parameters
    ----------
    set_name
        The set's name, or its file as it was given.
    cases, passes
        The cases, and for each by name the passes that are timed.
    patterns
        Shell globs of implementations, ``framework/name``.
    dtypes, device, lane
        In what, where, and in which precision lane.
    threads
        Numbers of threads; a run measures all of its jobs with the first, then with the next.
    processes
        How many fresh processes each combination is measured in.
    budget_seconds
        When to stop.
    timeout_seconds
        For each answer of a worker, and for each run of the reference.
    wait_seconds
        How long the start may wait for a busy machine to come to rest; the budget begins after that.
    """

    set_name: str
    cases: tuple[BenchmarkCase, ...]
    passes: Mapping[str, tuple[str, ...]]
    patterns: tuple[str, ...]
    dtypes: tuple[str, ...]
    device: str
    lane: str
    threads: tuple[int, ...]
    processes: int
    budget_seconds: float
    timeout_seconds: float
    wait_seconds: float = 0.0

    @classmethod
    def of_set(cls, cases: CaseSet, passes: tuple[str, ...], **rest: Any) -> Settings:
        """Settings for a set of cases; no ``passes`` means each case's own."""
        by_case = {case.name: passes or cases.passes_of(case) for case in cases.cases}
        return cls(set_name=cases.name, cases=cases.cases, passes=by_case, **rest)

    def as_json(self) -> dict[str, Any]:
        """The settings as a JSON object."""
        content = vars(self) | {"cases": [case.model_dump(mode="json") for case in self.cases]}
        return json.loads(json.dumps(content | {"passes": dict(self.passes)}))

    def fingerprint(
        self, machine: Mapping[str, Any], environments: Iterable[str], commit: str, sources: Mapping[str, str]
    ) -> str:
        """SHA-256 of all that must be equal for a run to go on where an earlier one stopped; the budget need not."""
        compared = self.as_json()
        del compared["budget_seconds"], compared["timeout_seconds"], compared["processes"], compared["wait_seconds"]
        content = [compared, dict(machine), sorted(environments), commit, dict(sources)]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def tf32(self) -> bool:
        """Whether float32 may be multiplied as TF32."""
        return uses_tf32(self.device, self.lane)

    def jobs(self) -> Iterator[Job]:
        """Every job, track by track."""
        for threads in self.threads:
            for case in self.cases:
                for dtype in self.dtypes:
                    for passed in self.passes[case.name]:
                        yield Job(case, passed, dtype, self.device, self.lane, threads)


@dataclass(frozen=True)
class Job:
    """What implementations compete in: one pass of one case in one dtype, lane and number of threads."""

    case: BenchmarkCase
    passed: str
    dtype: str
    device: str
    lane: str
    threads: int

    def key(self, implementation: str) -> Key:
        """The job done by ``framework/name``."""
        return Key(implementation, self.case.name, self.passed, self.dtype, self.device, self.lane, self.threads)

    def expected_seconds(self, implementations: int, again: bool, product: float) -> float:
        """A guess at what one round of this job takes, to share out a budget by; ``product`` in flops a second."""
        call = FLOPS_OF_PASS[self.passed] * forward_flops(self.case) / (REACHED * product)
        call += STEP_SECONDS * (self.case.longest() * self.case.spec.num_layers + (self.case.target_len or 0))
        calls = (CALLS_AGAIN if again else CALLS_BEFORE) + CALLS_TIMED
        return implementations * ((SET_UP_AGAIN_SECONDS if again else SET_UP_SECONDS) + calls * call)

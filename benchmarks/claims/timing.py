"""Times side by side: variants of one framework, each verified before it is timed, in short blocks in random order."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from backends.interface.framework import LANES
from backends.pool.pool import NoAnswer
from backends.registry import backends
from backends.worker.messages import CloseWork, NotDone, OpenWork, SetUp, TimeBlock
from backends.worker.opening import files_sha256
from benchmarks.analysis.statistics import Interval, is_steady, paired_ratio_interval
from benchmarks.cases.case import BenchmarkCase
from benchmarks.claims.workshop import Workshop
from benchmarks.machine.company import Watch
from benchmarks.machine.idleness import settle
from benchmarks.measure.case_on_disk import opening
from benchmarks.measure.contest import BLOCK_SECONDS, MOST_CALLS, WARM_CALLS, WARM_SECONDS
from benchmarks.measure.judging import Judge, SystemJudge, judge_of
from benchmarks.measure.settings import Job
from common.errors import InputError
from common.judging.agreement import DISAGREES
from common.judging.trial import TAME
from common.reference import Arrays
from common.result import read_result

DTYPE = "float32"
"""The precision that layers and models are timed in."""
THREADS = len(os.sched_getaffinity(0))
"""Threads of each worker: one for every core that this process may use."""
FEWEST_CYCLES, MOST_CYCLES = 6, 30
"""How many cycles are timed at least and at most; one has a block of each variant and one of ``TWIN``."""
SECONDS = 0.5
"""How long each variant is timed at most, once there are ``FEWEST_CYCLES``."""
MOST_WARM_SECONDS = 2.0
"""How long a variant is warmed up at most, however unsteady its calls are."""
LARGEST_REFERENCE = 1e8
"""Flops of a forward pass up to which the reference takes all rows; two of them else, so that all the claims on time
take minutes, which the reference alone would take otherwise.
"""
TWIN = "the same again"
"""The first variant a second time in each cycle: how far its ratio is from 1 is noise."""


@dataclass(frozen=True)
class Variant:
    """One pass of a case in ``framework/implementation``, under a name."""

    name: str
    case: BenchmarkCase
    implementation: str
    passed: str = "forward_backward"


@dataclass(frozen=True)
class Timed:
    """The median of a variant's calls in seconds, its ratio over the first variant from calls in the same cycles, how
    many calls there were, what one takes at its peak over what was resident before it (backends/worker/memory.py), and
    the cores that others took meanwhile, None where the kernel does not say.
    """

    seconds: float
    ratio: Interval
    calls: int
    peak_bytes: int | None = None
    others_cpu: float | None = None

    def numbers(self, name: str = "ratio") -> dict[str, float]:
        """The numbers of a point; the ratio is called ``name`` there."""
        ratio = {name: self.ratio.median, f"{name}_low": self.ratio.low, f"{name}_high": self.ratio.high}
        return {"ms": 1e3 * self.seconds, **ratio, "calls": float(self.calls)}


@cache
def _judge(case: BenchmarkCase) -> Judge | SystemJudge:
    """A case's judge, whose reference runs once however many frameworks are held against it."""
    return judge_of(case, tf32=False, largest=LARGEST_REFERENCE)


def time_side_by_side(workshop: Workshop, framework: str, variants: Sequence[Variant]) -> dict[str, Timed]:
    """The times of variants in one framework's worker, and of ``TWIN``.

    Raises
    ------
    NoAnswer
        If one declines, fails, or disagrees with the reference.
    """
    contest = _Contest(workshop, framework)
    try:
        for variant in variants:
            contest.enter(variant, variant.name)
        return contest.hold(variants[0].name)
    finally:
        contest.leave()


def peak_bytes(workshop: Workshop, framework: str, variants: Sequence[Variant]) -> dict[str, int | None]:
    """What a call of each variant takes at its peak over what was resident before it, in bytes; raises as
    ``time_side_by_side``.
    """
    contest = _Contest(workshop, framework)
    try:
        return {variant.name: contest.enter(variant, variant.name).peak_host_bytes for variant in variants}
    finally:
        contest.leave()


class _Contest:
    """The variants that are open in one framework's worker, and what has been learned of each."""

    def __init__(self, workshop: Workshop, framework: str) -> None:
        self._workshop, self._framework = workshop, framework
        self._warm: dict[str, list[float]] = {}
        self._judged: set[Variant] = set()
        self._peaks: dict[str, int | None] = {}
        self._rng = np.random.default_rng(0)

    def enter(self, variant: Variant, handle: str) -> SetUp:
        """Open a variant, judged the first time."""
        self._workshop.tell(f"{handle}, to be verified")
        judged = variant not in self._judged
        result = self._workshop.pool.folder / "result.safetensors"
        request = self._request(variant, handle, result if judged else None)
        reply = self._workshop.done(self._framework, request)
        if judged:
            self._verify(variant, request, result)
            self._judged.add(variant)
        self._warm[handle] = list(reply.samples)
        self._peaks[handle] = reply.peak_host_bytes
        return reply

    def leave(self) -> None:
        """Close everything, and remove the files."""
        self._workshop.ask(self._framework, CloseWork())
        for path in self._workshop.pool.folder.glob("*.safetensors"):
            path.unlink()

    def hold(self, first: str) -> dict[str, Timed]:
        """Warm up, then time in cycles."""
        for handle in self._warm:
            self._warm_up(handle)
        for name, pid in self._workshop.pool.pids().items():
            if name != self._framework:
                settle(pid)
        self._workshop.tell("timed")
        names = [*self._warm, TWIN]
        samples: dict[str, dict[tuple[int, int], Sequence[float]]] = {name: {} for name in names}
        watch = Watch(self._workshop.pool.pids)
        end = time.monotonic() + SECONDS * len(names)
        for cycle in range(MOST_CYCLES):
            for name in self._rng.permutation(names).tolist():
                samples[name][0, cycle] = self._block(first if name == TWIN else name)
            if cycle + 1 >= FEWEST_CYCLES and time.monotonic() >= end:
                break
        taken = watch.company().taken
        return {name: _timed(samples[first], blocks, self._peaks.get(name), taken) for name, blocks in samples.items()}

    def _request(self, variant: Variant, handle: str, result: Path | None, other_padding: bool = False) -> OpenWork:
        """What opens a variant; its results go to ``result`` where there is one, to be judged."""
        job = Job(variant.case, variant.passed, DTYPE, "cpu", LANES[0], THREADS)
        folder, judge = self._workshop.pool.folder, _judge(variant.case)
        return opening(judge, job, variant.implementation, handle, folder, result=result, other_padding=other_padding)

    def _verify(self, variant: Variant, request: OpenWork, result: Path) -> None:
        """Hold a variant's results against the reference, those with other padding too; raises ``NoAnswer`` where they
        disagree.
        """
        judge = _judge(variant.case)
        tensors = self._taken(request, result)
        paddings = {TAME: partial(self._with_other_padding, variant, result)} if judge.is_padded(variant.passed) else {}
        verdict = judge.judge(variant.passed, DTYPE, tensors, paddings)
        if not verdict.agrees:
            raise NoAnswer(NotDone(DISAGREES, f"{variant.name}: {'; '.join(verdict.reasons) or verdict.status}"))

    def _with_other_padding(self, variant: Variant, result: Path) -> Arrays:
        """The results of a variant with other numbers in the padding, opened and closed for that alone."""
        handle = "other padding"
        request = self._request(variant, handle, result, other_padding=True)
        self._workshop.done(self._framework, request)
        tensors = self._taken(request, result)
        self._workshop.done(self._framework, CloseWork(handles=(handle,)))
        return tensors

    def _taken(self, request: OpenWork, path: Path) -> Arrays:
        """The tensors of the result file that was asked for, which is removed."""
        try:
            result = read_result(path)
            if result.header.case_sha256 != files_sha256(request):
                raise InputError("its result must be of the case that it was given")
        except InputError as error:
            backend = backends()[self._framework]
            raise NoAnswer(self._workshop.pool.distrust(backend, str(error))) from None
        path.unlink()
        return result.tensors

    def _warm_up(self, handle: str) -> None:
        """Call a variant until its times are steady, or ``MOST_WARM_SECONDS`` have passed."""
        samples = self._warm[handle]
        while sum(samples) < MOST_WARM_SECONDS:
            if (len(samples) >= WARM_CALLS or sum(samples) >= WARM_SECONDS) and is_steady(samples):
                return
            samples += self._block(handle)

    def _block(self, handle: str) -> list[float]:
        """Seconds of each call in one short block."""
        request = TimeBlock(handle=handle, seconds=BLOCK_SECONDS, least=1, most=MOST_CALLS)
        return self._workshop.done(self._framework, request).samples


def _timed(
    first: Mapping[tuple[int, int], Sequence[float]],
    blocks: Mapping[tuple[int, int], Sequence[float]],
    peak_bytes: int | None,
    others_cpu: float | None,
) -> Timed:
    """What a variant's blocks amount to, beside those of the ``first`` variant; both have them by opening and cycle."""
    samples = [sample for block in blocks.values() for sample in block]
    ratio = paired_ratio_interval(first, blocks)
    return Timed(float(np.median(samples)), ratio, len(samples), peak_bytes, others_cpu)

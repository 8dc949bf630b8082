"""Time what a worker has opened: set up, first call, blocks of calls, each ended by its fence.

The controller (benchmarks/measure/session.py) opens several implementations, then asks for short blocks in turn;
between its blocks a worker does nothing.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from backends.interface.framework import LANES, Framework
from backends.worker import messages
from backends.worker.memory import call_peak_bytes
from backends.worker.opening import Opened, Timed, opening_of

clock, sleep = time.perf_counter, time.sleep
"""What time is taken with; tests put another one here, so that made-up costs come out exactly."""
FENCE_TRIALS = 3
"""Calls after which a fence is held to leak."""
LEAK_PART = 0.3
"""The part of a call that may still be waited for after its fence, which noise alone can make."""
LEAK_SECONDS = 0.0005
"""Seconds that may still be waited for after a fence, however short the call."""


class FenceLeaks(Exception):
    """``synchronise`` returned before the results were there; the text is one sentence."""


@dataclass
class Timing:
    """A worker's implementations under the clock, by handle; ``lane`` is the one that the process is in."""

    framework: Framework
    opened: dict[str, Opened] = field(default_factory=dict)
    lane: str = LANES[0]

    def open(self, request: messages.OpenWork) -> messages.SetUp:
        """Build one implementation for one pass of a case file, or for a train step of a system, and make the first
        call.

        Raises
        ------
        Unsupported, FenceLeaks
            Whatever the framework raises comes through as it is.
        """
        self._use_lane(request.lane)
        opening = opening_of(self.framework, request)
        started = clock()
        opened = opening.build()
        run, call = opened.run, opened.call
        built = clock()
        call()
        run.synchronise()
        first_call_seconds = clock() - built
        samples: list[float] = []
        peaks: dict[str, int | None] = {}
        if request.result is not None:
            opening.judged(request.result, first_call_seconds)
            peaks = self._peaks(run, call)
            samples = check_fence(run, call)
        self.opened[request.handle] = opened
        return messages.SetUp(
            build_seconds=built - started,
            first_call_seconds=first_call_seconds,
            samples=samples,
            path=run.path(),
            **peaks,
        )

    def block(self, request: messages.TimeBlock) -> messages.Samples:
        """Call again and again, at least ``least`` and at most ``most`` times, until ``seconds`` are over."""
        opened = self.opened[request.handle]
        call, synchronise, now = opened.call, opened.run.synchronise, clock
        samples: list[float] = []
        least, most = request.least, request.most
        gc.disable()
        try:
            end = now() + request.seconds
            while len(samples) < least or (len(samples) < most and now() < end):
                started = now()
                call()
                synchronise()
                samples.append(now() - started)
        finally:
            gc.enable()
        return messages.Samples(samples=samples)

    def kernels(self, request: messages.ListKernels) -> messages.Kernels:
        """What really runs in an opened implementation's pass; slow, and never between blocks."""
        opened = self.opened[request.handle]
        return messages.Kernels(kernels=opened.run.kernels(opened.work))

    def close(self, request: messages.CloseWork) -> messages.Done:
        """Let go of the handles given, or of all."""
        for handle in list(self.opened) if request.handles is None else request.handles:
            self.opened.pop(handle, None)
        gc.collect()
        return messages.Done()

    def _use_lane(self, lane: str) -> None:
        """Go into a lane, or stay in it; what is open cannot change it."""
        if lane != self.lane:
            if self.opened:
                raise RuntimeError(f"a process must stay in its lane, {self.lane}; got {lane}")
            self.framework.use_lane(lane)
            self.lane = lane

    def _peaks(self, run: Timed, call: Callable[[], None]) -> dict[str, int | None]:
        """Peak memory over calls after the first."""

        def fenced() -> None:
            call()
            run.synchronise()

        self.framework.reset_peak()
        return {"peak_host_bytes": call_peak_bytes(fenced), "peak_device_bytes": self.framework.peak_device_bytes()}


def check_fence(run: Timed, call: Callable[[], None]) -> list[float]:
    """Raise ``FenceLeaks`` when results are still being computed after ``synchronise``: an extraction waits for them
    then, and one after a pause does not. Else the seconds of the calls.
    """
    calls, extractions, later = [], [], []
    for _ in range(FENCE_TRIALS):
        called, extracted = _call_and_extract(run, call, 0.0)
        calls.append(called)
        extractions.append(extracted)
        later.append(_call_and_extract(run, call, called + extracted)[1])
        waited = min(extractions) - min(later)
        if waited <= max(LEAK_SECONDS, LEAK_PART * (min(calls) + waited)):
            return calls
    raise FenceLeaks(
        f"synchronise must return when the results are there; it did after {min(calls) * 1e3:.1f} ms, and "
        f"{waited * 1e3:.1f} ms more were needed"
    )


def _call_and_extract(run: Timed, call: Callable[[], None], pause: float) -> tuple[float, float]:
    """Seconds of a call with its fence, and of the extraction of its results after a pause."""
    started = clock()
    call()
    run.synchronise()
    fenced = clock()
    sleep(pause)
    extracting = clock()
    run.extract()
    return fenced - started, clock() - extracting

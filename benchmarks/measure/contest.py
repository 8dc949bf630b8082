"""One job in one set of fresh processes: open every implementation, warm up, and time them in turn.

Blocks are short and their order is drawn anew in each cycle, so that whatever changes the machine's speed meets all
implementations alike. One implementation runs twice, as A and A': how far the two come out apart is noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np

from backends.pool.pool import Pool
from backends.pool.waiting import result_of
from backends.registry import Backend, backends
from backends.worker.messages import (
    CloseWork,
    ListKernels,
    NotDone,
    TimeBlock,
)
from benchmarks.analysis.statistics import is_steady, median_interval
from benchmarks.machine.company import Watch
from benchmarks.machine.idleness import settle, total_cpu_seconds
from benchmarks.measure.failures import Failure, failure_of
from benchmarks.measure.judging import Judge, SystemJudge
from benchmarks.measure.opener import ContestResult, Opener, Runner
from benchmarks.measure.settings import Job
from benchmarks.store.records import (
    CRASHED,
    OUT_OF_MEMORY,
    TIMED_OUT,
    Block,
)

BLOCK_SECONDS = 0.03
"""Seconds of a block of calls."""
MOST_CALLS = 200
"""Calls of a block, at most."""
WARM_CALLS = 9
"""Calls of a warm-up, at least, unless ``WARM_SECONDS`` are over first."""
WARM_SECONDS = 0.05
"""Seconds of a warm-up, at least, unless ``WARM_CALLS`` have been made first."""
MOST_WARM_CALLS = 60
"""Calls of a warm-up of which the samples do not get steady; it ends when ``MOST_WARM_SECONDS`` are over, too."""
MOST_WARM_SECONDS = 3.0
"""Seconds of a warm-up of which the samples do not get steady; it ends when ``MOST_WARM_CALLS`` have been made, too."""
FEWEST_CYCLES, MOST_CYCLES = 3, 20
"""Fewer cycles say nothing of the noise, so they are run even when a job's share of the budget is over."""
NARROW = 0.01
"""An interval is narrow enough when its half width is at most this part of the median."""
FALLING = 0.9
"""Noise still falls when the widest interval is below this part of what it was ``LOOKED_BACK`` cycles ago."""
LOOKED_BACK = 3
"""Cycles over which it is told whether noise still falls."""
NARROW_ENOUGH, NO_LONGER_FALLS, BUDGET = "interval narrow enough", "noise no longer falls", "budget"
"""Why a contest stopped."""
MOST_CYCLES_DONE = f"{MOST_CYCLES} cycles"
"""Why a contest stopped that did not before."""
DIED = (CRASHED, TIMED_OUT, OUT_OF_MEMORY)
"""Failures after which the worker is another one."""


class Contest:
    """One job, one set of processes.

    Parameters
    ----------
    pool
        Fresh workers.
    job, judge
        What to time, and its judge.
    process
        The number of this set of processes in the run.
    rng
        Draws the order.
    timeout_seconds
        After which a call to a worker is killed.
    report
        Called with each block as soon as it is there.
    """

    def __init__(
        self,
        pool: Pool,
        job: Job,
        judge: Judge | SystemJudge,
        *,
        run: str,
        process: int,
        rng: np.random.Generator,
        timeout_seconds: float,
        report: Callable[[Block], None],
    ) -> None:
        self._pool, self._job = pool, job
        self._run, self._process, self._rng = run, process, rng
        self._timeout = timeout_seconds
        self._report = report
        self._runners: list[Runner] = []
        self._last: str | None = None
        self._end = np.inf
        self.result = ContestResult()
        self._opener = Opener(pool, job, judge, timeout_seconds, self.result)

    def hold(
        self, implementations: Sequence[str], twin: str, unknown: set[str], deadline: float, end: float = np.inf
    ) -> ContestResult:
        """Time the implementations until ``deadline`` (of time.monotonic) or until more time would not help.

        At ``end``, that of the budget, it stops after the block or opening at work, however few cycles there are.
        ``twin`` runs a second time beside itself; ``unknown`` are those that have not been judged yet.
        """
        self._end = end
        try:
            names = self._rng.permutation(list(implementations)).tolist()
            if unknown:
                for name in names:
                    self._enter(name, 0, name in unknown)
            else:  # set-up and first call have been timed in an earlier process
                self._in_each_framework(names, lambda name: self._enter(name, 0, False))
                self._runners.sort(key=lambda runner: names.index(runner.key.implementation))
            if any(runner.key.implementation == twin for runner in self._runners):
                self._enter(twin, 1, False)
            watch = Watch(self._pool.pids)
            for runner in self._in_random_order():
                self._warm_up(runner)
            self._time(deadline)
            self.result.company = watch.company()
            asked = [each.key.implementation for each in self._runners if each.twin == 0]
            self._in_each_framework([name for name in asked if name in unknown], self._note_kernels)
        finally:
            self._remove_files()
        for backend in {runner.backend.name: runner.backend for runner in self._runners}.values():
            self._pool.ask(backend, CloseWork(), self._timeout)
        return self.result

    def _in_each_framework(self, names: Sequence[str], work: Callable[[str], None]) -> None:
        """Do something that is not timed for each implementation, frameworks side by side."""
        groups: dict[str, list[str]] = {}
        for name in names:
            groups.setdefault(self._job.key(name).framework, []).append(name)

        def in_turn(group: list[str]) -> None:
            for name in group:
                work(name)

        with ThreadPoolExecutor(max_workers=len(groups) or 1) as threads:
            try:
                for done in [threads.submit(in_turn, group) for group in groups.values()]:
                    result_of(done)
            except BaseException:  # Ctrl-C: whoever waits for a worker learns that it died
                self._pool.kill()
                raise

    def _note_kernels(self, name: str) -> None:
        """Ask what really runs in an implementation."""
        runner = next(each for each in self._runners if each.key.implementation == name and each.twin == 0)
        reply = self._opener.ask(runner, ListKernels(handle=runner.handle))
        self.result.kernels[runner.key] = [] if isinstance(reply, NotDone) else reply.kernels

    # Opening.

    def _is_over(self) -> bool:
        """Whether the budget is; the reason to stop is noted then."""
        over = time.monotonic() >= self._end
        self.result.stop = BUDGET if over else self.result.stop
        return over

    def _enter(self, name: str, twin: int, judged: bool) -> None:
        """Open an implementation and let it take part, unless the budget is over or it cannot be opened."""
        if self._is_over():
            return
        key = self._job.key(name)
        runner = Runner(key, twin, backends()[key.framework], [])
        if self._opener.open(runner, judged):
            self._runners.append(runner)
        elif self.result.failures[key].status in DIED:
            self._reopen(runner.backend)

    def _remove_files(self) -> None:
        """Remove what the workers were given."""
        for path in self._pool.folder.glob("*.safetensors"):
            path.unlink()

    # Timing.

    def _warm_up(self, runner: Runner) -> None:
        """Call until the samples are steady, or until enough calls have been made to say that they will not be."""
        while not runner.steady and runner.key not in self.result.failures:
            if self._is_over():
                return
            enough = len(runner.warm) >= WARM_CALLS or sum(runner.warm) >= WARM_SECONDS
            if enough and is_steady(runner.warm):
                runner.steady = True
            elif len(runner.warm) >= MOST_WARM_CALLS and sum(runner.warm) >= MOST_WARM_SECONDS:
                break
            else:
                runner.warm += self._block(runner, cycle=-1)
        if not runner.steady:
            self.result.unsteady.add(runner.key)

    def _time(self, deadline: float) -> None:
        """Time blocks in cycles until ``deadline`` at most; ``self.result.stop`` says why there are no more."""
        widths: list[float] = []
        for cycle in range(MOST_CYCLES):
            for runner in self._in_random_order():
                if self._is_over():
                    return
                if runner.key not in self.result.failures:  # one may fail while others of this cycle wait
                    runner.timed += self._block(runner, cycle)
            if not self._runners:
                return
            widths.append(max(median_interval([runner.timed]).half_width for runner in self._runners if runner.timed))
            if cycle + 1 >= FEWEST_CYCLES and widths[-1] <= NARROW:
                self.result.stop = NARROW_ENOUGH
            elif cycle + 1 >= FEWEST_CYCLES + LOOKED_BACK and widths[-1] > FALLING * widths[-1 - LOOKED_BACK]:
                self.result.stop = NO_LONGER_FALLS
            elif cycle + 1 >= FEWEST_CYCLES and time.monotonic() >= deadline:
                self.result.stop = BUDGET
            if self.result.stop:
                return
        self.result.stop = MOST_CYCLES_DONE

    def _block(self, runner: Runner, cycle: int) -> list[float]:
        """The samples of one block of calls, in seconds, which are stored, too; none where the block failed, and the
        runner is left out from then on.

        ``cycle`` is -1 in the warm-up. Before it, the worker of another framework that ran last comes to rest; while it
        runs, the CPU time of all other workers is counted.
        """
        pids = self._pool.pids()
        if self._last is not None and self._last != runner.backend.name and self._last in pids:
            settle(pids[self._last])
        self._last = runner.backend.name
        others = [pid for name, pid in pids.items() if name != runner.backend.name]
        before, started, clock = total_cpu_seconds(others), datetime.now(UTC), time.perf_counter()
        request = TimeBlock(handle=runner.handle, seconds=BLOCK_SECONDS, least=1, most=MOST_CALLS)
        reply = self._opener.ask(runner, request)
        others_cpu = (total_cpu_seconds(others) - before) / (time.perf_counter() - clock)
        if isinstance(reply, NotDone):
            self._drop(runner, failure_of(reply))
            return []
        samples = tuple(reply.samples)
        self._report(
            Block(self._run, runner.key, self._process, cycle, runner.twin, cycle < 0, started, samples, others_cpu)
        )
        return list(samples)

    def _drop(self, runner: Runner, failure: Failure) -> None:
        """Take a failed implementation out; when its worker died, open the framework's others in a new one."""
        self.result.failures[runner.key] = failure
        self._runners = [each for each in self._runners if each.key != runner.key]
        if failure.status in DIED:
            self._reopen(runner.backend)

    def _reopen(self, backend: Backend) -> None:
        """Open a framework's others in a new worker; anew without each that ends that one, too."""
        others = [each for each in self._runners if each.backend == backend]
        for runner in others:
            if not self._opener.open(runner, judged=False):
                self._runners.remove(runner)
                if self.result.failures[runner.key].status in DIED:
                    self._reopen(backend)
                    return

    def _in_random_order(self) -> list[Runner]:
        """The runners in an order that is drawn."""
        return [self._runners[i] for i in self._rng.permutation(len(self._runners))]

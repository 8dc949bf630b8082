"""Fuzz: draw cases until the time is over, judge each in an implementation, and make a failure as small as it gets.

Hypothesis draws and shrinks. Time is shared by implementation, so that a framework that compiles for seconds starves
none that does not: the next batch of draws goes to whoever has had least time, and each framework is at one batch at
most. A batch is drawn from the seed, the implementation and its number, so that a run can be repeated.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from backends.pool.pool import Pool
from backends.pool.selection import Selection
from backends.pool.waiting import result_of
from backends.studies.cases import CaseFile, CaseStudy, Plan
from backends.studies.study import Outcome
from common.case import Case
from common.cases.builtin import CELLS
from common.cases.fuzzed import Draw, case_of, draws
from common.errors import InputError
from common.judging.agreement import NOT_JUDGED
from common.result import Result

BATCH = 12
"""Draws between two looks at who has had least time, unless the fuzzer is given another number."""
MOST_FAILURES = 3
"""Failures of an implementation after which it is left alone."""
SHRINK_SECONDS = 60.0
"""How long a failure is made smaller at most."""


@dataclass
class Covered:
    """What a run has seen of one implementation, and how long it took; ``unequal`` counts second calls that were not
    equal to the first to the last bit; ``no_gradients`` says why none was judged of cases that ask for them.
    """

    implementation: str
    cases: int = 0
    judged: int = 0
    declined: int = 0
    not_judged: int = 0
    unequal: int = 0
    seconds: float = 0.0
    cells: Counter[str] = field(default_factory=Counter)
    shapes: set[tuple[int, ...]] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)
    batches: int = 0
    no_gradients: str = ""


def fair_slice(seconds: float, cores: int, count: int) -> float:
    """How long a batch may draw, so that each of ``count`` implementations has its turn within ``seconds``: half of its
    share, since the case that it is at is brought to its end.
    """
    return seconds * cores / count / 2


@dataclass(frozen=True)
class Failure:
    """The smallest draw found that fails, with its case and what became of that."""

    implementation: str
    draw: Draw
    case: Case
    outcome: Outcome


class _Study(CaseStudy):
    """A study of one case, which remembers whether a second call was equal to the first, and removes its files."""

    unequal = False

    def __init__(self, pool: Pool, framework: str, *arguments: Any) -> None:
        super().__init__(pool, *arguments)
        self._framework = framework
        self._written: list[Path] = []

    def remove_files(self) -> None:
        """Remove what was written for the worker."""
        for path in self._written:
            path.unlink(missing_ok=True)

    def _write(self, case: Case, suffix: str) -> CaseFile:
        file = super()._write(case, f"{suffix}-{self._framework}")  # the same case may be drawn for another one
        self._written.append(file.path)
        return file

    def _judge(self, *arguments: Any) -> Any:
        others: Mapping[str, Result] = arguments[-1]
        self.unequal = "again" in others
        return super()._judge(*arguments)


class Fuzzer:
    """Fuzzes the selected implementations; ``report`` is called with each outcome, one at a time.

    Parameters
    ----------
    pool, selection
        The workers, and what was chosen.
    dtypes, device
        What to draw from, and where to run.
    seed
        Of all draws.
    deadline
        The end, of ``time.monotonic()``; None with ``batches``.
    timeout_seconds
        For each answer, and each run of the reference.
    report
        Called with what has been covered of an implementation after each of its cases.
    batches
        So many batches for each implementation, whatever time they take; None: until the deadline.
    gradients
        Whether cases have cotangents.
    cells
        Of ``common.cases.builtin.CELLS``, those to draw from.
    directions
        Of 1 and 2, how many directions to draw from.
    batch
        Draws in a batch.
    slice_seconds
        After so long a batch draws no more, but for its first case; None: it has all its draws.

    Raises
    ------
    InputError
        If Hypothesis is not installed.
    """

    def __init__(
        self,
        pool: Pool,
        selection: Selection,
        dtypes: Sequence[str],
        device: str,
        *,
        seed: int,
        deadline: float | None,
        timeout_seconds: float,
        report: Callable[[Covered], None],
        batches: int | None = None,
        gradients: bool = True,
        cells: Sequence[str] = tuple(CELLS),
        directions: Sequence[int] = (1, 2),
        batch: int = BATCH,
        slice_seconds: float | None = None,
    ) -> None:
        try:
            from hypothesis.configuration import set_hypothesis_home_dir
        except ImportError:
            raise InputError("birnn fuzz needs hypothesis; install it with: pip install 'birnn[fuzz]'") from None
        set_hypothesis_home_dir(pool.folder / "hypothesis")  # else it keeps what it notes in the working folder
        self._pool, self._selection, self._device = pool, selection, device
        self._seed, self._deadline, self._batches = seed, deadline, batches
        self._timeout, self._report, self._batch_size = timeout_seconds, report, batch
        self._slice = slice_seconds
        self._strategy = draws(dtypes, gradients, cells, directions)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._busy: set[str] = set()
        self.covered = {
            f"{framework}/{name}": Covered(f"{framework}/{name}")
            for framework, names in selection.implementations.items()
            for name in names
        }
        self.failures: list[Failure] = []
        self._failed: Counter[str] = Counter()

    def run(self, cores: int) -> None:
        """Fuzz on so many cores; Ctrl-C stops the workers and comes through."""
        with ThreadPoolExecutor(cores) as threads:
            running = [threads.submit(self._core) for _ in range(cores)]
            try:
                for future in running:
                    result_of(future)
            except BaseException:
                self._stopped.set()
                self._pool.kill()
                raise

    def _core(self) -> None:
        """Draw and run cases until the time is over: what one of the cores does."""
        while not self._is_over():
            chosen = self._choose()
            if chosen is None:
                if not self._busy:
                    return
                time.sleep(0.05)  # a framework's only worker is at work
                continue
            started = time.monotonic()
            try:
                self._batch(chosen)
            finally:
                chosen.seconds += time.monotonic() - started
                chosen.batches += 1
                self._busy.discard(chosen.implementation.partition("/")[0])

    def _is_over(self) -> bool:
        """Whether the time is over, or somebody has stopped it."""
        return self._stopped.is_set() or (self._deadline is not None and time.monotonic() > self._deadline)

    def _choose(self) -> Covered | None:
        """The implementation that has had least time, of those whose framework is free."""
        with self._lock:
            free = [
                each
                for name, each in self.covered.items()
                if name.partition("/")[0] not in self._busy
                and self._failed[name] < MOST_FAILURES
                and (self._batches is None or each.batches < self._batches)
            ]
            chosen = min(free, key=lambda each: each.seconds, default=None)
            if chosen is not None:
                self._busy.add(chosen.implementation.partition("/")[0])
            return chosen

    def _batch(self, covered: Covered) -> None:
        """Draw a batch; a failure is made smaller, and kept."""
        from hypothesis import HealthCheck, Phase, find, settings
        from hypothesis.errors import Flaky, NoSuchExample

        failing: dict[Draw, tuple[Case, Outcome]] = {}
        order: list[Draw] = []
        shrink_until: list[float] = []
        drawn_before, started = covered.cases, time.monotonic()

        def is_spent() -> bool:
            used = time.monotonic() - started
            return self._slice is not None and used > self._slice and covered.cases > drawn_before

        def fails(draw: Draw) -> bool:
            if draw in failing:
                return True
            if self._stopped.is_set() or (not failing and (self._is_over() or is_spent())):
                return False
            if shrink_until and time.monotonic() > shrink_until[0]:
                return False
            case = case_of(draw)
            outcome = self._outcome(covered, draw, case)
            if outcome is None or not outcome.wrong or self._stopped.is_set():
                return False
            if failing and outcome.status != failing[order[0]][1].status:  # made smaller, it is another failure
                return False
            failing[draw] = case, outcome
            order.append(draw)
            if not shrink_until:
                shrink_until.append(time.monotonic() + SHRINK_SECONDS)
            return True

        random = Random(f"{self._seed} {covered.implementation} {covered.batches}")
        options = settings(
            max_examples=self._batch_size,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )
        try:
            smallest = find(self._strategy, fails, settings=options, random=random)
        except NoSuchExample:
            return
        except Flaky:  # it failed once and not again
            smallest = order[-1]
        case, outcome = failing[smallest]
        failure = Failure(covered.implementation, smallest, case, outcome)
        with self._lock:
            self._failed[covered.implementation] += 1
            if all((each.implementation, each.draw) != (failure.implementation, smallest) for each in self.failures):
                self.failures.append(failure)

    def _outcome(self, covered: Covered, draw: Draw, case: Case) -> Outcome | None:
        """What became of a case; None where the run was stopped. What is there of it is counted."""
        framework, _, name = covered.implementation.partition("/")
        selection = Selection({framework: [name]}, self._selection.descriptions)
        outcomes: list[Outcome] = []
        plan = Plan([case], [draw.dtype], self._device, self._timeout)
        study = _Study(self._pool, framework, selection, plan, outcomes.append)
        try:
            study.run()
        finally:
            study.remove_files()
        if not outcomes:
            return None
        (outcome,) = outcomes
        covered.cases += 1
        covered.declined += outcome.declined
        covered.no_gradients = covered.no_gradients or outcome.no_gradients
        covered.not_judged += outcome.status == NOT_JUDGED
        if not outcome.declined:
            covered.judged += outcome.status != NOT_JUDGED
            covered.unequal += study.unequal
            covered.cells[draw.cell] += 1
            covered.shapes.add((draw.input_size, draw.hidden_size, draw.num_layers, draw.batch, draw.seq_len))
            covered.paths |= {part for part in outcome.path.split(", ") if part and not part[0].isdigit()}
        with self._lock:
            self._report(covered)
        return outcome

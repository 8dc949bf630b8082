"""A run: round after round of fresh processes, job after job, everything in the store as soon as it is there."""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from backends.pool.calculator import Once
from backends.pool.pool import Pool
from backends.pool.selection import Selection, select
from backends.pool.shared_folder import programs_folder
from backends.registry import backends
from backends.worker.messages import ListPackages, NotDone
from benchmarks.analysis.noise import Floors, floors_of
from benchmarks.analysis.summary import ceilings_of, new_row, with_times
from benchmarks.machine.ceilings import busy_threads, measure_ceilings
from benchmarks.machine.company import Company, wait_for_rest, with_company
from benchmarks.measure.budget import AMPLE, in_turn
from benchmarks.measure.contest import Contest
from benchmarks.measure.judging import Judge, SystemJudge, judge_of
from benchmarks.measure.opener import ContestResult
from benchmarks.measure.settings import Job, Settings
from benchmarks.store.records import (
    NEVER_STEADY,
    NOT_REACHED,
    OUT_OF_MEMORY,
    RETRIED,
    TIMED,
    Block,
    Ceiling,
    Environment,
    Key,
    Look,
    Process,
    Row,
    Run,
)
from benchmarks.store.store import Store
from common.memory import free_bytes
from common.weights import count

ASSUMED_PRODUCT = 5e10
"""Flops a second that estimates assume until the product rate has been measured."""
LAST_JOB = 0.03
"""Part of the budget that is left for the call at work at its end, which is not cut off, and for the end of the run."""
PACKAGES_SECONDS = 60.0
"""How long a worker may take at most to list its packages."""
NUMBERS_HELD = 6
"""Copies of inputs, outputs and weights, float64, that controller and worker hold at once."""


@dataclass
class Progress:
    """Called while measuring: ``job`` before each job, with text, jobs done, jobs in all, and seconds left of the
    budget; ``left`` with these after each block; ``row`` when a row has changed; ``note`` with a sentence for the user.
    """

    job: Callable[[str, int, int, float], None]
    row: Callable[[Row], None]
    note: Callable[[str], None]
    left: Callable[[float], None] = lambda _: None


@dataclass
class Session:
    """Carries a run on until every combination has been measured in as many processes as were asked for, or until the
    budget ends, which began at ``began`` (of time.monotonic()), None for now.
    """

    store: Store
    run: Run
    settings: Settings
    progress: Progress
    retry_failed: bool = False
    began: float | None = None
    _rows: dict[Key, Row] = field(default_factory=dict)
    _blocks: dict[Key, list[Block]] = field(default_factory=lambda: defaultdict(list))
    _unsteady: dict[Key, int] = field(default_factory=lambda: defaultdict(int))
    _compiled: set[Key] = field(default_factory=set)
    _ceilings: list[Ceiling] = field(default_factory=list)
    _process: int = 0
    _deadline: float = 0.0
    _looked: bool = False
    _clock: float = 0.0
    _start_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._rows = {row.key: row for row in self.store.rows(self.run.run)}
        if self.retry_failed:
            self._rows = {key: row for key, row in self._rows.items() if row.status not in RETRIED}
        for key, row in self._rows.items():
            self._unsteady[key] = row.processes if row.status == NEVER_STEADY else 0
        for block in self.store.blocks(self.run.run):
            self._blocks[block.key].append(block)
        self._ceilings = self.store.ceilings(self.run.run)
        self._process = 1 + max((each.ordinal for each in self.store.processes(self.run.run)), default=-1)
        self._rng = np.random.default_rng([self.run.seed, self._process])

    @property
    def rows(self) -> list[Row]:
        """All rows so far."""
        return list(self._rows.values())

    def measure(self) -> bool:
        """Measure; whether everything that was asked for is done. Ctrl-C comes through, and what is there stays."""
        began = time.monotonic() if self.began is None else self.began
        self._deadline = began + (1 - LAST_JOB) * self.settings.budget_seconds
        left: list[Job] = []
        with programs_folder() as programs:
            # JAX compiles each program once a session; what the first process compiled the later ones load.
            variables = {"JAX_COMPILATION_CACHE_DIR": str(programs)}
            for threads in self.settings.threads:
                jobs = [job for job in self.settings.jobs() if job.threads == threads]
                left = jobs
                # A set of processes that would have no time left when it is up is not started.
                while left and time.monotonic() + self._start_seconds < self._deadline:
                    with Pool.open(threads, variables) as pool:
                        left = self._round(pool, jobs)
        floors = floors_of(block for blocks in self._blocks.values() for block in blocks)
        self._put_floors(floors)
        # An environment that broke on the way takes its implementations out of the jobs; their rows are still wanted.
        finished = not left and bool(self._rows) and not any(self._is_wanted(key) for key in self._rows)
        self.store.finish_run(self.run.run, datetime.now(UTC) if finished else None, floors.of_run)
        return finished

    def _round(self, pool: Pool, jobs: Sequence[Job]) -> list[Job]:
        """One set of fresh processes goes once through all jobs that need it; the jobs that need more."""
        threads, began = jobs[0].threads, time.monotonic()
        selection = select(pool, self.settings.patterns)
        environments = environments_of(pool, selection, self.settings.timeout_seconds)
        names = [f"{name}/{each}" for name, group in selection.implementations.items() for each in group]
        self._plan(jobs, names)
        todo = [job for job in jobs if self._wanted(job, names)]
        if not todo:
            return []
        self._start_seconds = time.monotonic() - began
        self._wait(pool, threads)
        self._note_processes(pool, selection, environments, threads)
        if not any(each.threads == threads for each in self._ceilings):
            for dtype in self.settings.dtypes:
                where = (self.run.run, threads, dtype, self.settings.device, self.settings.lane)
                for ceiling in measure_ceilings(pool, selection, *where, self.settings.timeout_seconds):
                    self.store.add_ceiling(ceiling)
                    self._ceilings.append(ceiling)
        by_case: dict[str, list[Job]] = defaultdict(list)
        for job in todo:
            by_case[job.case.name].append(job)
        order = [list(by_case)[i] for i in self._rng.permutation(len(by_case))]
        waiting = in_turn(
            [self._shuffled(by_case[case]) for case in order],
            lambda job: not any(self._rounds_of(job.key(name)) for name in names),
            self._expected(todo, names) < AMPLE * (self._deadline - time.monotonic()),
        )
        judge: Judge | SystemJudge | None = None
        for position, job in enumerate(waiting):
            if time.monotonic() >= self._deadline:
                break
            if judge is None or judge.case != job.case:
                reference = Once(pool.compute, self.settings.timeout_seconds)
                judge = judge_of(job.case, self.settings.tf32, reference)
            self._tell(job, position, waiting, names)
            self._hold(pool, job, judge, names, self._seconds_for(waiting[position:], jobs, names))
        self._process += 1
        return [job for job in jobs if self._wanted(job, names)]

    def _wait(self, pool: Pool, threads: int) -> None:
        """Look at who else is at work; before the first set of processes wait for rest, unpaid by the budget."""
        began = time.monotonic()
        waits = 0.0 if self._looked else self.settings.wait_seconds
        company = wait_for_rest(pool.pids, waits, self.progress.note)
        if not self._looked:
            self._deadline += time.monotonic() - began
        self._looked = True
        self._add_look(company, threads, "")

    def _add_look(self, company: Company, threads: int, what: str) -> None:
        """Put a look at who else is at work into the store."""
        started = datetime.now(UTC) - timedelta(seconds=company.seconds)
        numbers = {name: value for name, value in vars(company).items() if name not in ("seconds", "load")}
        self.store.add_look(
            Look(self.run.run, self._process, threads, what, started, company.seconds, company.load, **numbers)
        )

    def _shuffled(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs in an order that is drawn."""
        return [jobs[i] for i in self._rng.permutation(len(jobs))]

    # What is left to do.

    def _plan(self, jobs: Sequence[Job], names: Sequence[str]) -> None:
        """Put a row for every combination that has none into the store."""
        for job in jobs:
            for name in names:
                key = job.key(name)
                if key not in self._rows:
                    self._put(new_row(self.run.run, key, job.case, self._command(key)))

    def _wanted(self, job: Job, names: Sequence[str]) -> list[str]:
        """The implementations that this job still has to be measured in."""
        return [name for name in names if self._is_wanted(job.key(name))]

    def _is_wanted(self, key: Key) -> bool:
        """Whether a combination still has to be measured."""
        row = self._rows[key]
        if row.status not in (*TIMED, NOT_REACHED):
            return False
        return self._rounds_of(key) < self.settings.processes

    def _rounds_of(self, key: Key) -> int:
        """How many processes have measured a combination to the end.

        Counted in the row, not in the blocks: a process that was killed has left blocks, too.
        """
        return self._rows[key].processes

    def _expected(self, jobs: Sequence[Job], names: Sequence[str]) -> float:
        """Seconds that one round of these jobs is expected to take."""
        product = max((each.value for each in self._ceilings if each.name == "product"), default=ASSUMED_PRODUCT)
        return sum(job.expected_seconds(len(self._wanted(job, names)) + 1, False, product) for job in jobs)

    def _seconds_for(self, waiting: Sequence[Job], jobs: Sequence[Job], names: Sequence[str]) -> float:
        """The first waiting job's share of what is left of the budget, by what each is expected to take."""
        product = max((each.value for each in self._ceilings if each.name == "product"), default=ASSUMED_PRODUCT)

        def expected(job: Job, again: bool) -> float:
            return job.expected_seconds(len(self._wanted(job, names)) + 1, again, product)

        shares = [expected(job, any(self._rounds_of(job.key(name)) for name in names)) for job in waiting]
        later = 0.0
        for job in jobs:
            done = max((self._rounds_of(job.key(name)) for name in names), default=0)
            rounds = self.settings.processes - done - (1 if job in waiting else 0)
            later += max(0, rounds) * expected(job, True)
        return max(0.0, self._deadline - time.monotonic()) * shares[0] / (sum(shares) + later)

    # Measuring.

    def _hold(self, pool: Pool, job: Job, judge: Judge | SystemJudge, names: Sequence[str], seconds: float) -> None:
        """One contest, and what it found out into rows."""
        wanted = self._wanted(job, names)
        if too_large := _too_large(job):
            for name in wanted:
                self._put(replace(self._rows[job.key(name)], status=OUT_OF_MEMORY, reason=too_large))
            return
        # What was judged, but cut off before it had a time, is judged again with all that goes with it.
        unknown = {name for name in wanted if None in (self._rows[job.key(name)].error_rms, self._median(job, name))}
        # The same twin in every process, so that its cycles pair; drawn, so that the floor is not one framework's.
        digest = hashlib.sha256(repr((self.run.seed, job.key(""))).encode()).digest()
        contest = Contest(
            pool,
            job,
            judge,
            run=self.run.run,
            process=self._process,
            rng=self._rng,
            timeout_seconds=self.settings.timeout_seconds,
            report=self._keep,
        )
        twin = sorted(wanted)[int.from_bytes(digest[:8], "big") % len(wanted)]
        result = contest.hold(wanted, twin, unknown, time.monotonic() + seconds, self._deadline)
        if result.company is not None:
            self._clock = max(self._clock, result.company.clock_mhz or 0.0)
            self._add_look(result.company, job.threads, f"{job.case.name}, {job.passed}, {job.dtype}")
        for name in wanted:
            self._note(job, job.key(name), result)

    def _median(self, job: Job, name: str) -> float | None:
        """The median of an implementation's times in a job, so far."""
        return self._rows[job.key(name)].median_seconds

    def _keep(self, block: Block) -> None:
        """Put a block into the store."""
        self.store.add_block(block)
        self.progress.left(max(0.0, self._deadline - time.monotonic()))
        if not block.warmup:
            self._blocks[block.key].append(block)

    def _note(self, job: Job, key: Key, result: ContestResult) -> None:
        """Put what a contest found out about one combination into its row."""
        row = self._rows[key]
        if facts := result.facts.get(key):
            first = {} if key in self._compiled or row.first_call_seconds else asdict(facts)
            self._compiled.add(key)
            first = {name: value for name, value in first.items() if value is not None}
            row = replace(row, **first, kernels=result.kernels.get(key, row.kernels), stop=result.stop)
        row = replace(row, **self._process_facts(key))
        if failure := result.failures.get(key):
            row = replace(row, status=failure.status, reason=failure.reason, log=failure.log)
        elif any(block.process == self._process for block in self._blocks[key]):  # else the budget cut it off before
            self._unsteady[key] += key in result.unsteady
            ceilings = ceilings_of(self._ceilings, key)
            rounds = row.processes + 1
            row = with_times(row, self._blocks[key], job.case, ceilings, self._unsteady[key], rounds)
            if result.company is not None:
                row = with_company(row, result.company, self._clock)
        self._put(row)

    def _process_facts(self, key: Key) -> dict[str, Any]:
        """What a row tells of the process that it was measured in."""
        process = self._processes[key.framework]
        return {"import_seconds": process.import_seconds, "environment": process.environment}

    def _put(self, row: Row) -> None:
        """Put a row into the store."""
        self._rows[row.key] = row
        self.store.put_row(row)
        self.progress.row(row)

    def _put_floors(self, floors: Floors) -> None:
        """Put each job's noise floor into its rows that have times."""
        with self.store.transaction():
            for key, row in self._rows.items():
                floor = floors.of_job.get(key.job)
                if floor is None or row.status not in TIMED:
                    continue
                changes: dict[str, Any] = {
                    "noise_floor": floor.part,
                    "noise_floor_low": floor.low,
                    "noise_floor_high": floor.high,
                }
                if any(getattr(row, name) != value for name, value in changes.items()):
                    self._rows[key] = replace(row, **changes)
                    self.store.put_row(self._rows[key])

    def _tell(self, job: Job, position: int, waiting: Sequence[Job], names: Sequence[str]) -> None:
        """Tell of the job that begins."""
        text = f"process {self._process + 1}: {job.case.name} {job.passed} {job.dtype}"
        self.progress.job(text, position, len(waiting), max(0.0, self._deadline - time.monotonic()))

    def _note_processes(
        self, pool: Pool, selection: Selection, environments: Mapping[str, Environment], threads: int
    ) -> None:
        """Put the round's processes and their environments into the store."""
        for text in selection.notes():
            self.progress.note(text)
        self._processes: dict[str, Process] = {}
        for name, environment in environments.items():
            self.store.add_environment(environment)
            process = Process(
                self.run.run,
                name,
                environment.environment,
                self._process,
                threads,
                pool.worker(backends()[name]).start_seconds,
                busy_threads(pool, backends()[name], threads, self.settings.timeout_seconds),
            )
            self.store.add_process(process)
            self._processes[name] = process

    def _command(self, key: Key) -> str:
        """The command that measures one combination again."""
        return (
            f"birnn bench --cases {self.settings.set_name} --case {key.case} --implementation {key.implementation} "
            f"--passes {key.passed} --dtype {key.dtype} --device {key.device} --lane {key.lane} --threads {key.threads}"
        )


def environments_of(pool: Pool, selection: Selection, timeout_seconds: float) -> dict[str, Environment]:
    """The started backends' environments with their full package lists, by name; the selection loses those whose worker
    has none.
    """
    environments = {}
    for name, description in list(selection.descriptions.items()):
        versions = description.versions
        reply = pool.ask(backends()[name], ListPackages(), min(PACKAGES_SECONDS, timeout_seconds))
        if isinstance(reply, NotDone):
            selection.lose(name, reply.reason)
            continue
        packages = reply.packages
        digest = hashlib.sha256(json.dumps([name, versions, packages], sort_keys=True).encode()).hexdigest()
        environments[name] = Environment(digest[:12], name, versions, packages)
    return environments


def _too_large(job: Job) -> str:
    """Why a case does not fit into this machine's memory, or ""."""
    spec = job.case.spec
    numbers = job.case.batch * job.case.seq_len * (spec.input_size + spec.output_size * spec.num_layers)
    numbers += count(spec) if job.case.system is None else job.case.system_numbers()
    needed, free = NUMBERS_HELD * 8 * numbers, free_bytes()
    if free is None or needed <= free:
        return ""
    return f"the case needs about {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory are free"

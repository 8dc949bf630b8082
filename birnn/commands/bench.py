"""What ``birnn bench`` does: read the wishes, measure with progress, print tables, explain, examine the description."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from backends.interface.framework import LANES
from backends.interface.gaps import DECLINED, DEVICES
from backends.interface.layer import PASSES
from backends.pool.pool import Pool
from backends.pool.selection import Selection, select
from backends.registry import backends
from backends.worker.messages import CanRunLayer, CanTrainSystem, Done, NotDone, WorkerRequest
from benchmarks.analysis.noise import floors_of, noise_sentence
from benchmarks.cases.case import PASSES_OF_SYSTEM
from benchmarks.cases.files import load_set
from benchmarks.machine import description
from benchmarks.machine.company import unfit
from benchmarks.measure.budget import require_room
from benchmarks.measure.runs import commit_of_suite, measuring_sources, run_for
from benchmarks.measure.session import ASSUMED_PRODUCT, Session, environments_of
from benchmarks.measure.settings import Job, Settings
from benchmarks.report.table import QUANTITIES, Grid, TableCell, cell_text, grids, in_order, quantity_grids
from benchmarks.store.placing import is_new
from benchmarks.store.records import NOT_JUDGED, RETRIED, TIMED, Key, Row, Run
from benchmarks.store.store import Store
from birnn import exit_codes
from birnn.commands.bench_progress import ProgressBar
from birnn.display import close_table, print_fitting, say_written, stderr, stdout
from birnn.options import each_once, one_of
from common.errors import InputError, shown
from common.judging.precision import DTYPES

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
"""Seconds of each unit in which a budget can be given."""
LARGEST_BUDGET = 10_000 * UNITS["h"]
"""Seconds of the largest budget that is taken."""


@dataclass(frozen=True)
class Wishes:
    """The options of ``birnn bench`` as they were typed."""

    cases: str
    case_patterns: Sequence[str]
    patterns: Sequence[str]
    passes: str | None
    dtypes: Sequence[str]
    device: str
    lane: str
    threads: Sequence[int]
    processes: int
    budget: str
    timeout_seconds: float
    wait_seconds: float = 0.0
    show: Sequence[str] = ()
    own: Sequence[str] = ()
    """A layer of the user's, which stands beside what is chosen."""

    def settings(self) -> Settings:
        """The options checked, with the set's defaults filled in; an ``InputError`` names the option."""
        for each in self.show:
            one_of("--show", each, tuple(QUANTITIES))
        chosen = load_set(self.cases)
        kept = tuple(
            case
            for case in chosen.cases
            if not self.case_patterns or any(fnmatchcase(case.name, pattern) for pattern in self.case_patterns)
        )
        if not kept:
            raise InputError(
                f"--case must match one of {', '.join(case.name for case in chosen.cases)}; "
                f"got {shown(', '.join(self.case_patterns))}"
            )
        passes = () if self.passes is None else tuple(each_once([part.strip() for part in self.passes.split(",")]))
        passes = tuple(one_of("--passes", passed, PASSES) for passed in passes)
        systems = [case.name for case in kept if case.system is not None]
        if systems and passes not in ((), PASSES_OF_SYSTEM):
            raise InputError(f"--passes must be train_step alone for the system {systems[0]}; got {shown(self.passes)}")
        return Settings.of_set(
            chosen.model_copy(update={"cases": kept, "name": self.cases}),
            passes,
            patterns=(*(self.patterns or chosen.implementations), *self.own),
            dtypes=tuple(one_of("--dtype", dtype, DTYPES) for dtype in each_once(self.dtypes)) or chosen.dtypes,
            device=one_of("--device", self.device, DEVICES),
            lane=one_of("--lane", self.lane, LANES),
            threads=tuple(dict.fromkeys(self.threads)) or (len(os.sched_getaffinity(0)),),
            processes=self.processes,
            budget_seconds=seconds_from(self.budget),
            timeout_seconds=self.timeout_seconds,
            wait_seconds=self.wait_seconds,
        )


def seconds_from(text: str, option: str = "--budget") -> float:
    """``"90s"``, ``"10m"`` or ``"2h"`` in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    seconds = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not 0 < seconds <= LARGEST_BUDGET:
        raise InputError(
            f"{option} must be a number of s, m or h, such as 90s, 10m or 2h, 10,000h at most; got {shown(text)}"
        )
    return seconds


def bench(wishes: Wishes, path: Path, *, label: str, seed: int | None, again: bool, retry_failed: bool) -> int:
    """Measure what is still to be measured, and print the tables."""
    settings = wishes.settings()
    require_room(settings, ASSUMED_PRODUCT)
    notes, began = stderr(), time.monotonic()
    with Store.open(path, write=True) as store:
        if store.note:
            notes.print(f"birnn: {store.note}", markup=False)
        with notes.status("starting a worker in each environment"):
            environments, selection = _environments(settings)
        broken = list(selection.broken.values())
        if not any(selection.implementations.values()):  # a run of nothing would be finished at once
            for text in broken or ["at least one implementation must be there to measure; there is none"]:
                notes.print(f"birnn: {text}", markup=False)
            return exit_codes.decide(wrong=False, broken=bool(broken), checked=False)
        command = shlex.join(["birnn", *without_store(sys.argv[1:])])
        run = run_for(
            store,
            settings,
            environments,
            measuring_sources(selection),
            label=label,
            seed=seed,
            command=command,
            again=again,
        )
        interrupted = False
        with ProgressBar(notes) as told:
            session = Session(store, run, settings, told, retry_failed, began)
            try:
                finished = session.measure()
            except KeyboardInterrupt:
                interrupted = True
        rows = store.rows(run.run)
        print_run(stdout(), store, run, rows, wishes.show)
        say_written(path, f"run {run.run}")
        if interrupted:
            notes.print("birnn: interrupted; the same command goes on where this one stopped", markup=False)
            return exit_codes.INTERRUPTED
        if not finished:
            notes.print("birnn: the budget is over; the same command goes on where this one stopped", markup=False)
    return exit_code(rows, broken=bool(broken))


def exit_code(rows: Sequence[Row], *, broken: bool) -> int:
    """The code of ``bench``; what could not be judged leaves everything open that is not wrong."""
    statuses = {row.status for row in rows}
    return exit_codes.decide(
        wrong=not statuses.isdisjoint(RETRIED),
        broken=broken,
        checked=not statuses.isdisjoint(TIMED) and NOT_JUDGED not in statuses,
    )


def without_store(arguments: Sequence[str]) -> list[str]:
    """The arguments but for ``--store``: where a store lay says nothing of what it holds, and something of the user."""
    kept: list[str] = []
    skipped = False
    for argument in arguments:
        if not (skipped or argument.startswith("--store")):
            kept.append(argument)
        skipped = argument == "--store"
    return kept


def print_run(console: Console, store: Store, run: Run, rows: Sequence[Row], show: Sequence[str] = ()) -> None:
    """A run's tables, below what spoilt them, what has no times with the reason, and the noise floor."""
    blocks = store.blocks(run.run)
    floors = floors_of(blocks)
    if warning := unfit(in_order(rows, run), store.processes(run.run), store.looks(run.run)):
        console.print(warning, style="bold red", markup=False, soft_wrap=True)
    ordered = in_order(rows, run)
    for grid in [*grids(ordered, blocks, floors.of_job), *quantity_grids(ordered, show)]:
        print_grid(console, grid)
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        if row.status not in TIMED:
            reasons.setdefault((row.status, row.key.implementation, row.reason), []).append(row.key.case)
    for (status, implementation, reason), cases in reasons.items():
        where = cases[0] if len(cases) == 1 else f"{len(cases)} combinations"
        console.print(f"[dim]{status}[/dim] {escape(f'{implementation}, {where}: {reason}')}", soft_wrap=True)
    console.print(f"run {run.run}. {noise_sentence(floors)}", soft_wrap=True)


def print_grid(console: Console, grid: Grid) -> None:
    """A grid with its heading: implementations across, or down where the console is too narrow for that."""
    console.print(grid.heading, soft_wrap=True)
    print_fitting(console, [rich_table(grid)], [tall_table(grid)])


def rich_table(grid: Grid) -> Table:
    """A grid for the terminal."""
    table = Table()
    table.add_column("case", no_wrap=True)
    for name in grid.implementations:
        table.add_column(escape(name.replace("/", "/\n")), justify="right")
    limited = any(limit for _, _, limit in grid.lines)
    if limited:
        table.add_column("limit", justify="right")
    for case, cells, limit in grid.lines:
        table.add_row(escape(case), *map(_marked_up, cells), *([limit] if limited else []))
    return table


def tall_table(grid: Grid) -> Table:
    """A grid for a narrow terminal: one row an implementation, below the case and its limit."""
    table = close_table()
    table.show_header = False
    table.add_column("", overflow="fold")
    table.add_column("", justify="right", overflow="fold")
    for case, cells, limit in grid.lines:
        table.add_row(f"[bold]{escape(case)}[/bold]", f"[dim]limit {limit}[/dim]" if limit else "")
        for name, cell in zip(grid.implementations, cells, strict=True):
            if cell.text:
                table.add_row(f"  {escape(name)}", _marked_up(cell))
    return table


def _marked_up(cell: TableCell) -> str:
    """The text of a cell, bold where it is the fastest of its row."""
    return f"[bold]{cell.text}[/bold]" if cell.fastest else cell.text


def explain(wishes: Wishes, path: Path) -> int:
    """Print of each combination that it will run, that it has been measured, or why it will not run; the exit code."""
    settings = wishes.settings()
    known: dict[Key, Row] = {}
    with Pool.open(settings.threads[0]) as pool:
        selection = select(pool, settings.patterns)
        if not is_new(path):
            with Store.open(path) as store:
                run = store.latest_run(_fingerprint(pool, selection, settings))
                known = {row.key: row for row in store.rows(run.run)} if run else {}
        answers: list[str] = []
        table = close_table()
        for name in ("case, pass, dtype, implementation", "will it run?"):
            table.add_column(name, overflow="fold")
        for job in settings.jobs():
            table.add_row(f"[bold]{escape(job.case.name)} {job.passed} {job.dtype}[/bold]", "")
            for framework, names in selection.implementations.items():
                for name in names:
                    key = job.key(f"{framework}/{name}")
                    answer = _answer(pool, job, key, known.get(key), settings.timeout_seconds)
                    answers.append(answer)
                    table.add_row(f"  {escape(key.implementation)}", escape(answer))
        for text in selection.notes():
            stderr().print(f"birnn: {text}", markup=False)
    stdout().print(table)
    runs = any(not answer.startswith("no") for answer in answers)
    return exit_codes.decide(wrong=False, broken=bool(selection.broken), checked=runs)


def _answer(pool: Pool, job: Job, key: Key, row: Row | None, timeout_seconds: float) -> str:
    """Whether an implementation runs a job, from its row in the store where there is one, else from its worker:
    ``yes``, ``measured: …`` or ``no, …``.
    """
    if row is not None and row.status in TIMED:
        return f"measured: {cell_text(row)} ms"
    if row is not None and row.status in (*RETRIED, *DECLINED, NOT_JUDGED):
        hint = "; --retry-failed tries it again" if row.status in RETRIED else ""
        return f"no, {row.status}: {row.reason}{hint}"
    case = job.case
    request: dict[str, Any] = {
        "implementation": key.implementation.partition("/")[2],
        "dtype": job.dtype,
        "device": job.device,
        "batch": case.batch,
        "seq_len": case.seq_len,
        "lengths": case.drawn_lengths(),
    }
    asked: WorkerRequest[Done] = (
        CanRunLayer(**request, spec=case.spec, work=job.passed)
        if case.system is None
        else CanTrainSystem(**request, system=case.system)
    )
    reply = pool.ask(backends()[key.framework], asked, timeout_seconds)
    return f"no, {reply.status}: {reply.reason}" if isinstance(reply, NotDone) else "yes"


def examine(wishes: Wishes) -> int:
    """Whether this machine is fit to measure on, and what to do where it is not."""
    from benchmarks.machine import doctor

    settings = wishes.settings()
    table = Table()
    for name in ("what", "", "found", "what to do"):
        table.add_column(name, overflow="fold")
    marks = {True: "[green]good[/green]", False: "[red]bad[/red]", None: "[dim]unknown[/dim]"}
    with Pool.open(settings.threads[0]) as pool:
        selection = select(pool, settings.patterns)
        checks = doctor.examine(pool, selection, settings.threads[0], settings.device)
    for check in checks:
        table.add_row(check.name, marks[check.ok], escape(check.state), escape("" if check.ok else check.advice))
    stdout().print(table)
    return exit_codes.decide(
        wrong=any(check.ok is False for check in checks),
        broken=bool(selection.broken),
        checked=any(check.ok for check in checks),
    )


def _environments(settings: Settings) -> tuple[list[str], Selection]:
    """The ids of the environments that work, and what is there of what was asked for."""
    with Pool.open(settings.threads[0]) as pool:
        selection = select(pool, settings.patterns)
        environments = environments_of(pool, selection, settings.timeout_seconds)
        return [each.environment for each in environments.values()], selection


def _fingerprint(pool: Pool, selection: Selection, settings: Settings) -> str:
    """The fingerprint of the run that the selected environments would be measured in now."""
    environments = environments_of(pool, selection, settings.timeout_seconds)
    names = [each.environment for each in environments.values()]
    return settings.fingerprint(description.fingerprint(), names, commit_of_suite(), measuring_sources(selection))

"""What ``run`` and ``verify`` share: read cases, run a study with progress, sum it up."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backends.interface.framework import LANES
from backends.interface.gaps import DEVICES
from backends.pool.pool import Pool
from backends.pool.selection import Selection
from backends.studies.cases import CaseStudy, Plan
from backends.studies.study import Outcome, Study
from birnn import exit_codes
from birnn.commands.outcomes import code_of, summed_up
from birnn.commands.workers import workers
from birnn.display import progress
from birnn.options import each_once, one_of
from common.case import Case, read_case
from common.errors import InputError
from common.judging.precision import DTYPES
from common.tensorfile import write_bytes


@dataclass
class StudyResult:
    """A study's outcomes, in the order of the plan, with what was there and how long it took.

    ``seconds`` is wall time from the start of the first worker; ``interrupted`` whether Ctrl-C ended it.
    """

    selection: Selection
    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False

    def summary(self) -> str:
        """One line: how many agree, are unsupported or not offered, could not be judged, and went wrong."""
        text = f"{summed_up(self.outcomes)}; {self.seconds:.1f} s"
        return f"interrupted: {text}" if self.interrupted else text


def read_cases(files: Sequence[Path]) -> list[Case]:
    """Read case files; an ``InputError`` when two have the same name, since their results would lie in one place."""
    cases = [read_case(file) for file in files]
    for name, count in Counter(case.name for case in cases).items():
        if count > 1:
            raise InputError(f"cases must have names of their own; got {name!r} {count} times")
    return cases


def run_study(
    cases: Sequence[Case],
    patterns: Sequence[str],
    dtypes: Sequence[str],
    device: str,
    timeout_seconds: float,
    threads: int,
    *,
    out: Path | None,
    judged: bool,
    resumed: bool,
    lane: str = LANES[0],
    paths: Sequence[Path] = (),
) -> StudyResult:
    """Check the options, start the workers, and run; ``paths`` are the files that the cases were read from, in
    their order, which workers then read themselves.

    Ctrl-C ends the run and leaves what it has.
    """
    chosen = [one_of("--dtype", dtype, DTYPES) for dtype in each_once(dtypes)]
    one_of("--device", device, DEVICES)
    one_of("--lane", lane, LANES)
    there = {case.name: path.resolve() for case, path in zip(cases, paths, strict=False) if path.is_file()}
    files = {case.name: there[case.name] for case in cases if case.file_sha256 and case.name in there}
    plan = Plan(cases, chosen, device, timeout_seconds, out, judged, resumed, lane, files)

    def study(pool: Pool, selection: Selection, report: Callable[[Outcome], None]) -> Study:
        return CaseStudy(pool, selection, plan, report)

    return _run("verifying" if judged else "running", study, patterns, threads)


def _run(
    what: str,
    make: Callable[[Pool, Selection, Callable[[Outcome], None]], Study],
    patterns: Sequence[str],
    threads: int,
) -> StudyResult:
    """Start the workers, run a study with a bar, and put its outcomes in order; Ctrl-C leaves what there is."""
    started = time.monotonic()
    with workers(patterns, threads) as (pool, selection), progress() as bar:
        finding = StudyResult(selection)

        def report(outcome: Outcome) -> None:
            finding.outcomes.append(outcome)
            bar.update(task, advance=1, seconds_left=study.seconds_left())

        study = make(pool, selection, report)
        task = bar.add_task(what, total=study.size())
        try:
            study.run()
        except KeyboardInterrupt:
            finding.interrupted = True
    order = [f"{name}/{chosen}" for name, group in selection.implementations.items() for chosen in group]
    finding.outcomes.sort(key=lambda outcome: order.index(outcome.implementation))
    finding.seconds = time.monotonic() - started
    return finding


def judge_result_files(case: Case, paths: Sequence[Path], lane: str, timeout_seconds: float) -> StudyResult:
    """Judge result files that somebody else wrote for a case; Ctrl-C ends it and leaves what there is."""
    from backends.studies.result_files import judge_files, read_results_of

    one_of("--lane", lane, LANES)
    files = read_results_of(case, paths)
    result = StudyResult(Selection())
    started = time.monotonic()
    with progress() as bar:
        task = bar.add_task("judging", total=len(files))

        def report(outcome: Outcome) -> None:
            result.outcomes.append(outcome)
            bar.advance(task)

        try:
            judge_files(case, files, lane, timeout_seconds, report)
        except KeyboardInterrupt:
            result.interrupted = True
    result.seconds = time.monotonic() - started
    return result


def run_model_study(
    patterns: Sequence[str], dtypes: Sequence[str], device: str, timeout_seconds: float, threads: int
) -> StudyResult:
    """Hold the built-in models, and g2pM's on real sentences, against the reference in every implementation."""
    from backends.studies.models import ModelStudy
    from common.data.g2pm_sentences import g2pm_model_case
    from common.models.small_cases import model_cases

    chosen = [one_of("--dtype", dtype, DTYPES) for dtype in each_once(dtypes)]
    one_of("--device", device, DEVICES)
    cases = [*model_cases(), g2pm_model_case()]

    def study(pool: Pool, selection: Selection, report: Callable[[Outcome], None]) -> Study:
        return ModelStudy(pool, selection, cases, chosen, device, timeout_seconds, report)

    return _run("verifying models", study, patterns, threads)


def exit_code(result: StudyResult) -> int:
    """The code of ``run`` and ``verify``."""
    if result.interrupted:
        return exit_codes.INTERRUPTED
    return code_of(result.outcomes, broken=bool(result.selection.broken))


def write_report(result: StudyResult, cases: Sequence[Case], file: Path) -> None:
    """Write a study as JSON, whole or not at all."""
    content: dict[str, Any] = {
        "version": 1,
        "seconds": result.seconds,
        "interrupted": result.interrupted,
        "backends": {name: each.model_dump() for name, each in result.selection.descriptions.items()},
        "missing": result.selection.missing,
        "broken": result.selection.broken,
        "cases": {
            case.name: {"source": case.source, "spec": case.spec.as_json(), "sha256": case.sha256()} for case in cases
        },
        "outcomes": [outcome.as_json() for outcome in result.outcomes],
    }
    write_bytes(file, (json.dumps(content, indent=1) + "\n").encode())

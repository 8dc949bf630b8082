"""What ``birnn fuzz`` does: draw until the time is over, say what was covered, and write what failed."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.markup import escape

from backends.interface.gaps import DEVICES
from backends.pool.environments import NOTHING_KEPT
from backends.studies.fuzzing import Covered, Failure, Fuzzer, fair_slice
from backends.studies.upstream.script import no_script, script
from birnn import exit_codes
from birnn.commands.bench import seconds_from
from birnn.commands.workers import workers
from birnn.display import close_table, count_of, progress, stderr, stdout
from birnn.options import LARGEST_SEED, each_once, one_of, writable_folder
from common.case import write_case
from common.cases.builtin import CELLS
from common.judging.precision import DTYPES, rounded_case
from common.judging.yardstick import run_reference, truth_dtype
from common.tensorfile import write_bytes


@dataclass(frozen=True)
class Wishes:
    """The arguments of ``birnn fuzz``."""

    patterns: Sequence[str]
    dtypes: Sequence[str]
    cells: Sequence[str]
    directions: Sequence[int]
    device: str
    budget: str
    batches: int | None
    seed: int | None
    out: Path
    gradients: bool
    threads: int
    timeout_seconds: float


def fuzz(wishes: Wishes) -> int:
    """Fuzz, print what was covered and what failed, write the failures; the exit code."""
    dtypes = [one_of("--dtype", dtype, DTYPES) for dtype in each_once(wishes.dtypes)]
    cells = [one_of("--cell", cell, tuple(CELLS)) for cell in each_once(wishes.cells)] or list(CELLS)
    one_of("--device", wishes.device, DEVICES)
    seconds = seconds_from(wishes.budget, "--time")
    writable_folder("--out", wishes.out)
    seed = random.SystemRandom().randrange(LARGEST_SEED) if wishes.seed is None else wishes.seed
    # What is traced and compiled for a drawn case is of use to nobody later.
    interrupted = False
    with workers(wishes.patterns, wishes.threads, variables=NOTHING_KEPT) as (pool, selection), progress() as bar:
        task = bar.add_task("drawing", total=None)
        cores = os.cpu_count() or 1
        count = sum(map(len, selection.implementations.values()))
        fuzzer = Fuzzer(
            pool,
            selection,
            dtypes,
            wishes.device,
            seed=seed,
            deadline=None if wishes.batches else time.monotonic() + seconds,
            timeout_seconds=wishes.timeout_seconds,
            report=lambda covered: bar.update(task, advance=1, description=covered.implementation),
            batches=wishes.batches,
            gradients=wishes.gradients,
            cells=cells,
            directions=wishes.directions,
            slice_seconds=None if wishes.batches else fair_slice(seconds, cores, max(1, count)),
        )
        try:
            fuzzer.run(cores)
        except KeyboardInterrupt:
            interrupted = True
    _print_covered(list(fuzzer.covered.values()))
    for number, failure in enumerate(fuzzer.failures, 1):
        _print_failure(failure, write_failure(failure, number, wishes.out))
    judged = sum(each.judged for each in fuzzer.covered.values())
    cases = sum(each.cases for each in fuzzer.covered.values())
    what = f"{cases} cases drawn, {judged} judged, {len(fuzzer.failures)} failures; seed {seed}"
    stdout().print(f"interrupted: {what}" if interrupted else what, markup=False)
    if interrupted:
        return exit_codes.INTERRUPTED
    without = starved(list(fuzzer.covered.values()))
    if without:
        more = f"nothing was drawn for {', '.join(without)}; give it more --time, or choose fewer with --implementation"
        stdout().print(more, markup=False, soft_wrap=True)
    checked = judged > 0 and not without
    return exit_codes.decide(wrong=bool(fuzzer.failures), broken=bool(selection.broken), checked=checked)


def starved(covered: Sequence[Covered]) -> list[str]:
    """The implementations that came to no draw."""
    return [each.implementation for each in covered if not each.cases]


def _print_covered(covered: Sequence[Covered]) -> None:
    """Print a row for each implementation: what the drawn cases have covered."""
    table = close_table()
    table.add_column("implementation", no_wrap=True)
    for name in ("cases", "judged", "declined", "not judged", "unequal calls", "shapes", "cells", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("paths", overflow="fold")
    for each in covered:
        counts = (
            each.cases,
            each.judged,
            each.declined,
            each.not_judged,
            each.unequal,
            len(each.shapes),
            len(each.cells),
        )
        paths = ", ".join(sorted(each.paths))
        table.add_row(each.implementation, *map(str, counts), f"{each.seconds:.0f}", escape(paths))
    stdout().print(table)
    for each in covered:
        if each.no_gradients:
            what = f"no gradient {each.implementation}, outputs and states alone: {each.no_gradients}"
            stdout().print(what, markup=False, soft_wrap=True)


def write_failure(failure: Failure, number: int, out: Path) -> list[Path]:
    """Write the failing case with the right results in it, and the script where there can be one; gives the files."""
    stem = f"{failure.implementation.replace('/', '-')}-{number}"
    case = replace(failure.case, name=stem, file_sha256=None)
    truth = run_reference(rounded_case(case, failure.draw.dtype), truth_dtype(failure.draw.dtype))
    file = out / f"{stem}.safetensors"
    write_case(replace(case, expected={name: value.astype(float) for name, value in truth.items()}), file)
    if no_script(failure.implementation, failure.draw, failure.outcome.device) is not None:
        return [file]
    text = script(failure.implementation, failure.draw, file.name, failure.outcome)
    write_bytes(out / f"{stem}.py", text.encode())
    return [file, out / f"{stem}.py"]


def _print_failure(failure: Failure, files: Sequence[Path]) -> None:
    """Print a failure, the small case that shows it, and the files that hold it."""
    console = stdout()
    outcome = failure.outcome
    where = f": {outcome.verdict.where}" if outcome.verdict and outcome.verdict.where else ""
    console.print(f"{failure.implementation} {outcome.status} on {failure.draw}{where}", markup=False, soft_wrap=True)
    first, *others = outcome.reason.split("; ")
    more = f"; and {count_of(len(others), 'more reason')}" if others else ""
    console.print(f"    {first}{more}", markup=False, soft_wrap=True)
    if outcome.verdict and outcome.verdict.matches:
        console.print(f"    matches: {'; '.join(outcome.verdict.matches)}", markup=False, soft_wrap=True)
    if why := no_script(failure.implementation, failure.draw, outcome.device):
        console.print(f"    {why}", markup=False, soft_wrap=True)
    stderr().print(f"birnn: wrote {', '.join(map(str, files))}", markup=False)

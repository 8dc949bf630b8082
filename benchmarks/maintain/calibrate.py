"""Calibrate the limits of agreement: how far correct code strays, and how far wrong code is.

    python -m benchmarks.maintain.calibrate

runs every implementation of every framework over many seeds, cells, lengths and sizes, in every dtype that it
supports, the built-in cases in all of them, too, and every known mistake over the built-in cases; it writes
common/judging/thresholds.json and docs/calibration.md. A
limit is ``MARGIN`` times the worst that correct code needed, rounded up to two digits. What cannot be told by the
limits that are there counts for nothing, so it is run again until they stay. ``benchmarks.maintain.simulate`` and
``benchmarks.maintain.naming`` come next. ``--line`` calibrates nothing: it writes the line on top of the page anew, of
which commit and cases the limits are and which cases are there now; ``--line --of COMMIT`` says that they are of that
one, and asks its code for its cases.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import Progress

from backends.interface.gaps import DECLINED
from backends.pool.environments import ROOT
from backends.pool.pool import Pool
from backends.pool.selection import Selection, select
from backends.registry import BUILT_IN
from backends.studies.cases import CaseStudy, Plan
from backends.studies.study import Outcome
from benchmarks.maintain.marked_pages import replaced
from benchmarks.maintain.naming import MARKER as NAMING
from benchmarks.maintain.simulate import MARKER, magnified
from benchmarks.measure.runs import commit_of_suite
from common.case import Case
from common.cases.builtin import CELLS, builtin_cases
from common.cases.seeded import Shape, make_case
from common.judging.agreement import MEASURES, THRESHOLDS_FILE, measure
from common.judging.mistakes.every import mistakes
from common.judging.precision import DTYPES
from common.judging.reordered import FURTHER_LOOPS
from common.judging.yardstick import yardstick
from common.specification import Specification
from common.tensorfile import write_bytes

MARGIN = 2.5
"""How many times the worst error of correct code a threshold is."""
TABLE = Path(__file__).parents[2] / "docs" / "calibration.md"
"""The page with the table of what was measured."""
CALIBRATED = "calibrated"
"""The marker of the line that says of which commit and cases the limits are, and their key in the file of limits."""
MODULES = ("common.cases.builtin", "common.builtin")
"""Where ``builtin_cases`` is, and where it was at commits that may be asked for."""
SIZES: tuple[tuple[Shape, dict[str, Any]], ...] = (
    (Shape(3, 5), {"input_size": 4, "hidden_size": 6, "num_layers": 2, "merge": "concat"}),
    (Shape(1, 1), {"input_size": 3, "hidden_size": 2, "num_layers": 1, "merge": "sum"}),
    (Shape(4, 12), {"input_size": 7, "hidden_size": 5, "num_layers": 2, "merge": "mul"}),
    (Shape(2, 60), {"input_size": 5, "hidden_size": 24, "num_layers": 1, "merge": "concat"}),
    (Shape(8, 20), {"input_size": 33, "hidden_size": 17, "num_layers": 1, "merge": "ave"}),
)
"""The shapes and sizes of the cases that thresholds are calibrated on."""
MAGNITUDES = ((1.0, 1.0), (1.0, 1.0), (1000.0, 1.0), (1.0, 1.0), (0.001, 1.0), (1.0, 4.0), (1.0, 1.0), (30.0, 0.1))
"""What the inputs and the weights are multiplied by, seed by seed."""
Worst = dict[tuple[str, str], dict[str, float]]
"""The worst of each measure, by dtype and kind of tensor."""


def calibration_cases(seeds: int) -> Iterator[Case]:
    """Ragged cases with states and cotangents, for each cell, size and seed, inputs and weights of several magnitudes;
    all rows hold at least one step.
    """
    for cell, change in CELLS.items():
        for number, (shape, sizes) in enumerate(SIZES):
            spec = Specification(bias=True, **change, **sizes)
            for seed in range(seeds):
                lengths = np.random.default_rng(seed).integers(1, shape.seq_len, shape.batch, endpoint=True)
                ragged = Shape(shape.batch, shape.seq_len, tuple(int(length) for length in lengths))
                name = f"{cell}-{number}-{seed}"
                case = make_case(
                    name, spec, ragged, seed=seed, with_states=True, with_cotangents=True, source="calibration"
                )
                inputs, weights = MAGNITUDES[seed % len(MAGNITUDES)]
                yield magnified(case, inputs, weights)


def worst_of_correct_code(outcomes: list[Outcome]) -> Worst:
    """The largest of each measure over all cases and tensors, for each implementation and dtype."""
    worst: Worst = defaultdict(lambda: dict.fromkeys(MEASURES, 0.0))
    for outcome in outcomes:
        if outcome.verdict is not None:
            row = worst[outcome.implementation, outcome.dtype]
            for name in MEASURES:
                row[name] = max(row[name], outcome.verdict.worst(name))
    return worst


def limits_from(worst: Worst) -> dict[str, dict[str, float]]:
    """``MARGIN`` times the worst of all implementations, rounded up to two digits, by dtype and measure."""
    return {
        dtype: {
            name: _rounded_up(MARGIN * max(row[name] for (_, each), row in worst.items() if each == dtype))
            for name in MEASURES
        }
        for dtype in DTYPES
    }


def nearest_mistakes(limits: dict[str, dict[str, float]]) -> dict[str, tuple[float, str, str]]:
    """The cell, for each mistake, on which the built-in cases see it least: how many limits away, dtype and cell.

    A cell sees a mistake by its most telling built-in case, tensor and measure.
    """
    seen: dict[tuple[str, str, str], float] = defaultdict(float)
    for dtype in ("float32", "float64"):
        for case in builtin_cases():
            yard = yardstick(case, dtype)
            cell = str(case.spec.cell) + ("" if case.spec.reset_after else " reset before")
            for mistake in mistakes(case.spec):
                if mistake.applies(yard.case, dtype):
                    result = mistake.results(yard.case, dtype)
                    measures = [measure(name, result[name], yard) for name in yard.truth]
                    told = [each for each in measures if not each.untold]
                    ratio = max(max(each.rms / limits[dtype]["rms"], each.max / limits[dtype]["max"]) for each in told)
                    key = (mistake.name, dtype, cell)
                    seen[key] = max(seen[key], ratio)
    nearest: dict[str, tuple[float, str, str]] = {}
    for (name, dtype, cell), ratio in seen.items():
        if name not in nearest or ratio < nearest[name][0]:
            nearest[name] = (ratio, dtype, cell)
    return nearest


def table(
    worst: Worst,
    limits: dict[str, dict[str, float]],
    nearest: dict[str, tuple[float, str, str]],
    selection: Selection,
    count: int,
) -> str:
    """docs/calibration.md."""
    versions = ", ".join(f"{name} {description.versions[name]}" for name, description in selection.descriptions.items())
    lines = [
        "# Calibration of the limits of agreement",
        "",
        "Written by `python -m benchmarks.maintain.calibrate`; do not edit.",
        "",
        f"<!-- {CALIBRATED} -->",
        f"<!-- /{CALIBRATED} -->",
        "",
        f"Errors are in units of the largest error that {1 + FURTHER_LOOPS} plain NumPy loops in the same precision "
        "make on the same case (common/judging/agreement.py, common/judging/reordered.py). "
        f"{count} cases (five cells × {len(SIZES)} sizes × {count // (5 * len(SIZES))} seeds, "
        f"ragged, with states and gradients; inputs up to {max(MAGNITUDES)[0]:g} times the usual and down to "
        f"{min(MAGNITUDES)[0]:g}, weights up to 4 times) and the built-in ones in every implementation "
        f"and dtype that supports them; {versions}. A limit is {MARGIN} times the worst, rounded up to two digits.",
        "",
        "## The worst that correct code needed",
        "",
        "| implementation | dtype | rms | max | relative L2 (gradients) |",
        "|---|---|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {dtype} | " + " | ".join(f"{row[measure]:.2f}" for measure in MEASURES) + " |"
        for (name, dtype), row in worst.items()
    ]
    lines += ["", "## The limits", "", "| dtype | rms | max | relative L2 |", "|---|---:|---:|---:|"]
    lines += [
        f"| {dtype} | " + " | ".join(f"{row[name]:g}" for name in MEASURES) + " |" for dtype, row in limits.items()
    ]
    lines += [
        "",
        "## How far away the known mistakes are",
        "",
        "In multiples of the limit, on the most telling built-in case, for the cell and dtype (float32 or float64) "
        "where it tells least.",
        "",
        "| mistake | limits away | cell | dtype |",
        "|---|---:|---|---|",
    ]
    lines += [
        f"| {name} | {ratio:.3g} | {cell} | {dtype} |"
        for name, (ratio, dtype, cell) in sorted(nearest.items(), key=lambda item: item[1][0])
    ]
    lines += ["", "## How often a verdict is wrong", "", f"<!-- {MARKER} -->"]
    lines += [
        "Not simulated with these limits; `python -m benchmarks.maintain.simulate` does it.",
        f"<!-- /{MARKER} -->",
    ]
    lines += ["", "## How often an error is given a wrong name", "", f"<!-- {NAMING} -->"]
    lines += ["Not simulated with these limits; `python -m benchmarks.maintain.naming` does it.", f"<!-- /{NAMING} -->"]
    return "\n".join(lines) + "\n"


def names_now() -> list[str]:
    """The names of the built-in cases."""
    return [case.name for case in builtin_cases()]


def names_at(commit: str) -> list[str]:
    """The names of the built-in cases at a commit, by its own code.

    Raises
    ------
    SystemExit
        If git has no such commit, or it has no such code.
    """
    archive = subprocess.run(["git", "archive", commit, "common"], cwd=ROOT, capture_output=True)
    if archive.returncode:
        raise SystemExit(f"--of must be a commit of this repository; got {commit}")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(archive.stdout)) as file:
            file.extractall(folder, filter="data")
        for module in MODULES:
            code = f"import json; from {module} import *; print(json.dumps([each.name for each in builtin_cases()]))"
            told = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
            if told.returncode == 0:
                return json.loads(told.stdout)
    raise SystemExit(f"--of must be a commit with built-in cases in {' or '.join(MODULES)}; {commit} has none")


def origin(calibrated: Mapping[str, Any]) -> str:
    """The commit and the cases that the limits are of, and which built-in cases are others now."""
    then, now = calibrated["cases"], names_now()
    line = f"The limits are of commit {calibrated['commit']}, with its {len(then)} built-in cases"
    changes = [
        f"{what} since: {', '.join(names)}"
        for what, names in (
            ("added", [name for name in now if name not in then]),
            ("taken away", [name for name in then if name not in now]),
        )
        if names
    ]
    return f"{line}{' (' + '; '.join(changes) + ')' if changes else ', which are those of now'}."


def write_line(of: str | None) -> None:
    """Write the line on top of the page, and with ``of`` the commit and its cases beside the limits."""
    content = json.loads(THRESHOLDS_FILE.read_text())
    if of is not None:
        content[CALIBRATED] = {"commit": of, "cases": names_at(of)}
        write_bytes(THRESHOLDS_FILE, (json.dumps(content, indent=2) + "\n").encode())
    write_bytes(TABLE, replaced(TABLE, {CALIBRATED: origin(content[CALIBRATED])}).encode())


def _rounded_up(value: float) -> float:
    """A number rounded up to two digits."""
    digits = 1 - math.floor(math.log10(value))
    return math.ceil(value * 10**digits) / 10**digits


def calibrate(seeds: int) -> None:
    """Run the calibration and write the limits and their page."""
    commit = commit_of_suite()
    drawn = list(calibration_cases(seeds))
    outcomes: list[Outcome] = []
    with Pool.open() as pool:
        selection = select(pool, [f"{backend.name}/*" for backend in BUILT_IN])
        plan = Plan([*drawn, *builtin_cases()], DTYPES, "cpu", timeout_seconds=300)
        with Progress(transient=True) as bar:

            def report(outcome: Outcome) -> None:
                outcomes.append(outcome)
                bar.advance(task)

            study = CaseStudy(pool, selection, plan, report)
            task = bar.add_task("calibrating", total=study.size())
            study.run()
    stopped = [each for each in outcomes if each.verdict is None and each.status not in DECLINED]
    if stopped or selection.broken:
        raise SystemExit(f"every framework must run; got {selection.broken or stopped[:3]}")
    worst = worst_of_correct_code(sorted(outcomes, key=lambda each: (each.implementation, DTYPES.index(each.dtype))))
    limits = limits_from(worst)
    nearest = nearest_mistakes(limits)
    content = {
        "made_by": "python -m benchmarks.maintain.calibrate",
        "limits": limits,
        "worst": {
            dtype: {name: max(row[name] for (_, each), row in worst.items() if each == dtype) for name in MEASURES}
            for dtype in DTYPES
        },
        "nearest_mistake": min(ratio for ratio, _, _ in nearest.values()),
        CALIBRATED: {"commit": commit, "cases": names_now()},
    }
    write_bytes(THRESHOLDS_FILE, (json.dumps(content, indent=2) + "\n").encode())
    write_bytes(TABLE, table(worst, limits, nearest, selection, len(drawn)).encode())
    write_line(None)


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Seeds for each cell and size.")] = 8,
    line: Annotated[bool, typer.Option("--line", help="Calibrate nothing: write the line on top of the page.")] = False,
    of: Annotated[str | None, typer.Option(metavar="COMMIT", help="With --line: of which commit they are.")] = None,
) -> None:
    """Run the calibration and write the limits and their table, or only the line on top of it."""
    if line or of is not None:
        write_line(of)
    else:
        calibrate(seeds)


if __name__ == "__main__":
    typer.run(main)

"""Measure how fast the suite itself is; put the figures, the table of agreement and the worst findings into the README.

    python -m benchmarks.maintain.own_speed [--cold | --table-only | --first-only | --against COMMIT [--cold]]

needs the environments in place; ``--cold`` also times the README's first command from a fresh clone with empty caches;
without it the figure that the README has for that is kept. ``--against`` times ``birnn verify`` of an older commit and
of this one in turn, and puts both into docs/measured.md; with ``--cold`` the README's first command of both instead.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from backends.pool.environments import tox_folder
from backends.pool.pool import Pool
from backends.registry import BUILT_IN
from backends.studies.probes import read_record, worst
from backends.worker.messages import Ping
from benchmarks.machine import description
from benchmarks.maintain.marked_pages import replaced
from common.tensorfile import write_bytes

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the sources."""
README = ROOT / "README.md"
"""The README."""
MEASURED = ROOT / "docs" / "measured.md"
"""The page with what was measured."""
HEAD = 11
"""Lines of the table of agreement that the README shows; docs/measured.md has it whole."""
FINDINGS = ROOT / "docs" / "findings.json"
"""The record of the probes."""
VERIFY_RUNS, TURNS, HELP_RUNS, EMPTY_CALLS, WORST = 3, 2, 20, 1000, 5
"""How often each thing is timed, and how many findings are named."""


def timed(command: list[str], folder: Path = ROOT, **environment: str) -> tuple[float, str]:
    """Wall seconds and stdout of a command; what it writes to stderr is shown when it fails."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        raise SystemExit(
            f"{' '.join(command)} must succeed; got {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return seconds, done.stdout


def verify_seconds() -> tuple[list[float], float, str]:
    """``birnn verify`` with everything: several runs, sorted; one while JAX compiles it all; and the table printed."""
    command = [sys.executable, "-m", "birnn", "verify"]
    runs = [timed(command) for _ in range(VERIFY_RUNS)]
    compiling, _ = timed(command, JAX_ENABLE_COMPILATION_CACHE="0")
    return sorted(seconds for seconds, _ in runs), compiling, runs[-1][1]


def help_seconds() -> float:
    """``birnn --help``, median."""
    command = [str(Path(sys.executable).with_name("birnn")), "--help"]
    return statistics.median(timed(command)[0] for _ in range(HELP_RUNS))


def empty_call_seconds() -> dict[str, float]:
    """An empty call to a warm worker of each framework, median."""
    medians = {}
    with Pool.open() as pool:
        for backend in BUILT_IN:
            pool.ask(backend, Ping(), 60)
            samples = []
            for _ in range(EMPTY_CALLS):
                started = time.perf_counter()
                pool.ask(backend, Ping(), 60)
                samples.append(time.perf_counter() - started)
            medians[backend.name] = statistics.median(samples)
    return medians


def clone(commit: str, folder: Path) -> None:
    """A clone of this repository in a new folder, at a commit."""
    subprocess.run(["git", "clone", "-q", "--no-checkout", str(ROOT), str(folder)], check=True)
    subprocess.run(["git", "checkout", "-q", commit], cwd=folder, check=True)


def cold_study(commit: str = "HEAD") -> tuple[float, int]:
    """The README's first command in a fresh clone, with a fresh interpreter environment and empty caches: seconds, and
    the bytes of all that it leaves in the clone.
    """
    with tempfile.TemporaryDirectory(prefix="birnn-cold-") as name:
        folder = Path(name)
        clone(commit, folder / "clone")
        subprocess.run([sys.executable, "-m", "venv", str(folder / "python")], check=True)
        caches = {
            "UV_CACHE_DIR": str(folder / "uv"),
            "PIP_CACHE_DIR": str(folder / "pip"),
            "XDG_CACHE_HOME": str(folder),
        }
        path = {"PATH": f"{folder / 'python' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        unset = [f"--unset={variable}" for variable in os.environ if variable.startswith(("TOX", "VIRTUAL_ENV"))]
        command = "python -m pip install -q tox && tox run -m study"
        seconds = timed(["env", *unset, "bash", "-c", command], folder / "clone", **caches, **path)[0]
        return seconds, sum(path.lstat().st_blocks * 512 for path in (folder / "clone").rglob("*"))


def verify_in_turn(commit: str) -> tuple[list[float], list[float]]:
    """Wall seconds of ``birnn verify`` over everything of an older commit and of this checkout, in turn, with the same
    environments, after one run of each that compiles.
    """
    command = [sys.executable, "-m", "birnn", "verify"]
    with tempfile.TemporaryDirectory(prefix="birnn-old-") as name:
        folders: dict[Path, list[float]] = {Path(name, "clone"): [], ROOT: []}
        clone(commit, Path(name, "clone"))
        for _ in range(1 + TURNS):
            for folder, seconds in folders.items():
                own = os.pathsep.join([str(folder), str(folder / "tests" / "numpy_loop")])  # before what is installed
                paths = {"TOX_WORK_DIR": str(tox_folder()), "PYTHONPATH": own}
                seconds.append(timed(command, folder, **paths)[0])
        old, new = folders.values()
    return sorted(old[1:]), sorted(new[1:])


def against_table(commit: str) -> str:
    """``birnn verify`` of an older commit beside this one's."""
    old, new = verify_in_turn(commit)
    return in_turn(
        f"`birnn verify`, median of {TURNS} runs in turn (least to most)",
        commit,
        (spread(old), spread(new)),
        statistics.median(old) / statistics.median(new),
        "",
    )


def first_against_table(commit: str, seconds: tuple[float, float]) -> str:
    """The README's first command at an older commit beside this one's."""
    what = "`tox run -m study`, fresh clone, cold caches, one after the other"
    told = (f"{seconds[0]:.0f} s", f"{seconds[1]:.0f} s")
    return in_turn(what, commit, told, seconds[0] / seconds[1], " --cold")


def in_turn(what: str, commit: str, told: tuple[str, str], times_as_fast: float, option: str) -> str:
    """A table of one row: what was timed at an older commit and at this one."""
    rows = [
        f"| what | {commit} | this commit | times as fast |",
        "|---|---|---|---|",
        f"| {what} | {' | '.join(told)} | {times_as_fast:.2f} |",
        "",
        f"Measured by `python -m benchmarks.maintain.own_speed --against {commit}{option}` on {machine()}.",
    ]
    return "\n".join(rows)


def spread(seconds: list[float]) -> str:
    """The median of sorted seconds, with the least and the most."""
    return f"{statistics.median(seconds):.1f} s ({seconds[0]:.1f} to {seconds[-1]:.1f})"


def probe_seconds() -> float:
    """``birnn probe`` of all frameworks, held against the record."""
    return timed([sys.executable, "-m", "birnn", "probe", "--expect", str(FINDINGS)])[0]


def worst_findings() -> str:
    """The worst of the record, as a list."""
    findings = worst(read_record(FINDINGS).findings, WORST)
    return "\n".join(f"- **{each.key}** ({each.status}). {each.what} {each.consequence}" for each in findings)


def machine() -> str:
    """Processor, cores, interpreter, commit and day of the measurement."""
    cores = description.cores_told(description.fingerprint())
    commit = timed(["git", "rev-parse", "--short", "HEAD"])[1].strip()
    day = datetime.now(UTC).date().isoformat()
    return f"{cores}, Python {platform.python_version()}, commit {commit}, {day}"


def kept_cold_figure(text: str) -> str:
    """The figure of an earlier ``--cold``, as the README has it."""
    match = re.search(r"\| `tox run -m study`.*?\| ([^|]*) \|$", text, re.MULTILINE)
    return match[1] if match else "not measured"


def write_table(printed: str) -> None:
    """Put what ``birnn verify`` printed into docs/measured.md, and its beginning and end into the README."""
    lines = printed.rstrip().splitlines()
    for page, shown in ((MEASURED, lines), (README, [*lines[:HEAD], "…", lines[-1]])):
        text = "\n".join(["```text", *shown, "```"])
        write_bytes(page, replaced(page, {"table": text}).encode())


def first_sentence(seconds: float, size: int) -> str:
    """What the README says of its first command before it is started."""
    return (
        f"The first takes {size / 1e9:.1f} GB of disk, and took {seconds / 60:.1f} minutes with nothing cached, "
        f"downloads included, on {machine()}."
    )


def main(
    cold: Annotated[bool, typer.Option(help="Also time a fresh clone with empty caches.")] = False,
    table_only: Annotated[bool, typer.Option(help="Verify once, and write the table of agreement alone.")] = False,
    against: Annotated[str, typer.Option(metavar="COMMIT", help="Time that commit and this one in turn.")] = "",
    first_only: Annotated[bool, typer.Option(help="Time a fresh clone, and write what it takes alone.")] = False,
) -> None:
    """Measure, and write the README's figures."""
    if against and cold:
        before, (after, size) = cold_study(against)[0], cold_study()
        text = first_against_table(against, (before, after))
        write_bytes(MEASURED, replaced(MEASURED, {"first-against": text}).encode())
        write_bytes(README, replaced(README, {"first": first_sentence(after, size)}).encode())
        return
    if against:
        write_bytes(MEASURED, replaced(MEASURED, {"against": against_table(against)}).encode())
        return
    if first_only:
        write_bytes(README, replaced(README, {"first": first_sentence(*cold_study())}).encode())
        return
    if table_only:
        printed = timed([sys.executable, "-m", "birnn", "verify"])[1]
        write_table(printed)
        return
    text = README.read_text()
    runs, compiling, printed = verify_seconds()
    verify = f"{statistics.median(runs):.1f} s ({runs[0]:.1f} to {runs[-1]:.1f} in {len(runs)} runs)"
    blocks = {}
    cold_figure = kept_cold_figure(text)
    if cold:
        seconds, size = cold_study()
        cold_figure = f"{seconds:.0f} s"
        blocks["first"] = first_sentence(seconds, size)
    calls = empty_call_seconds()
    slowest = max(calls, key=lambda name: calls[name])
    rows = [
        "| what | target | measured |",
        "|---|---|---|",
        f"| `birnn verify`: all cases, all implementations, float32 and float64, gradients | 60 s | {verify} |",
        f"| the same, the first time, while JAX compiles it all | – | {compiling:.0f} s |",
        f"| `birnn probe`: every probe in all four environments | 60 s | {probe_seconds():.1f} s |",
        f"| `birnn --help` | 0.3 s | {help_seconds():.2f} s |",
        f"| an empty call to a warm worker (slowest: {slowest}) | 1 ms | {calls[slowest] * 1e3:.2f} ms |",
        f"| `tox run -m study` from a fresh clone with cold caches; 2 min of it benchmark | 4 min | {cold_figure} |",
        "",
        f"Measured by `python -m benchmarks.maintain.own_speed --cold` on {machine()}.",
    ]
    write_table(printed)
    blocks |= {"speed": "\n".join(rows), "findings": worst_findings()}
    write_bytes(README, replaced(README, blocks).encode())


if __name__ == "__main__":
    typer.run(main)

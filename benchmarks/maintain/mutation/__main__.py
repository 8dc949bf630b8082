"""How many single mistakes in our code the tests notice: plant each of a sample, alone, and run the tests of its room.

    python -m benchmarks.maintain.mutation              # what is in docs/testing.md; goes on where it was interrupted

Mutants are Cosmic Ray's (benchmarks/maintain/mutation/mutants.py); its own runner knows one test command and mutates
the working tree, so here each process has a clone of the checkout and each room the environment of its framework. Rooms
and tests are in rooms.toml. A survivor that is no mistake (two ways that are equal) or that no test can see is
explained in survivors.toml; every other one lowers the score.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Annotated, Any

import pytest
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backends.pool.environments import ROOT, tox_folder
from benchmarks.maintain.marked_pages import replaced
from benchmarks.maintain.mutation.mutants import Mutant, sampled
from benchmarks.measure.runs import commit_of_suite
from common.errors import InputError, shown
from common.output import write_bytes

HERE = Path(__file__).parent
"""The folder of this command."""
PAGE = ROOT / "docs" / "testing.md"
"""The page that the outcome is written into."""
KILLED, TIMED_OUT, SURVIVED, EXPLAINED = "killed", "timed out", "survived", "explained"
"""What became of a mutant."""
GOAL = 0.9
"""The share of mutants that tests should notice."""
PATIENCE = 4.0
"""A mutant has timed out when its tests take so many times as long as without it, and 30 seconds more."""
LARGEST_BYTES = 12 * 2**30
"""Memory that a mutant's tests may ask for."""


@dataclass(frozen=True)
class Suite:
    """A call of pytest: tox's environment, its arguments, and the seconds it takes when nothing is wrong."""

    environment: str
    paths: tuple[str, ...]
    seconds: float = 0.0


@dataclass(frozen=True)
class Room:
    """Files that the same tests hold."""

    name: str
    files: tuple[str, ...]
    tests: tuple[Suite, ...]


@dataclass(frozen=True)
class Fate:
    """What became of a mutant; ``before`` and ``after`` are the lines that differ, ``told_by`` the test that failed.

    ``source`` is the sha256 of the file without the mistake, ``commit`` that of the checkout.
    """

    room: str
    mutant: Mutant
    before: str
    after: str
    status: str
    commit: str
    source: str
    told_by: str = ""


def main(
    sample: Annotated[int, typer.Option(min=1, help="About how many mutants to draw.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Draws the sample.")] = 0,
    processes: Annotated[int, typer.Option(min=1, help="Clones of the checkout that are tested at once.")] = 2,
    minutes: Annotated[float, typer.Option(min=1, help="Start no further mutant after this time.")] = 60,
    only: Annotated[list[str], typer.Option("--room", metavar="NAME", help="These rooms alone; repeatable.")] = [],  # noqa: B006
    store: Annotated[Path, typer.Option(metavar="FILE", help="What is known so far.")] = ROOT
    / "out"
    / "mutation.jsonl",
    write: Annotated[bool, typer.Option(help="Write the table of docs/testing.md.")] = False,
) -> None:
    """Plant mistakes and count what the tests notice.

    Exit 0 when at least nine of ten were noticed or explained, 1 when not, 2 when the tests fail without any mistake.
    """
    console = Console(stderr=True)
    every = read_rooms()
    rooms = [room for room in every if not only or room.name in only]
    if not rooms:
        raise InputError(f"--room must name a room of rooms.toml; got {shown(', '.join(only))}")
    drawn = sampled(ROOT, {room.name: room.files for room in every}, sample, seed)
    drawn = {room.name: drawn[room.name] for room in rooms}
    commit = commit_of_suite()
    explained = explanations()
    known = read_fates(store, commit, explained)
    left = [(room, mutant) for room in rooms for mutant in drawn[room.name] if mutant not in known]
    if left:
        with clones(processes) as checkouts, MutationRun(console, store, commit, checkouts) as run:
            timed = {room.name: room for room in run.timed({room.name: room for room, _ in left}.values())}
            work = [(timed[room.name], mutant) for room, mutant in left]
            Random(seed).shuffle(work)  # so that what the time is enough for is a sample of every room
            known |= run.fates(work, time.monotonic() + 60 * minutes)
    fates = [_explained(known[mutant], explained) for room in rooms for mutant in drawn[room.name] if mutant in known]
    text = table(rooms, fates, commit, seed)
    print(text)
    for fate in fates:
        if fate.status == SURVIVED:
            print(f"survived: {fate.mutant.file}:{fate.mutant.line}\n  - {fate.before}\n  + {fate.after}")
    if len(fates) < sum(len(mutants) for mutants in drawn.values()):
        console.print("mutation: the time is over; the same command goes on where this one stopped", markup=False)
    if write:
        write_bytes(PAGE, replaced(PAGE, {"mutation": text}).encode())
    raise typer.Exit(0 if _score(fates) >= GOAL else 1)


def read_rooms() -> list[Room]:
    """The rooms of rooms.toml, with the files that are there."""
    content = tomllib.loads((HERE / "rooms.toml").read_text())
    return [
        Room(
            each["name"],
            tuple(sorted(str(path.relative_to(ROOT)) for pattern in each["files"] for path in _matching(pattern))),
            tuple(Suite(tests["environment"], tuple(tests["paths"])) for tests in each["tests"]),
        )
        for each in content["room"]
    ]


def _matching(pattern: str) -> Iterator[Path]:
    """The files of a pattern, in which ``{a,b}`` stands for a or b; those with nothing in them but a docstring too."""
    head, brace, rest = pattern.partition("{")
    names, _, tail = rest.partition("}")
    for name in names.split(",") if brace else [""]:
        yield from ROOT.glob(f"{head}{name}{tail}")


def explanations() -> dict[tuple[str, str, str], str]:
    """Why a survivor is no loss, by file, line before and line after."""
    content = tomllib.loads((HERE / "survivors.toml").read_text())
    return {(each["file"], each["before"], each["after"]): each["reason"] for each in content.get("survivor", [])}


def read_fates(store: Path, commit: str, explained: Collection[tuple[str, str, str]]) -> dict[Mutant, Fate]:
    """What earlier runs found: who was noticed, or is explained, while its file is the same; who was not, at the same
    commit alone, since a test may have come that notices it.
    """
    fates: dict[Mutant, Fate] = {}
    for line in store.read_text().splitlines() if store.exists() else []:
        content = json.loads(line)
        fate = Fate(**{**content, "mutant": Mutant(**content["mutant"])})
        file = ROOT / fate.mutant.file
        same = file.exists() and fate.source == _digest(file.read_text())
        known = fate.status != SURVIVED or (fate.mutant.file, fate.before, fate.after) in explained
        if same and (known or fate.commit == commit):
            fates[fate.mutant] = fate
    return fates


def _digest(text: str) -> str:
    """The SHA-256 of a text."""
    return sha256(text.encode()).hexdigest()


@contextmanager
def clones(count: int) -> Iterator[list[Path]]:
    """Clones of the checkout's last commit, each in a folder of its own, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="birnn-mutation-") as name:
        folders = []
        for number in range(count):
            folder = Path(name) / str(number) / "checkout"
            subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(folder)], check=True)
            if (ROOT.parent / "shared").is_dir():  # data for tests that skip without it
                (folder.parent / "shared").symlink_to(ROOT.parent / "shared")
            cache = tox_folder() / "jax" / "jax-cache"
            if cache.is_dir():  # links, so that a mutant's programs stay in its clone
                shutil.copytree(cache, folder.parent / "jax-cache", copy_function=os.link)
            folders.append(folder)
        yield folders


class MutationRun:
    """Mutants at work: each takes a clone, is written into it, is tested, and leaves the clone as it was."""

    def __init__(self, console: Console, store: Path, commit: str, checkouts: Sequence[Path]) -> None:
        self._console, self._store, self._commit = console, store, commit
        self._free: SimpleQueue[Path] = SimpleQueue()
        for checkout in checkouts:
            self._free.put(checkout)
        self._executor = ThreadPoolExecutor(len(checkouts))
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> MutationRun:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        self._executor.shutdown(cancel_futures=True)

    def timed(self, rooms: Iterable[Room]) -> list[Room]:
        """The rooms with the seconds that their tests take without a mistake, as many at once as there are clones.

        An ``InputError`` where they fail.
        """
        return list(self._executor.map(self._timed, rooms))

    def _timed(self, room: Room) -> Room:
        """The room with the time that its tests take without a mistake."""
        checkout = self._free.get()
        tests = []
        for each in room.tests:
            self._console.print(f"mutation: {room.name} without a mistake, in {each.environment}", markup=False)
            started = time.monotonic()
            failed = self._first_failure(checkout, each, limit=1800)
            if failed:
                raise InputError(f"the tests of {room.name} must pass without a mistake; got: {failed}")
            tests.append(Suite(each.environment, each.paths, time.monotonic() - started))
        self._free.put(checkout)
        return Room(room.name, room.files, tuple(tests))

    def fates(self, work: Sequence[tuple[Room, Mutant]], deadline: float) -> dict[Mutant, Fate]:
        """Test them all, as far as the time goes; every answer is kept at once."""
        by_mutant: dict[Mutant, Fate] = {}
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task("mutants", total=len(work))

            def one(item: tuple[Room, Mutant]) -> Fate | None:
                if self._stopped.is_set() or time.monotonic() > deadline:
                    return None
                return self._fate(*item)

            for fate in self._executor.map(one, work):
                if fate is not None:
                    by_mutant[fate.mutant] = fate
                    bar.update(task, advance=1, description=f"{fate.mutant.file}: {fate.status}")
                    if not self._console.is_terminal:
                        where = f"{fate.mutant.file}:{fate.mutant.line}"
                        self._console.print(f"{len(by_mutant)}/{len(work)} {where} {fate.status}", markup=False)
        return by_mutant

    def _fate(self, room: Room, mutant: Mutant) -> Fate:
        """What becomes of a mutant in a checkout of its own."""
        checkout = self._free.get()
        file = checkout / mutant.file
        source = file.read_text()
        mutated = mutant.code(source)
        assert mutated is not None  # the sample holds no such mutant
        try:
            file.write_text(mutated)
            status, told_by = SURVIVED, ""
            for tests in (named_after(mutant.file, room.tests[0]), *room.tests):
                told_by = self._first_failure(checkout, tests, PATIENCE * tests.seconds + 30)
                if told_by:
                    status = TIMED_OUT if told_by == TIMED_OUT else KILLED
                    break
        finally:
            file.write_text(source)
            self._free.put(checkout)
        change = mutant.change(source, mutated)
        fate = Fate(room.name, mutant, *change, status, self._commit, _digest(source), told_by)
        with self._lock:
            self._store.parent.mkdir(parents=True, exist_ok=True)
            with self._store.open("a") as stream:
                stream.write(json.dumps(asdict(fate)) + "\n")
        return fate

    def _first_failure(self, checkout: Path, tests: Suite, limit: float) -> str:
        """The line of pytest that says what failed; "" when all passed, ``TIMED_OUT`` after ``limit`` seconds."""
        python = tox_folder() / tests.environment / "bin" / "python"
        command = ["prlimit", f"--data={LARGEST_BYTES}", str(python), "-m", "pytest", "-x", "-q", "--tb=line"]
        process = subprocess.Popen(
            [*command, "-p", "no:cacheprovider", *tests.paths],
            cwd=checkout,
            env=_variables(checkout),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            printed = process.communicate(timeout=limit)[0]
        except subprocess.TimeoutExpired:
            return TIMED_OUT
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            return ""
        lines = printed.splitlines()
        return next((line for line in lines if line.startswith(("FAILED", "ERROR", "E  "))), "\n".join(lines[-3:]))


def named_after(file: str, tests: Suite) -> Suite:
    """The tests whose own name, or whose file's, has the mutated file's in it: most mistakes fall here."""
    return replace(tests, paths=(*tests.paths, "-k", Path(file).stem))


def _variables(checkout: Path) -> dict[str, str]:
    """The environment of a clone's tests: its own packages first, the environments and programs of the checkout."""
    cache = checkout.parent / "jax-cache"
    return {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "PYTHONDONTWRITEBYTECODE": "1",  # two mutants of one second and size would share a file of bytecode
        "TOX_WORK_DIR": str(tox_folder()),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def _explained(fate: Fate, explained: Mapping[tuple[str, str, str], str]) -> Fate:
    """The fate, explained where a sentence on the mutant is there."""
    if fate.status == SURVIVED and (fate.mutant.file, fate.before, fate.after) in explained:
        return Fate(**{**vars(fate), "status": EXPLAINED})
    return fate


def _score(fates: Sequence[Fate]) -> float:
    """The part that was noticed, of those that are no explained ones."""
    counted = [fate for fate in fates if fate.status != EXPLAINED]
    return sum(fate.status != SURVIVED for fate in counted) / max(1, len(counted))


def table(rooms: Iterable[Room], fates: Sequence[Fate], commit: str, seed: int) -> str:
    """The Markdown table of docs/testing.md."""
    lines = [
        "| room | mutants | killed | timed out | explained | survived | score |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]

    def line(name: str, mine: Sequence[Fate]) -> str:
        counts: list[Any] = [
            sum(fate.status == each for fate in mine) for each in (KILLED, TIMED_OUT, EXPLAINED, SURVIVED)
        ]
        return f"| {name} | {len(mine)} | {' | '.join(map(str, counts))} | {_score(mine):.0%} |"

    for room in rooms:
        mine = [fate for fate in fates if fate.room == room.name]
        if mine:
            lines.append(line(room.name, mine))
    lines.append(line("all", fates))
    date = datetime.now(UTC).date().isoformat()
    return "\n".join(
        [*lines, "", f"Made by `python -m benchmarks.maintain.mutation --seed {seed}`, commit {commit}, {date}."]
    )


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        print(f"mutation: {error}", file=sys.stderr)
        sys.exit(2)

"""Measure on a machine with a GPU, stage by stage, within a time: what ``run.sh`` of a kit runs; docs/gpu.md tells how.

Every stage has a budget. What a stage has not done goes on when the same command is given again, after all others have
had theirs. When time is up, at the end and after Ctrl-C, what was found is put into files that can be carried away.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from backends.interface.gaps import DEVICES
from backends.pool.environments import override_variable
from backends.registry import BUILT_IN
from benchmarks.machine import nvidia
from benchmarks.maintain.gpu import outcome
from benchmarks.maintain.gpu.lacks import FRAMEWORKS
from benchmarks.maintain.gpu.steps import STAGES, KitOptions, KitStep, steps, write_rehearsal_case
from benchmarks.measure.runs import commit_of_suite
from benchmarks.store.store import Store
from common.errors import InputError, shown
from common.output import write_bytes

OUTCOME_SECONDS = 60.0
"""What is left of a command's time for the end of its last step and for the files."""
LEAST_BUDGET_SECONDS = 5.0
"""What bench is given at least: it refuses a budget that cannot hold a block."""
LAST_JOB_SECONDS = 15.0
"""What is left of a step's time for the end of its last job, before Ctrl-C is sent."""
LEAST_SECONDS = 10.0
"""No step is started for less."""
PATIENCE_SECONDS = 20.0
"""How long a step has after Ctrl-C before it is killed."""
LEAST_DISK = 2**30
"""Bytes of disk that should be free."""
DONE, PARTLY, FAILED = "done", "to go on", "failed"
"""What became of a step."""
INTERRUPTED = 130
"""The exit code of a command that Ctrl-C has ended."""


@dataclass
class KitState:
    """What earlier commands have done: seconds by stage, and by step its state and exit code."""

    commit: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    steps: dict[str, tuple[str, int]] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> KitState:
        """The state of this commit's kit; a new one where there is none."""
        fresh = cls(commit_of_suite())
        try:
            state = cls(**json.loads(file.read_text()))
        except (OSError, ValueError, TypeError):
            return fresh
        return state if state.commit == fresh.commit else fresh

    def write(self, file: Path) -> None:
        """Keep it, whole or not at all."""
        write_bytes(file, (json.dumps(asdict(self), indent=1) + "\n").encode())


class Log:
    """Lines for whoever looks on, which are also kept in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def say(self, text: str) -> None:
        """Print a text and keep it."""
        print(text, flush=True)
        self.keep(text)

    def keep(self, text: str) -> None:
        """Keep a text without printing it."""
        with self.file.open("a", encoding="utf-8") as file:
            file.write(f"{text.rstrip()}\n")


class Measuring:
    """Runs steps, one after the other, until all are done or the time of this command is up."""

    def __init__(self, options: KitOptions, log: Log, seconds: float) -> None:
        self._options, self._log = options, log
        self._end = time.monotonic() + max(seconds - OUTCOME_SECONDS, LEAST_SECONDS)
        self._file = options.work / "state.json"
        self.state = KitState.read(self._file)
        self.interrupted = False

    def run(self, chosen: list[KitStep]) -> None:
        """Each stage within its budget; then, in what is left, again those that are not done."""
        for again in (False, True):
            for stage in dict.fromkeys(step.stage for step in chosen):
                mine = [step for step in chosen if step.stage == stage]
                if not self.interrupted:
                    self._stage(stage, mine, again)

    def is_done(self, step: KitStep) -> bool:
        """Whether nothing is left to do of a step."""
        return self.state.steps.get(step.name, ("", 0))[0] == DONE

    def _stage(self, stage: str, mine: list[KitStep], again: bool) -> None:
        """Run the steps of a stage that are left."""
        left = [step for step in mine if not self.is_done(step) and not (again and self._has_failed(step))]
        if not left or self._time_left() < LEAST_SECONDS:
            return
        self._gpu(f"before {stage}")
        for number, step in enumerate(left):
            spent = self.state.seconds.get(stage, 0.0)
            seconds = self._time_left() if again else min(60 * STAGES[stage] - spent, self._time_left())
            seconds /= sum(other.group == step.group for other in left[number:])
            if seconds < LEAST_SECONDS or self.interrupted:
                break
            self._step(step, seconds)
        self._gpu(f"after {stage}")

    def _has_failed(self, step: KitStep) -> bool:
        """Whether a step has failed."""
        return self.state.steps.get(step.name, ("", 0))[0] == FAILED

    def _time_left(self) -> float:
        """Seconds until the time is up."""
        return self._end - time.monotonic()

    def _step(self, step: KitStep, seconds: float) -> None:
        """Run a step and note what became of it."""
        arguments = list(step.arguments)
        if step.label:
            arguments += ["--budget", f"{max(seconds - LAST_JOB_SECONDS, LEAST_BUDGET_SECONDS):.0f}s"]
        self._log.say(f"{step.name}: at most {seconds:.0f} s")
        self._log.keep(f"$ birnn {' '.join(arguments)}")
        started = time.monotonic()
        code, printed = self._command(arguments, seconds)
        took = time.monotonic() - started
        status = self._outcome(step, code)
        self._log.say(printed)
        self._log.say(f"{step.name}: {status}, exit code {code}, {took:.0f} s\n")
        self.state.seconds[step.stage] = self.state.seconds.get(step.stage, 0.0) + took
        self.state.steps[step.name] = (status, code)
        self.state.write(self._file)

    def _outcome(self, step: KitStep, code: int) -> str:
        """What became of a step, by its exit code."""
        if code == INTERRUPTED or code < 0:
            return PARTLY
        if code not in (0, 1, 3):
            return FAILED
        return PARTLY if step.label and not self._is_finished(step.label) else DONE

    def _is_finished(self, label: str) -> bool:
        """Whether the run of a label has come to its end."""
        with Store.open(self._options.store) as store:
            return store.find_run(label).finished is not None

    def _command(self, arguments: list[str], seconds: float) -> tuple[int, str]:
        """Run ``birnn``; its exit code, and what it printed. Ctrl-C is sent when its seconds are over, or came here."""
        command = [sys.executable, "-P", "-m", "birnn", *arguments]
        printed = self._options.work / "printed.txt"
        with printed.open("w+", errors="replace") as out, self._log.file.open("a") as notes:
            process = subprocess.Popen(command, stdout=out, stderr=notes, start_new_session=True)
            try:
                process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                end(process)
            except KeyboardInterrupt:
                self.interrupted = True
                end(process)
            out.seek(0)
            return process.returncode, out.read().rstrip()

    def _gpu(self, when: str) -> None:
        """Note the state of the GPU."""
        if self._options.device == "gpu":
            self._log.say(f"GPU {when}: {gpu_now()}")


def end(process: subprocess.Popen) -> None:
    """Have a process end as after Ctrl-C, and kill it where it does not."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=PATIENCE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def gpu_now() -> str:
    """The GPU's driver, clocks, power, temperature, memory, what slows it down and who uses it, in one line."""
    state = nvidia.gpu_state()
    if state is None:
        return "nvidia-smi shows none"
    known = {name: value or "?" for name, value in state.items()}
    users = ", ".join(f"{user.name} ({user.pid})" for user in nvidia.gpu_users()) or "nobody"
    return (
        f"{known['name']}, driver {known['driver_version']}, SM {known['clocks.sm']} of {known['clocks.max.sm']} MHz, "
        f"memory {known['clocks.mem']} of {known['clocks.max.mem']} MHz, {known['power.draw']} of "
        f"{known['power.limit']} W, {known['temperature.gpu']} °C, {known['memory.used']} of "
        f"{known['memory.total']} MiB, {known['utilization.gpu']} % busy, slowed down by "
        f"{', '.join(nvidia.gpu_slowdowns()) or 'nothing'}, used by {users}"
    )


def main(
    stage: Annotated[
        list[str], typer.Argument(metavar="[STAGE...]", help=f"Of {', '.join(STAGES)}; default: all.")
    ] = [],  # noqa: B006
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.5, help="When to stop, files at the end included.")
    ] = 9.0,
    device: Annotated[str, typer.Option("--device", help="gpu or cpu.")] = "gpu",
    rehearse: Annotated[bool, typer.Option("--rehearse", help="All stages on a few small cases.")] = False,
    shared: Annotated[bool, typer.Option("--shared", help="Measure although others use the GPU.")] = False,
    resume: Annotated[
        Path | None, typer.Option("--from", metavar="state.tar.gz", help="Go on from what another machine found.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="For the files; default: out in WORK.")
    ] = None,
    work: Annotated[Path, typer.Option("--work", metavar="WORK", help="Folder of all that is kept.")] = Path(
        "measured"
    ),
) -> None:
    """Measure, and write what was found into at most 8 files of 16 MiB.

    Exit 0 when all stages are done or time is up, 1 when something disagrees, failed, crashed or timed out, 2 for bad
    input, 130 after Ctrl-C.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what ends a command that took too long
    check(stage, device, shared, work)
    work = (work / "rehearsal" if rehearse else work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    if resume is not None:
        outcome.restore(resume, work)
    # What one command has compiled another one loads.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(work / "jax-cache"))
    os.environ |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    options = KitOptions(device, rehearse, frameworks(), work)
    log = Log(work / "log.txt")
    log.say(f"commit {commit_of_suite()}, Python {sys.version.split()[0]}, frameworks: {', '.join(options.frameworks)}")
    if rehearse:
        write_rehearsal_case(options)
    measuring = Measuring(options, log, 60 * minutes)
    chosen = [step for step in steps(options) if not stage or step.stage in stage]
    try:
        measuring.run(chosen)
    except KeyboardInterrupt:
        measuring.interrupted = True
    left = [step for step in chosen if not measuring.is_done(step)]
    for name in dict.fromkeys(step.stage for step in left):
        log.say(f"{name}: not done; the same command goes on with it")
    outcome.write(options, [step.label for step in chosen if step.label], log.say, (out or work / "out").resolve())
    codes = [measuring.state.steps.get(step.name, ("", 0)) for step in chosen if not step.finds]
    if measuring.interrupted:
        sys.exit(INTERRUPTED)
    sys.exit(1 if any(status == FAILED or code == 1 for status, code in codes) else 0)


def check(stages: list[str], device: str, shared: bool, work: Path) -> None:
    """Raise an ``InputError`` for what cannot be run, and where this machine cannot run it."""
    for name in stages:
        if name not in STAGES:
            raise InputError(f"STAGE must be one of {', '.join(STAGES)}; got {shown(name)}")
    if device not in DEVICES:
        raise InputError(f"--device must be one of {', '.join(DEVICES)}; got {shown(device)}")
    if device == "gpu" and (trouble := nvidia.gpu_trouble(ignore_users=shared)) is not None:
        raise InputError(trouble)
    place = next(folder for folder in (work, *work.resolve().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if free < LEAST_DISK:
        raise InputError(f"{work} must have {LEAST_DISK / 2**20:.0f} MiB free; it has {free / 2**20:.0f}")


def frameworks() -> tuple[str, ...]:
    """The frameworks to measure: those whose interpreter is named outside, and those that this one has.

    For the second kind the variable that names an interpreter is set to this one, for all that is started from here.
    """
    names = []
    for backend in BUILT_IN:
        variable = override_variable(backend)
        if not os.environ.get(variable) and backend.name in FRAMEWORKS and importlib.util.find_spec(backend.name):
            os.environ[variable] = sys.executable
        if os.environ.get(variable):
            names.append(backend.name)
    return tuple(names)


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        print(f"run.sh: {error}", file=sys.stderr)
        sys.exit(2)

"""Who else is at work on the machine while something is measured, by the kernel's own count of CPU time."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.machine.description import CPU, read
from benchmarks.machine.idleness import total_cpu_seconds
from benchmarks.store.records import Look, Process, Row

STAT = Path("/proc/stat")
"""The kernel's file on what each core has done."""
CROWDED = 0.05
"""The part of the usable cores that others take together, stolen time included, above which they disturb."""
SLACK_SECONDS = 0.03
"""CPU seconds of others that disturb nobody: the kernel's clock ticks may put as many on the wrong side."""
FALLEN = 0.8
"""A clock below this part of the highest in the session has been slowed down."""
THREADS_GOT = 0.85
"""A process that gets less than this part of its threads, on a product that keeps all busy, has been disturbed."""
LOOK_SECONDS = 0.5
"""How long a look lasts while the machine is waited for."""
NAMED = 6
"""How many processes are named at most."""


@dataclass(frozen=True)
class Company:
    """What else went on over ``seconds``: cores that other processes took (``others_cpu``) and that the host of a
    virtual machine took away (``stolen_cpu``), the one-minute load average, and the mean clock; None where the kernel
    does not say.
    """

    seconds: float
    others_cpu: float | None
    stolen_cpu: float | None
    load: float
    clock_mhz: float | None = None

    @property
    def taken(self) -> float | None:
        """Cores taken by whoever is not this run."""
        if self.others_cpu is None:
            return None
        return self.others_cpu + (self.stolen_cpu or 0.0)


class Watch:
    """Counts CPU time from its making on; ``pids`` says which processes are the run's own, besides this one."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        self._pids = pids
        self._ours = set(pids().values())
        self._busy, self._stolen = machine_seconds()
        self._own = self._own_seconds()
        self._started = time.perf_counter()

    def company(self) -> Company:
        """What went on since."""
        seconds = max(time.perf_counter() - self._started, 1e-9)
        own = self._own_seconds() - self._own
        busy, stolen = (now - then for now, then in zip(machine_seconds(), (self._busy, self._stolen), strict=True))
        # What a worker that died has taken is lost, and a kernel that counts less than our own does not count at all.
        known = self._ours <= set(self._pids().values()) and busy + SLACK_SECONDS >= 0.5 * own
        others = max(0.0, busy - own - SLACK_SECONDS) / seconds if known else None
        return Company(seconds, others, stolen / seconds if known else None, os.getloadavg()[0], clock_mhz())

    def _own_seconds(self) -> float:
        """CPU seconds of the workers and of this process."""
        return total_cpu_seconds(self._ours) + time.process_time()


def machine_seconds() -> tuple[float, float]:
    """CPU seconds that all cores have worked since the start, and that a host has stolen (proc_stat(5)); 0 where the
    kernel does not say.
    """
    fields = [int(each) for each in (read(STAT) or "").partition("\n")[0].split()[1:]]
    if len(fields) < 8:
        return 0.0, 0.0
    user, nice, system, _, _, interrupts, soft_interrupts, stolen = fields[:8]
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + interrupts + soft_interrupts) / ticks, stolen / ticks


def clock_mhz() -> float | None:
    """The mean clock of the cores now; None where the kernel does not say."""
    texts = [read(path) for path in CPU.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")]
    clocks = [int(each) / 1e3 for each in texts if each and each.isdigit()]
    if not clocks:
        clocks = [
            float(each) for each in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", read(Path("/proc/cpuinfo")) or "", re.M)
        ]
    return sum(clocks) / len(clocks) if clocks else None


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def is_crowded(taken: float | None) -> bool | None:
    """Whether others that take so many cores disturb a measurement; None where that is not known."""
    return None if taken is None else taken > CROWDED * usable_cores()


def wait_for_rest(pids: Callable[[], Mapping[str, int]], seconds: float, tell: Callable[[str], None]) -> Company:
    """Wait until others leave the machine alone for one look, at most so long; the last look.

    ``tell`` gets a sentence when there is something to wait for, and one when it did not help.
    """
    end = time.monotonic() + seconds
    told = False
    while True:
        watch = Watch(pids)
        time.sleep(LOOK_SECONDS)
        company = watch.company()
        left = end - time.monotonic()
        if not is_crowded(company.taken):
            return company
        others = f"other processes take {company.taken:.1f} of {usable_cores()} cores"
        if left <= 0:
            if told:
                tell(f"the machine has not come to rest within {seconds:.0f} s: {others}")
            return company
        if not told:
            tell(f"waiting for the machine to come to rest, at most {seconds:.0f} s: {others}")
            told = True


def with_company(row: Row, company: Company, highest_mhz: float) -> Row:
    """A row that ``company`` was there for, in the last of its processes: cores taken are the mean over all of them;
    the clock of the last has fallen when it is too far below ``highest_mhz``.
    """
    if company.taken is None:
        return row
    before = row.others_cpu if row.others_cpu is not None and row.processes > 1 else company.taken
    mean = before + (company.taken - before) / max(1, row.processes)
    fallen = (company.clock_mhz or highest_mhz) < FALLEN * highest_mhz
    return replace(row, others_cpu=mean, under_load=bool(is_crowded(mean)) or fallen)


def unfit(rows: Sequence[Row], processes: Iterable[Process], looks: Iterable[Look]) -> str:
    """Why a run's machine was not fit to measure on, with the rows that suffered; "" when nothing speaks against it."""
    loaded = [row for row in rows if row.under_load]
    shares = [each.busy_threads / each.threads for each in processes if each.busy_threads > 0]
    few = [share for share in shares if share < THREADS_GOT]
    if not loaded and not few:
        return ""
    every = list(looks)
    reasons = []
    taken = [each.others_cpu + (each.stolen_cpu or 0.0) for each in every if each.others_cpu is not None]
    if taken and is_crowded(max(taken)):
        reasons.append(
            f"other processes took up to {max(taken):.1f} cores (load up to {max(e.load for e in every):.1f})"
        )
    if few:
        reasons.append(
            f"{len(few)} of {len(shares)} worker processes got {min(few):.0%} to {max(few):.0%} of their threads"
        )
    clocks = [each.clock_mhz for each in every if each.clock_mhz]
    if clocks and min(clocks) < FALLEN * max(clocks):
        reasons.append(f"the clock fell from {max(clocks):.0f} to {min(clocks):.0f} MHz")
    text = f"The machine was not fit to measure on: {'; '.join(reasons) or 'see the marked rows'}."
    if not loaded:
        return text
    names = [f"{row.key.implementation} {row.key.case} {row.key.passed}" for row in loaded]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    timed = sum(row.median_seconds is not None for row in rows)
    which = "All" if len(loaded) == timed else f"{len(loaded)} of {timed}"
    return (
        f"{text} {which} rows were measured under load, are marked ! and win nothing: {', '.join(names[:NAMED])}{more}."
    )

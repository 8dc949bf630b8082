"""What would spoil a benchmark on this machine now, and what to do about it: ``birnn bench --doctor``."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backends.pool.pool import Pool
from backends.pool.selection import Selection
from backends.registry import backends
from benchmarks.machine import nvidia
from benchmarks.machine.ceilings import busy_threads
from benchmarks.machine.description import UNKNOWN, governor, memory, read
from benchmarks.machine.idleness import settle

PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")
"""The kernel's folders on processes and on control groups."""
LOOK_SECONDS = 0.5
"""How long processes are watched."""
SOME_LOAD, SOME_CPU, SOME_STEAL = 0.25, 0.05, 0.01
"""Waiting processes a core, cores that other processes take, and the part of the time that the host takes away, from
which on a benchmark suffers."""
THREADS_OFF = 0.15
"""How far CPU over wall time may be from the number of threads, as a part of it."""
LEAST_MEMORY = 4 * 2**30
"""Bytes that should be free."""
WARM_GPU = 80.0
"""Degrees Celsius above which a GPU is warm."""
SOME_GPU_MEMORY = 0.05
"""The part of the GPU's memory that our own workers may hold before anything is measured."""
GIB = 2**30
"""Bytes of a GiB."""


@dataclass(frozen=True)
class Check:
    """One finding: ``ok`` None where it cannot be told; ``advice`` what to do, empty when all is well."""

    name: str
    ok: bool | None
    state: str
    advice: str = ""


def examine(pool: Pool, selection: Selection, threads: int, device: str) -> list[Check]:
    """Look at the machine, then at the started workers of ``selection``; takes about a second for each framework.

    Parameters
    ----------
    pool, selection
        The workers, started with ``threads`` threads.
    threads
        What every framework should use.
    device
        ``cpu`` or ``gpu``; for ``gpu`` the driver is asked, too.
    """
    pids = pool.pids()
    checks = [check_load(), *check_processes(own_processes(os.getpid(), pids.values()))]
    checks += [check_cores(threads), check_quota(), check_governor(), check_memory(), check_swap()]
    if device == "gpu":
        checks += check_gpu(nvidia.gpu_state(), nvidia.gpu_slowdowns(), nvidia.gpu_users(), set(pids.values()))
        checks += [check_device(name, said.devices) for name, said in selection.descriptions.items()]
    for name in selection.descriptions:
        busy = busy_threads(pool, backends()[name], threads)
        # Its pid is asked for again: a worker that died has been replaced.
        pid = pool.pids().get(name)
        checks.append(check_threads(name, busy, threads, pid is not None and settle(pid)))
    absent = [*selection.missing.values(), *selection.broken.values()]
    return checks + [Check("environment", False, "not there", sentence) for sentence in absent]


def check_load() -> Check:
    """The one-minute load average."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    ok = load <= SOME_LOAD * cores
    advice = "" if ok else "wait until what ran before has faded, or end what runs beside (below)"
    return Check("load", ok, f"{load:.2f} over the last minute on {cores} cores", advice)


def check_processes(ours: set[int]) -> list[Check]:
    """Other processes' use of the CPU now, and what the host of a virtual machine takes away."""
    before, stolen_before = cpu_ticks(), _stolen()
    started = time.perf_counter()
    time.sleep(LOOK_SECONDS)
    seconds = time.perf_counter() - started
    ticks = os.sysconf("SC_CLK_TCK") * seconds
    others = busiest(before, cpu_ticks(), ours, ticks)
    taken = sum(cores for _, _, cores in others)
    names = ", ".join(f"{name} ({pid}) {cores:.2f}" for pid, name, cores in others[:5])
    checks = [
        Check(
            "other processes",
            taken <= SOME_CPU,
            f"{taken:.2f} of a core" + (f": {names}" if names else ""),
            "" if taken <= SOME_CPU else "end them or wait: they take time and memory bandwidth from what is measured",
        )
    ]
    stolen = max(0.0, _stolen() - stolen_before) / ticks / (os.cpu_count() or 1)
    ok = stolen <= SOME_STEAL
    advice = "" if ok else "the machine's host is busy: measure at another time, or on a machine of its own"
    return [*checks, Check("stolen time", ok, f"{100 * stolen:.1f} % taken by the host", advice)]


def check_cores(threads: int) -> Check:
    """Whether there are as many cores as threads."""
    cores = len(os.sched_getaffinity(0))
    ok = threads <= cores
    advice = "" if ok else f"ask for at most {cores} threads: more than cores take turns"
    return Check("cores", ok, f"{threads} threads on {cores} usable cores", advice)


def check_quota() -> Check:
    """A container's limit of CPU time."""
    quota = cpu_quota(PROC, CGROUP)
    cores = len(os.sched_getaffinity(0))
    if quota is None or quota >= cores:
        return Check("CPU quota", True, "none" if quota is None else f"{quota:g} cores, no less than there are")
    advice = "lift the container's CPU limit, or pin whole cores: a quota stops all threads for part of each period"
    return Check("CPU quota", False, f"{quota:g} of {cores} cores", advice)


def check_governor() -> Check:
    """What picks the processor's clock."""
    name = governor()
    if name == UNKNOWN:
        return Check("governor", None, "the kernel does not say, as in most virtual machines")
    ok = name == "performance"
    return Check("governor", ok, name, "" if ok else "sudo cpupower frequency-set --governor performance")


def check_memory() -> Check:
    """Memory that can be had."""
    known = memory()
    free, total = known.get("MemAvailable", 0), known.get("MemTotal", 0)
    ok = free >= LEAST_MEMORY
    advice = "" if ok else "end what holds memory, or choose a smaller set of cases: four workers take 2 GiB at rest"
    return Check("memory", ok, f"{free / GIB:.1f} of {total / GIB:.1f} GiB available", advice)


def check_swap() -> Check:
    """Whether anything has been swapped out."""
    known = memory()
    total = known.get("SwapTotal", 0)
    used = total - known.get("SwapFree", 0)
    if not total:
        return Check("swap", True, "none")
    ok = used < 0.01 * known.get("MemTotal", 0)
    advice = "" if ok else "sudo swapoff -a && sudo swapon -a, once there is memory: a swapped page costs milliseconds"
    return Check("swap", ok, f"{used / GIB:.1f} of {total / GIB:.1f} GiB in use", advice)


def check_threads(name: str, busy: float, threads: int, rests: bool) -> Check:
    """Whether a framework uses the threads that it was given, and lets go of them afterwards."""
    told = f"{busy:.2f} of {threads} threads work on a product" + ("" if rests else ", and go on when it is done")
    title = f"threads of {name}"
    if busy == 0:
        return Check(title, None, "its worker has no product to measure")
    if busy > (1 + THREADS_OFF) * threads:
        return Check(title, False, told, "its times will be too good: report this with the environment's package list")
    if not rests:
        return Check(title, False, told, "its threads spin while others are measured: unset OMP_WAIT_POLICY")
    if busy < (1 - THREADS_OFF) * threads:
        return Check(title, False, told, "end what runs beside; else the framework ignores its thread variables here")
    return Check(title, True, told)


def check_device(name: str, devices: Mapping[str, str]) -> Check:
    """Whether a framework sees the GPU."""
    if "gpu" in devices:
        return Check(f"GPU of {name}", True, devices["gpu"])
    advice = f"install a build of {name} for CUDA, in an environment of its own: tox run -m study-gpu makes them"
    return Check(f"GPU of {name}", False, f"{name} sees none", advice)


def check_gpu(
    state: Mapping[str, str | None] | None, slowdowns: list[str], users: Iterable[nvidia.GpuUser], ours: set[int]
) -> list[Check]:
    """What the driver says of the GPU: its clocks, its temperature, and who else uses it."""
    if state is None:
        return [Check("GPU", False, "nvidia-smi shows none", "install the driver, or measure with --device cpu")]
    checks = [Check("GPU", True, f"{state['name']}, driver {state['driver_version']}")]
    mode = state["persistence_mode"]
    advice = (
        "" if mode == "Enabled" else "sudo nvidia-smi --persistence-mode=1: else the first call waits for the driver"
    )
    checks.append(Check("GPU persistence", None if mode is None else mode == "Enabled", mode or UNKNOWN, advice))
    clocks = f"{state['clocks.sm']} of {state['clocks.max.sm']} MHz, memory {state['clocks.mem']} MHz"
    if slowdowns:
        reason = f"{clocks}; slowed down: {', '.join(slowdowns)}"
        checks.append(Check("GPU clocks", False, reason, "let it cool, or raise its power limit, before measuring"))
    else:
        checks.append(Check("GPU clocks", True, f"{clocks} at rest; not slowed down"))
    degrees = nvidia.number(state["temperature.gpu"])
    if degrees is not None:
        ok = degrees < WARM_GPU
        checks.append(Check("GPU temperature", ok, f"{degrees:.0f} °C", "" if ok else "let it cool before measuring"))
    power = f"{state['power.draw'] or UNKNOWN} of {state['power.limit'] or UNKNOWN} W"
    checks.append(Check("GPU power", None if state["power.limit"] is None else True, power))
    used, total = nvidia.number(state["memory.used"]), nvidia.number(state["memory.total"])
    if used is not None and total is not None:
        ok = used < SOME_GPU_MEMORY * total
        advice = "" if ok else "end what holds it: cases that fit may not fit now"
        checks.append(Check("GPU memory", ok, f"{used:.0f} of {total:.0f} MiB in use", advice))
    strangers = [user for user in users if user.pid not in ours]
    load = state["utilization.gpu"]
    names = ", ".join(f"{user.name} ({user.pid})" for user in strangers)
    text = f"{load or UNKNOWN} % busy; {names or 'nobody else'} on it"
    quiet = not strangers and (nvidia.number(load) or 0.0) == 0.0
    checks.append(
        Check("GPU users", quiet, text, "" if quiet else "end them or wait: they share its clocks and memory")
    )
    return checks


# What the kernel says.


def own_processes(pid: int, workers: Iterable[int]) -> set[int]:
    """``pid``, the workers, and everything that descends from them."""
    parents = {child: _stat(child)[1] for child in _all_pids()}
    ours = {pid, *workers}
    while more := {child for child, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return ours


def cpu_ticks() -> dict[int, tuple[str, int]]:
    """Name and CPU time so far, in clock ticks, of every process that can be seen."""
    return {pid: (name, ticks) for pid in _all_pids() for name, _, ticks in [_stat(pid)] if name}


def busiest(
    before: Mapping[int, tuple[str, int]], after: Mapping[int, tuple[str, int]], ours: set[int], ticks: float
) -> list[tuple[int, str, float]]:
    """Pid, name and cores taken of the processes that are not ours, the busiest first; those that rest left out.

    ``ticks`` are the clock ticks between the two looks.
    """
    processes = [
        (pid, name, (now - before[pid][1]) / ticks)
        for pid, (name, now) in after.items()
        if pid in before and pid not in ours and now > before[pid][1]
    ]
    return sorted(processes, key=lambda each: -each[2])


def cpu_quota(proc: Path, cgroup: Path) -> float | None:
    """Cores' worth of CPU time that this process's control group, or one above it, may take; None for no limit."""
    limits = []
    for line in (read(proc / "self" / "cgroup") or "").splitlines():
        _, controllers, place = line.split(":", 2)
        names: tuple[str, ...]
        if controllers == "":
            root, names = cgroup, ("cpu.max",)
        elif "cpu" in controllers.split(","):
            root, names = cgroup / "cpu", ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        else:
            continue
        here = root / place.strip("/")
        for folder in (here, *here.parents):
            if folder != root and root not in folder.parents:
                break
            limits.append(_quota([read(folder / name) for name in names]))
    return min((limit for limit in limits if limit is not None), default=None)


def _quota(texts: list[str | None]) -> float | None:
    """The cores that a control group allows, from its numbers; None where it sets no bound."""
    numbers = re.findall(r"-?\w+", " ".join(text or "" for text in texts))
    if len(numbers) != 2 or numbers[0] in ("max", "-1"):
        return None
    return int(numbers[0]) / int(numbers[1])


def _all_pids() -> list[int]:
    """Every process id."""
    return [int(path.name) for path in PROC.iterdir() if path.name.isdigit()]


def _stat(pid: int) -> tuple[str, int, int]:
    """Name, parent and CPU ticks of a process; empty for one that is gone."""
    text = read(PROC / str(pid) / "stat")
    if text is None:
        return "", 0, 0
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    return name, int(fields[1]), int(fields[11]) + int(fields[12])


def _stolen() -> float:
    """Clock ticks that the host of a virtual machine has taken from all cores."""
    fields = (read(PROC / "stat") or "cpu").splitlines()[0].split()
    return float(fields[8]) if len(fields) > 8 else 0.0

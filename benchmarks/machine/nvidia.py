"""What NVIDIA's driver says of the GPU: nvidia-smi's tables, and the size of its cache."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from dataclasses import dataclass

SECONDS = 20.0
"""Seconds that nvidia-smi may take."""
LOOKS, LOOK_SECONDS = 3, 0.5
"""How often, and how far apart, the GPU's load is looked at before it counts as somebody else's."""
GPU_FIELDS = (
    "name",
    "driver_version",
    "persistence_mode",
    "clocks.sm",
    "clocks.max.sm",
    "clocks.mem",
    "clocks.max.mem",
    "temperature.gpu",
    "power.limit",
    "power.draw",
    "utilization.gpu",
    "memory.used",
    "memory.total",
    "compute_mode",
)
"""What is asked of a GPU."""
PROCESS_FIELDS = ("pid", "process_name", "used_memory")
"""What is asked of a process on a GPU."""
SLOWDOWNS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "too warm (software)",
    0x40: "too warm (hardware)",
    0x80: "power brake",
}
"""Bits of clocks_throttle_reasons.active that mean a slower clock than was asked for (NVML, nvmlClocksThrottleReasons);
idle, clocks that were set, and sync boost are left out."""
L2_CACHE_SIZE = 38
"""CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE of the CUDA driver API."""


@dataclass(frozen=True)
class GpuUser:
    """A process on the GPU; ``memory`` in MiB, None where the driver does not say."""

    pid: int
    name: str
    memory: float | None


def parse_table(text: str, fields: tuple[str, ...]) -> list[dict[str, str | None]]:
    """The lines of nvidia-smi's ``--format=csv,noheader,nounits``; what it does not know ([N/A], …) is None."""
    rows = []
    for line in text.strip().splitlines():
        values = [value.strip() for value in line.split(", ")]
        if len(values) == len(fields):
            known = (None if value.startswith("[") or value in ("", "N/A") else value for value in values)
            rows.append(dict(zip(fields, known, strict=True)))
    return rows


def parse_users(text: str) -> list[GpuUser]:
    """The processes in nvidia-smi's answer to ``--query-compute-apps``; names without their folders."""
    return [
        GpuUser(int(row["pid"]), (row["process_name"] or "unknown").rpartition("/")[2], number(row["used_memory"]))
        for row in parse_table(text, PROCESS_FIELDS)
        if row["pid"] is not None and row["pid"].isdigit()
    ]


def parse_slowdowns(text: str) -> list[str]:
    """Why the clock is slower than it could be, from ``clocks_throttle_reasons.active`` (a hexadecimal number)."""
    try:
        active = int(text.strip().splitlines()[0], 16)
    except (IndexError, ValueError):
        return []
    return [reason for bit, reason in SLOWDOWNS.items() if active & bit]


def number(text: str | None) -> float | None:
    """A number of the table, None where there is none."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def gpu_state() -> dict[str, str | None] | None:
    """``GPU_FIELDS`` of the first visible GPU; None without one or without nvidia-smi.

    A driver that does not know one of the fields refuses them all: they are then asked for one by one.
    """
    rows = parse_table(_ask(f"--query-gpu={','.join(GPU_FIELDS)}"), GPU_FIELDS)
    if rows:
        return rows[0]
    if not parse_table(_ask("--query-gpu=name"), ("name",)):
        return None
    single = {field: parse_table(_ask(f"--query-gpu={field}"), (field,)) for field in GPU_FIELDS}
    return {field: rows[0][field] if rows else None for field, rows in single.items()}


def gpu_users() -> list[GpuUser]:
    """The processes on the first visible GPU."""
    return parse_users(_ask(f"--query-compute-apps={','.join(PROCESS_FIELDS)}"))


def gpu_slowdowns() -> list[str]:
    """Why the first visible GPU runs slower than it could, if it does; drivers call the field by either name."""
    fields = ("clocks_throttle_reasons.active", "clocks_event_reasons.active")
    return parse_slowdowns(next(filter(None, (_ask(f"--query-gpu={field}") for field in fields)), ""))


def gpu_trouble(ignore_users: bool = False) -> str | None:
    """Why nothing can be measured on the first visible GPU, as a sentence; None where it is there and free, or only
    there with ``ignore_users``.
    """
    if shutil.which("nvidia-smi") is None:
        return "a GPU must be there; the path has no nvidia-smi, which comes with the driver"
    try:
        name = _answer("--query-gpu=name").strip()
    except Refused as error:
        return f"the GPU's driver must answer; nvidia-smi {error}"
    if not name:
        return "a GPU must be there; nvidia-smi shows none"
    if ignore_users:
        return None
    users = ", ".join(f"{user.name} ({user.pid})" for user in gpu_users())
    if users:
        return f"{name} must be free; it is in use by {users}"
    loads = []
    for _ in range(LOOKS):
        loads.append(number(_ask("--query-gpu=utilization.gpu").strip()) or 0.0)
        if loads[-1] == 0:
            return None
        time.sleep(LOOK_SECONDS)
    return f"{name} must be free; it is {min(loads):.0f} % busy, by a process that the driver does not name"


class Refused(Exception):
    """The exception for no answer from nvidia-smi; the text says what it did instead."""


def _ask(query: str) -> str:
    """The answer of nvidia-smi; empty when it fails, since not every driver knows every field."""
    try:
        return _answer(query)
    except Refused:
        return ""


def _answer(query: str) -> str:
    """The answer of nvidia-smi; ``Refused`` when there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        raise Refused("is not on the path")
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() or "0"
    command = [program, f"--id={first}", query, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise Refused(f"did not answer within {SECONDS:g} s") from None
    except OSError as error:
        raise Refused(f"does not start: {error.strerror}") from None
    if done.returncode != 0:
        said = " ".join((done.stdout + done.stderr).split()) or "nothing"
        raise Refused(f"ended with {done.returncode} and said: {said}")
    return done.stdout


def gpu_cache_bytes() -> int | None:
    """The size of the first GPU's L2 cache from the CUDA driver, None without one; makes no context."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, size = ctypes.c_int(), ctypes.c_int()
    asked = (
        lambda: cuda.cuInit(0),
        lambda: cuda.cuDeviceGet(ctypes.byref(device), 0),
        lambda: cuda.cuDeviceGetAttribute(ctypes.byref(size), L2_CACHE_SIZE, device),
    )
    return size.value if all(call() == 0 for call in asked) and size.value > 0 else None

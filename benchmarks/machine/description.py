"""What the machine is: read from the kernel's files and, for a GPU, from the driver. No name of a host or a user."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import nvidia

CPU = Path("/sys/devices/system/cpu")
"""The kernel's folder on the cores."""
FLAGS = ("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_bf16", "avx512_fp16", "avx512_vnni", "amx_bf16")
"""Instruction sets that decide how fast a product is."""
INT8_FLAGS = ("avx2", "avx512bw", "avx_vnni", "avx512_vnni", "amx_int8")
"""Instruction sets that decide how fast a product of int8 is: VNNI (in 256 bits and in 512) and AMX sum in int32 in one
instruction, and without them AVX2's sum in 16 bits saturates."""
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
"""Bytes of each unit in which the kernel tells a cache's size."""
UNKNOWN = "unknown"
"""What stands for what the machine does not tell."""


def fingerprint() -> dict[str, Any]:
    """What of the machine decides how fast it is, as a JSON object; the same in every session on it.

    ``memory_bytes`` is what the kernel manages, in whole GiB; ``caches`` bytes in all by level; the GPU's keys are
    there when there is one.
    """
    content: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)),
        "memory_bytes": round(memory().get("MemTotal", 0) / 2**30) * 2**30,
        "caches": caches(),
        "cpu_flags": [flag for flag in FLAGS if flag in _cpu_flags()],
        "virtual": "hypervisor" in _cpu_flags(),
        "governor": governor(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    gpu = nvidia.gpu_state()
    if gpu is not None:
        content |= {
            "gpu": gpu["name"],
            "gpu_driver": gpu["driver_version"],
            "gpu_memory_mib": nvidia.number(gpu["memory.total"]),
            "gpu_largest_clock_mhz": nvidia.number(gpu["clocks.max.sm"]),
            "gpu_largest_memory_clock_mhz": nvidia.number(gpu["clocks.max.mem"]),
            "gpu_power_limit_watts": nvidia.number(gpu["power.limit"]),
            "gpu_cache_bytes": nvidia.gpu_cache_bytes(),
        }
    return content


def cores_told(machine: Mapping[str, Any]) -> str:
    """How many cores a ``fingerprint`` has, of which processor, as pages tell it: ``2 cores of AMD EPYC``."""
    count = machine["usable_cores"]
    return f"{count} core{'' if count == 1 else 's'} of {machine['processor']}"


def read(path: Path) -> str | None:
    """The text of one of the kernel's files, stripped; None where there is none, or none that may be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def processor() -> str:
    """The processor's model name."""
    match = re.search(r"model name\s*:\s*(.*)", read(Path("/proc/cpuinfo")) or "")
    return match[1] if match else platform.machine() or UNKNOWN


def governor() -> str:
    """What picks the processor's clock; more than one when the cores differ; unknown in most virtual machines."""
    names = {read(path) for path in CPU.glob("cpu[0-9]*/cpufreq/scaling_governor")} - {None}
    return ", ".join(sorted(str(each) for each in names)) or UNKNOWN


def memory() -> dict[str, int]:
    """The machine's memory in bytes, as /proc/meminfo names it: MemTotal, MemAvailable, SwapTotal, SwapFree, …"""
    lines = re.findall(r"^(\w+):\s+(\d+) kB$", read(Path("/proc/meminfo")) or "", re.MULTILINE)
    return {name: int(amount) * 1024 for name, amount in lines}


def caches() -> dict[str, int]:
    """Bytes of data cache by level, over all of the machine's."""
    sizes: dict[str, int] = {}
    counted = set()
    for folder in sorted(CPU.glob("cpu[0-9]*/cache/index[0-9]*")):
        level, kind, size, sharers = (read(folder / name) for name in ("level", "type", "size", "shared_cpu_list"))
        match = re.fullmatch(r"(\d+)([KMG]?)", size or "")
        if match is None or level is None or kind == "Instruction" or (level, sharers) in counted:
            continue
        counted.add((level, sharers))
        sizes[f"L{level}"] = sizes.get(f"L{level}", 0) + int(match[1]) * UNITS[match[2]]
    return sizes


def largest_cache() -> int | None:
    """Bytes of the last level of cache, over all of the machine's; None where the kernel does not say."""
    sizes = caches()
    return sizes[max(sizes)] if sizes else None


def int8_instructions() -> list[str]:
    """The instruction sets of the processor for products of int8, the least first."""
    return [flag for flag in INT8_FLAGS if flag in _cpu_flags()]


def _cpu_flags() -> set[str]:
    """The instruction sets of the processor."""
    match = re.search(r"^flags\s*:\s*(.*)", read(Path("/proc/cpuinfo")) or "", re.MULTILINE)
    return set(match[1].split()) if match else set()

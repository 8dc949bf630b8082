"""What the machine can do, measured by the frameworks' own workers in the same session as the benchmark."""

from __future__ import annotations

from collections.abc import Iterable

from backends.interface.framework import LANES
from backends.interface.gaps import READ
from backends.pool.pool import Pool
from backends.pool.selection import Selection
from backends.registry import Backend, backends
from backends.worker.messages import Answer, NotDone, TimeBarrier, TimeCopy, TimeProduct, TimeThreads, WorkerRequest
from benchmarks.machine.description import largest_cache
from benchmarks.machine.limit import CLUSTER_BYTES, HOPPER_BARRIERS, SM_BYTES
from benchmarks.machine.nvidia import gpu_cache_bytes
from benchmarks.store.records import Ceiling

SECONDS = 0.4
"""How long a framework's product and copy are timed each, after they have been set up."""
BUSY_SECONDS = 0.3
"""Seconds for which threads are counted."""
TIMEOUT_SECONDS = 60.0
"""How long a worker may take for one of these at most."""
CACHES_COPIED = 4
"""How many times as large as the last level of cache a copied array is, at least."""
SMALLEST_COPY = 256 * 2**20
"""Bytes of a copied array, at least."""
PRODUCT, COPY, BARRIER, ON_CHIP = "product", "copy", "barrier", "on_chip"
"""The names of the ceilings."""


def measure_ceilings(
    pool: Pool,
    selection: Selection,
    run: str,
    threads: int,
    dtype: str,
    device: str,
    lane: str = LANES[0],
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> list[Ceiling]:
    """Measure product rate, copy bandwidth and a barrier in every framework that was selected and has the device.

    A ceiling of the machine is its best framework's: ``product`` (flops a second), ``copy`` (bytes a second, read and
    written). Each framework's own stands beside it as ``product/torch`` and so on. ``barrier`` (seconds) is measured on
    a CPU; on a GPU there are published constants instead, ``barrier/sm``, ``barrier/cluster`` and ``barrier/grid``.
    ``on_chip`` are the bytes of the last level of cache, as the kernel or the driver tells them. What could not be
    measured is left out. The workers go into ``lane`` first, in which products may be faster.
    """
    workers = [backends()[name] for name, said in selection.descriptions.items() if device in said.devices]
    cache = largest_cache() if device == "cpu" else gpu_cache_bytes()
    num_bytes = max(SMALLEST_COPY, CACHES_COPIED * (cache or 0))
    product_request = TimeProduct(lane=lane, dtype=dtype, device=device, seconds=SECONDS)
    copy_request = TimeCopy(lane=lane, device=device, num_bytes=num_bytes, seconds=SECONDS)
    measured: list[tuple[str, float, str]] = []
    for backend in workers:
        if product := _ask(pool, backend, product_request, timeout_seconds):
            size = product.size
            how = f"{backend.name}, {size} × {size} by {size} × {size} in {dtype}, {lane} lane, its best call"
            measured.append((f"{PRODUCT}/{backend.name}", product.flops_per_second, how))
        if copy := _ask(pool, backend, copy_request, timeout_seconds):
            how = f"{backend.name}, a copy of {num_bytes / 2**20:.0f} MiB, its best call"
            measured.append((f"{COPY}/{backend.name}", copy.bytes_per_second, how))
    for name in (PRODUCT, COPY):
        group = [each for each in measured if each[0].startswith(f"{name}/")]
        if group:
            _, value, how = max(group, key=lambda each: each[1])
            measured.append((name, value, f"the best of {len(group)} frameworks: {how}"))
    measured += _published_barriers() if device == "gpu" else _barrier(pool, workers, threads, timeout_seconds)
    if cache:
        measured.append((ON_CHIP, cache, "bytes of the last level of cache, as the system tells them"))
    return [Ceiling(run, name, device, dtype, threads, value, how) for name, value, how in measured]


def busy_threads(pool: Pool, backend: Backend, threads: int, timeout_seconds: float = TIMEOUT_SECONDS) -> float:
    """CPU seconds over wall seconds of a large product in a backend's worker: what ``threads`` should give.

    0 when the worker cannot say.
    """
    at_work = _ask(pool, backend, TimeThreads(seconds=BUSY_SECONDS), timeout_seconds)
    return at_work.threads if at_work else 0.0


def _barrier(
    pool: Pool, workers: Iterable[Backend], threads: int, timeout_seconds: float
) -> list[tuple[str, float, str]]:
    """A barrier's name, seconds and how, from the first worker that finds a libgomp; empty when none does."""
    for backend in workers:
        cost = _ask(pool, backend, TimeBarrier(threads=threads), timeout_seconds)
        if cost and cost.seconds is not None:
            how = f"libgomp in {backend.name}'s worker: a parallel region with a barrier less one without"
            return [(BARRIER, cost.seconds, how if threads > 1 else "one thread waits for nobody")]
    return []


def _published_barriers() -> list[tuple[str, float, str]]:
    """What a barrier costs on a GPU, by how much of it takes part: name, seconds, and where that is from."""
    sizes = ((SM_BYTES, "sm", "one SM"), (CLUSTER_BYTES, "cluster", "a cluster of 8 SMs"), (None, "grid", "the grid"))
    return [
        (
            f"{BARRIER}/{name}",
            seconds,
            f"published for an H100, {READ}: {where}"
            + (f", up to {most // 1024} KiB of recurrent weights in a direction" if most else ""),
        )
        for (most, name, where), (_, seconds) in zip(sizes, HOPPER_BARRIERS, strict=True)
    ]


def _ask(pool: Pool, backend: Backend, request: WorkerRequest[Answer], timeout_seconds: float) -> Answer | None:
    """A worker's reply, None when it has no answer: a framework without a product in float16, say."""
    reply = pool.ask(backend, request, min(TIMEOUT_SECONDS, timeout_seconds))
    return None if isinstance(reply, NotDone) else reply

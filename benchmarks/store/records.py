"""What a benchmark keeps: runs, environments, processes, blocks of samples, and one row a measured combination."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backends.interface.gaps import DECLINED

MEASURED, NEVER_STEADY, DISAGREES = "measured", "never steady", "disagrees"
"""The statuses of what was measured, of what never got steady, and of wrong results."""
NOT_JUDGED = "not judged"
"""The status of what nothing could be told of."""
FAILED, CRASHED, TIMED_OUT, OUT_OF_MEMORY = "failed", "crashed", "timed out", "out of memory"
"""The statuses of what did not come to its end."""
NOT_REACHED = "not reached"
"""The status of what the budget has not reached."""
STATUSES = (
    MEASURED,
    NEVER_STEADY,
    DISAGREES,
    NOT_JUDGED,
    *DECLINED,
    FAILED,
    CRASHED,
    TIMED_OUT,
    OUT_OF_MEMORY,
    NOT_REACHED,
)
"""Every status of a row."""
TIMED = (MEASURED, NEVER_STEADY)
"""Statuses that have times."""
RETRIED = (DISAGREES, FAILED, CRASHED, TIMED_OUT, OUT_OF_MEMORY)
"""Statuses that ``--retry-failed`` tries again."""


@dataclass(frozen=True)
class Key:
    """What is timed: one implementation doing one pass of one case under one setting.

    ``implementation`` is framework/name; ``passed`` is the column ``pass``: forward, forward_backward or train_step.
    """

    implementation: str
    case: str
    passed: str
    dtype: str
    device: str
    lane: str
    threads: int

    @property
    def framework(self) -> str:
        """The part of ``implementation`` before the slash."""
        return self.implementation.partition("/")[0]

    @property
    def job(self) -> tuple[str, str, str, str, str, int]:
        """What competitors have in common: everything but the implementation."""
        return (self.case, self.passed, self.dtype, self.device, self.lane, self.threads)


@dataclass(frozen=True)
class Run:
    """One session of measuring.

    ``run`` is its name, unique in a store (date and time, ``20261120-131501``, with a suffix where taken); ``label``
    the user's name for it or ""; ``settings`` what was asked for (a JSON object: cases, implementations, passes,
    dtypes, device, lane, threads, processes, budget_seconds); ``fingerprint`` the SHA-256 of what must be equal for a
    run to be resumed; ``seed`` of the order; ``machine`` a JSON object (processor, cores, memory_bytes, kernel,
    governor, gpu, gpu_driver, python); ``commit`` of the suite; times in UTC, ``finished`` None while it is not;
    ``noise_floor`` the difference, as a part, that its A/A pairs stay within in 95 of 100 cases, with the 95 %
    interval; None before there are any (benchmarks/analysis/noise.py).
    """

    run: str
    label: str
    settings: dict[str, Any]
    fingerprint: str
    seed: int
    machine: dict[str, Any]
    suite_version: str
    commit: str
    command: str
    started: datetime
    finished: datetime | None = None
    noise_floor: float | None = None
    noise_floor_low: float | None = None
    noise_floor_high: float | None = None


@dataclass(frozen=True)
class Environment:
    """A framework's environment: ``environment`` is the first 12 digits of the SHA-256 of the rest."""

    environment: str
    framework: str
    versions: dict[str, str]
    packages: dict[str, str]


@dataclass(frozen=True)
class Process:
    """One worker process of a run: ``ordinal`` counts the fresh processes of a framework, from 0.

    ``import_seconds`` from its start to its first answer; ``busy_threads`` CPU seconds over wall seconds of a large
    product, what ``threads`` should give.
    """

    run: str
    framework: str
    environment: str
    ordinal: int
    threads: int
    import_seconds: float
    busy_threads: float


@dataclass(frozen=True)
class Block:
    """Consecutive calls, timed one by one: ``samples`` in seconds, in order.

    ``cycle`` numbers the interleaved rounds within a job and process: blocks of one cycle ran next to each other.
    ``twin`` is 1 for the second of an A/A pair, else 0; ``warmup`` whether these were calls before the steady state;
    ``others_cpu`` CPU seconds of all other workers during the block, over its wall seconds.
    """

    run: str
    key: Key
    process: int
    cycle: int
    twin: int
    warmup: bool
    started: datetime
    samples: tuple[float, ...]
    others_cpu: float = 0.0


@dataclass(frozen=True)
class Look:
    """A look at who else was at work on the machine: ``what`` is "" at the start of a set of processes, whose number is
    ``process``, else the job that was timed meanwhile.

    Over ``seconds`` other processes took ``others_cpu`` cores and a virtual machine's host ``stolen_cpu``; ``load`` is
    the one-minute average, ``clock_mhz`` the mean clock at the end. None where the kernel does not say.
    """

    run: str
    process: int
    threads: int
    what: str
    started: datetime
    seconds: float
    load: float
    others_cpu: float | None = None
    stolen_cpu: float | None = None
    clock_mhz: float | None = None


@dataclass(frozen=True)
class Ceiling:
    """What the machine can do, measured in the run: ``name`` is product (flops a second), copy (bytes a second),
    barrier (seconds) or on_chip (bytes), or one of a framework's own, as in product/torch; ``how`` says what was
    measured, and in which framework.
    """

    run: str
    name: str
    device: str
    dtype: str
    threads: int
    value: float
    how: str


@dataclass(frozen=True)
class Row:
    """One measured combination of one run, or why it was not measured: a row of the export.

    Seconds are of the median call with its 95 % interval (two-level bootstrap over processes and samples), without one
    where there are fewer than three calls;
    ``stop`` why measuring stopped; ``bimodal`` whether the samples fall into two groups; ``samples`` and ``processes``
    how many, a process that was cut off not counted; ``build_seconds`` set-up with weights, ``first_call_seconds`` the
    first call, compilation included.
    ``limit_seconds``, ``fraction_of_limit`` and ``binding`` (the term that binds: compute, memory or chain) come from
    benchmarks/machine/limit.py; ``microseconds_per_step`` is the median over num_layers · the longest length; a system,
    whose ``cell`` and sizes are those of its bidirectional RNN, has none of them.
    ``noise_floor`` with its 95 % interval is what its job's differences have to be larger than, as a part
    (benchmarks/analysis/noise.py).
    ``error_rms`` and ``error_max`` are the worst errors against the reference, in units of the plain loop's.
    ``p95_seconds`` and ``p99_seconds`` are what 95 and 99 of 100 calls stay within, None with too few calls for that;
    ``rows_per_second`` are rows of the batch over the median, ``steps_per_second`` its real steps, None for a system.
    ``peak_host_bytes`` are what a call takes at its peak over what was resident before it (backends/worker/memory.py).
    ``others_cpu`` are the cores that others took while it was timed, and ``under_load`` says whether that was too much,
    or the clock had fallen; None where nobody looked.
    ``path`` is what the implementation says of itself, ``kernels`` what a profiler or the compiled program shows.
    """

    run: str
    key: Key
    cell: str
    seq_len: int
    batch: int
    input_size: int
    hidden_size: int
    num_layers: int
    ragged: bool
    status: str
    reason: str = ""
    log: str = ""
    stop: str = ""
    bimodal: bool = False
    median_seconds: float | None = None
    low_seconds: float | None = None
    high_seconds: float | None = None
    noise_floor: float | None = None
    noise_floor_low: float | None = None
    noise_floor_high: float | None = None
    samples: int = 0
    processes: int = 0
    import_seconds: float | None = None
    build_seconds: float | None = None
    first_call_seconds: float | None = None
    microseconds_per_step: float | None = None
    limit_seconds: float | None = None
    fraction_of_limit: float | None = None
    binding: str = ""
    peak_host_bytes: int | None = None
    peak_device_bytes: int | None = None
    error_rms: float | None = None
    error_max: float | None = None
    path: str = ""
    kernels: list[str] = field(default_factory=list)
    environment: str = ""
    command: str = ""
    others_cpu: float | None = None
    under_load: bool | None = None
    p95_seconds: float | None = None
    p99_seconds: float | None = None
    rows_per_second: float | None = None
    steps_per_second: float | None = None

"""Made-up records for the tests of what is done with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from benchmarks.machine.company import Company
from benchmarks.store.records import MEASURED, Block, Ceiling, Environment, Key, Process, Row, Run
from benchmarks.store.schema import TABLE_OF, AnyRecord, line_of
from benchmarks.store.store import Store

START = datetime(2026, 11, 20, 13, 15, 1, tzinfo=UTC)
NATIVE = Key("torch/native", "gru-100-64-123-320", "forward_backward", "float32", "cpu", "exact", 2)
LINEN = replace(NATIVE, implementation="jax/native-linen")
TORCH = Environment("aaaa00001111", "torch", {"torch": "2.13.0+x"}, {"torch": "2.13.0+x", "numpy": "2.3.1"})
NOBODY = Company(1.0, 0.0, 0.0, 0.1)
JAX = Environment("bbbb00001111", "jax", {"jax": "0.10.2", "flax": "0.12.0"}, {"jax": "0.10.2", "numpy": "2.4.0"})


def a_run(run: str = "20261120-131501", **changes: Any) -> Run:
    """An unfinished run; the names of later runs start later."""
    made = Run(
        run=run,
        label="",
        settings={"cases": ["laptop"], "passes": ["forward_backward"], "budget_seconds": 600.0},
        fingerprint="f" * 64,
        seed=7,
        machine={"processor": "A processor", "cores": 2, "memory_bytes": 8_000_000_000, "gpu": None},
        suite_version="0.1.0",
        commit="0123abc",
        command="birnn bench --cases laptop",
        started=datetime.strptime(run[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC),
    )
    return replace(made, **changes)


def stand_still(patch: pytest.MonkeyPatch, *company: Company) -> None:
    """Let looks at the machine find nobody else at work, or ``company``, one look after the other, the last for ever:
    what runs beside the tests is not theirs.
    """
    neighbours = list(company) or [NOBODY]
    patch.setattr("benchmarks.machine.company.LOOK_SECONDS", 0.0)
    patch.setattr(
        "benchmarks.machine.company.Watch.company",
        lambda _: neighbours.pop(0) if len(neighbours) > 1 else neighbours[0],
    )


@cache
def _empty_store() -> bytes:
    """The file of a store in which nothing is, made once in a process: that takes 40 ms of its time."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "empty.duckdb"
        Store.open(path, write=True).close()
        return path.read_bytes()


def an_empty_store(path: Path) -> Path:
    path.write_bytes(_empty_store())
    return path


def put_all(store: Store, records: Sequence[AnyRecord]) -> None:
    """Put new records of one kind into a store by one statement: one for each takes twenty times as long."""
    if records:
        lines = [line_of(record) for record in records]
        table = TABLE_OF[type(records[0])]
        store.execute(f"INSERT INTO {table} BY NAME SELECT unnest($lines, max_depth := 2)", {"lines": lines})


def a_process(run: str, environment: Environment, ordinal: int = 0) -> Process:
    return Process(run, environment.framework, environment.environment, ordinal, 2, 1.5, 1.98)


def a_block(run: str, key: Key = NATIVE, samples: tuple[float, ...] = (0.1, 0.2, 0.15), **changes: Any) -> Block:
    made = Block(run, key, process=0, cycle=0, twin=0, warmup=False, started=START, samples=samples, others_cpu=0.01)
    made = replace(made, **changes)
    return replace(made, started=START + timedelta(seconds=made.process * 100 + made.cycle))


def a_row(run: str, key: Key = NATIVE, **changes: Any) -> Row:
    made = Row(
        run=run,
        key=key,
        cell="gru",
        seq_len=100,
        batch=64,
        input_size=123,
        hidden_size=320,
        num_layers=1,
        ragged=False,
        status=MEASURED,
        stop="narrow",
        median_seconds=0.3,
        low_seconds=0.29,
        high_seconds=0.31,
        samples=30,
        processes=3,
        first_call_seconds=1.5,
        limit_seconds=0.1,
        fraction_of_limit=1 / 3,
        binding="compute",
        error_rms=1.25,
        error_max=1.5,
        kernels=["gemm", "a kernel, with a comma"],
        environment=(TORCH if key.framework == "torch" else JAX).environment,
        command="birnn bench --cases laptop -i torch/native",
        log='a "log" of\ntwo lines',
    )
    return replace(made, **changes)


def a_ceiling(run: str, value: float = 1e11, **changes: Any) -> Ceiling:
    return replace(Ceiling(run, "product", "cpu", "float32", 2, value, "a product of 2048, torch"), **changes)

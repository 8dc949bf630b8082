"""Bringing an open store from one schema version to the next."""

from __future__ import annotations

from typing import Any


def to_2(connection: Any) -> None:
    """Noise floors: a part, where it was a |log ratio|, with its interval, and one for each row."""
    connection.execute("UPDATE runs SET noise_floor = exp(noise_floor) - 1")
    for table in ("runs", "rows"):
        for column in ("noise_floor", "noise_floor_low", "noise_floor_high"):
            connection.execute(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column} DOUBLE")


def to_3(connection: Any) -> None:
    """Looks at who else was at work, and what they say of each row; nobody looked before."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS looks (run VARCHAR NOT NULL, process BIGINT NOT NULL, threads BIGINT NOT NULL, "
        "what VARCHAR NOT NULL, started TIMESTAMP NOT NULL, seconds DOUBLE NOT NULL, load DOUBLE NOT NULL, "
        "others_cpu DOUBLE, stolen_cpu DOUBLE, clock_mhz DOUBLE)"
    )
    connection.execute("ALTER TABLE rows ADD COLUMN IF NOT EXISTS others_cpu DOUBLE")
    connection.execute("ALTER TABLE rows ADD COLUMN IF NOT EXISTS under_load BOOLEAN")


def to_4(connection: Any) -> None:
    """Throughput and tails, of what is measured from now on. The memory was another difference, and is forgotten."""
    for column in ("p95_seconds", "p99_seconds", "rows_per_second", "steps_per_second"):
        connection.execute(f"ALTER TABLE rows ADD COLUMN IF NOT EXISTS {column} DOUBLE")
    connection.execute("UPDATE rows SET peak_host_bytes = NULL")

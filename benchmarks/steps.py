"""Bringing an open store from one schema version to the next."""

from __future__ import annotations

from typing import Any


def to_2(connection: Any) -> None:
    """Noise floors: a part, where it was a |log ratio|, with its interval, and one for each row."""
    connection.execute("UPDATE runs SET noise_floor = exp(noise_floor) - 1")
    for table in ("runs", "rows"):
        for column in ("noise_floor", "noise_floor_low", "noise_floor_high"):
            connection.execute(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column} DOUBLE")

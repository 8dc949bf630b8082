"""Files that are odd stores: damaged, foreign, hostile, or not stores at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

Spoil = Callable[[Path], Any]


def sql(*statements: str) -> Spoil:
    """Execute these in a store, as anyone can with any DuckDB client."""

    def spoil(path: Path) -> None:
        with duckdb.connect(str(path)) as connection:
            for statement in statements:
                connection.execute(statement)

    return spoil


def instead(make: Spoil) -> Spoil:
    """Something else in the store's place."""

    def spoil(path: Path) -> None:
        path.unlink()
        make(path)

    return spoil


def cut(part: float) -> Spoil:
    return lambda path: path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])


def flipped(place: float) -> Spoil:
    """One byte of it changed."""

    def spoil(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(place * len(content))] ^= 0xFF
        path.write_bytes(content)

    return spoil


def as_view(table: str, query: str) -> Spoil:
    return sql(f"ALTER TABLE {table} RENAME TO kept", f"CREATE VIEW {table} AS {query}")


def without_rules(table: str) -> list[str]:
    """The same table without NOT NULL and keys."""
    return [f"CREATE TABLE copied AS FROM {table}", f"DROP TABLE {table}", f"ALTER TABLE copied RENAME TO {table}"]


REFUSED: dict[str, tuple[Spoil, str]] = {
    "nothing": (Path.unlink, "there is no such file"),
    "zero bytes": (cut(0), "got an empty file, in which nothing has been measured"),
    "text": (instead(lambda path: path.write_text("no store\n" * 999)), "got another kind of file"),
    "a folder": (instead(Path.mkdir), "got a folder"),
    "a FIFO": (instead(os.mkfifo), "got a device, FIFO or socket"),
    "a device": (instead(lambda path: path.symlink_to("/dev/zero")), "got a device, FIFO or socket"),
    "a link to itself": (instead(lambda path: path.symlink_to(path.name)), "symbolic links"),
    "another database": (instead(sql("CREATE TABLE t (i INTEGER)")), "without the table 'store'"),
    "a table is missing": (sql("DROP TABLE blocks"), "without the column blocks.run"),
    "a column is missing": (sql("ALTER TABLE rows DROP binding"), "without the column rows.binding"),
    "no column for the version": (sql("ALTER TABLE store RENAME schema_version TO v"), "without the column store.sch"),
    "no version": (sql("DELETE FROM store"), "with a schema version; got None"),
    "a version in words": (sql("ALTER TABLE store ALTER schema_version TYPE VARCHAR"), "a schema version; got '"),
    "a newer version": (sql("UPDATE store SET schema_version = 99"), "got 99; upgrade birnn"),
    "an older version": (sql("UPDATE store SET schema_version = 0"), "must have a schema version from"),
    "seconds in words": (
        sql("ALTER TABLE rows ALTER median_seconds TYPE VARCHAR"),
        "rows.median_seconds must be of type DOUBLE; got 'VARCHAR'",
    ),
    "a view over a file": (as_view("rows", "SELECT * FROM read_text('/etc/hostname')"), "got the view 'rows'"),
    "a view over another table": (as_view("runs", "FROM kept"), "got the view 'runs'"),
    "a view beside the tables": (sql("CREATE VIEW more AS SELECT 1"), "got the view 'more'"),
    "a macro for a function": (sql("CREATE MACRO coalesce(a, b) AS 1"), "got the macro 'coalesce'"),
    "a macro that lies of the tables": (
        sql("CREATE MACRO duckdb_tables() AS TABLE SELECT 'store' AS table_name"),
        "got the macro 'duckdb_tables'",
    ),
    "a type of its own": (sql("CREATE TYPE colour AS ENUM ('red')"), "got the type 'colour'"),
    "a run's name is NULL": (
        sql(*without_rules("runs"), "UPDATE runs SET fingerprint = NULL"),
        "runs.fingerprint must have a value in every line; got NULL",
    ),
    "cut after 10 bytes": (lambda path: path.write_bytes(path.read_bytes()[:10]), "a store"),
    "cut after the header": (lambda path: path.write_bytes(path.read_bytes()[:4096]), "a store"),
    "cut after the first block": (lambda path: path.write_bytes(path.read_bytes()[:12_288]), "a store"),
    "cut in the middle": (cut(0.5), "a store"),
    "another byte in the header": (flipped(0.00005), "a store"),
}
"""What is no store, or no whole one, and a part of the sentence about it; SQL on one damaged by hand."""

REFUSED_WHEN_READ: dict[str, tuple[Spoil, str]] = {
    "cut at the end": (cut(0.9), "must be a store that can be read and written; got"),
    "another byte near the end": (flipped(0.8), "must be a store that can be read and written; got"),
    "infinite samples": (sql("UPDATE blocks SET samples = ['inf'::DOUBLE]"), "blocks.samples must be seconds"),
    "samples that are NaN": (sql("UPDATE blocks SET samples = ['nan'::DOUBLE]"), "blocks.samples must be seconds"),
    "negative samples": (sql("UPDATE blocks SET samples = [-1.0]"), "blocks.samples must be seconds"),
    "no samples": (sql("UPDATE blocks SET samples = []"), "blocks.samples must be seconds, at least one; got ()"),
    "NULL among the samples": (sql("UPDATE blocks SET samples = [0.1, NULL]"), "must be numbers; got [0.1, None]"),
    "no runs": (sql("DELETE FROM runs"), "'last' must be a run's name, label or beginning, or last; there are no runs"),
    "a time that is NULL": (sql("UPDATE rows SET median_seconds = NULL"), "where the status is measured; got NULL"),
    "settings that are a list": (sql("UPDATE runs SET settings = '[1]'"), "runs.settings must be a JSON object"),
    "settings that are null": (sql("UPDATE runs SET settings = 'null'"), "runs.settings must be a JSON object"),
    "versions that are no texts": (
        sql("""UPDATE environments SET versions = '{"torch": {"a": []}}'"""),
        "environments.versions and packages must be texts by name",
    ),
    "JSON nested a thousand deep": (
        sql("UPDATE runs SET machine = repeat('{\"a\":', 900) || '1' || repeat('}', 900)"),
        "runs.machine must be a JSON object",
    ),
    "a number of 5,000 digits": (
        sql("UPDATE runs SET machine = '{\"cores\": ' || repeat('9', 5000) || '}'"),
        "runs.machine must be a JSON object",
    ),
    "the year 200000": (sql("UPDATE runs SET finished = '200000-01-01'"), "a time from the year 1 to 9999; got '2"),
    "a status of its own": (sql("UPDATE rows SET status = 'wonderful'"), "rows.status must be one of measured"),
    "no framework": (sql("UPDATE rows SET implementation = 'x'"), "must be framework/name; got 'x'"),
}
"""What opens, and a part of the sentence that a report of it ends with."""

SHOWN: dict[str, Spoil] = {
    "numbers, texts and times beyond all": sql(
        "UPDATE rows SET median_seconds = 'nan', low_seconds = '-inf', high_seconds = 'inf', limit_seconds = 'nan', "
        "first_call_seconds = 'inf', fraction_of_limit = '-inf', microseconds_per_step = 'nan'",
        "UPDATE rows SET seq_len = 9223372036854775807, batch = -1, hidden_size = 0",
        "UPDATE rows SET reason = repeat('x', 2_000_000) WHERE rowid = 0",
        "UPDATE ceilings SET value = 'inf'",
        "UPDATE runs SET noise_floor = 'nan', started = 'infinity', finished = '-infinity'",
        "UPDATE runs SET label = e'\\x1b[2J\\u202e', \"commit\" = e'\\x1b]0;x\\x07'",
        "DELETE FROM environments",
    ),
    "settings and machines of another kind": sql(
        """UPDATE runs SET settings = '{"cases": 3, "passes": [], "set_name": {"a": 1}}'""",
        """UPDATE runs SET machine = '{"cores": [], "memory_bytes": "x", "gpu": {}}'""",
    ),
    "settings and machines that are empty": sql("UPDATE runs SET settings = '{}', machine = '{}'"),
    "times of 0": sql("UPDATE blocks SET samples = [0.0]", "UPDATE rows SET median_seconds = 0"),
    "no blocks": sql("DELETE FROM blocks"),
    "names of nobody's": sql("UPDATE rows SET run = 'nobody'", "UPDATE blocks SET run = ''"),
    "all of it twice": sql(
        *without_rules("runs"),
        *without_rules("environments"),
        "INSERT INTO runs FROM runs",
        "INSERT INTO environments FROM environments",
    ),
    "a table and a column more": sql("CREATE TABLE mine (i INTEGER)", "ALTER TABLE rows ADD COLUMN mine INTEGER"),
    "a log of changes of another store": lambda path: path.with_name(path.name + ".wal").write_bytes(b"\0" * 999),
    "another byte in the middle": flipped(0.5),
}
"""What every command shows, or refuses in one sentence."""
MERGED = ("numbers, texts and times beyond all", "all of it twice", "a table and a column more")
"""Those that merging might stumble over."""

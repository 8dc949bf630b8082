"""``birnn results`` and ``birnn compare`` as a user runs them, and the page that describes the store."""

from __future__ import annotations

import csv
import math
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from benchmarks.cases.files import load_set
from benchmarks.report.content import Content
from benchmarks.store.records import CRASHED, Environment, Run
from benchmarks.store.schema import SCHEMA_VERSION, TABLES
from benchmarks.store.store import Store
from tests.benchmarks.made_up import an_empty_store, put_all
from tests.benchmarks.made_up_run import made_up_content
from tests.command_line.running import birnn, birnn_alone
from tests.command_line.test_bad_input import assert_one_sentence

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
BEFORE, AFTER = "20261120-131501", "20261121-131501"
SLOWED = "torch/native"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, ``before`` and ``after``; in the later one torch is newer, torch/native is 20 % slower and jax/tuned
    crashes.
    """
    path = tmp_path_factory.mktemp("store") / "results.duckdb"
    with Store.open(path, write=True) as opened, opened.transaction():
        put_run(opened, a_run_of(BEFORE, "before"))
        put_run(opened, a_run_of(AFTER, "after"), slowed=1.2, newer=True)
    return path


def a_run_of(name: str, label: str) -> Run:
    run = a_content().run
    started = run.started if label == "before" else run.started + timedelta(days=1)
    return replace(run, run=name, label=label, started=started, fingerprint=label, noise_floor=0.01)


def put_run(store: Store, run: Run, slowed: float = 1.0, newer: bool = False) -> None:
    """A made-up run in which torch/native takes ``slowed`` times as long; with a newer torch jax/tuned crashes."""
    content = a_content()
    store.add_run(run)
    torch = next(each for each in content.environments if each.framework == "torch")
    ids = {torch.environment: "99999999cccc"} if newer else {}
    for each in content.environments:
        packages = each.packages | {"torch": "2.14.0"}
        changed = Environment(ids.get(each.environment, ""), "torch", {"torch": "2.14.0"}, packages)
        store.add_environment(changed if each.environment in ids else each)
    put_all(
        store,
        [
            replace(process, run=run.run, environment=ids.get(process.environment, process.environment))
            for process in content.processes
        ],
    )
    for ceiling in content.ceilings:
        store.add_ceiling(replace(ceiling, run=run.run))
    rows, blocks = [], []
    for row in content.rows:
        factor = slowed if row.key.implementation == SLOWED else 1.0
        times: dict[str, Any] = {
            name: getattr(row, name) * factor
            for name in ("median_seconds", "low_seconds", "high_seconds")
            if row.median_seconds is not None
        }
        if newer and row.key.implementation == "jax/tuned":
            times = {"median_seconds": None, "status": CRASHED, "reason": "signal 11"}
        environment = ids.get(row.environment, row.environment)
        rows.append(replace(row, run=run.run, environment=environment, **times))
    for block in content.blocks:
        factor = slowed if block.key.implementation == SLOWED else 1.0
        if not (newer and block.key.implementation == "jax/tuned"):
            samples = tuple(factor * sample for sample in block.samples)
            blocks.append(replace(block, run=run.run, samples=samples))
    put_all(store, rows)
    put_all(store, blocks)


def changed(store: Path, folder: Path, *statements: str) -> Path:
    """A copy of the store in which these have been executed."""
    path = folder / "changed.duckdb"
    shutil.copy(store, path)
    with Store.open(path, write=True) as opened:
        for statement in statements:
            opened.execute(statement)
    return path


def a_content() -> Content:
    """The made-up run over two cases."""
    return made_up_content(cases=load_set("laptop").cases[3:5])


# The page.


def described_tables() -> dict[str, dict[str, str]]:
    """The columns with their types that the page names, by table."""
    tables = {}
    for section in PAGE.read_text().split("\n### ")[1:]:
        name, _, text = section.partition("\n")
        text = text.partition("\n## ")[0]
        tables[name] = dict(re.findall(r"^\| (\w+) \| ([A-Z]+(?:\[\])?) \|", text, re.MULTILINE))
    return tables


def test_the_page_describes_every_table_and_column_in_order() -> None:
    types = {
        table: {column: kind.removesuffix(" NOT NULL").removesuffix(" PRIMARY KEY") for column, kind in columns.items()}
        for table, columns in TABLES.items()
    }
    described = described_tables()
    assert described == types
    assert {name: list(columns) for name, columns in described.items()} == {name: list(types[name]) for name in types}
    assert f"its schema version is {SCHEMA_VERSION}" in PAGE.read_text().replace("\n", " ")


def queries() -> list[str]:
    return re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_there_are_queries_on_the_page() -> None:
    assert len(queries()) >= 12


@pytest.mark.parametrize("number", range(len(queries())))
def test_every_query_of_the_page_runs_and_answers(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.chdir(tmp_path)
    with duckdb.connect(str(store), read_only=True) as connection:
        assert connection.execute(queries()[number]).fetchall()


def test_the_page_s_fastest_and_its_ratios_are_right(store: Path) -> None:
    with Store.open(store) as opened:
        rows = [row for row in opened.rows(AFTER) if row.status == "measured"]
        fastest = opened.execute(queries()[0]).fetchall()
        ratios = {line[:6]: line[-1] for line in opened.execute(queries()[3]).fetchall()}
        samples = opened.execute(queries()[4]).fetchall()
        blocks = opened.blocks(AFTER)
    by_job: dict[Any, list[tuple[float, str]]] = {}
    for row in rows:
        job = (row.key.case, row.key.passed, row.key.dtype, row.key.lane, row.key.threads)
        by_job.setdefault(job, []).append((row.median_seconds or 0, row.key.implementation))
    for *job, name, milliseconds, second, times in fastest:
        first, next_one, *_ = sorted(by_job[tuple(job)])
        assert (name, second) == (first[1], next_one[1])
        assert milliseconds == pytest.approx(1e3 * first[0], abs=1e-3)
        assert times == pytest.approx(next_one[0] / first[0], abs=0.01)
    assert len(fastest) == len(by_job)
    assert {ratio for key, ratio in ratios.items() if key[0] == SLOWED} == {1.2}
    assert {ratio for key, ratio in ratios.items() if key[0] != SLOWED} == {1.0}
    key = next(block.key for block in blocks if block.key.implementation == SLOWED)
    case = min(block.key.case for block in blocks)
    key = replace(key, case=case, passed="forward", lane="exact", threads=2)
    mine = [block for block in blocks if block.key == key and block.twin == 0]
    assert [line[-1] for line in samples] == [sample for block in mine for sample in block.samples]


# The commands.


def test_list_prints_every_run(store: Path) -> None:
    done = birnn("results", "list", store)
    assert done.returncode == 0, done.stderr
    for text in (BEFORE, AFTER, "before", "after", "A made-up"):
        assert text in done.stdout


def test_merge_and_export_go_from_stores_to_a_table(store: Path, tmp_path: Path) -> None:
    other = changed(store, tmp_path, "UPDATE runs SET fingerprint = 'third', label = 'third'")
    merged, rows = tmp_path / "all.duckdb", tmp_path / "new" / "rows.csv"
    done = birnn("results", "merge", merged, store, other)
    assert (done.returncode, done.stderr, done.stdout.count(" added\n")) == (0, "", 2)
    assert done.stdout.count(" added as ") == 2
    done = birnn("results", "export", merged, "-o", rows, "--run", "third")
    assert (done.returncode, done.stderr) == (0, "")
    with rows.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert done.stdout == f"{rows}: {len(lines)} rows\n"
    assert {line["run"] for line in lines} == {f"{AFTER}-2"}


def test_compare_says_what_is_slower_and_lists_what_crashed(store: Path) -> None:
    done = birnn("compare", store, "before", "after")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if SLOWED in line and "│" in line]
    assert lines
    assert all("slower" in line and "1.200" in line for line in lines), lines
    for line in lines:
        a, b, ratio = (float(cell) for cell in line.split("│")[3:6])
        assert b / a == pytest.approx(ratio, rel=0.01), "B's time over A's, each in its column"
    assert "faster" not in done.stdout
    means = [line for line in done.stdout.splitlines() if line.startswith("B / A in the geometric mean: ")]
    assert len(means) == 6, "two passes in three tracks"
    assert all("torch/native 1.200, " in line and "jax/native-linen 1.000, " in line for line in means), means
    assert "From A to B: torch 2.13.0 → 2.14.0" in done.stdout
    assert re.search(
        r"A/A pairs of these cases differ by [\d.]+ % to [\d.]+ %, by case, in 20261120-131501 and by "
        r"[\d.]+ % to [\d.]+ %, by case, in 20261121-131501; the machine's product rate by 0.0 %",
        done.stdout,
    )
    assert re.search(r"no times in both: .* jax/tuned, .*: A [\d.]+ ms, B crashed \(signal 11\)", done.stdout)
    assert "exact lane, 2 threads" in done.stdout
    assert "fast lane, 2 threads" in done.stdout


def test_on_80_columns_every_name_and_number_of_compare_is_whole(store: Path) -> None:
    wide = birnn("compare", store, "before", "after", COLUMNS="200").stdout
    narrow = birnn("compare", store, "before", "after", COLUMNS="80").stdout
    rows = [[cell.strip() for cell in line.split("│")[2:-1]] for line in wide.splitlines() if line.startswith("│")]
    lines = [line.split() for line in narrow.splitlines()]
    assert rows
    for row in rows:
        assert " ".join(row).split() in lines
    assert "│" not in narrow


@pytest.mark.parametrize(
    ("sides", "limit", "code"),
    [
        (("before", "after"), "5%", 1),
        (("before", "after"), "25%", 1),  # jax/tuned crashes
        (("torch==2.13.0", "torch==2.14.0"), "5%", 1),
        (("torch==2.13.0", "torch==2.14.0"), "25%", 0),
        (("torch==2.14.0", "torch==2.13.0"), "5%", 0),
        (("after", "before"), "5%", 0),
        (("before:torch/native", "after:torch/native"), "5%", 1),
        (("before:jax/tuned", "before:torch/native"), "5%", 1),
        (("before:torch/native", "before:jax/tuned"), "5%", 0),
    ],
)
def test_fail_slower_decides_the_exit_code(store: Path, sides: tuple[str, str], limit: str, code: int) -> None:
    done = birnn("compare", store, *sides, "--fail-slower", limit)
    assert (done.returncode, done.stderr) == (code, ""), done.stdout
    assert ("Not good enough" in done.stdout) is bool(code)


def test_markdown_is_a_table_with_a_rule_and_even_columns(store: Path) -> None:
    done = birnn("compare", store, "last:jax/native-linen", "last:torch/native", "--markdown")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {8}
    assert lines[:2] == [
        "| case | A ms | B ms | B / A | 95 % interval | noise | B is |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    assert "Every ratio is of calls that ran next to each other" in done.stdout


def test_the_first_line_says_that_machines_differ_and_that_a_run_is_unfinished(store: Path, tmp_path: Path) -> None:
    statement = """UPDATE runs SET finished = NULL, machine = '{"processor": "another"}' WHERE label = 'after'"""
    first, *others = birnn("compare", changed(store, tmp_path, statement), "before", "after").stdout.splitlines()
    assert first.startswith("The machines differ")
    assert "processor A made-up <b>processor</b> → another" in first
    assert f"Run {AFTER} is not finished" in others


def test_what_is_in_one_alone_is_listed_and_nothing_in_common_is_refused(store: Path, tmp_path: Path) -> None:
    path = changed(
        store,
        tmp_path,
        *(
            f"DELETE FROM {table} WHERE run = '{run}' AND framework <> '{framework}'"
            for table in ("rows", "blocks")
            for run, framework in ((BEFORE, "torch"), (AFTER, "jax"))
        ),
    )
    done = birnn("compare", path, "before", "after")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "A and B must have a combination with times in both; got none" in done.stderr
    count = len([row for row in a_content().rows if row.key.implementation == "torch/native"])
    assert f"only in A: torch/native, {count} combinations" in done.stdout
    assert "only in B: jax/tuned," in done.stdout


def run_in(path: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return birnn(*(path / word[1:] if isinstance(word, str) and word.startswith("@") else word for word in arguments))


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("results", "list", "@none.duckdb"), "none.duckdb: must be a store; there is no such file"),
        (("results", "list", "@text"), "text: must be a store, a DuckDB file; got another kind of file"),
        (("results", "list", "@"), "must be a store; got a folder"),
        (("results", "list", "@newer.duckdb"), f"must have schema version ≤ {SCHEMA_VERSION}; got 99; upgrade birnn"),
        (("results", "merge", "@out.duckdb", "@text"), "got another kind of file"),
        (("results", "merge", "@out.duckdb"), "Missing argument 'IN...'"),
        (("results", "export", "@empty.duckdb", "-o", "@rows.xlsx"), "must end in .csv or .parquet; got .xlsx"),
        (("results", "export", "@empty.duckdb", "-o", "@folder"), "-o must be a file; got the folder"),
        (("results", "export", "@empty.duckdb", "-o", "@text/rows.csv"), "-o's folder must be a folder that can be"),
        (("results", "export", "@empty.duckdb", "-o", "@rows.csv", "--run", "last"), "there are no runs"),
        (("results", "export", "@empty.duckdb"), "--out"),
        (("compare", "@empty.duckdb", "a", "b"), "'a' must name a run, an environment or an implementation"),
        (("compare", "@empty.duckdb", "a"), "Missing argument 'B'"),
        (
            ("compare", "@empty.duckdb", "a", "b", "--fail-slower", "0.05"),
            "--fail-slower must be a percentage such as",
        ),
        (
            ("compare", "@empty.duckdb", "a", "b", "--same", "five"),
            "--same must be a percentage such as 5%; got",
        ),
        (("compare", "@text", "a", "b"), "got another kind of file"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(tmp_path: Path, arguments: tuple[str, ...], part: str) -> None:
    (tmp_path / "text").write_text("text")
    (tmp_path / "folder").mkdir()
    if "@empty.duckdb" in arguments:
        an_empty_store(tmp_path / "empty.duckdb")
    if "@newer.duckdb" in arguments:
        with Store.open(an_empty_store(tmp_path / "newer.duckdb"), write=True) as opened:
            opened.execute("UPDATE store SET schema_version = 99")
    before = sorted(tmp_path.iterdir())
    assert_one_sentence(run_in(tmp_path, *arguments), part)
    assert sorted(tmp_path.iterdir()) == before


def test_a_store_in_use_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    with Store.open(path, write=True):
        done = birnn_alone("results", "merge", tmp_path / "out.duckdb", path)
        assert_one_sentence(done, "must not be in use by another process; got: python")
        done = birnn_alone("compare", path, "a", "b")
        assert_one_sentence(done, "must not be in use by another process; got: python")
    assert [each.name for each in tmp_path.iterdir()] == ["results.duckdb"]


def test_hostile_numbers_do_not_stop_the_list(tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    with Store.open(path, write=True) as opened:
        opened.add_run(replace(a_run_of(BEFORE, "[red]label[/nothing]"), noise_floor=math.nan, machine={}))
    done = birnn("results", "list", path)
    assert done.returncode == 0, done.stderr
    assert "[red]label" in done.stdout

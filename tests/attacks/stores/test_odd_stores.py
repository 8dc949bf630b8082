"""Whatever file is given as a store, each command shows it or says one sentence, and reads no other file."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest

from benchmarks.store.schema import TABLES
from benchmarks.store.store import Store
from benchmarks.store.transfer import merge
from common.errors import InputError
from tests.attacks.isolation import as_nobody
from tests.attacks.stores.odd_stores import MERGED, REFUSED, REFUSED_WHEN_READ, SHOWN, as_view
from tests.benchmarks.made_up import JAX, LINEN, NATIVE, TORCH, a_block, a_ceiling, a_process, a_row, a_run
from tests.benchmarks.made_up_run import made_up_content
from tests.command_line.running import birnn
from tests.command_line.test_bad_input import assert_one_sentence


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store that is as it should be, with a secret file beside it."""
    path = tmp_path_factory.mktemp("whole") / "whole.duckdb"
    run = a_run().run
    with Store.open(path, write=True) as store, store.transaction():
        store.add_run(a_run(settings=made_up_content().run.settings))
        for environment, key in ((TORCH, NATIVE), (JAX, LINEN)):
            store.add_environment(environment)
            store.add_process(a_process(run, environment))
            store.put_row(a_row(run, key))
            for cycle in range(4):
                store.add_block(a_block(run, key, cycle=cycle))
        store.add_ceiling(a_ceiling(run))
    return path


def commands(path: Path) -> list[list[object]]:
    """Every command that reads a store, and last one that writes to it."""
    folder = path.parent
    return [
        ["results", "list", path],
        ["compare", path, "torch/native", "jax/native-linen"],
        ["report", path, "-o", folder / "page.html"],
        ["results", "export", path, "-o", folder / "rows.csv"],
        ["results", "merge", folder / "merged.duckdb", path],
        ["results", "merge", path, folder / "other.duckdb"],
    ]


@pytest.fixture(autouse=True)
def _without_plotly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page is half a megabyte with it, which no odd store changes."""
    monkeypatch.setattr("benchmarks.report.page._library", str)


@pytest.fixture
def odd(whole: Path, tmp_path: Path) -> Path:
    """A copy of the whole store, for a test to spoil, with another store beside it."""
    shutil.copy(whole, tmp_path / "other.duckdb")
    return Path(shutil.copy(whole, tmp_path / "odd.duckdb"))


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_store_is_refused_in_one_sentence(odd: Path, kind: str) -> None:
    spoil, sentence = REFUSED[kind]
    spoil(odd)
    before = odd.read_bytes() if odd.is_file() else None
    listing, *_, writing = commands(odd)  # all open a store in one of two ways
    assert_one_sentence(birnn(*listing), f"{odd}: ", sentence)
    done = birnn(*writing)
    if kind in ("nothing", "zero bytes"):
        assert (done.returncode, done.stderr) == (0, ""), "a store that is new"
        return
    assert_one_sentence(done, f"{odd}: ", sentence)
    assert (odd.read_bytes() if odd.is_file() else None) == before
    assert sorted(each.name for each in odd.parent.iterdir()) == ["odd.duckdb", "other.duckdb"]


@pytest.mark.parametrize("kind", REFUSED_WHEN_READ)
def test_what_makes_no_sense_is_refused_where_it_is_read(odd: Path, kind: str) -> None:
    spoil, sentence = REFUSED_WHEN_READ[kind]
    spoil(odd)
    assert_one_sentence(birnn("report", odd, "-o", odd.with_name("page.html")), f"{odd}: ", sentence)
    assert sorted(each.name for each in odd.parent.iterdir()) == ["odd.duckdb", "other.duckdb"]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("kind", SHOWN)
def test_what_is_odd_in_a_store_is_shown_or_refused_in_one_sentence(odd: Path, kind: str) -> None:
    SHOWN[kind](odd)
    for command in commands(odd)[: None if kind in MERGED else 4]:
        done = birnn(*command)
        assert done.returncode in (0, 2, 3), done  # 3: nothing in common to compare
        if done.returncode == 2:
            assert_one_sentence(done)
        assert "\x1b[2J" not in done.stdout + done.stderr
    assert not [each for each in odd.parent.iterdir() if each.name.startswith(".")]


def test_a_view_in_the_place_of_a_table_publishes_no_file(odd: Path, tmp_path: Path) -> None:
    """The secret is named by the view; it must come into no output of any command, in no way."""
    secret = tmp_path / "secret"
    secret.write_text("what no one may see")
    columns = ", ".join(f"content AS {name}" if name == "reason" else f'kept."{name}"' for name in TABLES["rows"])
    as_view("rows", f"SELECT {columns} FROM kept, read_text('{secret}')")(odd)
    with duckdb.connect(str(odd), read_only=True) as connection:
        assert "what no one may see" in str(connection.execute("FROM rows").fetchall()), "the attack is void"
    for command in commands(odd):
        assert birnn(*command).returncode == 2
    for file in tmp_path.iterdir():
        assert file == secret or b"what no one may see" not in file.read_bytes()


def test_sql_in_a_store_reaches_no_other_file(whole: Path, tmp_path: Path) -> None:
    with Store.open(whole) as store:
        for statement in (
            "SELECT * FROM read_text('/etc/hostname')",
            f"ATTACH '{tmp_path}/other.duckdb'",
            f"COPY runs TO '{tmp_path}/runs.csv'",
            "SET enable_external_access = true",
        ):
            with pytest.raises(duckdb.Error, match=r"disabled by configuration|has been locked"):
                store._connection.execute(statement)
    assert not list(tmp_path.iterdir())


def test_a_store_that_an_ordinary_user_may_not_read_or_write_is_one_sentence(
    whole: Path, tmp_path_for_all: Path
) -> None:
    closed, read_only, locked_in = (tmp_path_for_all / name for name in ("closed", "read-only", "folder"))
    locked_in.mkdir()
    inside = locked_in / "inside"
    for path, mode in ((closed, 0o000), (read_only, 0o444), (inside, 0o666)):
        shutil.copy(whole, path)
        path.chmod(mode)
    locked_in.chmod(0o555)

    def act() -> None:
        with Store.open(read_only) as store:
            assert store.runs()
        for path, write in ((closed, False), (closed, True), (read_only, True)):
            with pytest.raises(InputError, match=r"must be a store that can be read and written; got: .*ermission"):
                Store.open(path, write=write)
        with pytest.raises(InputError, match="must be in a folder that can be written; got: Permission denied"):
            Store.open(locked_in / "new", write=True)
        with pytest.raises(InputError, match="ermission"):
            merge(inside, [read_only])

    as_nobody(act)
    assert read_only.read_bytes() == inside.read_bytes() == whole.read_bytes()
    assert list(locked_in.iterdir()) == [inside]

"""Nothing of a store is lost: to another process, to a full disk, to a file that takes its place."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.store import placing
from benchmarks.store import store as stores
from benchmarks.store.store import Store
from benchmarks.store.transfer import merge
from common.errors import InputError
from tests.benchmarks.made_up import START, a_block, a_run, put_all
from tests.benchmarks.store.test_store import child

RUN = a_run().run


def a_store(path: Path, run: str) -> Path:
    with Store.open(path, write=True) as store:
        store.add_run(a_run(run, fingerprint=run))
        store.add_block(a_block(run))
    return path


def runs(path: Path) -> list[str]:
    with Store.open(path) as store:
        return [run.run for run in store.runs()]


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


SLOW_MERGE = """
    import sys
    from pathlib import Path
    from benchmarks.store import transfer
    put_in_place = transfer.put_in_place
    def slowly(part, path):
        print("merged", flush=True)
        sys.stdin.readline()
        put_in_place(part, path)
    transfer.put_in_place = slowly
    print(*transfer.merge(Path(sys.argv[1]), [Path(sys.argv[2])]), flush=True)
    """


@pytest.mark.parametrize("new", [True, False])
def test_of_two_merges_at_once_one_is_refused_and_nothing_lost(tmp_path: Path, new: bool) -> None:
    first, second = (a_store(tmp_path / f"{run}.duckdb", run) for run in ("20261121-000000", "20261122-000000"))
    out = tmp_path / "out.duckdb"
    if not new:
        a_store(out, RUN)
    other = child(SLOW_MERGE, out, first)
    assert answer(other) == "merged"
    with pytest.raises(InputError, match="must not be in use by another process"):
        merge(out, [second])
    with pytest.raises(InputError, match="must not be in use by another process"):
        Store.open(out, write=True)
    other.communicate("go on\n", timeout=60)
    assert other.returncode == 0
    merge(out, [second])
    assert runs(out) == [*([] if new else [RUN]), "20261121-000000", "20261122-000000"]
    assert sorted(each.name for each in tmp_path.iterdir()) == [first.name, second.name, "out.duckdb"]


def test_a_merge_that_was_killed_leaves_the_store_as_it_was_and_the_next_one_clears_up(tmp_path: Path) -> None:
    out, source = a_store(tmp_path / "out.duckdb", RUN), a_store(tmp_path / "in.duckdb", "20261121-000000")
    before = out.read_bytes()
    other = child(SLOW_MERGE, out, source)
    assert answer(other) == "merged"
    other.kill()
    other.communicate(timeout=60)
    assert out.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3
    merge(out, [source])
    assert runs(out) == [RUN, "20261121-000000"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in.duckdb", "out.duckdb"]


def test_a_store_that_is_replaced_while_it_is_opened_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, merged = a_store(tmp_path / "r.duckdb", RUN), a_store(tmp_path / "merged", "20261121-000000")
    connect = stores.connect

    def late(file: Path, write: bool) -> object:
        connection = connect(file, write)
        if merged.exists():
            merged.replace(path)
        return connection

    monkeypatch.setattr(stores, "connect", late)
    with Store.open(path, write=True) as store:
        store.add_run(a_run(started=START + timedelta(days=9)))
    assert runs(path) == ["20261121-000000", RUN]


def test_a_store_keeps_its_links_and_its_mode_when_it_is_merged_into(tmp_path: Path) -> None:
    real, link = a_store(tmp_path / "real.duckdb", RUN), tmp_path / "link.duckdb"
    real.chmod(0o640)
    link.symlink_to("real.duckdb")
    merge(link, [a_store(tmp_path / "in.duckdb", "20261121-000000")])
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert runs(real) == [RUN, "20261121-000000"]
    assert int.from_bytes(real.read_bytes()[12:20], "little") == 64, "the format that every DuckDB since 1.0 reads"


ADDS = """
    import sys, time
    from pathlib import Path
    from benchmarks.store.store import Store
    from common.errors import InputError
    from tests.benchmarks.made_up import a_run
    print("ready", flush=True)
    sys.stdin.readline()
    while True:
        try:
            with Store.open(Path(sys.argv[1]), write=True) as store:
                store.add_run(a_run(sys.argv[2]))
            break
        except InputError as error:
            assert "in use by another process" in str(error), error
            time.sleep(0.01)
    """


@pytest.mark.parametrize("empty", [True, False])
def test_processes_that_make_one_store_at_once_lose_nothing(tmp_path: Path, empty: bool) -> None:
    path = tmp_path / "r.duckdb"
    if empty:
        path.touch()
    names = [f"2026112{number}-000000" for number in range(2)]
    writers = [child(ADDS, path, name) for name in names]
    assert [answer(each) for each in writers] == ["ready"] * 2
    for each in writers:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    assert [each.wait(timeout=120) for each in writers] == [0, 0]
    assert runs(path) == names
    assert list(tmp_path.iterdir()) == [path]


def test_a_store_that_another_process_has_just_made_is_not_made_again(tmp_path: Path) -> None:
    """Both have seen that there is none; the later one finds the other's."""
    path = a_store(tmp_path / "r.duckdb", RUN)
    placing.make_new(path, stores._make)
    assert runs(path) == [RUN]


FILLING_MERGE = """
    import resource, sys
    from pathlib import Path
    from benchmarks.store.transfer import merge
    from common.errors import InputError
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
    try:
        merge(Path(sys.argv[1]), [Path(sys.argv[2])])
    except InputError as error:
        print(error, flush=True)
    """


def test_a_disk_that_is_full_when_stores_are_merged_leaves_nothing_behind(tmp_path: Path) -> None:
    """An empty store fits, what is merged does not."""
    source, out = a_store(tmp_path / "in.duckdb", RUN), tmp_path / "out.duckdb"
    Store.open(out, write=True).close()
    with Store.open(source, write=True) as store, store.transaction():
        samples = [tuple(0.1 / (i + cycle + 1) for i in range(500)) for cycle in range(200)]
        put_all(store, [a_block(RUN, cycle=cycle + 1, samples=each) for cycle, each in enumerate(samples)])
    limit = out.stat().st_size + 4096
    out.unlink()
    assert source.stat().st_size > 2 * limit, "the attack is void"
    said = child(FILLING_MERGE, out, source, limit).communicate(timeout=60)[0]
    assert "File too large" in said
    assert list(tmp_path.iterdir()) == [source]


FILLS = """
    import resource, sys
    from pathlib import Path
    from benchmarks.store.store import Store
    from common.errors import InputError
    from tests.benchmarks.made_up import a_block, a_row, a_run
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
    count = 0
    try:
        with Store.open(Path(sys.argv[1]), write=True) as store:
            store.add_run(a_run())
            while True:
                store.add_block(a_block(a_run().run, cycle=count, samples=(0.1,) * 500))
                store.put_row(a_row(a_run().run, samples=count))
                count += 1
    except InputError as error:
        print(count, error, flush=True)
    """


@pytest.mark.parametrize("there", [True, False])
def test_a_disk_that_is_full_when_a_store_is_made_leaves_what_was_there(tmp_path: Path, there: bool) -> None:
    """No file may grow past 8 KiB, as on a full disk."""
    path = tmp_path / "r.duckdb"
    if there:
        path.touch()
    said = child(FILLS, path, 8192).communicate(timeout=60)[0]
    assert said.startswith(f"0 {path}: must be")
    assert "File too large" in said
    assert list(tmp_path.iterdir()) == ([path] if there else [])
    assert runs(a_store(path, RUN)) == [RUN]


def test_a_disk_that_fills_while_a_store_is_written_keeps_all_that_was_added(tmp_path: Path) -> None:
    path = tmp_path / "r.duckdb"
    said = child(FILLS, path, 1_200_000).communicate(timeout=60)[0]
    count = int(said.partition(" ")[0])
    assert count > 5
    assert "File too large" in said
    assert f"{path}: must be a store that can be read and written" in said
    with Store.open(path, write=True) as store:
        assert [block.cycle for block in store.blocks(RUN)][:count] == list(range(count))
        assert [row.samples for row in store.rows(RUN)] in ([count - 1], [count])
        store.add_block(a_block(RUN, cycle=-5))

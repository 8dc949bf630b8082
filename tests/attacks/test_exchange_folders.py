"""The folders of controllers: swept when their owner is gone, by whoever starts next, and only then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from backends.pool import shared_folder
from backends.pool.shared_folder import exchange_folder, programs_folder, remove_orphans
from tests.attacks.isolation import NOBODY, ROOT, as_nobody, in_a_mount_namespace

HOLDER = """
import sys
from pathlib import Path
from backends.pool import shared_folder
shared_folder.SHARED_MEMORY, shared_folder.ROOM = Path(sys.argv[1]), 0
with shared_folder.exchange_folder() as folder:
    (folder / "arrays").write_text("mine")
    print(folder, flush=True)
    sys.stdin.read()
    print((folder / "arrays").read_text(), flush=True)
"""


@pytest.fixture(autouse=True)
def base(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that stands for shared memory, with room enough; another one for the temporary folder."""
    memory, temporary = tmp_path / "memory", tmp_path / "temporary"
    for folder in (memory, temporary):
        folder.mkdir()
    monkeypatch.setattr(shared_folder, "SHARED_MEMORY", memory)
    monkeypatch.setattr(shared_folder, "ROOM", 0, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    return memory


def abandon(make: AbstractContextManager[Path]) -> None:
    """Leave a folder behind as a controller does that is killed outright."""
    child = os.fork()
    if child == 0:
        try:
            (make.__enter__() / "arrays").write_text("nobody's")
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def abandoned(base: Path, count: int) -> list[Path]:
    """So many orphans; made side by side, since each one's maker sweeps those before it."""
    kept = shared_folder.remove_orphans
    shared_folder.remove_orphans = lambda base: None
    try:
        for _ in range(count):
            abandon(exchange_folder())
    finally:
        shared_folder.remove_orphans = kept
    folders = list(base.iterdir())
    assert len(folders) == count
    return folders


def test_folders_whose_owner_was_killed_are_removed(base: Path) -> None:
    abandoned(base, 2)
    remove_orphans(base)
    assert list(base.iterdir()) == []


def test_compiled_programs_of_a_killed_bench_are_removed(tmp_path: Path) -> None:
    abandon(programs_folder())
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    with programs_folder() as folder:
        assert list((tmp_path / "temporary").iterdir()) == [folder]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_living_owner_keeps_its_folder(base: Path) -> None:
    with exchange_folder() as first, exchange_folder() as second:
        remove_orphans(base)
        assert first.is_dir()
        assert second.is_dir()


def test_names_that_anybody_may_plant_are_left_alone_without_a_traceback(base: Path, tmp_path: Path) -> None:
    """A number too large for a pid, a superscript digit, links that dangle or lead to somebody's files."""
    own = f"birnn-exchange-{os.getuid()}"
    somebodys = tmp_path / "somebodys"
    somebodys.mkdir()
    (somebodys / "files").write_text("precious")
    for name in (f"birnn-{'9' * 30}-a", "birnn-²-a", f"birnn-exchange-{'9' * 30}-a", "birnn-exchange-²-a"):
        (base / name).mkdir()
    for name in ("birnn-1-dangling", f"birnn-{2**31 - 1}-dangling", f"{own}-dangling"):
        (base / name).symlink_to(tmp_path / "nowhere")
    for name in (f"birnn-{2**31 - 1}-link", f"{own}-link"):
        (base / name).symlink_to(somebodys)
    os.mkfifo(base / f"{own}-pipe")
    (base / f"{own}-file").touch()
    before = sorted(base.iterdir())
    with exchange_folder() as folder:
        assert sorted(each for each in base.iterdir() if each != folder) == before
    assert sorted(base.iterdir()) == before
    assert (somebodys / "files").read_text() == "precious"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make another user's folder")
def test_another_users_folder_is_left_alone(base: Path) -> None:
    (orphan,) = abandoned(base, 1)
    os.chown(orphan, 65534, 65534)
    remove_orphans(base)
    assert (orphan / "arrays").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_an_ordinary_user_leaves_roots_folders_alone(tmp_path_for_all: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_folder, "SHARED_MEMORY", tmp_path_for_all)
    (orphan,) = abandoned(tmp_path_for_all, 1)
    orphan.rename(tmp_path_for_all / f"birnn-exchange-{NOBODY}-planted")
    orphan.with_name("birnn-exchange-0-locked").mkdir(mode=0)
    tmp_path_for_all.chmod(0o777)

    def attack() -> None:
        with exchange_folder() as folder:
            assert folder.parent == tmp_path_for_all

    as_nobody(attack)
    assert (tmp_path_for_all / f"birnn-exchange-{NOBODY}-planted" / "arrays").exists()
    assert (tmp_path_for_all / "birnn-exchange-0-locked").exists()


def test_a_link_in_an_orphan_is_removed_and_not_followed(base: Path, tmp_path: Path) -> None:
    (orphan,) = abandoned(base, 1)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (orphan / "link").symlink_to(tmp_path / "precious")
    remove_orphans(base)
    assert list(base.iterdir()) == []
    assert (tmp_path / "precious" / "file").exists()


def test_sweeps_at_once_do_not_trip_over_each_other(base: Path) -> None:
    """Of starts beside 20 orphans 72 % once died: another start's sweep had removed what they looked at."""
    abandoned(base, 30)

    def start(number: int) -> bool:
        with exchange_folder() as folder:
            (folder / "arrays").touch()
            time.sleep(0.01)
            return (folder / "arrays").exists()

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(start, range(100)))
    assert list(base.iterdir()) == []


@pytest.fixture
def in_another_container(base: Path) -> Iterator[subprocess.Popen[str]]:
    """A controller that sees other process ids, and the same shared memory."""
    in_a_mount_namespace("true", "--pid", "--fork", "--mount-proc")  # skips where that is not permitted
    command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", sys.executable, "-c", HOLDER, str(base)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        yield holder


def test_containers_that_share_memory_but_no_process_ids_leave_each_others_folders(
    base: Path, in_another_container: subprocess.Popen[str]
) -> None:
    holder = in_another_container
    assert holder.stdin is not None
    assert holder.stdout is not None
    with exchange_folder() as ours:
        theirs = Path(holder.stdout.readline().strip())
        assert theirs.parent == base
        assert ours.is_dir(), "their start swept our folder"
        remove_orphans(base)
        assert theirs.is_dir(), "our start swept their folder"
        holder.stdin.close()
        assert holder.stdout.read() == "mine\n"


def test_small_shared_memory_is_left_for_the_temporary_folder(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker gives 64 MiB; a temporary folder with less than that would be no way out."""
    sizes = {base: 64 << 20, tmp_path / "temporary": 1 << 36}
    monkeypatch.setattr(shared_folder, "ROOM", 1 << 30)
    monkeypatch.setattr(shared_folder, "_free", sizes.get)
    with exchange_folder() as folder:
        assert folder.parent == tmp_path / "temporary"
    sizes[tmp_path / "temporary"] = 1 << 20
    with exchange_folder() as folder:
        assert folder.parent == base


def test_a_small_tmpfs_is_measured_as_small(tmp_path: Path) -> None:
    script = "from backends.pool import shared_folder; "
    script += f"shared_folder.SHARED_MEMORY = shared_folder.Path('{tmp_path}/memory'); "
    script += "folder = shared_folder.exchange_folder().__enter__(); print(folder.parent)"
    mount = f"mount -t tmpfs -o size=64m none {tmp_path}/memory"
    done = in_a_mount_namespace(f'{mount} && TMPDIR={tmp_path}/temporary {sys.executable} -c "{script}"')
    assert done.stdout.strip() == f"{tmp_path}/temporary", done.stderr


def test_shared_memory_that_cannot_be_written_is_left_for_the_temporary_folder(tmp_path: Path) -> None:
    script = "from backends.pool import shared_folder; "
    script += f"shared_folder.SHARED_MEMORY = shared_folder.Path('{tmp_path}/memory'); "
    script += "shared_folder.ROOM = 0; folder = shared_folder.exchange_folder().__enter__(); print(folder.parent)"
    mount = f"mount -t tmpfs -o ro none {tmp_path}/memory"
    done = in_a_mount_namespace(f'{mount} && TMPDIR={tmp_path}/temporary {sys.executable} -c "{script}"')
    assert done.stdout.strip() == f"{tmp_path}/temporary", done.stderr

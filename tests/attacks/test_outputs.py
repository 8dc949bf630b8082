"""What the user names as an output: devices, pipes and links stay what they are, and files are whole or as they were.

No test touches a device of the machine: pipes, terminals and devices made in the test's own folder stand for them.
"""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import threading
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.store.store import Store
from benchmarks.store.transfer import export
from birnn.options import writable_file
from common.errors import InputError
from common.output import write_bytes
from tests.attacks.isolation import ROOT, as_nobody, in_a_mount_namespace
from tests.benchmarks.made_up import TORCH, a_process, a_row, a_run

CONTENT = b"what was asked for\n" * 10_000  # more than a pipe holds


def read_from(pipe: Path, into: list[bytes]) -> threading.Thread:
    """A thread that reads what is written into a pipe."""
    thread = threading.Thread(target=lambda: into.append(pipe.read_bytes()), daemon=True)
    thread.start()
    return thread


def device(path: Path, kind: int, major: int, minor: int) -> Path:
    """A device in the test's own folder."""
    try:
        os.mknod(path, kind | 0o666, os.makedev(major, minor))
        path.chmod(0o666)
        os.close(os.open(path, os.O_WRONLY))
    except PermissionError:
        pytest.skip("devices cannot be made or opened here")
    return path


def test_a_pipe_is_written_through(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = read_from(pipe, got)
    write_bytes(pipe, CONTENT)
    reader.join(10)
    assert pipe.is_fifo()
    assert got == [CONTENT]


def test_a_terminal_is_written_through() -> None:
    controller, terminal = os.openpty()
    try:
        tty.setraw(terminal)
        write_bytes(Path(os.ttyname(terminal)), b"shown\n")
        assert os.read(controller, 100) == b"shown\n"
    finally:
        os.close(controller)
        os.close(terminal)


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    null = device(tmp_path / "null", stat.S_IFCHR, 1, 3)
    write_bytes(null, CONTENT)
    assert null.is_char_device()


def test_a_full_device_is_one_sentence(tmp_path: Path) -> None:
    full = device(tmp_path / "full", stat.S_IFCHR, 1, 7)
    with pytest.raises(InputError, match="got: No space left on device"):
        write_bytes(full, CONTENT)
    assert full.is_char_device()


def test_a_disk_is_refused(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    try:
        os.mknod(disk, stat.S_IFBLK | 0o666, os.makedev(240, 99))  # a number for experiments: no driver has it
    except PermissionError:
        pytest.skip("devices cannot be made here")
    for act in (lambda: write_bytes(disk, CONTENT), lambda: writable_file("--json", disk)):
        with pytest.raises(InputError, match=r"got.* a disk"):
            act()
    assert disk.is_block_device()


@pytest.mark.parametrize("there", [True, False])
def test_links_are_followed(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "elsewhere" / "target"
    target.parent.mkdir()
    if there:
        target.write_text("old")
    (tmp_path / "second").symlink_to("elsewhere/target")
    (tmp_path / "first").symlink_to(tmp_path / "second")
    write_bytes(tmp_path / "first", CONTENT)
    assert (tmp_path / "first").is_symlink()
    assert (tmp_path / "second").is_symlink()
    assert target.read_bytes() == CONTENT


def test_a_loop_of_links_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "first").symlink_to(tmp_path / "second")
    (tmp_path / "second").symlink_to(tmp_path / "first")
    with pytest.raises(InputError, match="got: Too many levels of symbolic links"):
        write_bytes(tmp_path / "first", CONTENT)


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o755])
def test_mode_and_owner_are_kept(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    owner = (65534, 65533) if os.getuid() == 0 else (os.getuid(), os.getgid())
    os.chown(file, *owner)
    file.chmod(mode)
    write_bytes(file, CONTENT)
    after = file.stat()
    assert (stat.S_IMODE(after.st_mode), (after.st_uid, after.st_gid)) == (mode, owner)
    assert file.read_bytes() == CONTENT


def test_what_the_shell_opened_as_stdout_is_not_begun_anew(tmp_path: Path) -> None:
    script = "from common.output import *; write_bytes(Path('/dev/stdout'), b'content\\n')"
    with (tmp_path / "out").open("wb") as out:
        command = f'echo before; {sys.executable} -c "{script}"; echo after'
        subprocess.run(["sh", "-c", command], stdout=out, check=True, cwd=Path(__file__).parents[2])
    assert (tmp_path / "out").read_text() == "before\ncontent\nafter\n"


def limited_to(count: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, resource.RLIM_INFINITY))


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        limited_to(4096)
        with pytest.raises(InputError, match="got: File too large"):
            write_bytes(file, CONTENT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("file", "old")]


def test_the_content_is_on_the_disk_before_it_has_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut between the two would leave an empty file of that name, or none."""
    events: list[str] = []

    def noted(name: str, real: Callable) -> Callable:
        def call(*arguments: Any) -> Any:
            first = arguments[0]
            what = "folder" if name == "fsync" and stat.S_ISDIR(os.fstat(first).st_mode) else ""
            events.append(f"{name} {what}".strip())
            return real(*arguments)

        return call

    monkeypatch.setattr(os, "fsync", noted("fsync", os.fsync))
    monkeypatch.setattr(Path, "replace", noted("replace", Path.replace))
    write_bytes(tmp_path / "file", CONTENT)
    assert events == ["fsync", "replace", "fsync folder"]
    write_bytes(tmp_path / "file", CONTENT, durable=False)
    assert events[3:] == ["replace"]


def test_a_name_as_long_as_can_be_is_written(tmp_path: Path) -> None:
    write_bytes(tmp_path / ("n" * 255), CONTENT)
    assert (tmp_path / ("n" * 255)).read_bytes() == CONTENT


def test_a_file_that_is_mounted_by_itself_is_written(tmp_path: Path) -> None:
    for name in ("source", "target"):
        (tmp_path / name).write_text("old and longer than the new")
    done = in_a_mount_namespace(
        f"mount --bind {tmp_path}/source {tmp_path}/target && {sys.executable} -c "
        f"\"from common.output import *; write_bytes(Path('{tmp_path}/target'), b'new')\""
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "source").read_text() == "new"


def test_an_ordinary_user_is_refused_what_the_modes_refuse(tmp_path_for_all: Path) -> None:
    """Also where the folder could be written, and so the file replaced."""
    locked = tmp_path_for_all / "locked"
    locked.write_text("old")
    locked.chmod(0o444)
    tmp_path_for_all.chmod(0o777)

    def attack() -> None:
        for act in (lambda: write_bytes(locked, CONTENT), lambda: writable_file("--json", locked)):
            with pytest.raises(InputError, match="Permission denied"):
                act()

    as_nobody(attack)
    assert locked.read_text() == "old"


def test_an_ordinary_user_writes_into_a_device_of_a_folder_that_is_not_theirs(tmp_path_for_all: Path) -> None:
    null = device(tmp_path_for_all / "null", stat.S_IFCHR, 1, 3)

    def attack() -> None:
        writable_file("--json", null)
        write_bytes(null, CONTENT)

    as_nobody(attack)
    assert null.is_char_device()


def test_rows_are_exported_into_a_pipe_and_through_a_link(tmp_path: Path) -> None:
    pipe, link, got = tmp_path / "pipe.csv", tmp_path / "link.csv", list[bytes]()
    os.mkfifo(pipe)
    link.symlink_to("target.csv")
    with Store.open(tmp_path / "store.duckdb", write=True) as store:
        store.add_run(a_run())
        store.add_environment(TORCH)
        store.add_process(a_process("20261120-131501", TORCH))
        store.put_row(a_row("20261120-131501"))
        reader = read_from(pipe, got)
        export(store, pipe)
        reader.join(10)
        export(store, link)
    assert (pipe.is_fifo(), link.is_symlink()) == (True, True)
    assert got == [(tmp_path / "target.csv").read_bytes()]
    assert got[0].count(b"\n") > 1


def test_a_case_is_forced_into_a_pipe(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = read_from(pipe, got)
    done = subprocess.run(
        [sys.executable, "-m", "birnn", "case", "new", "--force", pipe], capture_output=True, text=True
    )
    if done.returncode:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))  # let the reader go
    reader.join(10)
    assert done.returncode == 0, done.stderr
    assert pipe.is_fifo()
    assert b"birnn.case" in got[0]


def test_a_picture_leaves_nothing_in_the_users_home(tmp_path: Path) -> None:
    script = (
        "from birnn.commands.curves import *\n"
        "from common.tasks.building import build_task\n"
        "from common.tasks.task import Options\n"
        "task = build_task('pipeline', Options(cell='rnn_tanh', hidden_size=2))\n"
        f"write_curves(Path({str(tmp_path / 'out' / 'curves.svg')!r}), task, [], 'float32')\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL"))}
    subprocess.run([sys.executable, "-c", script], env=kept | {"HOME": str(home)}, check=True, cwd=ROOT)
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "curves.svg"]
    assert list(home.iterdir()) == []

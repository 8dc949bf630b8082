"""What a command's end tells the shell: nothing that went wrong, and nothing that was not checked, is ever green."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backends.interface.gaps import NOT_OFFERED, UNSUPPORTED
from backends.pool.pool import WorkerDied, WorkerTimedOut
from backends.pool.selection import Selection
from backends.registry import SHIPPED
from backends.studies.study import FAILED, RAN, Outcome
from backends.studies.training import TRAINED, Trained
from benchmarks.store.store import Store
from birnn import __main__, exit_codes
from birnn.app import app
from birnn.commands import train
from birnn.commands.study import StudyResult, exit_code
from common.case import write_case
from common.errors import InputError
from common.judging.agreement import AGREES, DISAGREES, NOT_JUDGED
from common.models.trace import Step
from tests.attacks.plugins import plug
from tests.cases import a_case
from tests.command_line.running import birnn, birnn_alone

WRONG = (DISAGREES, FAILED, WorkerDied.status, WorkerTimedOut.status)
ABSENT = {f"BIRNN_PYTHON_{backend.name.upper()}": "/no/such/python" for backend in SHIPPED}
BROKEN_TORCH = ABSENT | {"BIRNN_PYTHON_TORCH": "/bin/false"}


def result_of(statuses: Iterable[str], *broken: str, interrupted: bool = False) -> StudyResult:
    outcomes = [Outcome("a-case", f"numpy/{i}", "float32", "cpu", status) for i, status in enumerate(statuses)]
    return StudyResult(Selection(broken=dict.fromkeys(broken, "it does not start")), outcomes, interrupted=interrupted)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("others", [(), (AGREES,), (AGREES, UNSUPPORTED), (NOT_JUDGED,)])
def test_whatever_goes_wrong_is_1(wrong: str, others: tuple[str, ...]) -> None:
    assert exit_code(result_of([*others, wrong, *others])) == 1
    assert exit_code(result_of([*others, wrong], "torch")) == 1, "told before an environment that is broken"


@pytest.mark.parametrize(
    ("statuses", "broken", "code"),
    [
        ([AGREES], (), 0),
        ([RAN, UNSUPPORTED, NOT_OFFERED], (), 0),
        ([AGREES, NOT_OFFERED], ("torch",), 2),
        ([], ("torch",), 2),
        ([], (), 3),
        ([UNSUPPORTED, NOT_OFFERED], (), 3),
        ([NOT_JUDGED, UNSUPPORTED], (), 3),
        ([AGREES, NOT_JUDGED], (), 3),
        ([AGREES, NOT_JUDGED], ("torch",), 2),
    ],
)
def test_only_what_was_checked_is_0(statuses: list[str], broken: tuple[str, ...], code: int) -> None:
    assert exit_code(result_of(statuses, *broken)) == code
    assert exit_code(result_of(statuses, *broken, interrupted=True)) == 130


def all_of(commands: Iterable[tuple[object, ...]], **environment: str) -> list[subprocess.CompletedProcess[str]]:
    """Several commands side by side, in their order."""
    with ThreadPoolExecutor() as threads:
        return list(threads.map(lambda command: birnn_alone(*command, **environment), commands))


@pytest.fixture
def case_file(tmp_path: Path) -> Path:
    """One row, which tests/workers/misbehaving.py's implementations do not survive."""
    write_case(a_case("gru", batch=1, lengths=(5,)), tmp_path / "c.safetensors")
    return tmp_path / "c.safetensors"


def test_verify_is_1_for_what_crashes_fails_or_hangs_in_a_worker(case_file: Path, tmp_path: Path) -> None:
    """Side by side, each alone."""
    environment = plug(tmp_path / "plugged", "misbehaving", "tests.workers.misbehaving:BACKEND")
    verify = ("verify", case_file, "--dtype", "float32", "--timeout", 2, "-i")
    ends = {"segfaults": "crashed", "raises": "failed", "hangs": "timed out", "swapped": "disagrees"}
    commands = [(*verify, f"misbehaving/{name}") for name in ends]
    for (name, status), done in zip(ends.items(), all_of(commands, **environment), strict=True):
        assert done.returncode == 1, done
        assert f"{status} a-case misbehaving/{name} float32" in done.stdout
        assert "0 agree, 0 unsupported, 1 wrong" in done.stdout


def test_verify_and_run_are_3_where_all_is_unsupported(case_file: Path, tmp_path: Path) -> None:
    numpy = (case_file, "-i", "numpy", "--device", "gpu")
    for done in (birnn("verify", *numpy), birnn("run", *numpy, "--out", tmp_path / "out")):
        assert (done.returncode, done.stderr.strip()) == (3, ""), done.stdout
        assert "numpy sees no gpu on this machine" in done.stdout


def test_a_broken_environment_is_2_alone_and_beside_a_healthy_one(
    case_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in BROKEN_TORCH.items():
        monkeypatch.setenv(name, value)
    toml = tmp_path / "mine.toml"
    toml.write_text('[[case]]\ncell = "gru"\nseq_len = 3\nbatch = 2\ninput_size = 2\nhidden_size = 2\n')
    store = tmp_path / "r.duckdb"
    torch, numpy = ("-i", "torch/*"), ("-i", "numpy/loop")
    train = ("train", "pipeline", "--epochs", 1, "--limit", 8, *torch)
    verify = ("verify", case_file, "--dtype", "float32", *torch, *numpy)
    bench = ("bench", "--cases", toml, "--store", store, *torch)
    for command in (verify, bench, train, (*train, *numpy)):
        done = birnn(*command)
        assert done.returncode == 2, done
        assert "birnn: the environment of torch must start a worker" in done.stderr
        assert "Traceback" not in done.stderr
    with Store.open(store) as opened:
        assert opened.runs() == [], "a run of nothing would be finished at once"


def test_bench_is_3_when_nothing_has_a_time_and_explains_with_the_same_code(tmp_path: Path) -> None:
    toml = tmp_path / "mine.toml"
    toml.write_text('[[case]]\ncell = "gru"\nseq_len = 3\nbatch = 2\ninput_size = 2\nhidden_size = 2\n')
    bench = ("bench", "--cases", toml, "-i", "numpy", "--device", "gpu", "--threads", 1, "--store", tmp_path / "r")
    for done in (birnn(*bench), birnn(*bench, "--why")):
        assert done.returncode == 3, done
        assert "numpy sees no gpu on this machine" in done.stdout


STEPS = [Step(1.0, 0.5, 0.1)]


@pytest.mark.parametrize(
    ("statuses", "parted", "code"),
    [
        ([TRAINED, TRAINED], True, 0),
        ([TRAINED], False, 0),
        ([TRAINED, TRAINED], False, 3),
        ([UNSUPPORTED, UNSUPPORTED], False, 3),
        ([], False, 3),
        *(([TRAINED, wrong], True, 1) for wrong in (FAILED, WorkerDied.status, WorkerTimedOut.status)),
    ],
)
def test_train_is_green_only_where_traces_were_held_against_each_other(
    statuses: list[str], parted: bool, code: int
) -> None:
    trained = [Trained(f"numpy/{i}", status=status, steps=STEPS) for i, status in enumerate(statuses)]
    twin = [Trained("numpy/0", twin=True, steps=STEPS)] if parted else []
    partings = train.part([*trained, *twin], "float32")
    assert bool(partings) is parted
    assert train.exit_code([*trained, *twin], partings, broken=False) == code
    assert train.exit_code([*trained, *twin], partings, broken=True) == (1 if code == 1 else 2)


def raise_it(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize("error", [KeyError("h_n"), SystemExit(0), SystemExit(None), RecursionError("deep\nin there")])
def test_an_error_of_birnn_s_own_is_4_and_its_traceback_in_a_file_that_is_named(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "working").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path / "working")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    assert __main__._ended(lambda: raise_it(error)) == 4
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    path = re.search(r"is in (\S+\.log)$", output.strip())
    assert path is not None, output
    assert Path(path[1]).parent == tmp_path / "temporary"
    assert "raise_it" in Path(path[1]).read_text()
    assert list((tmp_path / "working").iterdir()) == []


def test_no_traceback_is_ever_put_into_the_working_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nothing else can be written, ``tempfile`` takes the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    assert str(tmp_path / "cache" / "birnn") in __main__._internal_error(KeyError("h_n"))
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert "no folder for a traceback could be written, so here it is:" in __main__._internal_error(KeyError("h_n"))
    assert [each.name for each in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x must be y; got z"), 2),
        (MemoryError(), 2),
        (OSError(28, "No space left on device"), 2),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
    ],
)
def test_every_other_end_has_its_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(__main__, "_discard", lambda stream: None)
    assert __main__._ended(lambda: raise_it(error)) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_full_disk_and_a_reader_that_has_gone_are_no_success() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "birnn", "backends", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | ABSENT,
        )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "No space left on device" in done.stderr
    command = f"{sys.executable} -m birnn backends"
    done = subprocess.run(
        ["bash", "-c", f"{command} | true; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        env=os.environ | ABSENT,
    )
    assert (done.stdout, done.stderr) == ("141\n", "")


def test_the_documented_table_has_every_code() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "exit-codes.md").read_text()
    codes = {value for name, value in vars(exit_codes).items() if name.isupper()}
    assert {int(number) for number in re.findall(r"^\| (\d+) \|", documented, re.MULTILINE)} == codes


def test_the_page_says_what_the_end_of_every_command_means() -> None:
    page = (Path(__file__).parents[2] / "docs" / "exit-codes.md").read_text()
    commands = [command.name for command in app.registered_commands] + [group.name for group in app.registered_groups]
    assert len(commands) > 10
    assert [name for name in commands if name is not None and not re.search(rf"[|`] ?(?:birnn )?{name}\b", page)] == []

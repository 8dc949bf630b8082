"""What BIRNN_PYTHON_… may point to that is no interpreter, or one that does not keep to the protocol: always one
sentence, within the time that a start may take.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.pool import lifetime
from backends.pool.pool import EnvironmentBroken, EnvironmentMissing, Pool, Worker
from backends.worker import lines
from backends.worker.messages import CanRunLayer, NotDone, Ping, TimeBlock
from tests.cases import a_case
from tests.workers.misbehaving import BACKEND

READY: dict[str, Any] = {
    "status": "ready",
    "name": "misbehaving",
    "versions": {"misbehaving": "1.0"},
    "devices": {"cpu": "1 thread"},
    "implementations": ["well"],
    "gaps": [],
}


def saying(*lines: object, then: str = "") -> str:
    """A program that prints these lines, as JSON where they are no text, and goes on with some Python."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return f"#!{sys.executable} -S\nimport os, sys, time\nprint({chr(10).join(texts)!r}, flush=True)\n{then}\n"


def python(code: str) -> str:
    """A program in Python that takes no notice of its arguments."""
    return f"#!{sys.executable} -S\nimport os, signal, sys, time\n{code}\n"


PROGRAMS = {
    "a text without a shebang": "no program at all",
    "an empty file": "",
    "an interpreter that is not there": "#!/nowhere/interpreter\n",
    "ends at once, well": python("sys.exit(0)"),
    "ends with a code": python("sys.exit(77)"),
    "says yes for ever": python("while True: os.write(1, b'y\\n' * 1000)"),
    "prints without an end of line for ever": python("while True: os.write(1, b'y' * 65536)"),
    "prints garbage": saying("Welcome to Python!"),
    "prints bytes that are no text": python("os.write(1, bytes(range(128, 256)) + b'\\n'); time.sleep(60)"),
    "prints UTF-16": python("os.write(1, '{\"status\": \"ready\"}\\n'.encode('utf-16')); time.sleep(60)"),
    "prints a number of 5,000 digits": saying("9" * 5000),
    "prints nested lists": saying("[" * 100_000),
    "prints a JSON list": saying([1, 2, 3]),
    "prints a JSON text": saying('"ready"'),
    "prints an empty object": saying({}),
    "prints another status": saying(READY | {"status": ["ready"]}),
    "lacks a field": saying({name: value for name, value in READY.items() if name != "implementations"}),
    "has a field of another kind": saying(READY | {"versions": ["1.0"]}),
    "has implementations that are no names": saying(READY | {"implementations": [1, 2]}),
    "is another framework's": saying(READY | {"name": "torch"}),
    "is broken without a reason": saying({"status": "broken"}),
    "is broken with a list for a reason": saying({"status": "broken", "reason": ["no"]}),
    "says nothing": python("time.sleep(60)"),
    "kills itself": python("os.kill(os.getpid(), signal.SIGKILL)"),
    "is killed by a real-time signal": python("os.kill(os.getpid(), signal.SIGRTMIN + 1)"),
    "stops itself": python("os.kill(os.getpid(), signal.SIGSTOP)"),
    "closes its output and sleeps": python("os.close(1); time.sleep(60)"),
    "leaves a child that holds the output": python("if os.fork() == 0: time.sleep(60)\nos._exit(3)"),
    "reads what it is sent for ever": "#!/bin/sh\nexec cat\n",
    "is an older Python": "#!/bin/sh\necho 'Unknown option: -P' >&2; echo 'usage: python3.7 …' >&2; exit 2\n",
}


@pytest.fixture
def point_to(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    return lambda path: monkeypatch.setenv("BIRNN_PYTHON_MISBEHAVING", str(path))


def program(folder: Path, text: str) -> Path:
    path = folder / "python"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def assert_refused(kinds: tuple[type[Exception], ...] = (EnvironmentBroken,)) -> None:
    with pytest.raises(kinds) as caught:
        Worker(BACKEND, threads=1, start_seconds=1)
    sentence = str(caught.value)
    assert "misbehaving" in sentence
    assert "\n" not in sentence
    assert len(sentence) < 1000


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that_is_no_worker_is_one_sentence(
    name: str, tmp_path: Path, point_to: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST", 1 << 20)
    monkeypatch.setattr(lifetime, "ENDING_SECONDS", 0.5)
    point_to(program(tmp_path, PROGRAMS[name]))
    assert_refused()


@pytest.mark.parametrize("name", ["folder", "no-program", "dangling", "loop", "nothing"])
def test_a_path_that_is_no_program_is_one_sentence(name: str, tmp_path: Path, point_to: Callable[[Path], None]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "no-program").write_text("print()")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    point_to(tmp_path / name)
    assert_refused((EnvironmentMissing, EnvironmentBroken))


@pytest.mark.parametrize(
    "name", ["/bin/true", "/bin/false", "/bin/cat", "/bin/yes", "/bin/sh", "/bin/echo", "/bin/sleep"]
)
def test_a_command_of_the_system_is_one_sentence(name: str, point_to: Callable[[Path], None]) -> None:
    point_to(Path(name))
    assert_refused()


ANSWERS = {
    "ends": "",
    "answers another request": "answer({'id': 99, 'status': 'done'})",
    "answers without a number": "answer({'status': 'done'})",
    "answers with a text for a number": "answer({'id': '1', 'status': 'done'})",
    "answers with True for a number": "answer({'id': True, 'status': 'done'})",
    "answers with no status": "answer({'id': 1})",
    "answers with another status": "answer({'id': 1, 'status': 'ready'})",
    "fails without a reason": "answer({'id': 1, 'status': 'failed'})",
    "is done without what was asked for": "answer({'id': 1, 'status': 'done'})",
    "is done with another kind": "answer({'id': 1, 'status': 'done', 'samples': 'fast'})",
    "is done with no sample": "answer({'id': 1, 'status': 'done', 'samples': []})",
    "is done with a time below 0": "answer({'id': 1, 'status': 'done', 'samples': [-1.0]})",
    "is done with a time that is no number": "answer({'id': 1, 'status': 'done', 'samples': [float('nan')]})",
    "answers noise": "os.write(1, b'noise\\n')",
    "answers without end": "os.write(1, b'n' * (2 << 20))",
    "is stopped": "os.kill(os.getpid(), 19)",
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_worker_that_breaks_the_protocol_has_crashed(
    name: str, tmp_path: Path, point_to: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST", 1 << 20)
    answer = "import json\ndef answer(content): os.write(1, json.dumps(content).encode() + b'\\n')\n"
    serve = f"{answer}sys.stdin.readline()\n{ANSWERS[name]}\nif {ANSWERS[name]!r}: time.sleep(60)"
    point_to(program(tmp_path, saying(READY, then=serve)))
    with Pool.open() as pool:
        pid = pool.worker(BACKEND).pid
        reply = pool.ask(BACKEND, TimeBlock(handle="open", seconds=0.0, least=1, most=1), 1.5)
        assert isinstance(reply, NotDone)
        assert reply.status == ("timed out" if name == "is stopped" else "crashed")
        assert "\n" not in reply.reason
        assert not Path(f"/proc/{pid}").exists()


def test_a_request_larger_than_a_pipe_does_not_wait_for_a_stopped_worker(
    tmp_path: Path, point_to: Callable[[Path], None]
) -> None:
    point_to(program(tmp_path, saying(READY, then="os.kill(os.getpid(), 19)")))
    with Pool.open() as pool:
        how: dict[str, Any] = {
            "implementation": "well",
            "dtype": "float32",
            "device": "cpu",
            "work": "forward",
            "seq_len": 1,
        }
        large = CanRunLayer(**how, batch=100_000, lengths=(1,) * 100_000, spec=a_case("gru").spec)
        reply = pool.ask(BACKEND, large, 1)
        assert isinstance(reply, NotDone)
        assert reply.status == "timed out"


def test_a_worker_that_starts_no_more_is_not_started_without_end(
    tmp_path: Path, point_to: Callable[[Path], None]
) -> None:
    """Killed again and again, as by a user's guard: what has been asked for is answered, and ends."""
    starts = tmp_path / "starts"
    once = saying(READY, then="sys.stdin.readline()")
    again = f"starts = {str(starts)!r}\nopen(starts, 'a').write('.')\nif os.path.getsize(starts) > 1: sys.exit(9)"
    point_to(program(tmp_path, once.replace("time\n", f"time\n{again}\n", 1)))
    with Pool.open() as pool:
        assert pool.worker(BACKEND).description.implementations == ["well"]
        answers = [pool.ask(BACKEND, Ping(), 5) for _ in range(10)]
    replies = [reply for reply in answers if isinstance(reply, NotDone)]
    assert [reply.status for reply in replies] == ["crashed"] * 10
    assert "exited with code 9" in replies[1].reason
    assert replies[-1].reason == "no worker of misbehaving starts any more"
    assert starts.stat().st_size == 4


def test_noise_of_a_hundred_megabytes_is_read_once(tmp_path: Path, point_to: Callable[[Path], None]) -> None:
    """Looking for the line's end in all that has come, each time something comes, took 53 s."""
    code = "chunk = b'n' * (1 << 16)\nfor _ in range(1600): os.write(1, chunk)\nos.write(1, b'\\n')"
    point_to(program(tmp_path, python(code)))
    with pytest.raises(EnvironmentBroken, match="at most 16777216 bytes; got more"):
        Worker(BACKEND, threads=1, start_seconds=10)

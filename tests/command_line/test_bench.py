"""birnn bench and report as a user runs them, on the NumPy backend of tests/numpy_loop."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.report.data import data_in
from benchmarks.store.records import STATUSES, TIMED
from benchmarks.store.store import Store
from birnn.commands.bench import Wishes, bench, exit_code, seconds_from
from tests.benchmarks.made_up import a_row
from tests.benchmarks.measure.paced import BACKEND as PACED
from tests.benchmarks.measure.paced import SECONDS
from tests.benchmarks.measure.test_session import register_paced
from tests.command_line.running import birnn

GREEN = ("measured", "never steady", "unsupported", "not offered", "not reached")
"""Statuses that leave a run with a time as good as it is."""
NUMPY = ("-i", "numpy/loop", "--threads", "1")


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Two small cases."""
    file = tmp_path / "mine.toml"
    file.write_text(
        '[[case]]\ncell = ["gru", "rnn_tanh"]\nseq_len = 6\nbatch = 3\ninput_size = 4\nhidden_size = 5\n'
        "lengths = [6, 2, 4]\n"
    )
    return file


def test_a_run_is_measured_printed_stored_and_reported(cases: Path, tmp_path: Path) -> None:
    store = tmp_path / "r.duckdb"
    command = ["bench", "--cases", cases, *NUMPY, "--processes", 2, "--store", store, "--label", "first"]
    done = birnn(*command)
    assert done.returncode == 0, done.stderr
    assert "forward_backward, float32, cpu, exact lane, 1 thread: ms a call" in done.stdout
    assert "gru-T6-B3-I4-H5-ragged" in done.stdout
    with Store.open(store) as opened:
        rows = opened.rows(opened.find_run("first").run)
    assert {row.processes for row in rows} == {2}
    assert {row.status for row in rows} <= set(TIMED)
    assert len(rows) == 4  # two cases, two passes
    again = birnn(*command)
    assert again.returncode == 0
    assert again.stdout == done.stdout  # all was there already
    assert "rows a second" not in done.stdout
    more = birnn(*command, "--show", "throughput", "--show", "tails").stdout
    assert "forward, float32, cpu, exact lane, 1 thread: rows a second" in more
    assert "forward, float32, cpu, exact lane, 1 thread: steps a second" in more
    page = tmp_path / "r.html"
    assert birnn("report", store, "-o", page).returncode == 0
    assert "gru-T6-B3-I4-H5-ragged" in {row["case"] for row in data_in(page.read_text())["rows"]}
    assert all(f"--case {row.key.case} " in row.command for row in rows)


def test_a_row_s_command_reproduces_that_row_alone(cases: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a.duckdb", tmp_path / "b.duckdb"
    birnn("bench", "--cases", cases, *NUMPY, "--passes", "forward", "--processes", 1, "--store", first)
    with Store.open(first) as opened:
        row = opened.rows(opened.runs()[0].run)[0]
    done = birnn(*row.command.split()[1:], "--processes", 1, "--store", second)
    assert done.returncode == 0, done.stderr
    with Store.open(second) as opened:
        assert [each.key for each in opened.rows(opened.runs()[0].run)] == [row.key]


def test_ctrl_c_leaves_what_was_measured_and_the_same_command_goes_on(cases: Path, tmp_path: Path) -> None:
    store = tmp_path / "r.duckdb"
    command = ["bench", "--cases", str(cases), *NUMPY, "--passes", "forward", "--store", str(store), "--processes", "2"]
    command += ["--wait", "0"]
    child = subprocess.Popen(
        [sys.executable, "-m", "birnn", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    sizes: set[int] = set()
    while child.poll() is None and len(sizes) < 6:  # the tables, the run, and blocks after it
        sizes.add(sum(path.stat().st_size for path in tmp_path.glob("r.duckdb*")))
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    if child.returncode != 0:  # else it was done before
        assert child.returncode == 130
        assert "the same command goes on where this one stopped" in errors
    assert birnn(*command).returncode == 0
    with Store.open(store) as opened:
        assert len(opened.runs()) == 1
        assert {row.processes for row in opened.rows(opened.runs()[0].run)} == {2}


def test_a_system_is_measured_explained_reported_and_reproduced(tmp_path: Path) -> None:
    file, store, page = tmp_path / "systems.toml", tmp_path / "r.duckdb", tmp_path / "r.html"
    file.write_text(
        '[[case]]\nname = "tagger"\nseq_len = 6\nbatch = 3\nlengths = [6, 2, 4]\n[case.system]\nkind = "sequence"\n'
        'num_embeddings = 9\nreadout = "steps"\nclasses = 7\nrnn = {cell = "gru", input_size = 4, hidden_size = 5, '
        'num_layers = 1, bias = true, merge = "concat"}\n'
    )
    command = ["bench", "--cases", file, *NUMPY, "--processes", 1, "--store", store]
    why = birnn(*command, "--why", "--dtype", "float32", "--dtype", "bfloat16")
    assert why.returncode == 0, why.stderr
    assert "yes" in why.stdout
    assert "NumPy has no bfloat16" in " ".join(why.stdout.split())
    done = birnn(*command)
    assert done.returncode == 0, done.stderr
    assert "train_step, float32, cpu, exact lane, 1 thread: ms a call" in done.stdout
    with Store.open(store) as opened:
        (row,) = opened.rows(opened.runs()[0].run)
    assert (row.key.case, row.key.passed, row.cell) == ("tagger", "train_step", "gru")
    assert row.status in TIMED
    assert row.fraction_of_limit is None
    assert birnn("report", store, "-o", page).returncode == 0
    assert {row["case"] for row in data_in(page.read_text())["rows"]} == {"tagger"}
    again = tmp_path / "again.duckdb"
    assert birnn(*row.command.split()[1:], "--processes", 1, "--store", again).returncode == 0
    with Store.open(again) as opened:
        assert [each.key for each in opened.rows(opened.runs()[0].run)] == [row.key]
    refused = birnn(*command, "--passes", "forward")
    assert refused.returncode == 2
    assert "--passes must be train_step alone for the system tagger; got 'forward'" in refused.stderr


def test_why_says_what_will_run_and_what_was_measured(cases: Path, tmp_path: Path) -> None:
    store = tmp_path / "r.duckdb"
    command = ["bench", "--cases", cases, *NUMPY, "--passes", "forward", "--store", store, "--processes", 1]
    before = birnn(*command, "--why", "--dtype", "float32", "--dtype", "bfloat16")
    assert before.returncode == 0
    assert "NumPy has no bfloat16" in " ".join(before.stdout.split())
    assert "yes" in before.stdout
    assert not store.exists()
    store.touch()
    assert "yes" in birnn(*command, "--why").stdout
    birnn(*command)
    assert "measured" in birnn(*command, "--why").stdout


@pytest.mark.parametrize("status", STATUSES)
def test_the_code_is_that_of_the_worst_row(status: str) -> None:
    """Whatever else has a time; and nothing but times and what cannot be timed is green."""
    rows = [a_row("a run", status=each) for each in ("measured", "measured", status)]
    code = 0 if status in GREEN else 3 if status == "not judged" else 1
    assert exit_code(rows, broken=False) == code
    assert exit_code(rows[::-1], broken=True) == (1 if code == 1 else 2)
    assert exit_code(rows[2:], broken=False) == (3 if status in ("unsupported", "not offered", "not reached") else code)


def test_what_disagrees_is_1_though_the_rest_has_times(
    cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    register_paced(monkeypatch, PACED)
    wishes = Wishes(
        cases=str(cases),
        case_patterns=["gru*"],
        patterns=["paced/steady", "paced/wrong"],
        passes="forward",
        dtypes=[],
        device="cpu",
        lane="exact",
        threads=[1],
        processes=1,
        budget="10m",
        timeout_seconds=60.0,
    )
    assert bench(wishes, tmp_path / "r.duckdb", label="", seed=1, again=False, retry_failed=False) == 1
    printed = capsys.readouterr().out
    (cell,) = re.findall(r"│ gru-T6-B3-I4-H5-ragged │ +~?([\d.]+) ±[\d.]+% │ +disagrees │", printed)
    assert float(cell) == pytest.approx(1e3 * SECONDS, rel=0.02), printed
    assert "disagrees paced/wrong, gru-T6-B3-I4-H5-ragged: " in printed


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("0.5m", 30), (" 1.5h ", 5400), ("10000h", 3.6e7)]
)
def test_a_budget_is_in_seconds_minutes_or_hours(text: str, seconds: float) -> None:
    assert seconds_from(text) == seconds


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--cases nosuch", "must"),
        ("--case nosuch", "--case must match one of"),
        ("--passes forward,sideways", "--passes must be one of forward, forward_backward, train_step; got 'sideways'"),
        ("--budget soon", "--budget must be a number of s, m or h"),
        ("--budget 1s", "--budget must hold at least one block, which takes 2."),
        ("--lane slow", "--lane must be one of exact, fast; got 'slow'"),
        ("--device tpu", "--device must be one of cpu, gpu; got 'tpu'"),
        ("--show nothing", "--show must be one of memory, throughput, tails; got 'nothing'"),
        ("--dtype int8", "--dtype must be one of"),
        ("-i nosuch/native", "--implementation must name one of the frameworks"),
        ("--store /", "folder"),
    ],
)
def test_bad_input_is_one_sentence(arguments: str, sentence: str, cases: Path, tmp_path: Path) -> None:
    base = ["bench", "--cases", cases, "--store", tmp_path / "r.duckdb", *NUMPY]
    given = arguments.split()
    if "-i" in given:
        base = [*base[:-4], "--threads", "1"]
    done = birnn(*base, *given)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1

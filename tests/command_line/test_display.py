"""What a study shows: what agrees, what is wrong, and what is neither."""

from __future__ import annotations

import io
import math
import re
import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from backends.interface.gaps import NOT_OFFERED, UNSUPPORTED
from backends.pool.environments import ROOT
from backends.pool.selection import Selection
from backends.registry import BUILT_IN
from backends.studies.study import FAILED, RAN, Outcome
from backends.studies.training import TRAINED, Trained
from benchmarks.report.table import Grid, TableCell
from birnn.commands.bench import print_grid
from birnn.commands.curves import drawn, style_of
from birnn.commands.outcomes import print_failures, print_outcomes
from birnn.commands.study import StudyResult
from birnn.commands.train import MOST_EPOCHS_SHOWN, by_epoch
from birnn.display import close_table, print_fitting, progress, stderr, stdout
from common.judging.agreement import judge, thresholds, worst_calibrated
from common.judging.precision import epsilon
from common.judging.yardstick import yardstick
from common.models.trace import Step
from common.tasks.building import build_task
from common.tasks.task import Options
from tests.cases import a_case
from tests.command_line.running import birnn


def outcome(*untold: str, wrong: bool = False) -> Outcome:
    """An outcome of which some tensors, or all, cannot be told."""
    yard = yardstick(a_case("gru"), "float32")
    names = tuple(yard.truth) if untold == ("all",) else untold
    yard = replace(yard, ambiguity={name: np.abs(yard.truth[name]) for name in names})
    result = yard.plain | ({"h_n": -yard.plain["h_n"]} if wrong else {})
    verdict = judge(result, yard)
    return Outcome(
        "a-case", "numpy/loop", "float32", "cpu", verdict.status, "; ".join(verdict.reasons), verdict=verdict
    )


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A console on which every table fits."""
    monkeypatch.setenv("COLUMNS", "200")


def cells_of(lines: list[str]) -> tuple[list[str], list[list[str]]]:
    """The heads of a table's columns, and its rows."""
    split = [[cell.strip() for cell in re.split("[┃│]", line)[1:-1]] for line in lines if line.startswith(("┃", "│"))]
    heads = [" ".join(part for part in parts if part) for parts in zip(*split[:2], strict=True)]
    return heads, split[2:]


def shown(outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_outcomes(stdout(), outcomes, judged=True)
    return capsys.readouterr().out.splitlines()


def test_what_is_not_judged_has_a_column_and_a_reason_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """And is counted neither as agreeing nor as wrong."""
    outcomes = [outcome(), outcome("all"), replace(outcome("all"), case="b-case")]
    lines = shown(outcomes, capsys)
    row = next(line for line in lines if "numpy/loop" in line)
    assert [cell.strip() for cell in row.split("│")[1:7]] == ["numpy/loop", "float32", "1", "0", "2", "0"]
    assert "not judged │" in row
    start = "not judged 2 cases numpy/loop float32, first a-case float32: nothing can be told"
    assert sum(line.startswith(start) for line in lines) == 1
    assert StudyResult(Selection(), outcomes).summary().startswith("1 agree, 0 unsupported, 2 not judged, 0 wrong; ")


def test_each_count_stands_under_its_own_head_and_the_error_is_the_worst(capsys: pytest.CaptureFixture[str]) -> None:
    bare = Outcome("a-case", "numpy/loop", "float32", "cpu", UNSUPPORTED, "it has none")
    outcomes = [outcome(), outcome(), outcome(), outcome(wrong=True), bare, bare]
    heads, rows = cells_of(shown(outcomes, capsys))
    cells = dict(zip(heads, rows[0], strict=True))
    assert {name: cells[name] for name in ("agree", "unsupported", "wrong")} == {
        "agree": "3",
        "unsupported": "2",
        "wrong": "1",
    }
    each = [measure for one in outcomes if one.verdict for measure in one.verdict.measures]
    largest = {name: max(getattr(measure, name) for measure in each) for name in ("rms", "max")}
    assert cells["worst error / plain loop's"] == f"rms {largest['rms']:.2g}, max {largest['max']:.2g}"
    assert largest["rms"] > 1000 > max(measure.rms or 0 for measure in outcomes[0].verdict.measures)  # type: ignore[union-attr]
    ran = [Outcome("a-case", "numpy/loop", "float32", "cpu", status) for status in (RAN, RAN, FAILED, UNSUPPORTED)]
    print_outcomes(stdout(), [*ran, ran[2], ran[2]], judged=False)
    header, _, row, *_ = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("┃", "┡", "│"))]
    assert [cell.strip() for cell in row.split("│")[3:6]] == ["2", "1", "3"]
    assert [cell.strip() for cell in header.split("┃")[3:6]] == ["ran", "unsupported", "failed"]


def test_without_it_there_is_no_such_column(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [outcome(), outcome(wrong=True)]
    assert not any("not judged" in line for line in shown(outcomes, capsys))
    assert StudyResult(Selection(), outcomes).summary().startswith("1 agree, 0 unsupported, 1 wrong; ")


@pytest.mark.parametrize(
    ("untold", "text"),
    [
        (("grad.x", "grad.h_0"), "grad.x, grad.h_0"),
        (tuple(name for name in yardstick(a_case("gru"), "float32").truth if name != "h_n"), "all but h_n"),
    ],
)
def test_a_verdict_on_a_part_says_once_which(
    untold: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown([outcome(*untold), outcome(*untold)], capsys)
    wanted = f"told in part a-case float32: rounding may be as large as the answer in {text}"
    assert [line for line in lines if "told in part" in line] == [wanted]


def test_what_is_left_out_for_speed_is_not_offered_and_has_a_column_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    declared = [Outcome("a", f"numpy/{name}", "float32", "cpu", NOT_OFFERED, "it is slow") for name in ("x", "y")]
    lines = shown([outcome(), *declared, replace(declared[0], case="b")], capsys)
    heads, rows = cells_of(lines)
    assert [row[heads.index("not offered")] for row in rows] == ["0", "2", "1"]
    assert "not offered numpy/x, 2 cases: it is slow" in lines
    assert "not offered numpy/y, 1 case: it is slow" in lines
    assert StudyResult(Selection(), declared).summary().startswith("0 agree, 0 unsupported, 2 not offered, 0 wrong; ")
    assert all(each.good and not each.wrong for each in declared)


def test_one_reason_of_several_implementations_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    declared = [Outcome("a", f"numpy/{name}", "float32", "cpu", UNSUPPORTED, "no") for name in ("x", "y")]
    assert "unsupported numpy/x, numpy/y, 1 case: no" in shown(declared, capsys)


def test_what_agrees_farther_off_than_correct_code_was_is_not_shown_like_the_rest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    near = outcome()
    assert near.verdict is not None
    limits, worst = thresholds()["float32"], worst_calibrated()["float32"]
    assert all(worst[name] < limits[name] for name in limits)
    (largest, *rest) = near.verdict.measures
    far = replace(largest, rms=(limits["rms"] + worst["rms"]) / 2)
    other = replace(near, implementation="numpy/far", verdict=replace(near.verdict, measures=[far, *rest]))
    heads, rows = cells_of(shown([near, other], capsys))
    assert [row[heads.index("verdict")] for row in rows] == ["agrees", "agrees (far)"]
    assert rows[1][heads.index("of its limit")] == f"{far.rms / limits['rms']:.0%}"


def a_failure(case: str, dtype: str = "float32", **changes: Any) -> Outcome:
    failure = outcome(wrong=True)
    assert failure.verdict is not None
    return replace(failure, case=case, dtype=dtype, verdict=replace(failure.verdict, **changes))


def failures(outcomes: list[Outcome], capsys: pytest.CaptureFixture[str], verbose: bool = False) -> list[str]:
    print_failures(stdout(), outcomes, verbose)
    return capsys.readouterr().out.splitlines()


def test_a_failure_is_one_line_and_its_reasons_stand_below_it_where_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = failures([a_failure("mine", matches="gates swapped")], capsys)
    assert re.fullmatch(
        r"disagrees mine numpy/loop float32: h_n is [\d.]+ off at \([\d, ]+\), [\de.+]+ times what is allowed; "
        r".*first wrong: h_n at .*: layer 0, forward; matches: gates swapped",
        line,
    )
    failure = a_failure("mine", reasons=["one", "two"])
    line, *reasons = failures([failure], capsys, verbose=True)
    assert line.startswith("disagrees mine numpy/loop float32: ")
    assert reasons == ["    one", "    two"]


def test_what_is_not_finite_is_not_called_inf_times_too_far(capsys: pytest.CaptureFixture[str]) -> None:
    failure = a_failure("mine")
    assert failure.verdict is not None
    measures = [replace(each, rms=math.nan, max=math.nan, max_error=math.nan) for each in failure.verdict.measures]
    (line,) = failures([replace(failure, verdict=replace(failure.verdict, measures=measures))], capsys)
    assert " is not finite at (" in line
    assert "nan" not in line
    assert "inf" not in line


def test_equal_failures_are_one_line_with_their_number(capsys: pytest.CaptureFixture[str]) -> None:
    named = [a_failure(case, dtype, matches="gates swapped") for case in ("a", "b") for dtype in ("float32", "float64")]
    crashed = [Outcome(case, "numpy/loop", "float32", "cpu", "crashed", "it ended") for case in ("a", "b", "c")]
    other = a_failure("a", matches="another mistake")
    shares = {"a": "10 %", "b": "43 %"}
    parts = [a_failure(case, matches=f"bias dropped (forward, {share} of the error)") for case, share in shares.items()]
    assert len(failures(parts, capsys)) == 1
    lines = failures([*named, *crashed, other], capsys)
    starts = (
        "2 cases numpy/loop float32, float64, first a float32: h_n",
        "3 cases numpy/loop float32, first a float32: it ended",
    )
    assert [line.partition(" ")[2].startswith(start) for line, start in zip(lines, starts, strict=False)] == [
        True,
        True,
    ]
    assert len(lines) == 3
    assert len(failures([*crashed, replace(crashed[0], reason="another")], capsys)) == 2
    assert len([line for line in failures(crashed, capsys, verbose=True) if line.startswith("crashed")]) == 3


def test_on_80_columns_nothing_is_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = ["tensorflow/native", "jax/native-linen", "torch/native"]
    outcomes = [
        replace(outcome(), implementation=name, dtype=dtype) for name in names for dtype in ("float32", "bfloat16")
    ]
    bare = Outcome("a-case", names[0], "float32", "cpu", NOT_OFFERED, "it has none")
    lines = shown([*outcomes, bare, outcome("all")], capsys)
    table = [line for line in lines if not line.startswith(("told", "not "))]
    assert max(map(len, table)) <= 80
    for name in names:
        assert sum(name in line for line in table) == 2
        assert all(re.search(r" \d+% +(agrees|not)$", line.rstrip()) for line in table if name in line), table


def test_times_on_80_columns_are_a_row_an_implementation(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["torch/native", "tensorflow/native", "jax/native-linen"]
    times = [TableCell("!~1234 ±123.4%"), TableCell("3.41 ±1.2%", fastest=True), TableCell("")]
    case = "lstm-T1000-B32-I123-H320-L2-ragged"
    grid = Grid("forward", names, [(case, times, "12.3")])
    for columns, tall in (("80", True), ("140", False)):
        monkeypatch.setenv("COLUMNS", columns)
        print_grid(stdout(), grid)
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ([case, "limit", "12.3"] in lines) is tall
        assert (["torch/native", "!~1234", "±123.4%"] in lines) is tall
        assert (["tensorflow/native", "3.41", "±1.2%"] in lines) is tall
        assert not any(line[:1] == ["jax/native-linen"] for line in lines)


def test_training_on_80_columns_keeps_its_numbers_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    steps = [Step(1.234567, 0.5, 1.0)] * 20
    trained = [Trained("tensorflow/native", status=TRAINED, steps=steps, accuracies=[0.5432] * 20)]
    print_fitting(stdout(), *([by_epoch(trained, most)] for most in MOST_EPOCHS_SHOWN))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if "loss" in line)
    assert row.count("1.2346") >= 4
    assert "…" not in row


def test_an_epoch_that_is_kept_is_among_those_shown() -> None:
    losses = [1.0] * 13 + [0.5] + [1.0] * 6
    trained = Trained("torch/native", steps=[Step(1.0, 0.5, 1.0)] * 20, accuracies=[0.5] * 20, validation_losses=losses)
    for most in MOST_EPOCHS_SHOWN:
        heads = [column.header for column in by_epoch([trained], most).columns[2:]]
        assert (heads[0], "14" in heads, heads[-1]) == ("1", True, "20")
        assert most - 1 <= len(heads) <= most
    plain = replace(trained, validation_losses=[])
    assert [column.header for column in by_epoch([plain], 3).columns[2:]] == ["1", "10", "20"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_curves_draw_an_exact_0_as_0_and_every_implementation_in_a_style_of_its_own(dtype: str) -> None:
    if find_spec("matplotlib") is None:  # importing it here would write into the user's home
        pytest.skip("matplotlib is not installed")
    task = build_task("pipeline", Options(cell="rnn_tanh", hidden_size=2))
    names = [f"{backend.name}/{kind}" for backend in BUILT_IN for kind in ("native", "manual", "scratch", "tuned")]
    losses = [1.0, 0.5, 0.25]
    trained = [Trained(name, steps=[Step(loss, 0.5, 1.0) for loss in losses], accuracies=[0.5]) for name in names]
    trained[1] = replace(trained[1], steps=[Step(loss, 0.5, 1.0) for loss in (1.0, 0.5 * (1 + 1e-3), 0.25)])
    _, _, right = drawn(task, [trained[0], replace(trained[0], twin=True), *trained[1:]], dtype).axes
    drawn_gaps = [line.get_ydata() for line in right.lines]
    assert np.array_equal(drawn_gaps[0], [0, 0, 0])
    assert drawn_gaps[1] == pytest.approx([0, 1e-3, 0])
    assert right.get_ylim()[0] == 0
    low, high = (right.transData.transform((0, gap))[1] for gap in (0, epsilon(dtype)))
    assert high - low > 1, "0 and a gap of one spacing are two places"
    styles = {(style_of(each)["color"], style_of(each)["marker"]) for each in trained}
    assert len(styles) == len(names)


ANY_CODE = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:[\d;]*;)?[349]\d[\d;]*m")


def table_and_bar(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What a command prints with a table on stdout and a bar on stderr."""
    table = close_table("[bold]a title[/bold]")
    table.add_row("[green]agrees[/green]", "[dim]not judged[/dim]", "x" * 90)
    stdout().print(table)
    with progress() as bar:
        bar.advance(bar.add_task("verify", total=1))
    stderr().print("[red]a note[/red]")
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_force_color_adds_colours_and_changes_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS")
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    bare = table_and_bar(capsys)
    assert not any(map(ANY_CODE.search, bare))
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = table_and_bar(capsys)
    assert all(map(COLOUR.search, coloured))
    assert tuple(ANY_CODE.sub("", text) for text in coloured) == bare
    assert {code[-1] for text in coloured for code in ANY_CODE.findall(text)} == {"m"}, "the cursor stays"
    monkeypatch.setenv("NO_COLOR", "1")
    neither = table_and_bar(capsys)
    assert not any(map(COLOUR.search, neither))
    assert tuple(ANY_CODE.sub("", text) for text in neither) == bare


def test_no_color_takes_the_colours_from_a_terminal_and_from_help(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    for variables in ({}, {"NO_COLOR": "1"}):
        with monkeypatch.context() as patch:
            patch.delenv("NO_COLOR", raising=False)
            for name, value in variables.items():
                patch.setenv(name, value)
            terminal = Terminal()
            patch.setattr(sys, "stdout", terminal)
            stdout().print("[green]agrees[/green]")
        assert bool(COLOUR.search(terminal.getvalue())) is not bool(variables)
        helped = birnn("--help", FORCE_COLOR="1", **variables).stdout
        assert bool(COLOUR.search(helped)) is not bool(variables)


def test_every_command_prints_through_the_one_console() -> None:
    """What NO_COLOR and FORCE_COLOR do is decided in birnn/display.py alone."""
    made = {
        path.relative_to(ROOT).as_posix()
        for folder in ("birnn", "backends", "common")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"Console\(|\\x1b\[\d|secho\(|rich import print", path.read_text(encoding="utf-8"))
    }
    assert made == {"birnn/display.py"}


def test_progress_is_a_line_every_ten_seconds_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is being done, how far it is, and how long it takes still."""
    now = [100.0]
    monkeypatch.setattr("birnn.display.time.monotonic", lambda: now[0])
    with progress() as bar:
        task = bar.add_task("verifying", total=40)
        for done in range(25):
            now[0] += 1.0
            bar.update(task, advance=1, seconds_left=150.0 - 4 * done)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "birnn: verifying, 10 of 40 done, about 1.9 min left",
        "birnn: verifying, 20 of 40 done, about 1.2 min left",
    ]
    with progress() as bar:
        now[0] += 10.0
        bar.advance(bar.add_task("probing", total=None))
    assert capsys.readouterr().err.splitlines() == ["birnn: probing, 1 done"]

"""What a study shows: what agrees, what is wrong, and what is neither."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from backends.selection import Selection
from backends.study import FAILED, RAN, UNSUPPORTED, Outcome
from birnn.display import outcome_table, print_failures, print_untold, stdout
from birnn.studying import Finding
from common.agreement import judge
from common.yardstick import yardstick
from tests.cases import a_case


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


def shown(outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]) -> list[str]:
    console = stdout()
    console.print(outcome_table(outcomes, judged=True))
    print_untold(console, outcomes)
    print_failures(console, outcomes)
    return capsys.readouterr().out.splitlines()


def test_what_is_not_judged_has_a_column_and_a_reason_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """And is counted neither as agreeing nor as wrong."""
    outcomes = [outcome(), outcome("all"), outcome("all")]
    lines = shown(outcomes, capsys)
    row = next(line for line in lines if "numpy/loop" in line)
    assert [cell.strip() for cell in row.split("│")[1:7]] == ["numpy/loop", "float32", "1", "0", "2", "0"]
    assert "not judged │" in row
    assert sum("not judged a-case numpy/loop float32: nothing can be told" in line for line in lines) == 2
    assert Finding(Selection(), outcomes).summary().startswith("1 agree, 0 unsupported, 2 not judged, 0 wrong; ")


def test_each_count_stands_under_its_own_head_and_the_error_is_the_worst(capsys: pytest.CaptureFixture[str]) -> None:
    bare = Outcome("a-case", "numpy/loop", "float32", "cpu", UNSUPPORTED, "it has none")
    outcomes = [outcome(), outcome(), outcome(), outcome(wrong=True), bare, bare]
    header, _, row, *_ = [line for line in shown(outcomes, capsys) if line.startswith(("┃", "┡", "│"))]
    cells = dict(zip(*([cell.strip() for cell in re.split("[┃│]", line)[1:-1]] for line in (header, row)), strict=True))
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
    console = stdout()
    console.print(outcome_table([*ran, ran[2], ran[2]], judged=False))
    header, _, row, *_ = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("┃", "┡", "│"))]
    assert [cell.strip() for cell in row.split("│")[3:6]] == ["2", "1", "3"]
    assert [cell.strip() for cell in header.split("┃")[3:6]] == ["ran", "unsupported", "failed"]


def test_without_it_there_is_no_such_column(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [outcome(), outcome(wrong=True)]
    assert not any("not judged" in line for line in shown(outcomes, capsys))
    assert Finding(Selection(), outcomes).summary().startswith("1 agree, 0 unsupported, 1 wrong; ")


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

"""The line on top of docs/calibration.md: of which commit and cases the limits are."""

from __future__ import annotations

import json

import pytest

from benchmarks.maintain.calibrate import CALIBRATED, TABLE, names_now, origin
from common.judging.agreement import THRESHOLDS_FILE


def test_the_page_says_of_which_commit_and_cases_the_limits_are() -> None:
    """Whoever adds or renames a built-in case has it written anew: python -m benchmarks.maintain.calibrate --line."""
    calibrated = json.loads(THRESHOLDS_FILE.read_text())[CALIBRATED]
    block = TABLE.read_text().partition(f"<!-- {CALIBRATED} -->\n")[2].partition(f"\n<!-- /{CALIBRATED} -->")[0]
    assert block == origin(calibrated)


@pytest.mark.parametrize(
    ("away", "added", "end"),
    [
        ([], [], "built-in cases, which are those of now."),
        (["lstm-unequal"], [], "(added since: lstm-unequal)."),
        (["lstm-unequal"], ["old-one"], "(added since: lstm-unequal; taken away since: old-one)."),
    ],
)
def test_the_line_names_what_is_another_now(away: list[str], added: list[str], end: str) -> None:
    then = [name for name in names_now() if name not in away] + added
    line = origin({"commit": "abc1234", "cases": then})
    assert line.startswith(f"The limits are of commit abc1234, with its {len(then)} built-in cases")
    assert line.endswith(end)

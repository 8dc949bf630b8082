"""What a specification must be, and which characters of a text may be shown."""

from __future__ import annotations

from typing import Any

import pytest

from common.cases.builtin import SIZES
from common.errors import InputError
from common.specification import specification_from_json
from common.terminal import CONTROLS, plain


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cell": "lstm", "reset_after": False}, "reset_after=false for the cell gru alone"),
        ({"cell": "gru", "merge": "sum", "hidden_size_reverse": 7}, "hidden_size_reverse for the merge concat alone"),
    ],
)
def test_options_that_do_not_go_together_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        specification_from_json(SIZES | changes)


@pytest.mark.parametrize("control", [chr(edge) for pair in CONTROLS for edge in pair] + ["\0"], ids=repr)
def test_the_first_and_the_last_control_of_every_range_are_shown_as_escapes(control: str) -> None:
    assert control not in plain(f"a{control}b")
    assert plain("a\tb\nc–") == "a\tb\nc–"

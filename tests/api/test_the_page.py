"""docs/api.md says what is so: its examples run, and every public name is on it."""

from __future__ import annotations

import re
from pathlib import Path

import birnn

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def test_every_example_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        names: dict[str, object] = {}
        exec(compile(block, str(PAGE), "exec"), names)
        for test in [value for name, value in names.items() if name.startswith("test_")]:
            for case in birnn.cases(cells=["gru"])[:3]:
                test(case)  # type: ignore[operator]


def test_every_public_name_is_on_the_page() -> None:
    text = PAGE.read_text()
    words = set(re.findall(r"\w+", text))
    assert set(birnn.__all__) - words <= {"InputError", "Verification", "Case"}

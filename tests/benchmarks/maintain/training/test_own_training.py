"""The page of the traces: a training that is done again takes its own place, and what is said of the others stays."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.maintain.own_training import (
    MEASURED,
    MODELS,
    PICTURES,
    TRACES,
    commands,
    row,
    sections,
    summary,
    table,
    with_one_direction,
)

NAMES = list(commands())


def a_trace(**changes: object) -> dict:
    parting = {"largest": 2e-7, "verdict": "agrees"}
    one = {"steps": [[1.0, 0.5, 1.0]] * 3, "accuracies": [0.1, 0.25], "parting": None, "cpu_seconds": 41.4}
    other = one | {"accuracies": [0.1, 0.375], "parting": parting, "cpu_seconds": None}
    return {"baseline": {"accuracy": 0.0625}, "implementations": {"torch/manual": one, "jax/manual": other}} | changes


def test_a_row_has_the_last_accuracies_and_the_largest_gap() -> None:
    told = row("masked", "train masked", a_trace(), None, "c, d")
    expected = "| 0.0625 | – | 0.2500 | 0.3750 | 41 / – | 3 | 2.0e-07 | agrees | c, d |"
    assert told == f"| [`train masked`](traces/masked.svg) {expected}"


def test_one_direction_stands_beside_the_baseline_and_in_a_table_of_its_own() -> None:
    one = {"implementations": {"torch/manual": {"accuracies": [0.1, 0.125]}}}
    told = row("masked", "train masked", a_trace(), one, "c, d")
    assert "| 0.0625 | 0.1250 | 0.2500 | 0.3750 | 41 / – |" in told
    heads, rule, cells = summary(told).splitlines()
    assert heads.startswith("| trivial baseline | one direction | torch/manual | jax/manual |")
    assert rule.startswith("| ---: | ---: | ---: |")
    assert cells == "| 0.0625 | 0.1250 | 0.2500 | 0.3750 | 41 / – | 3 | 2.0e-07 | agrees |"


def test_what_has_one_direction_is_not_trained_with_one_again(tmp_path: Path) -> None:
    assert with_one_direction(["train", "language", "--directions", "1"], tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_of_a_training_that_was_stopped_the_epoch_is_told_that_is_kept() -> None:
    trace = a_trace()
    for training in trace["implementations"].values():
        training["best_epoch"] = 1
    assert "| 0.0625 | – | 0.1000 | 0.1000 | 41 / – |" in row("pipeline", "train pipeline", trace, None, "")


def test_a_language_model_has_its_perplexity_beside_its_accuracy() -> None:
    trace = a_trace(baseline={"accuracy": 0.0625, "perplexity": 200.0})
    for training, last in zip(trace["implementations"].values(), (50.0, 51.0), strict=True):
        training["perplexities"] = [99.0, last]
    assert "| 0.0625 (200.00) | – | 0.2500 (50.00) | 0.3750 (51.00) |" in row(
        "language", "train language", trace, None, ""
    )


def test_entities_have_their_f1_beside_their_accuracy() -> None:
    trace = a_trace(baseline={"accuracy": 0.5, "entity_f1": 0.0625})
    for training, last in zip(trace["implementations"].values(), (0.125, 0.25), strict=True):
        training["entity_f1"] = [0.0, last]
    told = "| 0.5000 (F1 0.0625) | – | 0.2500 (F1 0.1250) | 0.3750 (F1 0.2500) |"
    assert told in row("entities", "train tagger", trace, None, "")


def test_the_other_rows_and_sections_stay_in_their_order() -> None:
    page, new = MODELS.read_text(), f"| [`again`](traces/{NAMES[1]}.svg) | new |"
    before, after = (
        {name: next((line for line in text.splitlines() if f"traces/{name}.svg" in line), "") for name in NAMES}
        for text in (page, table({NAMES[1]: new}, page))
    )
    assert after == before | {NAMES[1]: new}
    text = TRACES.read_text()
    assert text.endswith(f"{MEASURED}\n\n{sections({}, text)}\n")
    again = sections({NAMES[1]: f"## again\n\n![curves](traces/{NAMES[1]}.svg)"}, text)
    assert re.findall(r"traces/(.*)\.svg", again) == NAMES
    assert again.count("```") == text.count("```") - 2


@pytest.mark.parametrize("name", NAMES)
def test_every_training_has_its_row_its_section_and_its_picture(name: str) -> None:
    for page in (MODELS, TRACES):
        assert page.read_text().count(f"(traces/{name}.svg)") == 1
    assert (PICTURES / f"{name}.svg").exists()

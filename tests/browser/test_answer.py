"""What the report opens with, in a real browser: who is fastest for which shape, the curves, and who can read it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.analysis.noise import floors_of
from benchmarks.analysis.ranking import CLEAR, Standing, standings
from benchmarks.cases.case import case_name
from benchmarks.cases.files import load_set
from benchmarks.maintain.publish import RESULTS
from benchmarks.report.content import Content
from benchmarks.report.data import data_in
from benchmarks.report.page import render
from benchmarks.store.records import TIMED
from tests.benchmarks.made_up_run import TRACKS, made_up_content
from tests.browser.conftest import Shown, open_file

LAPTOP = RESULTS / "laptop.html"
CASE = "lstm-T128-B8-I128-H128"
JOBS = "#map .job"
CELL = "#curves .chooser label"
PANELS = "#curves-panels .panel"


@pytest.fixture(scope="module")
def laptop(opened: Shown) -> Iterator[Any]:
    """The committed page of the laptop set, which takes its library from the repository; tests leave it on the LSTM."""
    page = opened.page.context.browser.new_page(viewport={"width": 1280, "height": 800})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    open_file(page, LAPTOP)
    yield page
    assert complaints == []
    page.close()


def names(cells: list[str]) -> list[set[str]]:
    """The implementations that each cell's button names in full."""
    return [set(re.findall(r"[a-z_]+/[a-z-]+", cell.rpartition(": ")[2])) for cell in cells]


def standings_of(content: Content, passed: str) -> list[Standing]:
    races = standings(content.rows, content.blocks, floors_of(content.blocks).of_job)
    return [each for each in races if (each.key.lane, each.key.threads, each.key.passed) == (*TRACKS[0], passed)]


def test_the_map_has_every_job_of_the_pass_and_ties_are_shown_as_ties(content: Content, shown: Shown) -> None:
    for passed, label in (("forward_backward", "forward + backward"), ("forward", "forward")):
        shown.page.locator("#fastest .chooser label", has_text=re.compile(f"^{re.escape(label)}$")).click()
        expected = standings_of(content, passed)
        cells = shown.page.locator(JOBS).all_text_contents()
        assert sorted(map(sorted, names(cells))) == sorted(
            sorted({each.key.implementation, *each.level}) for each in expected
        )
        told = [" ahead" in cell for cell in cells]
        assert sum(told) == sum(each.verdict == CLEAR for each in expected)
        ties = [cell for cell in cells if re.search(r"tie of|not decided between", cell)]
        assert len(ties) == len(cells) - sum(told)
        assert all(f"{len(level)}: " in cell for cell, level in zip(ties, names(ties), strict=True))
        assert f"At {sum(told) or 'none'} of {len(expected)} jobs" in shown.page.locator("#wins").inner_text()
        league = [int(text) for text in shown.texts("#league tbody td:nth-child(2)")]
        assert sum(league) == sum(told)


def test_both_ties_and_leads_are_in_a_published_run(laptop: Any) -> None:
    text = " ".join(laptop.locator(JOBS).all_text_contents())
    assert "tie of" in text
    assert " ahead" in text
    assert laptop.locator(".job.one").count() > 0
    assert laptop.locator(".job:not(.one)").count() > 0


def test_the_answer_is_in_the_first_screen(laptop: Any) -> None:
    tops = laptop.locator(JOBS).evaluate_all("jobs => jobs.map((job) => job.getBoundingClientRect().bottom)")
    assert sum(bottom <= 800 for bottom in tops) >= 15
    assert laptop.locator("#league").bounding_box()["y"] < 400


def test_a_cell_opens_by_the_keyboard_and_has_every_time_of_its_job(content: Content, shown: Shown) -> None:
    shown.page.locator(JOBS).first.focus()
    shown.page.keyboard.press("Enter")
    title = shown.page.locator("#details-title").inner_text()
    rows = [
        row
        for row in content.rows
        if (row.key.lane, row.key.threads) == TRACKS[0] and f"{row.key.case}, {row.key.passed}" == title
    ]
    timed = [row for row in rows if row.status in TIMED]
    lines = [line.replace("\n", "") for line in shown.texts("#details tbody tr")]
    assert len(lines) == len(timed) > 1
    assert all(any(row.key.implementation in line for line in lines) for row in timed)
    assert sum("slower" in line for line in lines) + sum("level" in line for line in lines) == len(lines)
    shown.page.keyboard.press("Escape")
    assert not shown.page.locator("#details").is_visible()


def test_arrow_keys_choose_a_pass_and_keep_the_focus(shown: Shown) -> None:
    shown.page.locator("#fastest .chooser input:checked").first.focus()
    before = shown.page.locator(JOBS).all_text_contents()
    shown.page.keyboard.press("ArrowLeft")
    assert shown.page.locator(JOBS).all_text_contents() != before
    assert shown.page.evaluate("document.activeElement.checked && document.activeElement.value") == "forward"


def test_the_curves_join_cases_that_differ_in_one_size(laptop: Any) -> None:
    rows = data_in(LAPTOP.read_text(encoding="utf-8"))["rows"]
    heads = [head.split("\n") for head in laptop.locator(f"{PANELS} h3").all_inner_texts()]
    assert heads == [
        ["Over T, steps", "B 1 · I 128 · H 128"],
        ["Over B, rows", "T 128 · I 128 · H 128"],
        ["Over H, units", "T 128 · B 1 · I = H"],
    ]
    drawn = laptop.evaluate("document.getElementById('curve-1').data.map(({ name, x, y }) => [name, x, y])")
    assert len(drawn) > 3
    for name, batches, times in drawn:
        expected = {
            row["batch"]: 1e3 * row["median_seconds"]
            for row in rows
            if (row["implementation"], row["cell"], row["pass"]) == (name, "lstm", "forward_backward")
            and (row["seq_len"], row["input_size"], row["hidden_size"]) == (128, 128, 128)
        }
        assert dict(zip(batches, times, strict=True)) == pytest.approx(expected)
    laptop.locator(CELL, has_text="gru").click()
    assert [head.split("\n")[0] for head in laptop.locator(f"{PANELS} h3").all_inner_texts()] == ["Over B, rows"]
    laptop.locator(CELL, has_text="lstm").click()


def test_a_panel_says_in_words_who_is_fastest_at_each_size(laptop: Any) -> None:
    spoken = laptop.locator("#curve-1").get_attribute("aria-label")
    assert re.match("Curves over B, rows. Fastest: at 1 .*; at 8 .*; at 32 .*", spoken)
    for each in data_in(LAPTOP.read_text(encoding="utf-8"))["standings"]:
        if (each["case"], each["pass"]) == (CASE, "forward_backward"):
            assert f"at 8 {', level with '.join([each['implementation'], *each['level']])}, " in spoken


def test_where_no_two_cases_differ_in_one_size_only_that_is_said(opened: Shown) -> None:
    assert opened.page.locator(PANELS).count() == 0
    assert opened.page.locator("#no-curves").is_visible()


def test_what_is_unusual_is_said_and_no_line_joins_it_to_the_usual(opened: Shown, tmp_path: Path) -> None:
    cases = [case for case in load_set("laptop").cases if case.name in (CASE, "lstm-T128-B1-I128-H128")]
    for batch, changes in ((2, {"num_directions": 1, "merge": None}), (4, {"bias": False})):
        spec = cases[0].spec.model_copy(update=changes)
        name = case_name(spec, 128, batch, ragged=False)
        cases.append(cases[0].model_copy(update={"spec": spec, "batch": batch, "name": name}))
    content = made_up_content(cases=cases)
    file = tmp_path / "directions.html"
    file.write_text(render([content]), encoding="utf-8")
    page = opened.page.context.browser.new_page()
    open_file(page, file)
    for batch, word in ((2, "one direction"), (4, "no bias")):
        (line,) = page.locator("#map tbody tr", has_text=f"128 · {word}").all_inner_texts()
        assert line.strip().startswith(f"T 128 · B {batch}")
    assert page.locator(f"{PANELS} h3").all_inner_texts() == ["Over B, rows\nT 128 · I 128 · H 128"]
    assert page.evaluate("document.getElementById('curve-0').data[0].x") == [1, 8]
    page.close()


def test_filled_marks_are_the_fastest_and_what_cannot_be_told_from_it(laptop: Any) -> None:
    data = data_in(LAPTOP.read_text(encoding="utf-8"))
    level = {
        (each["case"], name)
        for each in data["standings"]
        if each["pass"] == "forward_backward"
        for name in (each["implementation"], *each["level"])
    }
    symbols = laptop.evaluate(
        "document.getElementById('curve-1').data.map(({ name, x, marker }) => [name, marker.symbol[x.indexOf(8)]])"
    )
    assert {name for name, symbol in symbols if not symbol.endswith("-open")} == {
        name for name, _ in symbols if (CASE, name) in level
    }
    assert any(symbol.endswith("-open") for _, symbol in symbols)


def test_the_legend_hides_an_implementation_in_every_chart(laptop: Any) -> None:
    def shown_names() -> set[str]:
        traces = "['curve-1', 'chart-cases'].flatMap((id) => document.getElementById(id).data)"
        return set(laptop.evaluate(f"{traces}.map((each) => each.name)"))

    button = laptop.locator("#curves .legend button", has_text="mxnet/native")
    assert "mxnet/native" in shown_names()
    button.press("Enter")
    assert "mxnet/native" not in shown_names()
    assert button.get_attribute("aria-pressed") == "false"
    assert laptop.evaluate("document.activeElement.textContent") == "●mxnet/native"
    button.press("Enter")
    assert "mxnet/native" in shown_names()


def test_charts_follow_the_chosen_cell_and_quantity(shown: Shown) -> None:
    def labels() -> list[str | None]:
        return shown.page.locator("#chart-cases .ytick text").all_text_contents()

    before = labels()
    assert before
    assert all(label and not label.startswith("lstm") for label in before)
    shown.page.locator("#charts .chooser label", has_text="rnn tanh").click()
    assert labels() != before
    shown.page.select_option("#cases-controls select", "time")
    assert shown.page.locator("#chart-cases .xtitle").text_content() == "time of a call, ms"


def test_a_page_fits_400_pixels_and_answers_in_the_first_of_them(laptop: Any) -> None:
    laptop.set_viewport_size({"width": 400, "height": 800})
    try:
        width = "document.documentElement.scrollWidth"
        for _ in range(200):  # the charts are drawn anew for the width, on a busy machine a while later
            laptop.wait_for_timeout(50)
            if laptop.evaluate(width) <= 400:
                break
        assert laptop.evaluate(width) <= 400
        assert laptop.locator("#map thead th:visible").all_inner_texts() == ["Shape", "lstm"]
        jobs = laptop.locator(f"{JOBS}:visible")
        boxes = [jobs.nth(place).bounding_box() for place in range(jobs.count())]
        assert all(box["x"] + box["width"] <= 400 for box in boxes)
        assert sum(box["y"] + box["height"] <= 800 for box in boxes) >= 3
        # The time of the fastest is in sight in the table, and what is not is said to be there.
        cell = laptop.locator("#fastest-table tbody tr").first.locator("td.numeric").first
        box = cell.bounding_box()
        assert re.search(r"\d .*[mµ]?s$", cell.inner_text())
        assert box["x"] + box["width"] <= 400
        assert "columns to the right" in laptop.locator("#fastest-table .scrolls").inner_text()
        assert laptop.locator("#fastest-table .phone").first.inner_text() == "forward"
    finally:
        laptop.set_viewport_size({"width": 1280, "height": 800})


def test_a_committed_page_away_from_the_repository_says_what_it_lacks_and_shows_its_tables(
    opened: Shown, tmp_path: Path
) -> None:
    moved = tmp_path / "moved.html"
    shutil.copy(RESULTS / "systems.html", moved)
    page = opened.page.context.browser.new_page()
    open_file(page, moved)
    assert "plotly-basic.min.js, which is not there" in page.locator("#chart-cases").inner_text()
    assert page.locator("#results-table tbody tr").count() == len(data_in(moved.read_text(encoding="utf-8"))["rows"])
    assert page.locator(JOBS).count() == page.locator("#map tbody tr").count() > 5, "each system in a line of its own"
    (tagger,) = page.locator("#map tbody tr", has_text="tagger-lstm").all_inner_texts()
    assert "lstm · T 40 · B 32" in tagger, "the cell stands in it, since there is one column for all"
    page.close()


def test_axe_finds_nothing_that_keeps_anyone_out(content: Content, opened: Shown, tmp_path: Path) -> None:
    """On a page with every status and as few rows as that takes, since axe looks at each node."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the extra browser brings it").Axe()
    first = [row for row in content.rows if (row.key.lane, row.key.threads) == TRACKS[0]]
    timed = [row for row in first if row.status in TIMED and row.key.passed == "forward"]
    few = [row for row in first if row.status not in TIMED or row in timed[:6]]
    file = tmp_path / "few.html"
    file.write_text(render([replace(content, rows=few, environments=content.environments[:1])]), encoding="utf-8")
    page = opened.page.context.browser.new_page(viewport={"width": 1280, "height": 900})
    open_file(page, file)

    def faults(part: str | None = None) -> dict[str, list[str]]:
        report = axe.run(page, part).response
        assert {"color-contrast", "button-name", "select-name"} <= {each["id"] for each in report["passes"]}
        return {each["id"]: [str(node["target"]) for node in each["nodes"]] for each in report["violations"]}

    page.evaluate("document.querySelectorAll('main details').forEach((each) => { each.open = true; })")
    assert faults() == {}
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 400, "height": 900})
    page.wait_for_timeout(100)
    assert faults() == {}
    # That it would see a text too near its ground, and a control without a name.
    page.evaluate(
        "document.querySelector('#charts .note').style.color = '#444';"
        "document.querySelector('#cases-controls').append(document.createElement('select'))"
    )
    assert faults("#charts").keys() == {"color-contrast", "select-name"}
    page.close()

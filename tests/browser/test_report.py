"""The report in a real browser: that it opens, its tables, its tracks, and what stands in them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.report.content import Content
from benchmarks.report.page import render
from benchmarks.store.records import TIMED
from tests.benchmarks.made_up_run import HOSTILE, SPEEDS, TRACKS
from tests.browser.conftest import Shown, open_file

DETAILS = "#details"
RESULTS = "#results-table"
ROWS = f"{RESULTS} tbody tr:not([hidden])"


def test_the_page_opens_without_complaint_and_asks_for_nothing(opened: Shown) -> None:
    for section in opened.page.locator("main > section").all():
        section.scroll_into_view_if_needed()
    opened.page.evaluate("document.querySelectorAll('main details').forEach((each) => { each.open = true; })")
    opened.page.wait_for_timeout(100)
    assert opened.complaints == []
    assert opened.requests == []
    assert opened.page.evaluate("performance.getEntriesByType('resource').length") == 0


def test_the_page_may_not_ask_for_anything_either(opened: Shown) -> None:
    failed = opened.page.evaluate(
        "new Promise((done) => { const image = new Image(); image.onerror = () => done(true);"
        " image.onload = () => done(false); image.src = 'https://birnn.example/pixel.png'; })"
    )
    assert failed
    assert opened.requests == []
    assert any("Content Security Policy" in complaint for complaint in opened.complaints)


def test_every_section_shows_something(content: Content, opened: Shown) -> None:
    first = [row for row in content.rows if (row.key.lane, row.key.threads) == TRACKS[0]]
    assert len(opened.texts(ROWS)) == len(first)
    jobs = {row.key.job for row in first if row.status in TIMED}
    assert len(opened.texts("#fastest-table tbody tr")) == len(jobs)
    assert len(opened.texts("#agreement-table tbody tr")) == len({row.key.case for row in first})
    assert len(opened.texts("#environments summary")) == len(content.environments)
    assert len(opened.texts("#ceilings-table tbody tr")) == len(content.ceilings)
    assert "H100" in " ".join(opened.texts("#published-table tbody tr"))
    for chart in ("cases", "setup"):
        assert opened.page.locator(f"#chart-{chart} .point").count() >= len(SPEEDS) - 1, chart


def test_rows_stand_by_case_as_asked_for_then_pass_then_implementation(content: Content, opened: Shown) -> None:
    places = zip(*(opened.column(RESULTS, title) for title in ("Case", "Pass", "Implementation")), strict=True)
    cases = [case["name"] for case in content.run.settings["cases"]]
    passes = ["forward", "forward_backward"]
    assert list(places) == [(case, passed, name) for case in cases for passed in passes for name in SPEEDS]


def test_a_click_on_a_number_column_sorts_up_then_down_with_empty_cells_last(shown: Shown) -> None:
    def check(down: bool) -> None:
        cells = shown.column(RESULTS, "Per step")
        numbers = [float(cell) for cell in cells if cell]
        assert numbers == sorted(numbers, reverse=down)
        assert cells[: len(numbers)] == [cell for cell in cells if cell]
        assert 0 < len(numbers) < len(cells)
        # The same numbers sorted as text come in another order, so the check above tells the two apart.
        assert numbers != sorted(numbers, key=str, reverse=down)

    before = shown.column(RESULTS, "Per step")
    shown.sort(RESULTS, "Per step")
    check(down=False)
    assert shown.column(RESULTS, "Per step") != before
    shown.sort(RESULTS, "Per step")
    check(down=True)
    assert shown.page.locator(f"{RESULTS} th[aria-sort=descending]").inner_text().startswith("Per step")


def test_a_column_of_words_sorts_and_the_keyboard_does_too(shown: Shown) -> None:
    shown.page.locator(f"{RESULTS} thead th", has_text="Status").focus()
    shown.page.keyboard.press("Enter")
    shown.page.wait_for_timeout(30)
    words = shown.column(RESULTS, "Status")
    assert words == sorted(words)
    assert len(set(words)) > 5


def test_filters_by_text_and_by_implementation_take_rows_away(shown: Shown) -> None:
    everything = len(shown.texts(ROWS))
    shown.page.select_option(f"{RESULTS} label:has-text('Implementation') select", "jax/tuned")
    own = shown.texts(ROWS)
    assert 0 < len(own) < everything
    assert all("jax/tuned" in row.replace("\n", "") for row in own)
    shown.page.fill(f"{RESULTS} input[type=search]", "LSTM forward_backward")
    both = shown.texts(ROWS)
    assert 0 < len(both) < len(own)
    assert all("lstm" in row and "forward_backward" in row for row in both)
    assert shown.texts(f"{RESULTS} output") == [f"{len(both)} of {everything} rows"]
    shown.page.fill(f"{RESULTS} input[type=search]", "no such words")
    assert shown.texts(ROWS) == []


def test_a_filter_stays_when_the_table_is_sorted(shown: Shown) -> None:
    shown.page.select_option(f"{RESULTS} label:has-text('Status') select", "disagrees")
    rows = sorted(shown.texts(ROWS))
    shown.sort(RESULTS, "Case")
    assert sorted(shown.texts(ROWS)) == rows
    assert len(rows) == 2


def test_a_point_of_a_chart_shows_its_numbers(opened: Shown) -> None:
    for chart in ("cases", "setup"):
        opened.page.locator(f"#chart-{chart}").scroll_into_view_if_needed()
        box = opened.page.locator(f"#chart-{chart} .point").first.bounding_box()
        opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        label = opened.page.locator(f"#chart-{chart} .hovertext")
        label.wait_for(timeout=3000)
        assert re.search(r"torch/native.*\d m?s|torch/native.*\d µs", label.text_content())


def test_what_a_log_holds_is_text(shown: Shown) -> None:
    visible = HOSTILE.split("\u2028")[0].strip()
    shown.page.locator("#missing-table tr", has_text="crashed").locator("summary").click()
    assert visible in shown.page.locator("#missing-table tr", has_text="crashed").locator("pre").inner_text()
    shown.page.locator(f"{RESULTS} tbody tr", has_text="crashed").locator("button.link").click()
    assert visible in shown.page.locator(f"{DETAILS} pre").inner_text()
    assert shown.page.evaluate("window.hurt") is None
    assert shown.page.locator("img").count() == 0
    shown.page.keyboard.press("Escape")
    assert not shown.page.locator(DETAILS).is_visible()


def test_each_row_has_its_command(content: Content, opened: Shown) -> None:
    first = [row for row in content.rows if (row.key.lane, row.key.threads) == TRACKS[0]]
    assert sorted(opened.texts(f"{RESULTS} td .command code")) == sorted(row.command for row in first)


def test_lanes_and_threads_are_never_shown_together(content: Content, shown: Shown) -> None:
    def commands() -> set[str]:
        return {text.split("--threads ")[1] for text in shown.texts(f"{RESULTS} td .command code")}

    def medians() -> set[str]:
        return {cell for cell in shown.column(RESULTS, "Median") if cell}

    def expected(lane: str, threads: int) -> set[str]:
        rows = [row for row in content.rows if (row.key.lane, row.key.threads) == (lane, threads)]
        return {f"{row.median_seconds:.6g}" for row in rows if row.median_seconds is not None}

    for lane, threads in (TRACKS[0], TRACKS[2], TRACKS[1]):
        if lane == "fast":
            shown.page.locator("#track label", has_text="fast").click()
        else:
            shown.page.locator("#track label", has_text=re.compile(f"^{threads}$")).click()
            assert commands() == {str(threads)}
        assert {float(cell) for cell in medians()} == {float(cell) for cell in expected(lane, threads)}
        assert shown.page.locator(f"#track input[value={lane}]").is_checked()
    assert shown.complaints == []


def test_only_a_table_that_scrolls_says_so(opened: Shown) -> None:
    for box in opened.page.locator(".scroll:visible").all():
        wider, taller = box.evaluate(
            "box => [box.scrollWidth > box.clientWidth + 1, box.scrollHeight > box.clientHeight + 1]"
        )
        hint = box.locator("xpath=preceding-sibling::p[contains(@class, 'scrolls')]")
        assert hint.is_visible() is (wider or taller)
        if wider or taller:
            assert ("columns" in hint.inner_text(), "rows" in hint.inner_text()) == (wider, taller)


def test_what_agrees_farther_off_than_correct_code_was_is_not_shown_like_the_rest(
    content: Content, opened: Shown, tmp_path: Path
) -> None:
    errors = {"torch/native": 5.0}
    rows = [
        replace(row, error_rms=errors.get(row.key.implementation, 1.0), error_max=1.0)
        for row in content.rows
        if row.status in TIMED
    ]
    file = tmp_path / "far.html"
    file.write_text(render([replace(content, rows=rows)]), encoding="utf-8")
    page = opened.page.context.browser.new_page()
    open_file(page, file)
    chips = page.locator("#agreement-table .chip.far").all_inner_texts()
    assert len(chips) == len({row.key.case for row in rows})
    assert all(re.fullmatch(r"✓ 5(\.0+)?\s+far", chip) for chip in chips)
    page.close()


def test_runs_are_shown_one_at_a_time(content: Content, opened: Shown, tmp_path: Path) -> None:
    later = replace(content.run, run="20261121-131501", label="", machine={"processor": "Another"})
    rows = [replace(row, run=later.run) for row in content.rows if row.key.implementation == "jax/tuned"]
    file = tmp_path / "two.html"
    file.write_text(render([content, replace(content, run=later, rows=rows)]), encoding="utf-8")
    page = opened.page.context.browser.new_page()
    open_file(page, file)

    def named() -> set[str]:
        return set(page.locator(f"{RESULTS} td.fixed").evaluate_all("cells => cells.map((cell) => cell.dataset.sort)"))

    assert named() == set(SPEEDS)
    page.locator("#track label", has_text=later.run).click()
    assert named() == {"jax/tuned"}
    assert "Another" in page.locator("#fingerprint").inner_text()
    page.close()


def test_rows_without_a_limit_stand_in_the_charts_of_times_alone(
    content: Content, opened: Shown, tmp_path: Path
) -> None:
    """A system's rows: they have neither a limit nor a time per step."""
    nothing: dict[str, Any] = {"limit_seconds": None, "fraction_of_limit": None, "microseconds_per_step": None}
    rows = [replace(row, **nothing) if row.key.framework == "torch" else row for row in content.rows]
    file = tmp_path / "systems.html"
    file.write_text(render([replace(content, rows=rows)]), encoding="utf-8")
    page = opened.page.context.browser.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    open_file(page, file)
    names: dict[str, set[str]] = {}
    for quantity in ("time", "limit", "step"):
        page.select_option("#cases-controls select", quantity)
        page.select_option("#curves-controls select", quantity)
        points = page.evaluate("document.getElementById('chart-cases').data.filter((trace) => trace.x.length)")
        names[quantity] = {trace["name"] for trace in points}
    assert complaints == []
    with_times = set(SPEEDS) - {"mxnet/native"}  # which has no LSTM
    assert names["time"] == with_times
    assert names["limit"] == names["step"] == {name for name in with_times if not name.startswith("torch/")}
    page.close()


def test_an_empty_run_opens_without_complaint(content: Content, opened: Shown, tmp_path: Path) -> None:
    file = tmp_path / "empty.html"
    file.write_text(render([Content(content.run, [], [], [], [], [])]), encoding="utf-8")
    page = opened.page.context.browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    open_file(page, file)
    assert "Nothing has a time" in page.locator("#wins").inner_text()
    assert complaints == []
    page.close()

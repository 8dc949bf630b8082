"""The page's content: who is called fastest, that all of the run is there, and that it stays data."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.interface.gaps import UNSUPPORTED
from benchmarks.analysis.noise import Floor, floors_of
from benchmarks.analysis.ranking import Standing, standings
from benchmarks.maintain.publish import RESULTS, drawn
from benchmarks.report.content import Content, read_contents
from benchmarks.report.data import CONTENT, data_in
from benchmarks.report.page import LIBRARY, render
from benchmarks.report.summary import summary
from benchmarks.store.records import NEVER_STEADY, NOT_REACHED, Block, Row, Run
from benchmarks.store.store import Store
from birnn.__main__ import main
from common.errors import InputError
from common.judging.agreement import worst_calibrated
from tests.benchmarks.made_up import LINEN, NATIVE, START, a_block, a_row, put_all
from tests.benchmarks.made_up_run import HOSTILE, RUN, SPEEDS, made_up_content

PLOTLY_4_1_1 = "99784e3abfb07b142a15e521a439e6d9addceadb3f79553fd24c72774f0649ba"
"""SHA-256 of plotly-basic.min.js in npm's plotly.js-basic-dist-min 4.1.1."""
FLOOR = Floor(0.01, 0.005, 0.02, 3)
FLOORS = dict.fromkeys([NATIVE.job], FLOOR)
THIRD = replace(NATIVE, implementation="mxnet/native")


@pytest.fixture(scope="module")
def content() -> Content:
    return made_up_content()


@pytest.fixture(scope="module")
def page(content: Content) -> str:
    return render([content])


def race(
    *seconds: float,
    noise: float = 0.002,
    drift: Callable[[int], float] = lambda place: 1.0,
    apart: bool = False,
    floor: Floor | None = FLOOR,
) -> Standing:
    """The standing of up to three implementations that take so many seconds; ``drift`` multiplies all of a cycle, and
    ``apart`` gives each cycles of its own.
    """
    rng = np.random.default_rng(3)
    rows: list[Row] = []
    blocks: list[Block] = []
    for place, (key, each) in enumerate(zip((NATIVE, LINEN, THIRD), seconds, strict=False)):
        rows.append(a_row(RUN, key, median_seconds=each))
        for process in range(3):
            for cycle in range(6):
                level = each * drift(6 * process + cycle)
                samples = tuple((level * (1 + noise * rng.standard_normal(8))).tolist())
                blocks.append(Block(RUN, key, process, cycle + 100 * place * apart, 0, False, START, samples))
    (standing,) = standings(rows, blocks, {} if floor is None else {NATIVE.job: floor})
    return standing


def test_the_faster_one_is_clearly_fastest() -> None:
    standing = race(0.2, 0.1)
    assert (standing.key, standing.runner_up, standing.verdict, standing.level) == (LINEN, "torch/native", "clear", [])
    assert standing.ratio is not None
    assert standing.ratio.low < 2 < standing.ratio.high < 2.02


def test_two_that_take_the_same_time_tie_and_a_slower_third_is_not_with_them() -> None:
    standing = race(0.1, 0.1005, 0.15)
    assert (standing.key, standing.runner_up, standing.verdict) == (NATIVE, "jax/native-linen", "tie")
    assert standing.level == ["jax/native-linen"]


def test_a_difference_within_the_noise_is_ambiguous() -> None:
    assert race(0.1, 0.103, noise=0.2).verdict == "ambiguous"


def test_drift_of_the_machine_does_not_hide_a_difference() -> None:
    standing = race(0.1, 0.103, drift=lambda place: 1 + 0.05 * place)
    assert standing.verdict == "clear"
    assert standing.ratio is not None
    assert standing.ratio.high - standing.ratio.low < 0.01


def test_without_common_cycles_the_ratio_is_called_unpaired() -> None:
    assert race(0.1, 0.2).paired
    standing = race(0.1, 0.2, apart=True)
    assert (standing.paired, standing.verdict) == (False, "clear")


def test_without_a_runner_up_or_a_floor_nothing_is_judged() -> None:
    assert race(0.1).verdict == "alone"
    assert race(0.1, 0.2, floor=None).verdict == "no noise floor"


def test_rows_without_a_time_do_not_compete_and_unsteady_ones_do() -> None:
    assert standings([a_row(RUN, status=UNSUPPORTED, median_seconds=None)], [], FLOORS) == []
    assert standings([a_row(RUN, status=NEVER_STEADY)], [], FLOORS) == []  # nothing was timed that could be compared
    (standing,) = standings([a_row(RUN, status=NEVER_STEADY)], [a_block(RUN)], FLOORS)
    assert standing.key == NATIVE


def test_jobs_of_another_lane_or_number_of_threads_are_apart(content: Content) -> None:
    races = standings(content.rows, content.blocks, floors_of(content.blocks).of_job)
    assert len({standing.key.job for standing in races}) == len(races)
    assert {(standing.key.lane, standing.key.threads) for standing in races} == {
        ("exact", 1),
        ("exact", 2),
        ("fast", 2),
    }
    assert {standing.key.implementation for standing in races} <= set(SPEEDS)


def test_the_page_holds_the_whole_run(content: Content, page: str) -> None:
    data = data_in(page)
    assert len(data["rows"]) == len(content.rows)
    assert {row["command"] for row in data["rows"]} == {row.command for row in content.rows}
    assert [each["packages"] for each in data["environments"]] == [each.packages for each in content.environments]
    assert [each["how"] for each in data["ceilings"]] == [each.how for each in content.ceilings]
    assert data["runs"][0]["noise_floor"] == pytest.approx(content.run.noise_floor, rel=1e-5)
    medians = [row.median_seconds for row in content.rows if row.median_seconds is not None]
    assert [row["median_seconds"] for row in data["rows"] if row["median_seconds"] is not None] == pytest.approx(
        medians, rel=1e-5
    )
    assert {each["hardware"].split(",")[0] for each in data["published"]} == {"GeForce GTX 1080", "Tesla V100", "H100"}


def test_what_stands_in_a_log_stays_data(content: Content, page: str) -> None:
    logs = [row["log"] for row in data_in(page)["rows"] if HOSTILE in row["log"]]
    assert logs == [row.log for row in content.rows if HOSTILE in row.log] != []
    assert "<script>window.hurt" not in page
    assert "<b>processor" not in page
    assert html.escape("<b>processor</b>") in page


def test_infinite_errors_are_kept(page: str) -> None:
    (row,) = [row for row in data_in(page)["rows"] if row["reason"] == "not finite"]
    assert (row["error_rms"], row["error_max"]) == ("Infinity", "NaN")


def test_nothing_in_the_page_is_loaded_from_elsewhere(page: str) -> None:
    assert not re.search(r"""\b(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert "@import" not in page
    assert "url(" not in page
    assert "data-src" not in page


def test_a_page_is_small_and_carries_the_library_as_npm_has_it(page: str) -> None:
    (library,) = re.findall(r'id="library" >([A-Za-z0-9+/=]+)</script>', page)
    assert gzip.decompress(base64.b64decode(library)) == LIBRARY.read_bytes()
    assert hashlib.sha256(LIBRARY.read_bytes()).hexdigest() == PLOTLY_4_1_1
    assert "Permission is hereby granted" in page
    assert len(page.encode()) < 1_000_000


def test_the_committed_pages_are_what_is_drawn_from_their_runs_and_share_one_library() -> None:
    pages = sorted(RESULTS.glob("*.html"))
    assert pages
    for path in pages:
        page = path.read_text(encoding="utf-8")
        anew = drawn(data_in(page))
        assert data_in(anew) == data_in(page)
        # gzip's bytes may differ between its versions.
        assert CONTENT.sub("", anew) == CONTENT.sub("", page), (
            f"draw {path} with: python -m benchmarks.maintain.publish"
        )
        (library,) = re.findall(r'id="library" data-src="([^"]+)"></script>', page)
        assert (RESULTS / library).resolve() == LIBRARY
        assert len(page.encode()) < 300_000


def test_a_page_without_its_data_is_refused() -> None:
    with pytest.raises(InputError, match="a page must be one that birnn report has written"):
        data_in("<!doctype html>")


def test_the_summary_names_machine_time_commit_and_versions(content: Content) -> None:
    text = " ".join(summary(content))
    for part in ("2 cores", "8 GiB", "2026-11-20, 13:15 to 13:24 UTC", "commit 0123456789abcdef", "torch 2.13.0, jax"):
        assert part in text
    timed = sum(row.median_seconds is not None for row in content.rows)
    assert f"{timed} of {len(content.rows)} combinations" in text
    assert "1 crashed" in text


def test_an_unfinished_run_says_so_and_takes_the_floor_of_its_blocks(content: Content) -> None:
    unfinished = replace(content, run=replace(content.run, finished=None, noise_floor=None))
    assert "not finished" in summary(unfinished)[0]
    assert data_in(render([unfinished]))["runs"][0]["noise_floor"] == pytest.approx(content.run.noise_floor, rel=1e-5)


def test_a_run_without_rows_is_a_page_too(content: Content) -> None:
    empty = Content(content.run, [], [], [], [], [])
    assert data_in(render([empty]))["rows"] == []


def test_several_runs_stay_apart_and_share_environments(content: Content) -> None:
    later = replace(content.run, run="20261121-131501")
    rows = [replace(row, run=later.run) for row in content.rows[:9]]
    alone = [block for block in content.blocks if not block.twin]
    data = data_in(render([content, replace(content, run=later, rows=rows, blocks=alone)]))
    assert [run["run"] for run in data["runs"]] == [RUN, later.run]
    assert len(data["rows"]) == len(content.rows) + 9
    assert {each["run"] for each in data["standings"]} == {RUN, later.run}
    assert {each["verdict"] for each in data["standings"] if each["run"] == later.run} <= {"alone", "no noise floor"}
    assert data["runs"][0]["noise_floor"] == pytest.approx(content.run.noise_floor, rel=1e-5)
    assert data["runs"][1]["noise_floor"] is None
    assert len(data["environments"]) == len(content.environments)


def put(store: Path, content: Content) -> None:
    with Store.open(store, write=True) as opened, opened.transaction():
        opened.add_run(content.run)
        for records in (content.environments, content.processes, content.ceilings, content.rows, content.blocks):
            put_all(opened, records)


def report(*arguments: object, monkeypatch: pytest.MonkeyPatch) -> int:
    """``birnn report`` in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["birnn", "report", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code or 0  # type: ignore[return-value]


def test_what_is_farther_off_than_correct_code_was_is_marked(content: Content) -> None:
    worst = worst_calibrated()["float32"]
    for name in ("rms", "max"):
        nothing: dict[str, Any] = {"error_rms": None, "error_max": None}
        below, above = (
            replace(content.rows[0], **nothing | {f"error_{name}": factor * worst[name]}) for factor in (0.99, 1.01)
        )
        rows = data_in(render([replace(content, rows=[below, above])]))["rows"]
        assert [row["far"] for row in rows] == [False, True]


def test_a_run_that_is_not_finished_says_so_on_top_and_how_to_go_on(content: Content) -> None:
    def top(run: Run) -> str:
        return render([replace(content, run=run)]).partition("</header>")[0]

    unreached = sum(row.status == NOT_REACHED for row in content.rows)
    assert unreached > 0
    told = f"This run is not finished: {unreached} of {len(content.rows)} combinations have not been reached"
    assert told in top(replace(content.run, finished=None, command="birnn bench --mine"))
    assert "goes on: birnn bench --mine</p>" in top(replace(content.run, finished=None, command="birnn bench --mine"))
    assert "is not finished" not in top(content.run)


def test_the_command_writes_the_page_of_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = made_up_content()
    store, out = tmp_path / "results.duckdb", tmp_path / "new" / "report.html"
    kept = [row.key for row in content.rows[:24]]
    put(
        store, replace(content, rows=content.rows[:24], blocks=[block for block in content.blocks if block.key in kept])
    )
    assert report(store, "-o", out, "--run", RUN[:6], monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert data_in(out.read_text(encoding="utf-8")) == data_in(render(read_contents(store, ["last"])))
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]

    assert report(store, "-o", tmp_path / "other.html", "--run", "yesterday", monkeypatch=monkeypatch) == 2
    assert "'yesterday' must be a run's name" in capsys.readouterr().err
    assert not (tmp_path / "other.html").exists()
    assert report(tmp_path / "none.duckdb", "-o", tmp_path / "other.html", monkeypatch=monkeypatch) == 2
    assert "there is no such file" in capsys.readouterr().err

"""A study: outcomes for every case, whatever the implementations do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.pool.pool import Channel, Pool
from backends.pool.selection import Selection, select
from backends.studies.cases import CaseStudy, Plan, read_others
from backends.studies.pace import Pace
from backends.studies.study import Outcome
from common.case import Case
from common.errors import InputError
from common.result import Result, ResultHeader, read_result, result_path, write_result
from common.tensorfile import as_bytes
from tests.cases import a_case
from tests.numpy_loop.birnn_numpy_loop import BACKEND as NUMPY
from tests.workers.misbehaving import BACKEND, COMPILING, NOT_IMPORTABLE

CASES = [
    replace(a_case("gru"), name="rows"),
    replace(a_case("gru", batch=1, lengths=(5,)), name="one-row"),
    replace(a_case("lstm", num_layers=2), name="deep"),
]


def outcomes(patterns: list[str], cases: list[Case] = CASES, **options: Any) -> dict[tuple[str, str], Outcome]:
    """Run the cases in float32 and give the outcomes by implementation and case."""
    told: list[Outcome] = []
    with Pool.open() as pool:
        selection = select(pool, patterns)
        plan = Plan(cases, ["float32"], "cpu", timeout_seconds=3, **options)
        study = CaseStudy(pool, selection, plan, told.append)
        study.run()
        assert len(told) == study.size()
    return {(outcome.implementation.partition("/")[2], outcome.case): outcome for outcome in told}


@pytest.fixture(autouse=True)
def _register(registered: Callable[..., None]) -> None:
    registered(BACKEND)


def test_crashes_hangs_noise_and_exceptions_end_as_outcomes_and_the_rest_runs() -> None:
    by_case = outcomes(["misbehaving/well", "misbehaving/[shnr]*s", "misbehaving/noisy"])
    assert {by_case["well", case.name].status for case in CASES} == {"agrees"}
    assert {by_case["noisy", case.name].status for case in CASES} == {"agrees"}
    assert {by_case["raises", case.name].status for case in CASES} == {"failed"}
    for name, status in (("segfaults", "crashed"), ("hangs", "timed out")):
        assert by_case[name, "one-row"].status == status
        assert by_case[name, "one-row"].log
        assert {by_case[name, "rows"].status, by_case[name, "deep"].status} == {"agrees"}


def test_a_wrong_implementation_is_located_and_explained() -> None:
    by_case = outcomes(["misbehaving/swapped"])
    assert {outcome.status for outcome in by_case.values()} == {"disagrees"}
    verdict = by_case["swapped", "rows"].verdict
    assert verdict is not None
    assert (
        verdict.where
        == "output at (0, 0, 0): layer 0, forward, time step 0; output at (0, 4, 6): layer 0, reverse, time step 4"
    )
    assert verdict.matches == "the two halves of the output swapped (forward pass only, 100 % of the error)"


def test_what_nothing_can_be_told_of_is_not_judged() -> None:
    """Not even right code agrees where the plain loops overflow; what the exact rules tell is told all the same."""
    overflowing = a_case("rnn_relu", seq_len=80, lengths=None, with_states=False, with_cotangents=False)
    heavy = {name: value * 8 for name, value in overflowing.weights.items()}
    by_case = outcomes(["misbehaving/well", "misbehaving/swapped"], [CASES[0], replace(overflowing, weights=heavy)])
    statuses = {key: outcome.status for key, outcome in by_case.items()}
    assert statuses == {
        ("well", "rows"): "agrees",
        ("swapped", "rows"): "disagrees",
        ("well", "a-case"): "not judged",
        ("swapped", "a-case"): "disagrees",
    }
    assert by_case["swapped", "a-case"].reason.startswith("the top layer's forward h_n must equal its outputs")
    outcome = by_case["well", "a-case"]
    assert "the right answer overflows" in outcome.reason
    assert (outcome.good, outcome.wrong) == (False, False)
    wrong = by_case["swapped", "a-case"].verdict
    assert outcome.verdict is not None
    assert wrong is not None
    assert (outcome.verdict.matches, wrong.matches) == ("", "")  # every mistake would fit
    assert outcome.as_json()["verdict"]["untold"]


def test_one_bit_from_the_padding_disagrees() -> None:
    """Every number is within rounding of the right one; only the second run, with other padding, tells."""
    padding = CASES[0].padding_mask()[..., None]
    cases = [replace(CASES[0], name=f"padding{sign}", x=np.where(padding, sign * 5.0, CASES[0].x)) for sign in (-1, 1)]
    by_case = outcomes(["misbehaving/reads-padding*"], cases)
    for name in ("reads-padding", "reads-padding-declared"):
        reasons = {outcome.reason for outcome in by_case.values() if outcome.implementation == f"misbehaving/{name}"}
        (reason,) = reasons - {""}
        assert reason.startswith("grad.h_0 must not depend on the padding's content; it differs at (0, 0, 0), with ")


def test_nan_in_the_padding_that_reaches_a_gradient_disagrees_unless_declared() -> None:
    """The case itself has numbers there, and so has the second run of those that have declared it a gap."""
    by_case = outcomes(["misbehaving/masks-too-late*"], CASES[:1])
    reason = (
        "grad.weight_ih_l0 must not depend on the padding's content; it differs at (0, 0), with NaN and infinity there"
    )
    assert by_case["masks-too-late", "rows"].reason == reason
    assert by_case["masks-too-late-declared", "rows"].status == "agrees"
    wild = CASES[0].with_nonfinite_padding(np.random.default_rng(0), 1.0)
    by_case = outcomes(["misbehaving/masks-too-late-declared", "misbehaving/well"], [wild])
    assert by_case["masks-too-late-declared", "rows"].reason == "it runs over the padding"
    assert {outcome.status for outcome in by_case.values()} == {"unsupported", "agrees"}


def test_a_worker_that_dies_in_the_run_with_other_padding_has_crashed() -> None:
    """It used to be called wrong."""
    (outcome,) = outcomes(["misbehaving/dies-of-nan"], CASES[:1]).values()
    assert outcome.status == "crashed"
    assert outcome.reason.startswith("with other padding: ")
    assert "SIGSEGV" in outcome.reason


def test_what_is_left_out_for_speed_is_no_failure() -> None:
    (outcome,) = outcomes(["misbehaving/outpaced"], CASES[:1]).values()
    assert (outcome.status, outcome.reason, outcome.good) == ("not offered", "it was slow", True)


def test_the_lane_is_the_workers_and_the_yardsticks() -> None:
    by_case = outcomes(["misbehaving/well"], CASES[:1], lane="fast")
    assert [outcome.reason for outcome in by_case.values()] == ["NotImplementedError: misbehaving has no fast lane"]
    selection = Selection()
    with Pool.open() as pool:
        lanes = {
            lane: CaseStudy(pool, selection, Plan(CASES, ["float32"], "gpu", 3, lane=lane), print)._yardstick(
                CASES[0], "float32"
            )
            for lane in ("exact", "fast")
        }
    errors = [np.abs(yard.plain["output"] - yard.truth["output"]).max() for yard in lanes.values()]
    assert errors[1] > 100 * errors[0]


@pytest.mark.parametrize(
    ("implementation", "start"),
    [
        ("keeps-state", "a second call on the same object: output is "),
        ("adds-up", "a second call on the same object: grad."),
        ("wrong-inference", "a forward pass alone: output is "),
    ],
)
def test_a_second_call_and_a_forward_pass_alone_are_judged(implementation: str, start: str) -> None:
    """The first call is right; what follows on the same object is not."""
    outcome = outcomes([f"misbehaving/{implementation}"], CASES[:1])[implementation, "rows"]
    assert outcome.status == "disagrees"
    assert outcome.reason.startswith(start), outcome.reason


def test_where_passes_are_compiled_the_first_case_of_a_cell_asks_for_a_forward_pass_alone(
    registered: Callable[..., None],
) -> None:
    cases = [CASES[0], replace(CASES[0], name="again"), replace(a_case("lstm"), name="lstm")]
    statuses = []
    for backend in (BACKEND, COMPILING):
        registered(backend)
        by_case = outcomes(["misbehaving/wrong-inference"], cases)
        statuses.append([by_case["wrong-inference", case.name].status for case in cases])
    assert statuses == [["disagrees"] * 3, ["disagrees", "agrees", "disagrees"]]


def test_a_second_call_may_round_otherwise() -> None:
    by_case = outcomes(["misbehaving/rounds-otherwise"], [replace(CASES[0], lengths=None)])
    assert {outcome.status for outcome in by_case.values()} == {"agrees"}


@pytest.mark.parametrize(
    ("names", "case", "sentence"),
    [
        (["again"], "rows", None),
        (["again"], "another", "a second call on the same object must be of the run that it was asked with"),
        (["forward"], "rows", "there is no such file"),
        (["backward"], "rows", r"must name which of again, forward differ; got \['backward'\]"),
        (None, "rows", "must name which of again, forward differ; got None"),
    ],
)
def test_what_a_worker_gives_besides_is_of_the_same_run(
    tmp_path: Path, names: list[str] | None, case: str, sentence: str | None
) -> None:
    channel = Channel(Pool(tmp_path, 1), BACKEND, 0)
    header = ResultHeader(
        case="rows",
        case_sha256="0",
        implementation="a/b",
        dtype="float32",
        device="cpu",
        versions={},
        path="",
        seconds=1,
    )
    tensors = {"output": np.zeros(3)}
    write_result(Result(header.model_copy(update={"case": case}), tensors), channel.file("again.safetensors"))
    if sentence is None:
        assert read_others(channel, names, header)["again"].tensors.keys() == tensors.keys()
    else:
        with pytest.raises(InputError, match=sentence):
            read_others(channel, names, header)


def test_results_are_written_and_kept_when_run_again(tmp_path: Path) -> None:
    by_case = outcomes(["misbehaving/well"], out=tmp_path, judged=False, resumed=True)
    assert {outcome.status for outcome in by_case.values()} == {"ran"}
    file = tmp_path / "rows" / "misbehaving-well-float32.safetensors"
    result = read_result(file)
    assert result.header.case_sha256 == CASES[0].sha256()
    assert result.header.versions["misbehaving"] == "1.0"
    written = file.stat().st_mtime_ns
    again = outcomes(["misbehaving/well"], out=tmp_path, judged=False, resumed=True)
    assert {outcome.reason for outcome in again.values()} == {"kept from an earlier run"}
    assert file.stat().st_mtime_ns == written
    other = [replace(a_case("gru", seed=1), name="rows")]
    assert outcomes(["misbehaving/well"], other, out=tmp_path, judged=False, resumed=True)["well", "rows"].reason == ""
    assert file.stat().st_mtime_ns > written


def with_header(file: Path, **changes: Any) -> bytes:
    """A result with another header."""
    result = read_result(file)
    header = result.header.model_copy(update=changes).model_dump_json()
    return as_bytes(result.tensors, {"birnn.result": header})


TORN: dict[str, Callable[[Path, Path], Any]] = {
    "empty": lambda file, other: file.write_bytes(b""),
    "half": lambda file, other: file.write_bytes(file.read_bytes()[:-100]),
    "text": lambda file, other: file.write_text("no result"),
    "no header": lambda file, other: file.write_bytes(as_bytes({"x": np.zeros(3)}, {})),
    "a header that is none": lambda file, other: file.write_bytes(as_bytes({}, {"birnn.result": "[1]"})),
    "of other source": lambda file, other: file.write_bytes(with_header(file, source="0" * 16)),
    "another's": lambda file, other: file.write_bytes(other.read_bytes()),
}


def test_a_torn_result_is_computed_again_and_the_rest_is_kept(tmp_path: Path) -> None:
    cases = [replace(a_case("gru"), name=f"case {number}") for number in range(len(TORN) + 1)]
    outcomes(["misbehaving/well"], cases, out=tmp_path, judged=False, resumed=True)
    files = [tmp_path / case.name / "misbehaving-well-float32.safetensors" for case in cases]
    other = result_path(tmp_path, "other", "misbehaving/noisy", "float32")
    result = read_result(files[0])
    other.parent.mkdir()
    other.write_bytes(with_header(files[0], implementation="misbehaving/noisy"))
    for file, tear in zip(files, TORN.values(), strict=False):
        tear(file, other)
    by_case = outcomes(["misbehaving/well"], cases, out=tmp_path, judged=False, resumed=True)
    assert [by_case["well", case.name].reason for case in cases] == [""] * len(TORN) + ["kept from an earlier run"]
    assert all(np.array_equal(read_result(file).tensors["output"], result.tensors["output"]) for file in files)


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("nosuch/native", "--implementation must name one of the frameworks misbehaving; got 'nosuch/native'"),
        ("misbehaving/nosuch", "--implementation must match one of misbehaving/well"),
    ],
)
def test_unknown_implementations_are_bad_input(pattern: str, sentence: str) -> None:
    with Pool.open() as pool, pytest.raises(InputError, match=sentence.split(";")[0]):
        select(pool, [pattern])


def test_a_broken_environment_is_noted_and_the_rest_runs(registered: Callable[..., None]) -> None:
    registered(NOT_IMPORTABLE, NUMPY)
    with Pool.open() as pool:
        selection = select(pool, [])
        assert "libfoo.so.3" in selection.broken["misbehaving"]
        assert selection.implementations == {"numpy": ["loop"]}


def test_the_time_that_is_left_is_by_what_each_backend_has_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.studies.pace.os.cpu_count", lambda: 2)
    slow, quick, also_quick = ("slow", "a", "float32"), ("quick", "a", "float32"), ("quick", "b", "float32")
    pace = Pace({slow: 4, quick: 10, also_quick: 10})
    assert pace.seconds_left() is None
    pace.note(quick, 1.0)
    assert pace.seconds_left() == (4 + 9 + 10) / 2  # of what has not begun, what is known of the others
    pace.note(slow, 9.0)
    assert pace.seconds_left() == 3 * 9.0  # in one worker, while the other core does the rest
    pace.note(slow, 1.0)
    assert pace.seconds_left() == (2 * 5.0 + 9 + 10) / 2
    for group, count in ((slow, 2), (quick, 9), (also_quick, 10)):
        for _ in range(count):
            pace.note(group, 1.0)
    assert pace.seconds_left() == 0

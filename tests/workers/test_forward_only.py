"""Implementations without gradients: outputs and states are judged, and every place says that no gradient was."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backends import registry
from backends.pool.environments import override_variable
from backends.pool.pool import Channel, Pool
from backends.pool.selection import Selection, select
from backends.registry import Backend
from backends.studies.cases import CaseStudy, Plan
from backends.studies.study import Outcome
from backends.worker.messages import CanRunLayer, Done, NotDone
from birnn.commands.outcomes import print_outcomes, summed_up
from birnn.display import console_into
from common.case import Case
from common.judging.yardstick import yardstick
from tests.cases import a_case
from tests.workers.misbehaving import BACKEND

WITH, WITHOUT = a_case("gru"), a_case("lstm", with_cotangents=False)


def outcomes(pattern: str, case: Case, **options: Any) -> list[Outcome]:
    told: list[Outcome] = []
    with Pool.open() as pool:
        CaseStudy(pool, select(pool, [pattern]), Plan([case], ["float32"], "cpu", 10, **options), told.append).run()
    return told


def shown(told: list[Outcome]) -> str:
    text = io.StringIO()
    print_outcomes(console_into(text), told, judged=True)
    return text.getvalue()


@pytest.fixture(autouse=True)
def _register(registered: Callable[..., None]) -> None:
    registered(BACKEND)


def test_outputs_are_judged_and_the_row_says_that_no_gradient_was(tmp_path: Path) -> None:
    told = [*outcomes("misbehaving/forward-only*", WITH), *outcomes("misbehaving/well", WITH)]
    by_name = {each.implementation.partition("/")[2]: each for each in told}
    right, wrong, usual = (by_name[name] for name in ("forward-only", "forward-only-wrong", "well"))
    assert (right.status, right.no_gradients) == ("agrees", "it was made to serve")
    assert right.verdict is not None
    assert [each.tensor for each in right.verdict.measures] == ["output", "h_n"]
    assert right.as_json()["no_gradients"] == "it was made to serve"
    assert (wrong.status, usual.status, usual.no_gradients) == ("disagrees", "agrees", "")
    assert wrong.verdict is not None
    assert "the two halves of the output swapped" in wrong.verdict.matches
    text = shown([right, usual])
    assert text.count("agrees, but no gradient") == 1
    assert "no gradient misbehaving/forward-only, 1 case, outputs and states alone: it was made to serve" in text
    assert summed_up([right, usual]) == "2 agree (1 without gradients), 0 unsupported, 0 wrong"
    assert "see below" in shown([wrong])


def test_of_a_case_without_gradients_nothing_is_missing() -> None:
    (told,) = outcomes("misbehaving/forward-only", WITHOUT)
    assert (told.status, told.no_gradients) == ("agrees", "")
    assert "no gradient" not in shown([told])


def test_a_pass_with_gradients_is_declared_unsupported_and_forward_is_not() -> None:
    request: dict[str, Any] = {"implementation": "forward-only", "dtype": "float32", "device": "cpu", "spec": WITH.spec}
    sizes: dict[str, Any] = {"batch": 3, "seq_len": 5, "lengths": (5, 3, 1)}
    with Pool.open() as pool:
        for work in ("forward_backward", "train_step"):
            reply = pool.ask(BACKEND, CanRunLayer(work=work, **request, **sizes), 10)
            assert isinstance(reply, NotDone)
            assert (reply.status, reply.reason) == ("unsupported", "it computes no gradients: it was made to serve")
        assert isinstance(pool.ask(BACKEND, CanRunLayer(work="forward", **request, **sizes), 10), Done)


def test_a_result_with_gradients_that_nobody_asked_for_disagrees() -> None:
    """What is left out of a judgement is left out of the result, too: its yardstick has no gradients."""

    class Told(CaseStudy):
        def _no_gradients(self, channel: Channel, case: Case, implementation: str) -> str:
            return "it says so"

    told: list[Outcome] = []
    with Pool.open() as pool:
        Told(pool, select(pool, ["misbehaving/well"]), Plan([WITH], ["float32"], "cpu", 10), told.append).run()
    assert told[0].status == "disagrees"
    assert "the result must have no grad.x" in told[0].reason
    assert "grad.x" in yardstick(WITH, "float32").truth


@contextmanager
def selected(monkeypatch: pytest.MonkeyPatch, *patterns: str) -> Iterator[Selection]:
    optional = Backend("spare", "nowhere:load", "no-such-environment", optional=True)
    known = registry._Loaded({"misbehaving": BACKEND, "spare": optional}, {})
    monkeypatch.setattr(registry, "_loaded", lambda: known)
    with Pool.open() as pool:
        yield select(pool, patterns)


def test_a_missing_optional_environment_is_told_to_those_alone_who_named_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from common.errors import InputError

    for patterns in ([], ["*/well"]):
        with selected(monkeypatch, *patterns) as selection:
            assert (selection.notes(), list(selection.descriptions)) == ([], ["misbehaving"])
    for pattern in ("spare/*", "spa*"):
        with pytest.raises(InputError, match="tox run -e no-such-environment"), selected(monkeypatch, pattern):
            pass
    monkeypatch.setenv(override_variable(Backend("spare", "", optional=True)), "/no/such/python")
    with selected(monkeypatch) as selection:
        assert "got '/no/such/python'" in selection.missing["spare"]

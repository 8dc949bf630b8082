"""Every probe measures: its verdict turns when the behaviour is the other one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from backends.interface.framework import Framework
from backends.registry import BUILT_IN

FOLDERS = {backend.name: backend.load.partition(":")[0].rpartition(".")[2] for backend in BUILT_IN}


def stand_ins(framework: Framework) -> dict[str, Callable[..., Any]]:
    """The behaviours that a user would expect, by the probes' names."""
    return importlib.import_module(f"tests.frameworks.stand_ins.{FOLDERS[framework.name]}").STAND_INS


def test_the_verdict_turns_with_the_behaviour(framework: Framework, probe: str) -> None:
    measure = framework.probes()[probe].measure
    measured = measure()
    assert measured.evidence
    if measured.status != "not applicable":
        assert measured.status == "present"
        corrected = measure(stand_ins(framework)[probe])
        assert corrected.status == "fixed", corrected.evidence


def test_every_stand_in_belongs_to_a_probe(framework: Framework) -> None:
    assert set(stand_ins(framework)) <= set(framework.probes())


def test_probes_come_with_the_worst_harm_first(framework: Framework) -> None:
    order = ["silent", "late", "surprise"]
    harms = [probe.harm for probe in framework.probes().values()]
    assert harms == sorted(harms, key=order.index)


def test_every_text_is_a_sentence(framework: Framework) -> None:
    for probe in framework.probes().values():
        for text in (probe.what, probe.consequence, probe.way_out):
            assert text.rstrip("`").endswith("."), (probe.name, text)
            assert "\n" not in text

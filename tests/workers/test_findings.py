"""Findings: probes run in workers, and a record notices when a status changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.interface.probe import Observation, Probes, observed
from backends.pool.pool import Pool
from backends.pool.selection import Selection, select
from backends.studies import probes as findings_module
from backends.studies.probes import (
    OTHER_VERSION,
    RECORD,
    Finding,
    as_markdown,
    differences,
    make_record,
    other_versions,
    read_record,
    run_probes,
    worst,
)
from common.errors import InputError
from tests.workers.misbehaving import BACKEND


@pytest.fixture
def study(registered: Callable[..., None]) -> tuple[Selection, list[Finding]]:
    registered(BACKEND)
    with Pool.open() as pool:
        selection = select(pool, [])
        return selection, run_probes(pool, selection, 5, lambda finding: None)


def test_a_probe_that_raises_crashes_or_hangs_is_a_finding_and_the_rest_runs(
    study: tuple[Selection, list[Finding]],
) -> None:
    _, findings = study
    assert {finding.name: finding.status for finding in findings} == {
        "halves-are-swapped": "present",
        "measuring-raises": "failed",
        "measuring-kills": "failed",
        "needs-a-gpu": "not applicable",
    }
    evidence = {finding.name: finding.evidence for finding in findings}
    assert evidence["measuring-raises"] == "RuntimeError: no such kernel"
    assert "SIGSEGV" in evidence["measuring-kills"]


def test_a_probe_that_raises_on_a_version_it_is_not_made_for_says_so(
    registered: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that crashes has failed on any version."""
    registered(BACKEND)
    made_for = "made for numpy-fake 0, not for 1"
    monkeypatch.setattr(findings_module, "other_versions", lambda framework, versions: made_for)
    with Pool.open() as pool:
        findings = {each.name: each for each in run_probes(pool, select(pool, []), 5, lambda finding: None)}
    raised = findings["measuring-raises"]
    assert (raised.status, raised.evidence) == (OTHER_VERSION, f"{made_for}: RuntimeError: no such kernel")
    assert (findings["measuring-kills"].status, findings["halves-are-swapped"].status) == ("failed", "present")


def test_the_record_tells_for_which_versions_probes_are_made(tmp_path: Path) -> None:
    recorded = read_record(RECORD).versions["torch"]
    assert other_versions("torch", recorded) == ""
    build = recorded | {"torch": f"{recorded['torch']}+build", "numpy": "1.0", "python": "3.13.0"}
    assert other_versions("torch", build) == ""
    assert other_versions("torch", recorded | {"torch": "1.0"}) == f"made for torch {recorded['torch']}, not for 1.0"
    longer = f"{recorded['torch']}0"
    assert other_versions("torch", {"torch": longer}) == f"made for torch {recorded['torch']}, not for {longer}"
    assert other_versions("another", {"torch": "1.0"}) == ""
    assert other_versions("torch", {"torch": "1.0"}, tmp_path / "none.json") == ""


def test_only_probes_that_were_chosen_run_and_are_compared(registered: Callable[..., None]) -> None:
    registered(BACKEND)
    with Pool.open() as pool:
        selection = select(pool, [])
        every = run_probes(pool, selection, 5, lambda finding: None)
        findings = run_probes(pool, selection, 5, lambda finding: None, ["*/needs-*"])
        with pytest.raises(InputError, match="--only must match a probe"):
            run_probes(pool, selection, 5, lambda finding: None, ["needs-*"])
    assert [finding.name for finding in findings] == ["needs-a-gpu"]
    record = make_record(selection, every)
    assert differences(record, findings, ["*/needs-*"]) == []
    assert len(differences(record, findings)) == len(every) - 1


def test_a_record_notices_a_changed_a_new_and_a_vanished_probe(
    study: tuple[Selection, list[Finding]], tmp_path: Path
) -> None:
    record = make_record(*study)
    file = tmp_path / "record.json"
    file.write_text(record.model_dump_json())
    findings = study[1]
    assert differences(read_record(file), findings) == []
    fixed = findings[0].model_copy(update={"status": "fixed"})
    new = findings[0].model_copy(update={"name": "brand-new"})
    assert differences(record, [fixed, *findings[1:3], new]) == [
        "misbehaving/halves-are-swapped: present became fixed",
        "misbehaving/needs-a-gpu: not applicable became not there any more",
        "misbehaving/brand-new: not in the record became present",
    ]
    other = findings[0].model_copy(update={"framework": "other"})
    assert differences(record, [other]) == ["other/halves-are-swapped: not in the record became present"]


@pytest.mark.parametrize(
    ("content", "part"),
    [("{", "must be JSON"), ("[]", "record.json"), ('{"version": 2, "versions": {}, "findings": []}', "version")],
)
def test_a_bad_record_is_one_sentence(tmp_path: Path, content: str, part: str) -> None:
    file = tmp_path / "record.json"
    file.write_text(content)
    with pytest.raises(InputError, match=part) as caught:
        read_record(file)
    assert str(file) in str(caught.value)
    with pytest.raises(InputError, match="must be a file that can be read"):
        read_record(tmp_path / "none.json")


def test_markdown_has_every_finding_and_the_worst_first(study: tuple[Selection, list[Finding]]) -> None:
    text = as_markdown(make_record(*study))
    positions = [
        text.index(f"#### {finding.name}") for finding in sorted(study[1], key=lambda each: each.harm != "silent")
    ]
    assert positions == sorted(positions)
    assert [finding.name for finding in worst(study[1], 5)] == ["halves-are-swapped"]
    json.dumps(text)


def test_a_verdict_is_present_fixed_or_changed() -> None:
    assert observed(True, False, "").status == "present"
    assert observed(False, True, "").status == "fixed"
    assert observed(False, False, "").status == "changed"
    assert observed(True, True, "").status == "fixed"


def test_two_probes_of_one_name_are_refused() -> None:
    probes = Probes()
    texts = {"what": "A.", "consequence": "B.", "way_out": "C."}

    def same_name() -> Observation:
        return Observation("fixed", "")

    probes.add(harm="silent", **texts)(same_name)
    with pytest.raises(ValueError, match="its own"):
        probes.add(harm="silent", **texts)(same_name)

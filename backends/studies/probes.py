"""Run the frameworks' probes in their environments, and say what they found: as rows, as Markdown, against a record."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from backends.interface.probe import HARMS, TOPICS, Harm, Status
from backends.pool.environments import ROOT
from backends.pool.pool import Pool
from backends.pool.selection import Selection
from backends.pool.waiting import result_of
from backends.registry import Backend, backends
from backends.worker import messages
from backends.worker.messages import NotDone
from common.errors import InputError, from_validation, shown
from common.tensorfile import json_from_text

NOT_LISTED: dict[str, Any] = {
    "name": "probes",
    "what": "A worker should list its probes; it did not.",
    "consequence": "Nothing is known of this framework.",
    "way_out": "Look at what was measured.",
    "harm": "late",
    "upstream": "",
    "topic": "",
}
"""The texts of the finding that stands for all of a framework whose worker ended before it told them."""


RECORD = ROOT / "docs" / "findings.json"
"""What the probes found on the versions that they are made for."""
OTHER_VERSION: Literal["not for this version"] = "not for this version"
"""The status of a probe that could not run on a version that it is not made for."""
NO_LIBRARIES = ("python", "numpy")
"""Among a framework's versions, those of what is not its own."""


class Finding(BaseModel):
    """One probe's texts and what it measured.

    ``failed`` means that it could not run, ``OTHER_VERSION`` that it could not on a version of the framework that it is
    not made for; ``evidence`` then says why.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    framework: str
    name: str
    what: str
    consequence: str
    way_out: str
    harm: Harm
    upstream: str
    topic: str
    status: Status | Literal["failed", "not for this version"]
    evidence: str

    @property
    def key(self) -> str:
        """``framework/name``."""
        return f"{self.framework}/{self.name}"


class Record(BaseModel):
    """Findings with the versions that they were measured on; a JSON file."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1]
    versions: dict[str, dict[str, str]]
    findings: list[Finding]


def run_probes(
    pool: Pool,
    selection: Selection,
    timeout_seconds: float,
    report: Callable[[Finding], None],
    only: Sequence[str] = (),
) -> list[Finding]:
    """Run the probes of the frameworks that were found, side by side; in the frameworks' and probes' own order.

    ``only`` are globs of ``framework/name``; none means every probe.
    """
    known = backends()

    def of_framework(name: str) -> list[Finding]:
        findings_of_it = []
        other = other_versions(name, selection.descriptions[name].versions)
        for finding in _findings(pool, known[name], timeout_seconds, only, other):
            report(finding)
            findings_of_it.append(finding)
        return findings_of_it

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        begun = [threads.submit(of_framework, name) for name in selection.descriptions]
        groups = [result_of(each) for each in begun]
    findings = [finding for group in groups for finding in group]
    if only and not findings:
        raise InputError(f"--only must match a probe, as in 'torch/tf32*'; got {shown(', '.join(only))}")
    return findings


def other_versions(framework: str, versions: Mapping[str, str], record: Path = RECORD) -> str:
    """Which of a framework's libraries are not those that its probes are made for; empty where all are, or where
    nothing is recorded.
    """
    recorded = read_record(record).versions.get(framework, {}) if record.exists() else {}
    return ", ".join(
        f"made for {library} {made_for}, not for {versions[library]}"
        for library, made_for in recorded.items()
        if library not in NO_LIBRARIES and library in versions and versions[library].partition("+")[0] != made_for
    )


def _findings(
    pool: Pool, backend: Backend, timeout_seconds: float, only: Sequence[str], other: str
) -> Iterator[Finding]:
    """What the probes of one framework find, one after another."""
    listed = pool.ask(backend, messages.ListProbes(), timeout_seconds)
    if isinstance(listed, NotDone):
        yield Finding(framework=backend.name, **NOT_LISTED, status="failed", evidence=listed.reason)
        return
    for texts in listed.probes:
        if not chosen(f"{backend.name}/{texts.name}", only):
            continue
        reply = pool.ask(backend, messages.Observe(name=texts.name), timeout_seconds)
        if not isinstance(reply, NotDone):
            observation: dict[str, Any] = reply.observation.model_dump()
        elif other and reply.status == messages.FAILED:  # it raised; a crash is no question of versions
            observation = {"status": OTHER_VERSION, "evidence": f"{other}: {reply.reason}"}
        else:
            observation = {"status": "failed", "evidence": reply.reason}
        yield Finding(framework=backend.name, **texts.model_dump(), **observation)


def chosen(key: str, only: Sequence[str]) -> bool:
    """Whether ``framework/name`` is one of the globs, or there are none."""
    return not only or any(fnmatchcase(key, pattern) for pattern in only)


def make_record(selection: Selection, findings: Sequence[Finding]) -> Record:
    """Findings with the versions of what was found."""
    versions = {name: description.versions for name, description in selection.descriptions.items()}
    return Record(version=1, versions=versions, findings=list(findings))


def read_record(path: Path) -> Record:
    """Read a record; an ``InputError`` says in one sentence what is wrong with it."""
    try:
        return Record.model_validate(json_from_text(path.read_text(encoding="utf-8"), str(path)))
    except ValidationError as error:
        raise from_validation(error, str(path)) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8; got the byte {error.object[error.start]:#x}") from None
    except OSError as error:
        raise InputError(f"{path} must be a file that can be read; got: {error.strerror}") from None


def differences(record: Record, findings: Sequence[Finding], only: Sequence[str] = ()) -> list[str]:
    """Sentences on probes of the frameworks that ran whose status is not the record's, or that only one side has.

    ``only`` are the globs that chose the probes, as for ``run_probes``: the record's others are left alone.
    """
    ran = {finding.framework for finding in findings}
    known = (finding for finding in record.findings if finding.framework in ran and chosen(finding.key, only))
    old = {finding.key: finding.status for finding in known}
    new = {finding.key: finding.status for finding in findings}
    return [
        f"{key}: {old.get(key, 'not in the record')} became {new.get(key, 'not there any more')}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]


def worst(findings: Sequence[Finding], count: int) -> list[Finding]:
    """The most harmful that are present: each framework's first, then each one's second, and so on."""
    ranked = []
    for framework in dict.fromkeys(finding.framework for finding in findings):
        mine = [each for each in findings if each.framework == framework and each.status == "present"]
        mine.sort(key=lambda finding: list(HARMS).index(finding.harm))
        ranked += [(list(HARMS).index(finding.harm), rank, finding) for rank, finding in enumerate(mine)]
    ranked.sort(key=lambda entry: entry[:2])
    return [finding for _, _, finding in ranked[:count]]


def as_markdown(record: Record) -> str:
    """The text of docs/findings.md: findings by framework, and there by harm, the worst first."""
    count = len(record.findings)
    lines = [
        "# Findings: where the frameworks silently differ",
        "",
        "Written by `birnn probe --markdown`; do not edit. Each is a probe that measures, in the framework's own",
        "environment, whether the divergence is still there, and `birnn probe --expect docs/findings.json` notices",
        f"when one changes. There are {count}; each says what was measured.",
    ]
    for topic, text in TOPICS.items():
        if about := [finding for finding in record.findings if finding.topic == topic]:
            lines += ["", f"## {topic.capitalize()}", "", text, ""]
            lines += [f"- {finding.key} ({finding.status}): {finding.evidence}" for finding in about]
    for framework, versions in record.versions.items():
        mine = [finding for finding in record.findings if finding.framework == framework]
        if mine:
            told = ", ".join(f"{library} {version}" for library, version in versions.items())
            lines += ["", f"## {framework}", "", f"{told}."]
            lines += [line for harm in HARMS for line in _section(harm, [each for each in mine if each.harm == harm])]
    return "\n".join(lines) + "\n"


def _section(harm: Harm, findings: Sequence[Finding]) -> Iterator[str]:
    """The lines on one framework's findings of one kind of harm."""
    if not findings:
        return
    yield from ("", f"### {HARMS[harm]}")
    for finding in findings:
        yield from ("", f"#### {finding.name}", "", finding.what, "")
        yield f"- {finding.status.capitalize()}: {finding.evidence}"
        yield from (f"- In practice: {finding.consequence}", f"- The way out: {finding.way_out}")
        if finding.upstream:
            yield f"- Upstream: <{finding.upstream}>"


def count_by_status(findings: Sequence[Finding]) -> Mapping[str, int]:
    """How many have each status."""
    return {status: sum(each.status == status for each in findings) for status in {each.status for each in findings}}

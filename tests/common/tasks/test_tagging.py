"""The tagger's sentences and schemes, what is allowed of a CRF, and options that do not go with a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.entities.scores import EntityScore
from common.errors import InputError
from common.models.specification import SequenceModel
from common.tasks.building import build_task
from common.tasks.tagging import entity_score
from common.tasks.task import Options, Task

BIO = "EU B-ORG\nrejects O\nGerman B-MISC\ncall O\n\nPeter B-PER\nBlackburn I-PER\n\n"
IOB1 = BIO.replace("B-", "I-")
UD = "1\tdogs\tdog\tNOUN\tNNS\tNumber=Plur\t2\tnsubj\t_\t_\n2\tgo\tgo\tVERB\tVBP\t_\t0\troot\t_\t_\n\n"


def task_of(folder: Path, content: str, held_out: str = "", name: str = "tagger", **options: Any) -> Task:
    files = []
    for number, text in enumerate((content, held_out or content)):
        files.append(folder / f"{number}.txt")
        files[-1].write_text(text)
    return build_task(name, Options(data=tuple(files), **options))


def test_entities_of_columns_are_told_and_a_crf_answers_legal_ones(tmp_path: Path) -> None:
    task = task_of(tmp_path, BIO, head="crf")
    assert task.scheme == "bio"
    assert task.label_names == ("B-MISC", "B-ORG", "B-PER", "I-PER", "O")
    assert isinstance(task.spec, SequenceModel)
    assert task.spec.head == "crf"
    assert task.weights["crf.transitions"].shape == (5, 5)
    assert task.allowed is not None
    np.testing.assert_array_equal(task.allowed[:, 3], [False, False, True, True, False, False, True])
    (batch,) = task.evaluation()
    assert set(task.asked(batch)) == {"tokens", "lengths", "allowed"}
    assert task.baseline.outside == 2 / 6
    assert task.baseline.entity_f1 is not None
    free = task_of(tmp_path, BIO, head="crf", constraints=False)
    assert free.allowed is None
    assert free.fingerprint() != task.fingerprint()
    assert task_of(tmp_path, BIO).allowed is None


def test_iob1_becomes_bio_where_it_is_said(tmp_path: Path) -> None:
    assert task_of(tmp_path, IOB1, scheme="iob1").label_names == task_of(tmp_path, BIO).label_names
    with pytest.raises(InputError) as refused:
        task_of(tmp_path, BIO, IOB1)
    assert str(refused.value) == (
        f"{tmp_path / '1.txt'}, line 1: must have a tag that is legal BIO (--scheme none: tags mark no entities; iob1: "
        "where none goes on, I begins one); got 'I-ORG, which follows the beginning of the sentence'"
    )
    assert task_of(tmp_path, IOB1, scheme="none").scheme is None


def test_tags_of_treebanks_mark_no_entities(tmp_path: Path) -> None:
    for column, names in {"xpos": ("NNS", "VBP"), "feats:Number": ("Plur", "_")}.items():
        task = task_of(tmp_path, UD, column=column, head="crf")
        assert (task.label_names, task.scheme, task.allowed) == (names, None, None)
        assert task.baseline.entity_f1 is None
    assert task_of(tmp_path, BIO, column="2").label_names == task_of(tmp_path, BIO).label_names


def test_entities_are_scored_within_the_lengths(tmp_path: Path) -> None:
    task = task_of(tmp_path, BIO)
    (batch,) = task.evaluation()
    answer = batch["labels"].copy()
    assert entity_score(task.label_names, batch, answer) == EntityScore(3, 3, 3)
    answer[1, 2:] = 2  # B-PER in the padding
    assert entity_score(task.label_names, batch, answer) == EntityScore(3, 3, 3)
    answer[1, 1] = task.label_names.index("O")  # too short
    assert entity_score(task.label_names, batch, answer) == EntityScore(2, 3, 3)
    with pytest.raises(IndexError):
        entity_score(task.label_names, batch, answer + 9)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        (
            "classifier",
            {"head": "crf"},
            "--head crf needs a task that labels every step, tagger or pipeline; got cla",
        ),
        ("masked", {"head": "crf"}, "--head crf needs a task that labels every step, tagger or pipeline; got masked"),
        ("seq2seq", {"head": "crf"}, "--head crf needs a task that labels every step, tagger or pipeline; got seq2seq"),
        (
            "masked",
            {"column": "xpos"},
            "--column and --scheme must be left out for masked, which reads no tags; got",
        ),
        (
            "pipeline",
            {"scheme": "bio"},
            "--column and --scheme must be left out for pipeline, which reads no tags",
        ),
        ("tagger", {"constraints": False}, "--no-constraints must stand with --head crf, which has them; got --head"),
        ("tagger", {"column": "xpos"}, "--column must be a number from 2 on for "),
        ("tagger", {"column": "9"}, "line 1: must have a column 9; got 'EU B-ORG'"),
        ("tagger", {"scheme": "iobes"}, "which is followed by O, and its entity does not end"),
        ("tagger", {"scheme": "xml"}, "--scheme must be one of auto, bio, iobes, iob1, none; got 'xml'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    name: str, options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refused:
        task_of(tmp_path, BIO, name=name, **options)
    assert sentence in str(refused.value)

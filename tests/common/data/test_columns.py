"""Column files, and tags of CoNLL-U's other columns: what is read, and one sentence for what is bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.data.columns import read_columns
from common.data.conllu import is_conllu, read_conllu
from common.errors import InputError

CONLL_2003 = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

-DOCSTART- -X- -X- O
Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
"""
WNUT = "# \tO\nRedondo\tB-location\r\nBeach\tI-location\n\t\n\nto bed\tO\n"
UD = """# text = dogs go
1\tdogs\tdog\tNOUN\tNNS\tCase=Nom|Number=Plur\t2\tnsubj\t_\tNER=B-animal|SpaceAfter=No
2\tgo\tgo\tVERB\tVBP\t_\t0\troot\t_\tNER=O
"""


def written(path: Path, content: str) -> Path:
    path.write_bytes(content.encode())
    return path


def test_conll_2003_is_read_by_its_last_column_or_another(tmp_path: Path) -> None:
    file = written(tmp_path / "train.txt", CONLL_2003)
    first, second = read_columns(file)
    assert (first.words, first.tags, first.lines) == (("EU", "rejects"), ("B-ORG", "O"), (3, 4))
    assert (second.words, second.tags) == (("Peter", "Blackburn"), ("B-PER", "I-PER"))
    assert read_columns(file, 2)[1].tags == ("NNP", "NNP")
    assert not is_conllu(file)


def test_tabs_part_columns_where_there_are_any(tmp_path: Path) -> None:
    """So a word may have a space in it; a hash is a word."""
    first, second = read_columns(written(tmp_path / "a.conll", WNUT))
    assert (first.words, first.tags) == (("# ", "Redondo", "Beach"), ("O", "B-location", "I-location"))
    assert (second.words, second.tags) == (("to bed",), ("O",))


@pytest.mark.parametrize(
    ("column", "tags"),
    [
        ("upos", ("NOUN", "VERB")),
        ("xpos", ("NNS", "VBP")),
        ("deprel", ("nsubj", "root")),
        ("feats", ("Case=Nom|Number=Plur", "_")),
        ("feats:Number", ("Plur", "_")),
        ("misc:NER", ("B-animal", "O")),
    ],
)
def test_other_columns_of_conllu_are_tags(column: str, tags: tuple[str, ...], tmp_path: Path) -> None:
    file = written(tmp_path / "a.txt", UD)
    assert is_conllu(file)
    (sentence,) = read_conllu(file, column=column)
    assert (sentence.tags, sentence.lines) == (tags, (2, 3))


@pytest.mark.parametrize(
    ("content", "column", "sentence"),
    [
        ("EU B-ORG\n", 3, "line 1: must have a column 3; got 'EU B-ORG'"),
        ("EU\n", None, "line 1: must have a word and its tag; got 'EU'"),
        ("EU\tB-ORG\nrejects\n", None, "line 2: must have 2 columns, as the first line has; got '1 in rejects'"),
        ("EU\tB-ORG\nrejects O O\n", None, "line 2: must have 2 columns, as the first line has; got '3 in"),
        ("\tO\nEU\tO\n", None, "line 1: must have a word"),
        ("-DOCSTART- O\n\n", None, "must hold at least one sentence; it has none"),
        ("", None, "must hold at least one line; it is empty"),
    ],
)
def test_a_bad_column_file_is_refused(content: str, column: int | None, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read_columns(written(tmp_path / "a.txt", content), column)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ("lemma", "--column must be one of upos, xpos, feats, deprel, misc, feats:KEY or misc:KEY for a CoNLL-U file"),
        ("xpos:Number", "--column must be one of"),
        ("feats:", "--column must be one of"),
        ("misc:Entity", "a word must have the key 'Entity' in the column misc; none has"),
    ],
)
def test_a_bad_column_of_conllu_is_refused(column: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read_conllu(written(tmp_path / "a.conllu", UD), column=column)
    assert sentence in str(refused.value)

"""Genres of sentences, and pairs of words and symbols: what is read of a file, and one sentence for each bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.data.conllu import read_genres
from common.data.pronunciations import read_pairs
from common.errors import InputError
from common.tasks.building import build_task
from common.tasks.task import Options, Task

ROWS = "1\tThe\tthe\tDET" + "\t_" * 6 + "\n2\tdog\tdog\tNOUN" + "\t_" * 6 + "\n"


def a_sentence(genre: str = "weblog-blogspot.com_1-0001", text: str = "Don't, dog!") -> str:
    return f"# newdoc id = x-1\n# sent_id = {genre}\n# text = {text}\n{ROWS}"


def test_a_genre_is_what_an_id_begins_with_and_a_text_is_read_as_it_is_spelled(tmp_path: Path) -> None:
    """Not by the forms in the columns, which divide words that a text has in one."""
    file = tmp_path / "genres.conllu"
    file.write_text(f"{a_sentence()}\n\n{a_sentence('email-1-0002', 'The dog.')}")
    texts = read_genres(file)
    assert [text.label for text in texts] == ["weblog", "email"]
    assert [text.words for text in texts] == [("Don't", ",", "dog", "!"), ("The", "dog", ".")]
    assert [text.words for text in read_genres(file, "characters")] == [tuple("Don't, dog!"), tuple("The dog.")]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (ROWS, "line 1: a sentence must have a comment '# sent_id = GENRE-…' for its class; got 'none'"),
        (f"{a_sentence()}\n{a_sentence('weblog')}", "line 7: a sentence must have a comment '# sent_id = GENRE-…'"),
        (a_sentence(text=" "), "a sentence must have a comment '# text = …' to be read"),
        ("\n\n", "must hold at least one sentence; it has blank lines alone"),
    ],
)
def test_a_sentence_without_genre_or_text_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "bad.conllu").write_text(content)
    with pytest.raises(InputError) as refused:
        read_genres(tmp_path / "bad.conllu")
    assert sentence in str(refused.value)


def test_a_pair_is_letters_and_symbols(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("Cat\tk æ t\n\nl’eau \tl  o\n")
    pairs = read_pairs(tmp_path / "pairs.tsv")
    assert [(pair.letters, pair.phonemes) for pair in pairs] == [
        (("c", "a", "t"), ("k", "æ", "t")),
        (("l", "'", "e", "a", "u"), ("l", "o")),
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("cat\tk t\ndog d o g\n", "line 2: must be a word, one tab and its symbols with spaces between them; got"),
        ("cat\tk\tt\n", "line 1: must be a word, one tab"),
        ("cat\t \n", "line 1: must have a word before the tab and a symbol behind it"),
        ("\tk t\n", "line 1: must have a word before the tab"),
        ("\n", "must hold at least one pair; it has blank lines alone"),
    ],
)
def test_a_pair_that_is_none_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "bad.tsv").write_text(content)
    with pytest.raises(InputError) as refused:
        read_pairs(tmp_path / "bad.tsv")
    assert sentence in str(refused.value)


def lengths(task: Task) -> tuple[int, int]:
    return len(task.training), len(task.held_out)


def test_tasks_are_built_of_them(tmp_path: Path) -> None:
    """Of one file a fifth is held out; of two the second is; unknown letters and symbols are no error there."""
    genres = tmp_path / "genres.conllu"
    genres.write_text("\n".join(a_sentence(f"{genre}-{i}") for i, genre in enumerate(["weblog", "email"] * 5)))
    task = build_task("classifier", Options(data=(genres,)))
    assert list(task.vocabularies["labels"]["names"]) == ["email", "weblog"]
    assert lengths(task) == (8, 2)
    first, second = tmp_path / "first.tsv", tmp_path / "second.tsv"
    first.write_text("cat\tk t\ndog\td g\n" * 5)
    second.write_text("owl\to l\n")
    task = build_task("seq2seq", Options(data=(first, second)))
    assert list(task.vocabularies["source"]["words"]) == ["a", "c", "d", "g", "o", "t"]
    assert sorted(task.vocabularies["target"]["words"]) == ["d", "g", "k", "t"]
    assert lengths(task) == (10, 1)
    assert task.baseline.what == "the most common symbol at each place"
    assert lengths(build_task("seq2seq", Options(data=(first,)))) == (8, 2)

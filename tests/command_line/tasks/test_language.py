"""A language model from training to text: its perplexity says what it is worth, and bad input is one sentence."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from backends.studies.training import Course, Trained
from birnn.commands.curves import drawn
from birnn.commands.train import print_training
from birnn.display import stdout
from common.models.trace import Step
from common.tasks.building import build_task
from common.tasks.checkpoint import read_checkpoint
from common.tasks.task import Options
from tests.command_line.running import birnn
from tests.command_line.test_bad_input import assert_one_sentence

NUMPY = ("-i", "numpy/loop")
SENTENCES = ("The dog runs away.", "A cat sleeps here!", "The cat runs home.", "A dog sleeps there?")
BEST = math.exp(2 * math.log(2) / 6)
"""The least perplexity that the past allows: of 6 tokens the first is one of two, the second one of two; then all is
known."""
HONEST, DECEPTIVE = "each token is told from those before it alone", "this model sees its own answer, and cannot write"


@dataclass(frozen=True)
class Learned:
    """What ``birnn train language`` printed, and its checkpoint."""

    out: Path
    printed: str

    @property
    def checkpoint(self) -> Path:
        return self.out / "numpy-loop.safetensors"


def learn(folder: Path, *options: object) -> Learned:
    """Every sentence a few times, judged by the same."""
    text, out = folder / "text.txt", folder / "out"
    text.write_text(" ".join(SENTENCES * 6))
    done = birnn("train", "language", *NUMPY, "--data", text, "--data", text, "--out", out, "--epochs", 14,
                 "--hidden-size", 16, "--embedding-size", 12, "--batch-size", 8, "--learning-rate", 0.03,
                 *options)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Learned(out, " ".join(done.stdout.split()))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    return learn(tmp_path_factory.mktemp("one"), "--directions", 1)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    return learn(tmp_path_factory.mktemp("two"), "--directions", 2)


def predicted(learned: Learned, prompt: str, *options: object) -> tuple[str, str]:
    """What ``birnn predict`` prints, and what it says on stderr."""
    command = ("--checkpoint", learned.checkpoint, "-f", "numpy/loop", "--prompt", prompt, *options)
    done = birnn("predict", "language", *command)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def perplexity_of(learned: Learned) -> float:
    trace = json.loads((learned.out / "trace.json").read_text())
    (last,) = trace["implementations"]["numpy/loop"]["perplexities"][-1:]
    assert f"{last:.2f}" in learned.printed
    assert f"{trace['baseline']['perplexity']:.2f} by their frequency alone" in learned.printed
    header = read_checkpoint(learned.checkpoint).header
    assert (header.version, header.perplexities[-1], len(header.perplexities)) == (3, last, header.epoch)
    return last


def test_one_direction_has_an_honest_perplexity_and_writes_what_it_read(one: Learned) -> None:
    assert BEST <= perplexity_of(one) < 1.2 * BEST
    assert (HONEST in one.printed, DECEPTIVE in one.printed) == (True, False)
    assert predicted(one, "The dog") == ("The dog runs away .\n", "")
    assert predicted(one, "a cat", "--max-steps", 2) == ("a cat sleeps here …\n", "")


def test_two_directions_have_a_perplexity_that_the_past_does_not_allow_and_it_is_said(two: Learned) -> None:
    assert 1 < perplexity_of(two) < BEST - 0.1
    assert (HONEST in two.printed, DECEPTIVE in two.printed) == (False, True)
    text, note = predicted(two, "The dog")
    assert text.startswith("The dog")
    assert note.startswith("birnn: this model has two directions")
    assert note.count("\n") == 1


def test_what_is_drawn_hangs_on_the_seed(one: Learned) -> None:
    drawn = [predicted(one, "the", "--temperature", 9, "--max-steps", 12, "--seed", seed)[0] for seed in (1, 2)]
    assert drawn[0] != drawn[1]


def test_a_word_that_training_had_not_is_named_and_the_rest_is_gone_on_with(one: Learned) -> None:
    text, note = predicted(one, "the zebra runs")
    assert text.startswith("the zebra runs ")
    assert note == "birnn: training had not 'zebra': the model reads <unknown> there\n"


def test_characters_are_written_as_they_are_read(tmp_path: Path) -> None:
    learned = learn(tmp_path, "--directions", 1, "--units", "characters", "--epochs", 3)
    assert list(read_checkpoint(learned.checkpoint).header.vocabularies) == ["characters"]
    text, _ = predicted(learned, "The dog r")
    assert re.fullmatch(r"The dog r[\w .!?]+…?\n", text)


def test_a_training_of_other_directions_goes_on_from_no_checkpoint(one: Learned, two: Learned) -> None:
    for learned, asked in ((one, 2), (two, 1)):
        before = learned.checkpoint.read_bytes()
        data = ("--data", learned.out.parent / "text.txt")
        done = birnn("train", "language", *NUMPY, *data, "--directions", asked, "--out", learned.out)
        expected = f"it is of a model with num_directions {3 - asked}, not {asked}; name another --out"
        assert_one_sentence(done, f"{learned.checkpoint}: must be a checkpoint of this training", expected)
        assert learned.checkpoint.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("language --checkpoint {one} --prompt zebra", "--prompt must hold words that training had; got 'zebra' alone"),
        ("language --checkpoint {one} --prompt", "--prompt must hold at least one word that language goes on with"),
        ("language --checkpoint {one}", "--prompt must hold at least one word that language goes on with; got none"),
        ("language the --checkpoint {one}", "texts and --data must be left out; got 'the'"),
        ("language --prompt the", "--checkpoint must name a file that birnn train language has written"),
        ("language --checkpoint {one} --prompt the --temperature nan", "'--temperature': Input should be"),
        ("language --checkpoint {one} --prompt the --chunk 3", "--chunk must be left out for language"),
        ("language --checkpoint {one} --prompt the --top 3", "must be asked of a model with classes; got language"),
        ("tagger --checkpoint {one} the", "must be a checkpoint of tagger; got one of language"),
        ("tagger --checkpoint {one} --prompt the", "--prompt must be left out for tagger, which writes no text"),
        ("g2pm --temperature 1", "--temperature must be left out for g2pm"),
        ("g2pm --seed 1", "--seed must be left out for g2pm"),
    ],
)
def test_what_no_text_can_be_written_from_is_one_sentence(arguments: str, sentence: str, one: Learned) -> None:
    words = [str(one.checkpoint) if word == "{one}" else word for word in arguments.split()]
    done = birnn("predict", *words, *([" "] if words[-1] == "--prompt" else []))
    assert_one_sentence(done, sentence)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--units", "letters"), "--units must be one of words, characters; got 'letters'"),
        (("--data", "{empty}"), "must hold at least one line; it is empty"),
        (("--data", "{blank}"), "must hold at least one sentence; it has blank lines alone"),
    ],
)
def test_what_nothing_can_be_learned_from_leaves_a_folder_as_it_is(
    options: tuple[str, str], sentence: str, one: Learned, tmp_path: Path
) -> None:
    files = {"empty": tmp_path / "empty.txt", "blank": tmp_path / "blank.txt"}
    files["empty"].write_text("")
    files["blank"].write_text("\n \n")
    before = {path.name: path.read_bytes() for path in one.out.iterdir()}
    given = [each.format(**files) for each in options]
    assert_one_sentence(birnn("train", "language", *NUMPY, *given, "--out", one.out), sentence)
    assert {path.name: path.read_bytes() for path in one.out.iterdir()} == before


def test_units_are_for_a_language_model_alone() -> None:
    done = birnn("train", "pipeline", *NUMPY, "--units", "words")
    assert_one_sentence(done, "--units must be left out for pipeline")


def test_the_picture_of_a_language_model_has_its_perplexities_beside_that_of_frequency() -> None:
    if find_spec("matplotlib") is None:  # importing it here would write into the user's home
        pytest.skip("matplotlib is not installed")
    task = build_task("language", Options(limit=40, hidden_size=2, embedding_size=2))
    trained = Trained("numpy/loop", steps=[Step(1.0, 0.5, 1.0)], accuracies=[0.1, 0.2], perplexities=[90.0, 70.0])
    _, middle, _ = drawn(task, [trained], "float32").axes
    (line, baseline) = middle.lines
    assert line.get_ydata().tolist() == [90.0, 70.0]
    assert set(baseline.get_ydata()) == {task.baseline.perplexity}


def test_on_80_columns_a_perplexity_stands_whole_in_the_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    task = build_task("language", Options(limit=40, hidden_size=2, embedding_size=2))
    course = Course(task, task.optimizer, 1, "float32", "cpu", timeout_seconds=1.0, twin="tensorflow/manual")
    steps = [Step(7.125, 0.5, 1.0)]
    trained = [
        Trained("tensorflow/manual", steps=steps, accuracies=[0.25], perplexities=[1234.5678]),
        Trained("jax/manual", status="failed", reason="it was killed"),
    ]
    print_training(stdout(), task, course, trained, {})
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line.startswith("│")]
    assert max(map(len, table)) <= 80
    assert any("1234.57" in line for line in table)
    assert "failed" in " ".join(table)
    assert any("0.2500" in line for line in lines)

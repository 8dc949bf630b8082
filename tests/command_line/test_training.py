"""birnn train, predict and verify --models as a user runs them, on the NumPy backend of tests/numpy_loop."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from backends.studies.training import Course, Trained
from birnn.commands.answers.trained import TrainedModel as Model
from birnn.commands.predict import readable
from birnn.commands.train import exit_code, part, print_training
from birnn.display import stdout
from birnn.options import alone_in
from common.data.examples import token_examples
from common.data.vocabulary import Vocabulary
from common.models.pipeline_data import pipeline_model
from common.models.specification import END, PADDING, START
from common.models.trace import Step
from common.tasks.building import build_task
from common.tasks.checkpoint import read_checkpoint
from common.tasks.parting import AGREES, TOO_FAST
from common.tasks.task import Options
from tests.command_line.running import birnn
from tests.command_line.test_bad_input import assert_one_sentence

NUMPY = ("-i", "numpy/loop")
SENTENCES = [
    [("the", "DET"), ("dog", "NOUN"), ("runs", "VERB")],
    [("a", "DET"), ("cat", "NOUN"), ("sleeps", "VERB"), (".", "PUNCT")],
    [("the", "DET"), ("cat", "NOUN"), ("runs", "VERB"), (".", "PUNCT")],
    [("a", "DET"), ("dog", "NOUN"), ("sleeps", "VERB")],
]


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some sentences, four times over."""
    file = tmp_path_factory.mktemp("tagged") / "tagged.conllu"
    blocks = [
        "\n".join(f"{i}\t{word}\t_\t{tag}\t_\t_\t_\t_\t_\t_" for i, (word, tag) in enumerate(sentence, 1))
        for sentence in SENTENCES * 4
    ]
    file.write_text("\n\n".join(blocks) + "\n\n")
    return file


@dataclass(frozen=True)
class Learned:
    """What ``birnn train`` printed, and the folder that it wrote."""

    done: subprocess.CompletedProcess[str]
    out: Path

    @property
    def checkpoint(self) -> Path:
        return self.out / "numpy-loop.safetensors"


@pytest.fixture(scope="module")
def learned(tagged: Path, tmp_path_factory: pytest.TempPathFactory) -> Learned:
    out = tmp_path_factory.mktemp("learned") / "out"
    options = ("--epochs", 20, "--learning-rate", 0.02, "--out", out)
    return Learned(birnn("train", "tagger", *NUMPY, "--data", tagged, *options), out)


def test_a_tagger_learns_and_its_checkpoint_answers(learned: Learned) -> None:
    done = learned.done
    assert (done.returncode, done.stderr.strip()) == (0, f"birnn: wrote trace and checkpoints: {learned.out}")
    assert "numpy/loop" in done.stdout
    trace = json.loads((learned.out / "trace.json").read_text())
    mine = trace["implementations"]["numpy/loop"]
    assert mine["steps"][-1][0] < 0.3 * mine["steps"][0][0]
    assert mine["accuracies"][-1] == 1.0
    assert (learned.out / "curves.svg").read_text().startswith("<?xml")
    answer = birnn("predict", "tagger", "the cat sleeps .", "--checkpoint", learned.checkpoint, "-f", "numpy/loop")
    assert (answer.returncode, answer.stdout) == (0, "the/DET cat/NOUN sleeps/VERB ./PUNCT\n"), answer.stderr


def test_some_epochs_have_their_means_in_the_table(learned: Learned) -> None:
    table = learned.done.stdout[learned.done.stdout.index("after each epoch") :]
    (losses,) = re.findall(r" loss +((?:\d\.\d{4} *){8})\n", table)
    means = [float(number) for number in losses.split()]
    assert 3 > means[0] > means[1] > means[-1] >= 0
    assert len(re.findall(r"accuracy +(?:[01]\.\d{4} *){8}\n", table)) == 2


def test_without_the_first_implementation_nothing_is_held_against_it() -> None:
    step = Step(1.0, 0.5, 2.0)
    twin = Trained("numpy/loop", twin=True, steps=[step])
    assert part([Trained("numpy/loop", status="failed"), twin, Trained("numpy/other", steps=[step])], "float64") == {}


def test_another_validation_loss_is_no_agreement() -> None:
    """Of a trace that is the same: it would stop training elsewhere."""
    steps = [Step(loss, 0.5, 1.0) for loss in (2.0, 1.5)]
    first, other = (
        Trained(name, steps=steps, accuracies=[0.5] * 2, validation_losses=[1.75, loss])
        for name, loss in (("numpy/loop", 1.25), ("numpy/other", 1.26))
    )
    partings = part([first, replace(first, twin=True), other], "float64")
    assert [each.verdict for each in partings.values()] == [AGREES, TOO_FAST]
    assert exit_code([first, other], partings, broken=False) == 1


def test_training_that_was_killed_goes_on_with_the_same_trace(tagged: Path, tmp_path: Path) -> None:
    command = ["train", "tagger", *NUMPY, "--data", str(tagged), "--epochs", "30", "--dtype", "float64"]
    command += ["--schedule", "cosine", "--warm-up", "0.2", "--patience", "30"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert birnn(*command, "--out", whole).returncode == 0
    child = subprocess.Popen([sys.executable, "-m", "birnn", *command, "--out", str(broken)], stdout=subprocess.DEVNULL)
    checkpoint = broken / "numpy-loop.safetensors"
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert 1 <= read_checkpoint(checkpoint).header.epoch < 30
    assert birnn(*command, "--out", broken).returncode == 0
    first, second = (read_checkpoint(folder / "numpy-loop.safetensors") for folder in (whole, broken))
    assert first.header.trace == second.header.trace
    assert first.header.validation_losses == second.header.validation_losses
    assert len(first.header.validation_losses) == 30
    assert all(np.array_equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_another_seed_begins_anew_when_asked_alone(tagged: Path, tmp_path: Path) -> None:
    command = ["train", "tagger", *NUMPY, "--data", tagged, "--out", tmp_path / "out"]
    checkpoint = tmp_path / "out" / "numpy-loop.safetensors"
    assert birnn(*command, "--epochs", 1).returncode == 0
    before = checkpoint.read_bytes()
    other = [*command, "--epochs", 2, "--seed", 1]
    assert_one_sentence(birnn(*other), f"{checkpoint}: must be a checkpoint of this training", "anew with --again")
    assert checkpoint.read_bytes() == before
    first = read_checkpoint(checkpoint).header.trace
    assert birnn(*other, "--again").returncode == 0
    second = read_checkpoint(checkpoint).header.trace
    assert len(second) == 2 * len(first)
    assert second[0] != first[0]


def test_two_trainings_do_not_write_to_one_folder_at_once(tagged: Path, tmp_path: Path) -> None:
    with alone_in("--out", tmp_path):
        done = birnn("train", "tagger", *NUMPY, "--data", tagged, "--epochs", 1, "--out", tmp_path)
    assert_one_sentence(done, f"--out must be a folder that no other process writes to; {tmp_path} is in use")
    assert list(tmp_path.iterdir()) == []


def test_labels_are_printed_by_the_names_that_their_ids_stand_for() -> None:
    """Of a classifier's answer; a tagger's is asked of the whole command above."""
    trained = Model(pipeline_model(), {}, {"labels": {"names": ["good", "bad", "grim"]}}, "a test")
    answer = {"labels": np.array([2, 0, 1, 0])}
    words = [("a", "day"), ("b",), ("c",), ("d",)]
    lines = list(readable("classifier", trained, {}, words, answer))
    assert lines == ["grim\ta day", "good\tb", "bad\tc", "good\td"]
    assert list(readable("classifier", trained, {}, [], answer)) == ["grim", "good", "bad", "good"]


def test_a_sentence_is_printed_as_it_was_but_for_its_gaps() -> None:
    """Whatever the model would say of the other words."""
    vocabulary = Vocabulary(words=("a", "nice", "grim", "day"))
    words = [("a", "___", "day"), ("an", "___", "Day", "___")]
    tokens = [np.append(example.inputs, 0)[:4] for example in token_examples(words, vocabulary)]
    answer = {"labels": np.array([[7, 6, 5, 8], [5, 8, 6, 7]])}
    trained = Model(pipeline_model(), {}, {"words": vocabulary.as_json()}, "a test")
    lines = list(readable("masked", trained, {"tokens": np.stack(tokens)}, words, answer))
    assert lines == ["a [nice] day", "an [day] Day [grim]"]


def test_a_pronunciation_is_printed_without_what_starts_ends_or_fills_it() -> None:
    target = Vocabulary(words=("K", "AE1", "T"))
    k, ae, t = target.ids(["K", "AE1", "T"])
    answer = {"tokens": np.array([[k, ae, t, END, PADDING, k], [START, t, END, PADDING, PADDING, PADDING]])}
    trained = Model(pipeline_model(), {}, {"target": target.as_json()}, "a test")
    lines = list(readable("seq2seq", trained, {}, [("c", "a", "t"), ("t",)], answer))
    assert lines == ["cat\tK AE1 T", "t\tT"]


def test_first_and_last_loss_accuracy_and_gap_stand_under_their_heads(capsys: pytest.CaptureFixture[str]) -> None:
    task = build_task("pipeline", Options(limit=40))
    course = Course(task=task, optimizer=task.optimizer, epochs=2, dtype="float32", device="cpu",
                    timeout_seconds=1.0, out=None, twin="numpy/loop")  # fmt: skip
    steps = [Step(loss, 0.5, 1.0) for loss in (1.625, 1.5, 1.375, 1.25)]
    other = [steps[0], *(Step(1.002 * step.loss, step.accuracy, 1.0) for step in steps[1:])]
    trained = [
        Trained("numpy/loop", steps=steps, accuracies=[0.25, 0.75]),
        Trained("numpy/other", steps=other, accuracies=[0.5, 0.625]),
        Trained("numpy/loop", twin=True, steps=steps, accuracies=[0.25, 0.75]),
    ]
    print_training(stdout(), task, course, trained, part(trained, "float32"))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("┃", "│"))]
    upper, lower, *rows = [[cell.strip() for cell in re.split("[┃│]", line)[1:-1]] for line in lines]
    heads = [" ".join(parts).strip() for parts in zip(upper, lower, strict=True)]
    cells = [dict(zip(heads, row, strict=True)) for row in rows if len(row) == len(heads)]
    cells = [each for each in cells if each["first loss"]]  # a long name or verdict goes on in a line of its own
    assert [each["first loss"] for each in cells] == ["1.625000", "1.625000", "1.625000"]
    assert [each["last loss"] for each in cells] == ["1.250000", "1.252500", "1.250000"]
    assert [each["held-out accuracy"] for each in cells] == ["0.7500", "0.6250", "0.7500"]
    assert [each["parts at step"] for each in cells] == ["", "1", "never"]
    assert [each["largest gap"] for each in cells] == ["", "2.0e-03", "0.0e+00"]


def test_implementations_that_stop_in_different_epochs_are_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    task = build_task("pipeline", Options(limit=20, validation=True))
    course = Course(task=task, optimizer=task.optimizer, epochs=9, dtype="float32", device="cpu",
                    timeout_seconds=1.0, out=None, twin="numpy/loop", patience=1)  # fmt: skip
    steps = [Step(loss, 0.5, 1.0) for loss in (2.0, 1.5, 1.25)]
    trained = [
        Trained("numpy/loop", steps=steps, accuracies=[0.25, 0.75, 0.5], validation_losses=[1.5, 1.25, 1.375]),
        Trained("numpy/other", steps=steps[:2], accuracies=[0.625, 0.125], validation_losses=[1.75, 1.875]),
    ]
    print_training(stdout(), task, course, trained, part(trained, "float32"))
    text = capsys.readouterr().out
    assert text.startswith("pipeline: 9 epochs at most, patience 1, adam, float32")
    assert re.findall(r"\d\.\d{6} +│ +\d\.\d{6} +│ +(\S+)", text) == ["0.7500", "0.6250"]
    assert "2 validation examples" in text
    assert "numpy/loop epoch 2 of 3; numpy/other epoch 1 of 2. Each stops by its own loss" in text
    losses = [line.split()[2:] for line in text.splitlines() if "validation loss" in line]
    assert losses == [["1.5000", "1.2500", "1.3750"], ["1.7500", "1.8750"]]


def test_the_pipeline_is_learned_and_arrays_are_answered(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = birnn("train", "pipeline", *NUMPY, "--limit", 200, "--epochs", 1, "--out", out)
    assert done.returncode == 0, done.stderr
    rows = build_task("pipeline", Options()).held_out[:20]
    np.save(tmp_path / "x.npy", np.stack([row.inputs for row in rows]))  # type: ignore[union-attr]
    command = ["predict", "pipeline", "--data", tmp_path / "x.npy", "-f", "numpy/loop",
               "--checkpoint", out / "numpy-loop.safetensors"]  # fmt: skip
    answer = birnn(*command)
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout.split()) == 200
    assert birnn(*command, "--chunk", 3, "--look-ahead", 7).stdout == answer.stdout
    alone = birnn(*command, "--chunk", 1)
    assert (alone.returncode, len(alone.stdout.split())) == (0, 200), alone.stderr
    assert alone.stdout != answer.stdout  # the rule is about the steps behind, too


def test_one_direction_is_learned_and_is_no_training_of_two(tmp_path: Path) -> None:
    """Its checkpoint answers; a training of two directions does not go on from it, and leaves it as it is."""
    command = ["train", "pipeline", *NUMPY, "--limit", 100, "--epochs", 1, "--out", tmp_path / "out"]
    done = birnn(*command, "--directions", 1)
    assert done.returncode == 0, done.stderr
    checkpoint = tmp_path / "out" / "numpy-loop.safetensors"
    before, saved = checkpoint.read_bytes(), read_checkpoint(checkpoint)
    assert (saved.header.version, str(saved.spec.recurrent)) == (2, "gru 8→10×1 forward only")
    assert saved.weights["head.0.weight"].shape == (5, 10)
    x = build_task("pipeline", Options()).held_out[0].inputs  # type: ignore[union-attr]
    np.save(tmp_path / "x.npy", x[None])
    answer = birnn("predict", "pipeline", "--data", tmp_path / "x.npy", "-f", "numpy/loop", "--checkpoint", checkpoint)
    assert (answer.returncode, len(answer.stdout.split())) == (0, 10), answer.stderr
    streamed = (*answer.args[1:], "--chunk", 4)
    assert birnn(*streamed).stdout == answer.stdout
    assert_one_sentence(birnn(*streamed, "--look-ahead", 2), "--look-ahead must be 0 for a model of one direction")
    assert_one_sentence(birnn(*command), f"{checkpoint}: must be a checkpoint of this training", "model")
    assert checkpoint.read_bytes() == before


def test_g2pm_answers_as_its_own_code_does() -> None:
    answer = birnn("predict", "g2pm", "我还没有把书还给图书馆。", "-f", "numpy/loop")
    assert (answer.returncode, answer.stdout.strip()) == (0, "我还[hai2]没[mei2]有把[ba3]书还[hai2]给[gei3]图书馆。")


def test_verify_models_holds_every_model_against_the_reference(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = birnn("verify", "--models", *NUMPY, "--dtype", "float32", "--json", report)
    assert done.returncode == 0, done.stdout
    outcomes = json.loads(report.read_text())["outcomes"]
    assert {outcome["status"] for outcome in outcomes} == {"agrees"}
    assert "model g2pm-trained" in {outcome["case"] for outcome in outcomes}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("train nosuch", "MODEL must be one of pipeline, tagger"),
        ("train tagger -i numpy/loop", "tagger needs --data with one or two CoNLL-U or column files"),
        ("train pipeline --cell nosuch", "--cell must be one of rnn_tanh"),
        ("train pipeline --dtype float16", "--dtype must be one of float32, float64; got 'float16'"),
        ("train pipeline --optimizer nosuch", "the optimizer: name"),
        ("train pipeline --learning-rate -1", "the optimizer: learning_rate"),
        ("train pipeline --schedule step", "--schedule must be one of constant, linear, cosine; got 'step'"),
        ("train pipeline --warm-up 50", "the optimizer: warm_up should be less than 1; got 50.0"),
        ("train pipeline --warm-up -0.1", "the optimizer: warm_up should be greater than or equal to 0; got -0.1"),
        ("train pipeline --warm-up nan", "the optimizer: warm_up should be a finite number; got nan"),
        ("train pipeline --patience 0", "'--patience': Input should be greater than or equal to 1"),
        ("train pipeline --patience 2 --limit 1", "--patience needs two training examples at least, to hold some out"),
        (
            "train pipeline --decoder-dropout 0.5",
            "--decoder-dropout must be left out for pipeline, which has no decoder; got 0.5",
        ),
        ("train seq2seq --decoder-dropout 1", "'--decoder-dropout': Input should be less than or equal to 0.9"),
        ("train pipeline --dropout 0.5", "dropout 0 where the rnn has one layer"),
        ("train pipeline --directions 1 --merge sum", "--merge must be left out with --directions 1"),
        ("train pipeline --directions 3", "'--directions': Input should be less than or equal to 2"),
        ("verify --models --directions 1", "--directions must stand without case files and --models"),
        ("case new {labelled} --force --directions 1 --merge sum", "must have no merge where num_directions is 1"),
        ("train seq2seq --cell lstm", "--cell must be gru for seq2seq; got lstm"),
        ("train seq2seq --merge sum", "--merge must be concat for seq2seq; got sum"),
        ("train tagger --data /nosuch", "no such file"),
        ("train tagger --data /", "folder"),
        ("train classifier --frozen --data {labelled}", "--frozen needs --embeddings"),
        ("predict tagger hello", "--checkpoint must name a file"),
        ("predict tagger hello --checkpoint {labelled}", "must be a readable safetensors file"),
        ("predict g2pm", "there must be a text or --data; got neither"),
        ("predict g2pm 图书馆 --chunk 0", "'--chunk': Input should be greater than or equal to 1"),
        ("predict g2pm 图书馆 --chunk 3 --look-ahead -1", "'--look-ahead': Input should be greater than or equal to 0"),
        ("predict g2pm 图书馆 --look-ahead 2", "--look-ahead must stand with --chunk; got --look-ahead 2 alone"),
        ("verify --models {labelled}", "--models must stand without case files"),
    ],
)
def test_bad_input_is_one_sentence(arguments: str, sentence: str, tmp_path: Path) -> None:
    labelled = tmp_path / "labelled.txt"
    labelled.write_text("good\ta nice day\nbad\ta grim day\n" * 5)
    done = birnn(*arguments.format(labelled=labelled).split())
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_checkpoint_of_another_model_is_refused(learned: Learned) -> None:
    done = birnn("predict", "masked", "a ___ day", "--checkpoint", learned.checkpoint, "-f", "numpy/loop")
    assert (done.returncode, "must be a checkpoint of masked; got one of tagger" in done.stderr) == (2, True)


def test_a_tagger_starts_from_a_masked_model(tagged: Path, tmp_path: Path) -> None:
    sizes = ("--hidden-size", 3, "--embedding-size", 4, "--epochs", 1)
    assert birnn("train", "masked", *NUMPY, "--data", tagged, *sizes, "--out", tmp_path / "masked").returncode == 0
    masked = tmp_path / "masked" / "numpy-loop.safetensors"
    command = ["train", "tagger", *NUMPY, "--data", tagged, "--epochs", 1, "--out", tmp_path / "tagger"]
    done = birnn(*command, "--from", masked)
    assert done.returncode == 0, done.stderr
    assert f"{masked} has 7 of 7 training words: 100.0% of the " in done.stdout
    saved = read_checkpoint(tmp_path / "tagger" / "numpy-loop.safetensors")
    assert str(saved.spec.recurrent) == str(read_checkpoint(masked).spec.recurrent) == "gru 4→3×1 concat"
    refused = birnn(*command, "--from", masked, "--cell", "lstm")
    assert_one_sentence(refused, f"--cell must be gru, as the RNN of --from {masked} has it; got lstm")
    assert_one_sentence(birnn(*command, "--from", tagged), f"{tagged}: must be a readable safetensors file")
    assert_one_sentence(birnn("train", "pipeline", "--from", masked), "--from must be left out for pipeline")


def test_what_answers_at_the_last_step_is_not_streamed(tmp_path: Path) -> None:
    labelled = tmp_path / "labelled.txt"
    labelled.write_text("good\ta nice day\nbad\ta grim day\n" * 5)
    options = ("--data", labelled, "--epochs", 1, "--hidden-size", 2, "--out", tmp_path)
    assert birnn("train", "classifier", *NUMPY, *options).returncode == 0
    streamed = ("--checkpoint", tmp_path / "numpy-loop.safetensors", "--chunk", 1)
    done = birnn("predict", "classifier", "a day", *streamed)
    assert_one_sentence(done, "--chunk must be given with a model that answers each step; this one reads the final")


def test_a_disk_that_fills_loses_nothing(tagged: Path, tmp_path: Path) -> None:
    """No file may grow past 50 KiB, as on a full disk: one sentence, and the checkpoint that was there is whole."""
    out = tmp_path / "out"
    command = ["train", "tagger", *NUMPY, "--data", str(tagged), "--out", str(out)]
    assert birnn(*command, "--epochs", 1).returncode == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    script = f"ulimit -f 100; exec {sys.executable} -m birnn {shlex.join([*command, '--epochs', '2'])}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before

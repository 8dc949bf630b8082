"""A layer from a user's file on the command line: judged and timed in a worker, whatever it does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backends import registry
from backends.pool.environments import ROOT
from backends.worker.own_layer import VARIABLE
from birnn import reference
from common.case import write_case
from tests.cases import a_case
from tests.command_line.running import birnn

RIGHT = f"{ROOT / 'examples' / 'numpy_gru.py'}:layer"
NUMPY = ("--framework", "numpy", "--dtype", "float32")


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No layer of one test is a backend in the next."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setenv("BIRNN_PYTHON_OWN", "")
    yield
    registry._added.clear()
    registry._loaded.cache_clear()


@pytest.fixture
def case(tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    write_case(a_case("gru"), path)
    return path


def written(folder: Path, body: str) -> str:
    file = folder / "mine.py"
    file.write_text(f"from examples.numpy_gru import layer as right\nimport os, time\n\n{body}\n")
    return f"{file}:layer"


def test_a_right_one_agrees_and_it_is_said_that_no_gradient_was_judged(case: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = birnn("verify", case, "--layer", RIGHT, *NUMPY, "--json", report)
    assert done.returncode == 0, done.stderr
    assert "1 agree, 0 unsupported, 0 wrong" in done.stdout
    assert "no gradient was judged" in done.stdout
    (outcome,) = json.loads(report.read_text())["outcomes"]
    assert (outcome["implementation"], outcome["status"]) == ("own/layer", "agrees")


def test_expected_gradients_are_left_out_with_the_gradients(tmp_path: Path) -> None:
    case, path = a_case("gru"), tmp_path / "expecting.safetensors"
    write_case(replace(case, expected=reference(case, "float32"), rtol=1e-4, atol=1e-4), path)
    done = birnn("verify", path, "--layer", RIGHT, *NUMPY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 agree, 0 unsupported, 0 wrong" in done.stdout


def test_what_is_wrong_is_named(case: Path, tmp_path: Path) -> None:
    layer = written(tmp_path, "def layer(s, w, x, lengths, h, c):\n    return right(s, w, x, None, h, c)")
    done = birnn("verify", case, "--layer", layer, *NUMPY)
    assert done.returncode == 1
    assert "matches: lengths ignored" in done.stdout


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        ("os._exit(3)", 1, "crashed a-case own/layer float32"),
        ("time.sleep(60)", 1, "timed out a-case own/layer float32"),
        ("raise ValueError('no such gate')", 1, "ValueError: no such gate"),
        ("return x", 1, "the layer must return output, h_n; got ndarray"),
        ("raise NotImplementedError('not yet')", 3, "unsupported own/layer, 1 case: not yet"),
    ],
)
def test_whatever_a_layer_does_is_an_outcome(case: Path, tmp_path: Path, body: str, code: int, told: str) -> None:
    layer = written(tmp_path, f"def layer(s, w, x, lengths, h, c):\n    {body}")
    done = birnn("verify", case, "--layer", layer, *NUMPY, "--timeout", 2)
    assert done.returncode == code, done.stdout
    assert told in done.stdout


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--layer", "nowhere.py:layer", "--framework", "numpy"), "--layer must be a Python file and a function of it"),
        (("--layer", "mine", "--framework", "numpy"), "--layer must be a Python file and a function of it"),
        (("--layer", RIGHT), "--layer must come with --framework, what the layer is written in; got none"),
        (("--layer", RIGHT, "--framework", "theano"), "--framework must be one of torch, jax, tensorflow, mxnet, "),
        (("--framework", "torch"), "--framework must come with --layer, which it is about"),
        (("--python", "/usr/bin/python3"), "--python must come with --layer, which it is about"),
        (("--layer", RIGHT, "--framework", "numpy", "--models"), "--models must stand without --layer"),
        (("--models", "--no-gradients"), "--models must stand without --no-gradients"),
        (("--layer", RIGHT.replace(":layer", ":cell"), "--framework", "numpy"), "gru.py must have a function cell"),
        (("--layer", RIGHT, "--framework", "numpy", "--python", "/nowhere"), "set BIRNN_PYTHON_OWN to a Python"),
    ],
)
def test_bad_input_is_one_sentence(options: tuple[str, ...], sentence: str) -> None:
    done = birnn("verify", *options)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.split("\n\n")[0].splitlines()) == 1


def test_it_is_timed_after_it_agreed(tmp_path: Path) -> None:
    cases = tmp_path / "small.toml"
    sizes = {"seq_len": 4, "batch": 2, "input_size": 3, "hidden_size": 5}
    lines = ['passes = ["forward"]', "[[case]]", 'cell = "gru"', *(f"{name} = {size}" for name, size in sizes.items())]
    cases.write_text("\n".join(lines) + "\n")
    options = ("--cases", cases, "--budget", "20s", "--processes", 1, "--wait", 0, "--threads", 1)
    store = tmp_path / "r.duckdb"
    mine = ("--layer", RIGHT, "--framework", "numpy")
    # Without a framework's environment: a set's implementations may be those of one that is not there.
    done = birnn("bench", *options, *mine, "--store", store, TOX_WORK_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "layer" in done.stdout
    assert "run " in done.stdout

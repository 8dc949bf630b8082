"""The commands as a user runs them, on the NumPy backend of tests/numpy_loop (the frameworks' own runs are in the
study)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from common.case import read_case
from common.result import read_result
from tests.command_line.running import birnn


@pytest.fixture
def case_file(tmp_path: Path) -> Path:
    file = tmp_path / "mine.safetensors"
    done = birnn(
        *"case new --cell gru --input-size 4 --hidden-size 6 --num-layers 2 --lengths 5,3,1".split(),
        *"--merge sum --no-bias --no-reset-after --with-states --with-cotangents --seed 7".split(),
        file,
    )
    assert (done.returncode, done.stderr) == (0, f"birnn: wrote the case: {file}\n")
    return file


def test_case_new_writes_what_was_asked_for(case_file: Path) -> None:
    case = read_case(case_file)
    assert case.name == "mine"
    assert b'\\"version\\": 1' in case_file.read_bytes()
    assert case.spec.as_json() == {
        "cell": "gru",
        "input_size": 4,
        "hidden_size": 6,
        "num_layers": 2,
        "bias": False,
        "merge": "sum",
        "reset_after": False,
    }
    assert case.lengths is not None
    assert case.lengths.tolist() == [5, 3, 1]
    assert case.x.shape == (3, 5, 4)
    assert case.h_0 is not None
    assert case.h_0.shape == (4, 3, 6)
    assert set(case.cotangents) == {"output", "h_n"}


@pytest.mark.parametrize(
    ("options", "weight", "shape", "h_0"),
    [
        ("--merge weighted", "merge_weight_l1", (2, 6), (4, 3, 6)),
        ("--hidden-size-reverse 7", "weight_hh_l1_reverse", (28, 7), (4, 3, 7)),
        ("--directions 1", "weight_ih_l1", (24, 6), (2, 3, 6)),
    ],
)
def test_case_new_knows_the_options_of_later_versions(
    tmp_path: Path, options: str, weight: str, shape: tuple[int, ...], h_0: tuple[int, ...]
) -> None:
    file = tmp_path / "mine.safetensors"
    done = birnn(*f"case new --cell lstm --num-layers 2 --with-states --with-cotangents {options}".split(), file)
    assert (done.returncode, done.stderr) == (0, f"birnn: wrote the case: {file}\n")
    case = read_case(file)
    version = 3 if "directions" in options else 2
    assert f'\\"version\\": {version}'.encode() in file.read_bytes()
    assert case.weights[weight].shape == shape
    assert case.h_0 is not None
    assert case.h_0.shape == h_0
    done = birnn("verify", file, "-i", "numpy")
    assert done.returncode == 0, done.stderr
    assert "2 agree, 0 unsupported, 0 wrong" in done.stdout


def test_case_new_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}" / "c.safetensors" for name in "abc"]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        assert birnn("case", "new", "--seed", seed, file).returncode == 0
    contents = [file.read_bytes() for file in files]
    assert contents[0] == contents[1] != contents[2]


def test_case_show_prints_the_specification_and_every_tensor(case_file: Path) -> None:
    done = birnn("case", "show", case_file)
    assert done.returncode == 0
    assert "gru reset-before 4→6×2 sum no-bias" in done.stdout
    for name in read_case(case_file).tensors():
        assert name in done.stdout


def test_case_new_fills_the_padding_with_what_is_not_finite_and_show_says_so(tmp_path: Path) -> None:
    file = tmp_path / "wild.safetensors"
    options = "--lengths 5,3,1 --with-cotangents --with-nonfinite-padding"
    done = birnn("case", "new", *options.split(), file)
    assert (done.returncode, done.stderr) == (0, f"birnn: wrote the case: {file}\n")
    case = read_case(file)
    assert np.isnan(case.x[case.padding_mask()]).any()
    shown = birnn("case", "show", file)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"padding: {(~np.isfinite(case.x)).sum()} of {6 * 4} are not finite" in shown.stdout
    assert "nan" not in shown.stdout
    done = birnn("verify", file, "-i", "numpy")
    assert (done.returncode, "2 agree, 0 unsupported, 0 wrong" in done.stdout) == (0, True), done.stderr
    done = birnn("case", "new", "--lengths", "5,5", "--with-nonfinite-padding", tmp_path / "none.safetensors")
    assert (done.returncode, (tmp_path / "none.safetensors").exists()) == (2, False)
    assert "--lengths of which one is below 5" in done.stderr


def test_run_writes_results_under_the_case(case_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = birnn("run", case_file, "-i", "numpy/*", "--dtype", "float64", "--out", out)
    assert done.returncode == 0, done.stderr
    assert [str(file.relative_to(out)) for file in out.rglob("*.*")] == ["mine/numpy-loop-float64.safetensors"]
    result = read_result(out / "mine" / "numpy-loop-float64.safetensors")
    assert result.header.implementation == "numpy/loop"
    assert result.header.case_sha256 == read_case(case_file).sha256()
    assert {"output", "h_n", "grad.x", "grad.h_0", "grad.weight_hh_l1_reverse"} < set(result.tensors)
    assert result.tensors["output"].dtype == np.float64


def test_verify_agrees_and_writes_its_report(case_file: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = birnn("verify", case_file, "-i", "numpy/loop", "--json", report, "--out", tmp_path / "kept")
    assert done.returncode == 0, done.stderr
    assert "2 agree, 0 unsupported, 0 wrong" in done.stdout
    content = json.loads(report.read_text())
    assert {outcome["status"] for outcome in content["outcomes"]} == {"agrees"}
    assert content["cases"]["mine"]["spec"]["cell"] == "gru"
    assert len(list((tmp_path / "kept").rglob("*.safetensors"))) == 2


def test_verify_exits_1_when_the_case_expects_something_else(case_file: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from common.case import write_case

    case = read_case(case_file)
    wrong = replace(case, name="wrong", expected={"h_n": np.ones((4, 3, 6))}, atol=1e-3, file_sha256=None)
    write_case(wrong, tmp_path / "wrong.safetensors")
    done = birnn("verify", tmp_path / "wrong.safetensors", "-i", "numpy")
    assert done.returncode == 1
    assert "disagrees wrong numpy/loop float32: h_n must be within" in done.stdout


def test_a_gpu_that_is_not_there_is_unsupported_with_the_reason(case_file: Path) -> None:
    done = birnn("verify", case_file, "-i", "numpy", "--device", "gpu")
    assert done.returncode == 3
    assert "numpy sees no gpu on this machine" in done.stdout


def test_backends_shows_every_framework_or_how_to_create_it() -> None:
    shipped = ["torch", "jax", "tensorflow", "mxnet", "onnxruntime"]
    variables = {f"BIRNN_PYTHON_{name.upper()}": "/no/such/python" for name in shipped}
    done = birnn("backends", "--json", **variables)
    assert done.returncode == 0
    content = json.loads(done.stdout)
    assert list(content) == [*shipped, "numpy"]
    assert {content[name]["status"] for name in shipped} == {"missing"}
    assert content["numpy"]["implementations"]["loop"]["unsupported"][0]["reason"] == "NumPy has no bfloat16"
    assert "birnn: " not in done.stderr
    text = birnn("backends", **variables).stdout
    assert "set BIRNN_PYTHON_JAX to a Python interpreter" in text
    assert "NumPy has no bfloat16" in text


def test_help_imports_no_framework_and_no_numpy() -> None:
    """What makes it quick; the time itself is measured in benchmarks/."""
    script = "import sys; sys.argv = ['birnn', '--help']\nimport birnn.__main__\n" + (
        "import contextlib\nwith contextlib.suppress(SystemExit): birnn.__main__.main()\n"
        "print([name for name in ('numpy', 'pydantic', 'torch', 'jax', 'tensorflow', 'mxnet') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("words", [(), ("case",), ("results",)])
def test_without_a_command_there_is_help_which_uses_the_width(words: tuple[str, ...]) -> None:
    narrow, wide = (birnn(*words, COLUMNS=str(width)) for width in (60, 150))
    for done, width in ((narrow, 60), (wide, 150)):
        assert (done.returncode, done.stderr) == (0, "")
        assert "Commands" in done.stdout
        assert max(map(len, done.stdout.splitlines())) == width
    assert narrow.stdout.count("\n") > wide.stdout.count("\n")


def test_the_version_is_told_with_the_commit() -> None:
    done = birnn("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"birnn \d+\.\d+\.\d+(, commit \S+)?\n", done.stdout)


def test_ctrl_c_ends_a_run_and_leaves_what_it_finished(tmp_path: Path) -> None:
    files = []
    for number in range(20):
        files.append(tmp_path / f"case{number}.safetensors")
        options = ["--seq-len", "150", "--lengths", "150,120", "--seed", number, "--with-cotangents"]
        if number < 2:
            assert birnn("case", "new", *options, files[number]).returncode == 0
    first, second = (read_case(file) for file in files[:2])
    from dataclasses import replace

    from common.case import write_case

    for number, file in enumerate(files[2:], start=2):
        write_case(replace(first if number % 2 else second, name=file.stem, file_sha256=None), file)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "birnn", "run", *map(str, files), "-i", "numpy", "--out", str(out)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while len(list(out.rglob("*.safetensors"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 130, errors
    assert "Traceback" not in errors
    done = len(list(out.rglob("*.safetensors")))
    assert 3 <= done < 40
    assert not [file for file in out.rglob("*") if file.name.startswith(".")]
    before = {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in out.rglob("*.safetensors")}
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0
    assert len(list(out.rglob("*.safetensors"))) == 40
    assert all((file.stat().st_ino, file.stat().st_mtime_ns) == was for file, was in before.items()), (
        "what is there is kept"
    )


@pytest.mark.parametrize(
    ("words", "position", "offered"),
    [("birnn ver", 1, ["verify"]), ("birnn verify --qu", 2, ["--quick"]), ("birnn results ex", 2, ["export"])],
)
def test_a_shell_is_told_how_a_word_may_go_on(words: str, position: int, offered: list[str]) -> None:
    shell = {"_BIRNN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(position)}
    script = "import sys; sys.argv = ['birnn']; from birnn.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | shell, capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout.split()) == (0, "", offered)

"""``birnn verify CASE --result FILE``: results that any other program wrote, without an environment of a framework."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from backends.registry import SHIPPED
from common.case import Case, read_case, write_case
from common.judging.mistakes.every import mistakes
from common.judging.yardstick import Yardstick, yardstick
from common.reference import Arrays
from tests.cases import a_case
from tests.command_line.running import birnn

ABSENT = {f"BIRNN_PYTHON_{backend.name.upper()}": "/no/such/python" for backend in SHIPPED}
FLIPPED = "whole padded row flipped, outputs masked in the end"
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def case_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("case") / "mine.safetensors"
    write_case(replace(a_case("gru", num_layers=2), name="mine"), path)
    return path


@pytest.fixture(scope="module")
def case(case_file: Path) -> Case:
    return read_case(case_file)


@pytest.fixture(scope="module")
def yard(case: Case) -> Yardstick:
    return yardstick(case, "float32")


@pytest.fixture
def write(tmp_path: Path, case_file: Path) -> Write:
    """Writes a result file as docs/formats.md says, with nothing of this suite; a key of None is left out."""

    def written(name: str, tensors: Mapping[str, np.ndarray], **changes: Any) -> Path:
        header = {
            "case": "mine",
            "case_sha256": hashlib.sha256(case_file.read_bytes()).hexdigest(),
            "implementation": f"ours/{name}",
            "dtype": "float32",
            "device": "cpu",
            "versions": {"ours": "1.0"},
            "path": "",
            "seconds": 0.0,
        }
        content = {key: value for key, value in (header | changes).items() if value is not None}
        path = tmp_path / f"{name}.safetensors"
        contiguous = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
        safetensors.numpy.save_file(contiguous, path, metadata={"birnn.result": json.dumps(content)})
        return path

    return written


def wrong(yard: Yardstick, name: str) -> Arrays:
    mistake = next(each for each in mistakes(yard.case.spec) if each.name == name)
    return {key: value.astype(np.float32) for key, value in mistake.results(yard.case, "float32").items()}


def test_a_right_result_agrees(write: Write, case_file: Path, yard: Yardstick, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = birnn("verify", case_file, "--result", write("right", yard.plain), "--json", report, **ABSENT)
    assert done.returncode == 0, done.stderr
    assert "1 agree, 0 unsupported, 0 wrong" in done.stdout
    (outcome,) = json.loads(report.read_text())["outcomes"]
    assert (outcome["implementation"], outcome["status"]) == ("ours/right", "agrees")
    assert {each["tensor"] for each in outcome["verdict"]["measures"]} == set(yard.truth)


def test_a_wrong_result_is_located_and_named_beside_a_right_one(write: Write, case_file: Path, yard: Yardstick) -> None:
    right, other = write("right", yard.plain), write("wrong", wrong(yard, FLIPPED))
    done = birnn("verify", case_file, "--result", right, "--result", other, **ABSENT)
    assert done.returncode == 1
    assert "first wrong: h_n at (1, 1, 0): layer 0, reverse" in done.stdout
    assert f"matches: {FLIPPED}\n" in done.stdout
    assert "1 agree, 0 unsupported, 1 wrong" in done.stdout


LACKING = {
    "forward": (("output", "h_n"), "gradients"),
    "output": (("output",), "h_n, gradients"),
    "states": (("h_n",), "output, gradients"),
    "all-but-one": (None, "grad.x"),
}
"""What a file has, and what it is said to lack."""


def test_what_lacks_tensors_is_not_judged_though_the_rest_agrees(
    write: Write, case_file: Path, yard: Yardstick
) -> None:
    options: list[str | Path] = []
    for name, (kept, _) in LACKING.items():
        tensors = {key: value for key, value in yard.plain.items() if key != "grad.x" and key in (kept or yard.plain)}
        options += ["--result", write(name, tensors)]
    done = birnn("verify", case_file, *options, **ABSENT)
    assert done.returncode == 3
    assert "0 agree, 0 unsupported, 4 not judged, 0 wrong" in done.stdout
    for name, (kept, missing) in LACKING.items():
        start = f"not judged mine ours/{name} float32: the result must have {missing}, which nothing is known of; "
        (line,) = (line for line in done.stdout.splitlines() if line.startswith(start))
        assert kept is None or line == f"{start}what it has agrees: {', '.join(kept)}"


def test_an_output_alone_that_is_wrong_disagrees_and_is_named(write: Write, case_file: Path, yard: Yardstick) -> None:
    done = birnn("verify", case_file, "--result", write("output", {"output": wrong(yard, FLIPPED)["output"]}), **ABSENT)
    assert done.returncode == 1
    assert f"matches: {FLIPPED}\n" in done.stdout
    assert "the result must have h_n, gradients, which nothing is known of" in done.stdout


def test_a_forward_pass_agrees_where_the_case_asks_for_no_more(tmp_path: Path, write: Write) -> None:
    path = tmp_path / "forward.safetensors"
    write_case(replace(a_case("lstm", with_cotangents=False), name="forward"), path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    plain = yardstick(read_case(path), "bfloat16").plain
    assert plain["output"].dtype == ml_dtypes.bfloat16
    for name, dtype in (("narrow", ml_dtypes.bfloat16), ("wide", np.float32)):
        tensors = {key: value.astype(dtype) for key, value in plain.items()}
        file = write(name, tensors, case="forward", case_sha256=sha256, dtype="bfloat16")
        assert birnn("verify", path, "--result", file, **ABSENT).returncode == 0


def test_tensors_that_do_not_fit_disagree(write: Write, case_file: Path, yard: Yardstick) -> None:
    changes: dict[str, Arrays] = {
        "transposed": {"output": yard.plain["output"].transpose(1, 0, 2)},
        "unknown": {"hidden": np.zeros(1)},
        "nan": {"h_n": np.full_like(yard.plain["h_n"], np.nan)},
    }
    files = [write(name, yard.plain | tensors) for name, tensors in changes.items()]
    done = birnn("verify", case_file, *(word for file in files for word in ("--result", file)), **ABSENT)
    assert done.returncode == 1, done.stderr
    for name in changes:
        assert f"disagrees mine ours/{name} float32: " in done.stdout


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"case": "other"}, "must be of the case 'mine'"),
        ({"case_sha256": "0" * 64}, "must be of the case 'mine'"),
        ({"dtype": "float8"}, "dtype must be one of float16, bfloat16, float32, float64; got 'float8'"),
        ({"device": "tpu"}, "device must be one of cpu, gpu; got 'tpu'"),
        ({"seconds": float("nan")}, "seconds must be finite"),
        ({"seconds": -1.0}, "seconds must be finite"),
        ({"implementation": "a\x1b[31m"}, "implementation must be a name"),
        ({"implementation": ""}, "implementation must be a name"),
        ({"versions": None}, "must have the key 'versions'"),
        ({"colour": "blue"}, "no unknown keys; got 'colour'"),
    ],
)
def test_a_header_that_does_not_fit_is_one_sentence(
    changes: dict[str, Any], text: str, write: Write, case_file: Path, yard: Yardstick
) -> None:
    assert_refused(case_file, write("bad", yard.plain, **changes), text)


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ({}, "must have tensors of a forward pass, output, h_n, c_n; got []"),
        ({"grad.x": np.zeros((3, 5, 4))}, "must have tensors of a forward pass, output, h_n, c_n; got ['grad.x']"),
        (
            {"output": np.zeros((3, 5, 12), int)},
            "'output' must be one of float16, bfloat16, float32, float64; got int64",
        ),
        ({"output": np.zeros((3, 5, 12), bool)}, "got bool"),
    ],
)
def test_a_file_without_numbers_of_a_forward_pass_is_one_sentence(
    tensors: Arrays, text: str, write: Write, case_file: Path
) -> None:
    assert_refused(case_file, write("bad", tensors), text)


def assert_refused(case_file: Path, file: Path, text: str) -> None:
    done = birnn("verify", case_file, "--result", file, **ABSENT)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"birnn: {file}")
    assert text in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_torn_file_an_absent_one_and_a_case_are_one_sentence(
    tmp_path: Path, write: Write, case_file: Path, yard: Yardstick
) -> None:
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(write("right", yard.plain).read_bytes()[:-9])
    assert_refused(case_file, torn, "must be a readable safetensors file")
    assert_refused(case_file, tmp_path / "none", "there is no such file")
    assert_refused(case_file, case_file, "must have the metadata key 'birnn.result'")


def test_two_files_of_one_implementation_and_dtype_are_refused(write: Write, case_file: Path, yard: Yardstick) -> None:
    files = [write(name, yard.plain, implementation="ours/gru") for name in ("one", "two")]
    done = birnn("verify", case_file, "--result", files[0], "--result", files[1], **ABSENT)
    assert done.returncode == 2
    assert f"{files[1]}: must be of an implementation and dtype of its own" in done.stderr


@pytest.mark.parametrize(
    "options",
    [("--dtype", "float32"), ("-i", "torch/native"), ("--device", "cpu"), ("--models",), ("--threads", "1")],
)
def test_options_of_what_is_run_are_refused_beside_a_result(
    options: tuple[str, ...], write: Write, case_file: Path, yard: Yardstick
) -> None:
    done = birnn("verify", case_file, "--result", write("right", yard.plain), *options, **ABSENT)
    assert done.returncode == 2
    assert "--result must stand without --" in done.stderr


def test_a_result_without_its_case_is_refused(write: Write, case_file: Path, yard: Yardstick) -> None:
    file = write("right", yard.plain)
    for cases in ((), (case_file, case_file)):
        done = birnn("verify", *cases, "--result", file, **ABSENT)
        assert done.returncode == 2
        assert "--result must come with one case file" in done.stderr

"""Bad input ends in one sentence on stderr and exit code 2: no traceback, nothing half written."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common import tensorfile
from common.case import METADATA_KEY, Case, write_case
from common.cases.builtin import FORWARD
from tests.cases import a_case
from tests.command_line.running import birnn

CASE = a_case("lstm")


def assert_one_sentence(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 2, done
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("birnn: ")
    for part in parts:
        assert part in done.stderr


def header(case: Case = CASE, **changes: Any) -> dict[str, Any]:
    content = {
        "version": case.spec.file_version,
        "name": case.name,
        "source": "a test",
        "spec": case.spec.as_json(),
        "atol": 0.0,
        "rtol": 0.0,
    }
    return {key: value for key, value in (content | changes).items() if value is not None}


def write(path: Path, content: object, tensors: dict[str, np.ndarray] | None = None) -> Path:
    """A case file with this header and these tensors, whatever they are."""
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(tensorfile.as_bytes(CASE.tensors() if tensors is None else tensors, {METADATA_KEY: text}))
    return path


def bad_files(path: Path) -> dict[str, tuple[Path, str]]:
    """Every kind of bad file, with a part of the sentence."""
    tensors = CASE.tensors()
    whole = CASE.as_bytes()
    spec = CASE.spec.as_json()
    unequal, weighted, summed = (
        a_case("lstm", **changes) for changes in ({"hidden_size_reverse": 7}, {"merge": "weighted"}, {"merge": "sum"})
    )

    forward = a_case("lstm", **FORWARD)
    reverse = {name: value for name, value in tensors.items() if name == "weights.weight_ih_l0_reverse"}

    def raw(name: str, content: bytes) -> Path:
        (path / name).write_bytes(content)
        return path / name

    def case(file_name: str, **changes: Any) -> Path:
        return write(path / file_name, header(**changes))

    def with_tensors(name: str, **changes: np.ndarray | None) -> Path:
        changed = {key: value for key, value in (tensors | changes).items() if value is not None}
        return write(path / name, header(), changed)

    def moved(key: str, value: float) -> np.ndarray:
        changed = tensors[key].copy()
        changed.flat[1] = value
        return changed

    (path / "folder").mkdir()
    return {
        "no file": (path / "none", "there is no such file"),
        "a folder": (path / "folder", "a folder"),
        "empty": (raw("empty", b""), "safetensors"),
        "text": (raw("text", b"not safetensors at all, just some text"), "safetensors"),
        "truncated": (raw("truncated", whole[:-100]), "safetensors"),
        "header of gigabytes": (raw("huge", struct.pack("<Q", 1 << 33) + whole[8:]), "safetensors"),
        "tensor of gigabytes": (raw("large", whole.replace(b'"shape":[3,5,4]', b'"shape":[3,5,9]')), "safetensors"),
        "no metadata": (raw("plain", tensorfile.as_bytes(tensors, {})), "must have the metadata key 'birnn.case'"),
        "not JSON": (write(path / "notjson", "{version: 1"), "must be JSON"),
        "a JSON list": (write(path / "list", "[1, 2]"), "birnn.case"),
        "wrong version": (case("version", version=4), "version should be 1, 2 or 3; got 4"),
        "a learned merge in version 1": (case("learned", spec=spec | {"merge": "weighted"}), "must have version 2"),
        "unequal directions in version 1": (
            case("unequal", spec=spec | {"hidden_size_reverse": 7}),
            "must have version 2",
        ),
        "one direction in version 2": (
            write(path / "early", header(forward, version=2), forward.tensors()),
            "must have version 3 for num_directions 1 (it has 2)",
        ),
        "one direction that is merged": (
            case("merged", version=3, spec=spec | {"num_directions": 1}),
            "must have no merge where num_directions is 1, which leaves nothing to merge (it has concat)",
        ),
        "one direction of two sizes": (
            write(path / "sizes", header(forward, spec=forward.spec.as_json() | {"hidden_size_reverse": 7})),
            "must have no hidden_size_reverse where num_directions is 1",
        ),
        "one direction with the weights of two": (
            write(path / "reverse", header(forward), forward.tensors() | reverse),
            "no tensor that its specification does not name; got 'weights.weight_ih_l0_reverse'",
        ),
        "one direction with the states of two": (
            write(path / "states", header(forward), forward.tensors() | {"inputs.h_0": tensors["inputs.h_0"]}),
            "inputs.h_0 must have shape (1, 3, 6); got (2, 3, 6)",
        ),
        "two directions with the weights of one": (
            write(path / "half", header(), {k: v for k, v in tensors.items() if not k.endswith("_reverse")}),
            "must have the tensor 'weights.weight_ih_l0_reverse'; it is missing",
        ),
        "two directions without a merge": (
            case("unmerged", spec={k: v for k, v in spec.items() if k != "merge"}),
            "must have a merge for its two directions (concat, sum, mul, ave, weighted)",
        ),
        "three directions": (case("three", spec=spec | {"num_directions": 3}), "spec.num_directions"),
        "directions that are true": (case("true", spec=spec | {"num_directions": True}), "spec.num_directions"),
        "no merge weight": (
            write(path / "unweighted", header(weighted), summed.tensors()),
            "'weights.merge_weight_l0'",
        ),
        "unequal directions that are summed": (
            case("summed", version=2, spec=spec | {"merge": "sum", "hidden_size_reverse": 7}),
            "concat alone",
        ),
        "a state beyond its units": (
            write(path / "beyond", header(unequal), unequal.tensors() | {"inputs.h_0": np.ones((2, 3, 7))}),
            "must be 0 beyond the 6 units of the forward direction",
        ),
        "unknown key": (case("unknown", colour="blue"), "no unknown keys; got 'colour'"),
        "missing key": (case("missing", source=None), "must have the key 'source'"),
        "unknown spec key": (case("speckey", spec=spec | {"depth": 1}), "no unknown keys; got 'spec.depth'"),
        "missing spec key": (case("specmissing", spec={k: v for k, v in spec.items() if k != "bias"}), "'spec.bias'"),
        "unknown cell": (case("cell", spec=spec | {"cell": "qrnn"}), "got 'qrnn'"),
        "unknown merge": (case("merge", spec=spec | {"merge": "max"}), "got 'max'"),
        "a size of 0": (case("size", spec=spec | {"hidden_size": 0}), "spec.hidden_size"),
        "a size as text": (case("sizetext", spec=spec | {"hidden_size": "6"}), "spec.hidden_size"),
        "reset_after of an lstm": (case("reset", spec=spec | {"reset_after": False}), "gru alone"),
        "a name that is a path": (case("name", name="../up"), "name"),
        "negative atol": (case("atol", atol=-1.0), "atol"),
        "no x": (with_tensors("nox", **{"inputs.x": None}), "'inputs.x'"),
        "wrong width": (with_tensors("width", **{"inputs.x": np.zeros((3, 5, 7))}), "(batch, seq_len, 4)"),
        "wrong dtype": (
            with_tensors("dtype", **{"inputs.x": tensors["inputs.x"].astype("f4")}),
            "must be float64; got float32",
        ),
        "wrong rank": (with_tensors("rank", **{"inputs.x": np.zeros(5)}), "inputs.x must have shape"),
        "empty batch": (with_tensors("batch", **{"inputs.x": np.zeros((0, 5, 4))}), "nothing empty"),
        "no weight": (with_tensors("now", **{"weights.weight_hh_l0": None}), "'weights.weight_hh_l0'"),
        "wrong weight": (
            with_tensors("wshape", **{"weights.weight_hh_l0": np.zeros((6, 24))}),
            "must have shape (24, 6)",
        ),
        "unknown weight": (
            with_tensors("wname", **{"weights.weight_ih_l1": np.zeros((24, 12))}),
            "weights.weight_ih_l1",
        ),
        "unknown group": (with_tensors("group", output=np.zeros(1)), "got 'output'"),
        "NaN in weights": (
            with_tensors("nan", **{"weights.bias_hh_l0": moved("weights.bias_hh_l0", np.nan)}),
            "finite; got nan",
        ),
        "infinity in inputs": (with_tensors("inf", **{"inputs.x": moved("inputs.x", np.inf)}), "finite; got inf"),
        "a length too long": (
            with_tensors("long", **{"inputs.lengths": np.array([5, 6, 1])}),
            "between 0 and 5; got 6 at row 1",
        ),
        "a negative length": (with_tensors("neg", **{"inputs.lengths": np.array([5, 3, -1])}), "got -1 at row 2"),
        "too few lengths": (
            with_tensors("few", **{"inputs.lengths": np.array([5, 3])}),
            "must have shape (3,); got (2,)",
        ),
        "float lengths": (with_tensors("flen", **{"inputs.lengths": np.array([5.0, 3, 1])}), "must be int64"),
        "wrong state": (with_tensors("state", **{"inputs.h_0": np.zeros((1, 3, 6))}), "(2, 3, 6)"),
        "wrong cotangent": (with_tensors("cot", **{"cotangents.output": np.zeros((3, 5, 6))}), "(3, 5, 12)"),
        "unknown cotangent": (with_tensors("cotname", **{"cotangents.y": np.zeros(1)}), "cotangents.y"),
        "infinite expectation": (with_tensors("exp", **{"expected.h_n": np.full((2, 3, 6), np.inf)}), "finite"),
    }


def test_every_bad_case_file_is_one_sentence_that_names_it(tmp_path: Path) -> None:
    """In one process, since the command's way from an ``InputError`` to the sentence is the same for all."""
    from common.case import read_case
    from common.errors import InputError

    for kind, (file, part) in bad_files(tmp_path).items():
        with pytest.raises(InputError) as caught:
            read_case(file)
        text = str(caught.value)
        assert str(file) in text, (kind, text)
        assert part in text, (kind, text)
        assert "\n" not in text, (kind, text)


@pytest.mark.parametrize("command", [("run", "--out", "OUT"), ("verify",), ("case", "show")])
@pytest.mark.parametrize("kind", ["text", "truncated", "NaN in weights", "a folder", "header of gigabytes"])
def test_every_command_refuses_a_bad_file(tmp_path: Path, command: tuple[str, ...], kind: str) -> None:
    file, part = bad_files(tmp_path)[kind]
    arguments = [str(tmp_path / "out") if word == "OUT" else word for word in command]
    assert_one_sentence(birnn(*arguments, file), str(file), part)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--cell", "qrnn"), "got 'qrnn'"),
        (("--merge", "max"), "got 'max'"),
        (("--merge", "weighted", "--hidden-size-reverse", "3"), "concat alone"),
        (("--hidden-size-reverse", "0"), "hidden_size_reverse"),
        (("--hidden-size", "0"), "hidden_size"),
        (("--hidden-size", "six"), "--hidden-size"),
        (("--cell", "lstm", "--no-reset-after"), "gru alone"),
        (("--lengths", "5,x"), "--lengths must be whole numbers"),
        (("--lengths", "5,3", "--batch", "3"), "one number for each of the 3 rows; got 2"),
        (("--lengths", "5,9,1", "--seq-len", "5"), "between 0 and 5; got 9"),
        (("--batch", "0"), "batch"),
        (("--colour",), "--colour"),
    ],
)
def test_case_new_refuses_bad_options_and_writes_nothing(tmp_path: Path, options: tuple[str, ...], part: str) -> None:
    assert_one_sentence(birnn("case", "new", *options, tmp_path / "c.safetensors"), part)
    assert list(tmp_path.iterdir()) == []


def test_case_new_replaces_a_file_only_when_told(tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    file.write_text("mine")
    assert_one_sentence(birnn("case", "new", file), "--force")
    assert file.read_text() == "mine"
    assert birnn("case", "new", "--force", file).returncode == 0
    assert [each.name for each in tmp_path.iterdir()] == ["mine.safetensors"]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--dtype", "float8"), "--dtype must be one of"),
        (("--device", "tpu"), "--device must be one of cpu, gpu"),
        (("-i", "theano/native"), "--implementation must name one of the frameworks"),
        (("--timeout", "soon"), "--timeout"),
        (("--json", "FOLDER"), "--json must be a file"),
        (("--json", "a" * 300), "--json must be a file that can be written"),
        (("--json", "BLOCKED/report.json"), "--json's folder must be a folder that can be written"),
        (("--out", "BLOCKED/results"), "--out must be a folder that can be written"),
    ],
)
def test_verify_refuses_bad_options_before_it_runs(tmp_path: Path, options: tuple[str, ...], part: str) -> None:
    (tmp_path / "file").touch()
    places = {
        "FOLDER": tmp_path,
        "BLOCKED/report.json": tmp_path / "file" / "r.json",
        "BLOCKED/results": tmp_path / "file" / "r",
    }
    assert_one_sentence(birnn("verify", *(places.get(word, word) for word in options)), part)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--framework", "theano"), "--framework must name one of the frameworks"),
        (("--expect", "NONE"), "must be a file that can be read"),
        (("--json", "BLOCKED"), "--json's folder must be a folder that can be written"),
    ],
)
def test_probe_refuses_bad_options_before_it_runs(tmp_path: Path, options: tuple[str, ...], part: str) -> None:
    (tmp_path / "file").touch()
    places = {"NONE": tmp_path / "none.json", "BLOCKED": tmp_path / "file" / "r.json"}
    assert_one_sentence(birnn("probe", *(places.get(word, word) for word in options)), part)


def test_an_output_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    write_case(CASE, tmp_path / "c.safetensors")
    assert_one_sentence(birnn("run", tmp_path / "c.safetensors", "--out", "/proc/nowhere"), "--out", "/proc/nowhere")


def test_two_cases_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        write_case(CASE, tmp_path / name)
    done = birnn("run", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--out", tmp_path / "out")
    assert_one_sentence(done, "names of their own; got 'a-case' 2 times")


def test_a_missing_environment_that_was_named_is_refused(tmp_path: Path) -> None:
    write_case(CASE, tmp_path / "c.safetensors")
    done = birnn("verify", "-i", "torch/native", tmp_path / "c.safetensors", BIRNN_PYTHON_TORCH="/no/such/python")
    assert_one_sentence(done, "the environment of torch must exist", "BIRNN_PYTHON_TORCH")


def test_a_broken_environment_that_was_named_is_refused(tmp_path: Path) -> None:
    """This interpreter is one without torch."""
    write_case(CASE, tmp_path / "c.safetensors")
    done = birnn("verify", "-i", "torch", tmp_path / "c.safetensors", BIRNN_PYTHON_TORCH=sys.executable)
    assert done.returncode == 2
    assert "the environment of torch must import its framework; got ModuleNotFoundError" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (("frob",), "birnn --help"),
        (("verify", "--frob"), "birnn verify --help"),
        (("predict",), "birnn predict --help"),
        (("results", "frob"), "birnn results --help"),
        (("train", "pipeline", "--epochs", "many"), "birnn train --help"),
    ],
)
def test_words_that_no_command_takes_are_answered_with_where_help_is(words: tuple[str, ...], where: str) -> None:
    assert_one_sentence(birnn(*words), f"({where} says what it takes)")


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "NAME"),
        ("convert", "NAME", "b.pt"),
        ("bench", "--cases", "NAME"),
        ("case", "new", "--cell", "gru", "--input-size", "2", "--hidden-size", "2", "NAME.safetensors"),
    ],
)
def test_a_name_that_cannot_be_looked_at_is_one_sentence(words: tuple[str, ...]) -> None:
    """A name too long for any file system, which even root cannot look at."""
    name = "a" * 300
    assert_one_sentence(birnn(*(word.replace("NAME", name) for word in words)), "must be a file within reach")

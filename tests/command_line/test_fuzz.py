"""birnn fuzz as a user runs it."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

from backends.studies.fuzzing import Covered
from birnn.commands.fuzz import starved
from common.case import read_case
from tests.command_line.running import birnn_alone


def test_the_command_writes_what_fails_and_says_how_to_repeat_it(tmp_path: Path) -> None:
    out = tmp_path / "found"
    layer = Path(tmp_path / "mine.py")
    layer.write_text(
        "from examples.numpy_gru import layer as right\n\n\ndef layer(spec, weights, x, lengths, h_0, c_0):\n"
        "    output, h_n = right(spec, weights, x, lengths, h_0, c_0)\n"
        "    return output * (1.01 if x.shape[-1] > 6 else 1), h_n\n"
    )
    mine = ("--layer", f"{layer}:layer", "--framework", "numpy", "--dtype", "float64")
    done = birnn_alone("fuzz", *mine, "--cell", "gru", "--seed", 5, "--batches", 2, "--out", out)
    assert done.returncode == 1, done.stderr
    assert "seed 5" in done.stdout
    assert "no script of a framework alone: own/layer is code around it; the case file serves" in done.stdout
    assert not Path(".hypothesis").exists(), "nothing is written but what was named"
    (file, *_) = sorted(out.glob("*.safetensors"))
    case = read_case(file)
    assert case.spec.input_size == 7
    assert (case.batch, case.seq_len, case.spec.hidden_size) == (1, 1, 1)
    again = birnn_alone("verify", file, *mine)
    assert again.returncode == 1
    assert "1 wrong" in again.stdout


def test_ci_fuzzes_every_implementation_for_a_minute_with_a_fixed_seed() -> None:
    root = Path(__file__).parents[2]
    (command,) = re.findall(r"(\S+)/bin/birnn fuzz (.*)", (root / ".github" / "workflows" / "test.yml").read_text())
    environment, options = command[0], command[1].split()
    assert environment == ".tox/study"
    assert dict(zip(options[::2], options[1::2], strict=True)).keys() == {"--time", "--seed", "--out"}
    assert options[options.index("--time") + 1] == "1m"
    assert options[options.index("--seed") + 1].isdigit()
    tox = configparser.ConfigParser()
    tox.read(root / "tox.ini")
    assert "fuzz" in tox["testenv:study"]["extras"].split(", ")


def test_what_came_to_no_draw_is_named() -> None:
    covered = [Covered("numpy/loop", cases=3, judged=2), Covered("numpy/other")]
    assert starved(covered) == ["numpy/other"]
    assert starved(covered[:1]) == []

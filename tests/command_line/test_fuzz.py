"""birnn fuzz as a user runs it."""

from __future__ import annotations

from pathlib import Path

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

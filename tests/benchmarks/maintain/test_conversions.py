"""The figures on conversions are of the commands that were run: seconds, memory, and whether an aim is met."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.maintain.conversions.__main__ import Conversion, Line, copy, made, measured, median, own_bytes, table
from benchmarks.maintain.conversions.own_loaders import OWN
from common.checkpoints.table import FORMATS

MIB = 2**20


def test_a_small_file_is_converted_copied_and_loaded(tmp_path: Path) -> None:
    source = made(tmp_path, 1)
    assert 0.8 * MIB < source.stat().st_size < 1.1 * MIB
    line = measured("safetensors", source, 1)
    assert 0.8 * MIB < line.file_bytes < 1.1 * MIB
    assert line.own is not None
    assert line.copy_seconds > 0
    assert all(0 < seconds < 60 for seconds in (line.to.seconds, line.back.seconds, *line.own))
    assert 10 * MIB < line.to.peak_bytes < 2000 * MIB, "an interpreter with NumPy"
    assert [path.name for path in tmp_path.iterdir()] == ["source.pt"]
    copy(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()


def test_the_median_of_the_times_and_the_worst_of_the_peaks() -> None:
    assert median([Conversion(3, 5), Conversion(1, 9), Conversion(2, 1)]) == Conversion(2, 9)


def test_an_aim_that_is_missed_is_marked() -> None:
    usual = Conversion(3.0, 150)
    good = Line("torch", 100, 1.0, usual, usual, None)
    slow = Line("keras", 100, 1.0, usual, Conversion(4.1, 150), (1.0, 2.0))
    large = Line("onnx", 100, 1.0, Conversion(3.0, 201), usual, None)
    assert [line.good for line in (good, slow, large)] == [True, False, False]
    text = table([good, slow, large]).splitlines()
    assert "| `torch` | 0 | 1.00 | 3.00 | 3.00 | 3.0 × | 1.50 | – |" in text
    assert ["(missed)" in text[number] for number in (2, 3, 4)] == [False, True, True]
    assert "| 4.1 × (missed) | 1.50 | 1.00, 2.00 |" in text[3]
    assert "| 3.0 × | 2.01 (missed) | – |" in text[4]


def test_every_format_has_an_own_loader_but_weights_without_a_model() -> None:
    assert FORMATS.keys() - OWN.keys() == {"keras-weights"}


def test_it_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.maintain.conversions", "--format", "nosuch"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "--format must be one of torch, " in done.stderr


def test_memory_is_what_a_process_has_of_its_own(tmp_path: Path) -> None:
    """32 MiB that it made, and not 32 MiB of a file that it has mapped and read."""
    (tmp_path / "file").write_bytes(bytes(32 * MIB))
    made_of = {"own": "bytearray(b'x') * (32 << 20)", "mapped": "np.memmap('file', np.uint8, mode='r'); each.sum()"}
    of_its_own = {}
    for name, code in made_of.items():
        program = f"import sys, numpy as np\neach = {code}\nprint('ready', flush=True)\nsys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            of_its_own[name] = own_bytes(process.pid)
            process.communicate()
    assert 28 * MIB < of_its_own["own"] - of_its_own["mapped"] < 36 * MIB
    assert own_bytes(process.pid) == 0

"""Options beyond all measure, machines too small, and odd surroundings: one sentence each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backends.pool.environments import ROOT
from backends.pool.pool import Pool
from common import memory
from common.case import write_case
from common.cases.seeded import Shape, make_case
from common.errors import InputError
from common.specification import Specification
from common.weights import count, shapes
from tests.cases import a_case
from tests.command_line.running import birnn
from tests.command_line.test_bad_input import assert_one_sentence
from tests.command_line.test_exit_codes import ABSENT
from tests.workers.misbehaving import BACKEND

LARGE = "1" + "0" * 30


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("verify", "--timeout", "inf"), "--timeout"),
        (("verify", "--timeout", "nan"), "--timeout"),
        (("verify", "--timeout", "1e300"), "--timeout"),
        (("verify", "--threads", LARGE), "--threads"),
        (("bench", "--seed", LARGE), "--seed"),
        (("bench", "--threads", LARGE), "--threads"),
        (("bench", "--processes", LARGE), "--processes"),
        (("bench", "--budget", "9" * 400 + "h", "--why"), "--budget must be a number of s, m or h"),
        (("compare", "none", "a", "b", "--same", "9" * 400 + "%"), "--same must be a percentage"),
        (("train", "pipeline", "--seed", LARGE), "--seed"),
        (("train", "pipeline", "--epochs", LARGE), "--epochs"),
        (("train", "pipeline", "--dropout", "nan"), "--dropout"),
        (("predict", "g2pm", "我", "--max-steps", LARGE), "--max-steps"),
        (("case", "new", "c.safetensors", "--seed", LARGE), "--seed"),
        (("case", "new", "c.safetensors", "--seed", "9" * 5000), "--seed"),
        (("case", "new", "c.safetensors", "--num-layers", 1000, "--hidden-size", 1000), "must fit into memory"),
        (("case", "new", "c.safetensors", "--batch", LARGE), "must fit into memory"),
        (("case", "new", "c.safetensors", "--lengths", LARGE), "must fit into memory"),
        (("case", "new", "c.safetensors", "--lengths", "9" * 5000), "--lengths must be whole numbers"),
        (("train", "classifier", "--num-layers", 1000, "--hidden-size", 10_000), "the model must fit into memory"),
    ],
)
def test_an_option_beyond_all_measure_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], part: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_one_sentence(birnn(*arguments), part)
    assert list(tmp_path.iterdir()) == []


def test_weights_are_counted_as_they_are_listed() -> None:
    for cell in ("rnn_tanh", "gru", "lstm"):
        for merge, reverse in (("concat", None), ("concat", 7), ("weighted", None), ("sum", None)):
            for layers in (1, 2, 3):
                for bias in (True, False):
                    spec = Specification.model_validate(
                        {
                            "cell": cell,
                            "input_size": 4,
                            "hidden_size": 5,
                            "num_layers": layers,
                            "bias": bias,
                            "merge": merge,
                            "hidden_size_reverse": reverse,
                        }
                    )
                    assert count(spec) == memory.numbers_in(shapes(spec).values())


def test_a_container_s_memory_is_what_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    assert memory.free_bytes() == 2_000_000
    spec = Specification(cell="gru", input_size=4, hidden_size=100, num_layers=2, bias=True, merge="concat")
    with pytest.raises(InputError, match=r"the case a must fit into memory; it needs about 0.0 GiB, and 0.0 GiB are"):
        make_case("a", spec, Shape(3, 5), seed=0, with_states=True, with_cotangents=True, source="a test")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_bytes() != 2_000_000


def test_where_memory_runs_out_the_worker_goes_first() -> None:
    with Pool.open() as pool:
        own, workers = (Path(f"/proc/{each}/oom_score_adj") for each in ("self", pool.worker(BACKEND).pid))
        assert int(workers.read_text()) == 1000 > int(own.read_text())


def command_in(folder: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    words = [sys.executable, "-m", "birnn", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, cwd=folder, env=os.environ | ABSENT | environment)


def test_a_package_of_the_same_name_before_birnn_s_is_one_sentence(tmp_path: Path) -> None:
    for name, foreign in (("common", "common/__init__.py"), ("backends", "backends.py")):
        path = tmp_path / name / foreign
        path.parent.mkdir(parents=True)
        path.touch()
        done = command_in(tmp_path, "backends", PYTHONPATH=f"{tmp_path / name}:{ROOT}")
        assert_one_sentence(done, f"the package {name} must be birnn's own", str(tmp_path / name))


def test_a_working_folder_that_has_been_removed_is_one_sentence(tmp_path: Path) -> None:
    script = f"rmdir {tmp_path}/gone && PYTHONPATH={ROOT} {sys.executable} -m birnn case show x"
    (tmp_path / "gone").mkdir()
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path / "gone")
    assert_one_sentence(done, "the working folder must be there")


def test_a_sitecustomize_that_prints_is_one_sentence_or_no_harm(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("print('hello from sitecustomize')")
    write_case(a_case("gru"), tmp_path / "c.safetensors")
    path = f"{tmp_path / 'site'}:{ROOT}"
    done = command_in(tmp_path, "verify", "c.safetensors", "-i", "numpy", "--dtype", "float32", PYTHONPATH=path)
    assert "Traceback" not in done.stderr
    assert (done.returncode, "1 agree" in done.stdout) == (0, True) or (
        (done.returncode, "hello from sitecustomize" in done.stderr) == (2, True)
    ), done


def test_among_installed_packages_a_worker_gets_ours_alone_and_no_foreign_commit(tmp_path: Path) -> None:
    """A wheel, installed inside somebody's repository, beside packages that workers must not see."""
    site = tmp_path / "site-packages"
    for name in ("backends", "benchmarks", "birnn", "common"):
        shutil.copytree(ROOT / name, site / name, ignore=shutil.ignore_patterns("__pycache__"))
    (site / "numpy_of_the_controller.py").write_text("")
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "init.defaultBranch=main")
    for arguments in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "theirs")):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    script = (
        "import os; from backends.pool.environments import *; from backends.registry import BUILT_IN; "
        "from benchmarks.measure.runs import commit_of_suite; "
        "first = worker_environment(1)['PYTHONPATH'].split(os.pathsep)[0]; "
        "print(sorted(os.listdir(first)), first, repr(commit_of_suite()), how_to_create(BUILT_IN[0]), sep='|')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    packages, folder, commit, how = done.stdout.strip().split("|")
    assert packages == "['backends', 'benchmarks', 'birnn', 'common']"
    assert not Path(folder).exists(), "it goes with the process"
    assert commit == "''"
    assert "a checkout of birnn (pip install -e .)" in how

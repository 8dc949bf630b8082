"""What was computed by other source is told from what this source computes, also between two edits of one commit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backends.pool.environments import ROOT
from backends.registry import BUILT_IN, Backend
from backends.studies import sources as read
from backends.studies.sources import OURS, Sources
from benchmarks.measure import runs
from benchmarks.measure.runs import commit_of_suite, run_for
from benchmarks.measure.settings import Settings
from benchmarks.store.store import Store
from tests.benchmarks.measure.test_session import settings

TORCH, JAX = BUILT_IN[:2]
WISHES: Settings = settings(["paced/steady"])


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this repository's packages, for tests to edit."""
    for name in OURS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.txt"))
    monkeypatch.setattr(read, "ROOT", tmp_path)
    return tmp_path


def edit(file: Path) -> None:
    """What changes nothing that is computed, and might have."""
    file.write_text(file.read_text() + "\n# edited\n")


def sources(*, harness: bool = True) -> dict[str, str]:
    hashes = Sources()
    names = [(TORCH, "native"), (TORCH, "tuned"), (JAX, "manual")]
    digests = {f"{backend.name}/{name}": hashes.of(backend, name) for backend, name in names}
    return digests | {"harness": hashes.of_module(runs.HARNESS)}


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("backends/pytorch/layer/tuned.py", {"torch/tuned"}),
        ("backends/pytorch/layer/implementation.py", {"torch/native", "torch/tuned"}),
        ("backends/pytorch/__init__.py", {"torch/native", "torch/tuned"}),
        ("backends/jax_flax/layer/manual.py", {"jax/manual"}),
        ("backends/worker/timing.py", {"torch/native", "torch/tuned", "jax/manual"}),
        ("common/weights.py", {"torch/native", "torch/tuned", "jax/manual", "harness"}),
        ("benchmarks/measure/contest.py", {"harness"}),
        ("birnn/display.py", set()),
    ],
)
def test_an_edit_changes_the_source_of_what_imports_the_file(checkout: Path, file: str, changed: set[str]) -> None:
    before = sources()
    assert sources() == before
    edit(checkout / file)
    after = sources()
    assert {name for name in before if before[name] != after[name]} == changed


def test_a_plug_in_is_read_and_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "birnn_never_run"
    package.mkdir()
    contents = {
        "__init__": "raise SystemExit('imported')",
        "framework": "from .one import One\nfrom birnn_never_run.two import Two\nclass F:\n"
        "    implementations = {'one': One, 'two': Two}",
        "one": "from . import shared",
        "two": "def late():\n    import birnn_never_run.shared",
        "shared": "",
        "broken": "def (",
        "unrelated": "",
    }
    for name, content in contents.items():
        (package / f"{name}.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    backend = Backend("never", "birnn_never_run.framework:load")

    def digests() -> list[str]:
        return [Sources().of(backend, name) for name in ("one", "two")]

    for name, changed in {
        "unrelated": [False, False],
        "one": [True, False],
        "two": [False, True],
        "shared": [True, True],
        "framework": [True, True],
        "__init__": [True, True],
    }.items():
        before = digests()
        edit(package / f"{name}.py")
        assert [a != b for a, b in zip(before, digests(), strict=True)] == changed, name
    assert "birnn_never_run" not in sys.modules
    assert Sources().of(Backend("b", "birnn_never_run.broken:load"), "x") != Sources().of(
        Backend("b", "nowhere_at_all:load"), "x"
    )


def test_another_source_is_another_run_and_the_run_says_which(tmp_path: Path) -> None:
    with Store.open(tmp_path / "r.duckdb", write=True) as store:

        def run(source: str) -> str:
            chosen = run_for(store, WISHES, ["e"], {"torch/native": source}, label="", seed=1, command="", again=False)
            assert chosen.settings["sources"] == {"torch/native": source}
            return chosen.run

        assert run("a") == run("a")
        assert run("b") != run("a")


def git(folder: Path, *arguments: str) -> str:
    named = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    return subprocess.run(["git", *named, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_the_commit_of_another_owner_s_checkout_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    assert commit_of_suite() == ""
    (tmp_path / "file").touch()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "times").touch()
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = git(tmp_path, "rev-parse", "--short", "HEAD").strip()
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(subprocess.CalledProcessError):
        git(tmp_path, "status")  # else the attack is void
    assert commit_of_suite() == commit
    (tmp_path / "file").write_text("edited")
    assert commit_of_suite() == commit_of_suite(but=["docs"]) == f"{commit}-changed"
    (tmp_path / "file").write_text("")
    (tmp_path / "results" / "times").write_text("1 ms")
    assert commit_of_suite() == f"{commit}-changed"
    assert commit_of_suite(but=["results"]) == commit, "a measurement's own file is no change of what is measured"
    (tmp_path / ".git" / "HEAD").write_text("nonsense")
    assert commit_of_suite() == "unknown"


def test_an_edit_of_a_users_own_layer_is_another_source(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    sources = []
    for body in ("1", "2", "1"):
        file.write_text(f"def layer(*inputs):\n    return {body}\n")
        sources.append(Sources().of(Backend("own", "backends.worker.own_layer:load", files=(file,)), "layer"))
    assert sources[0] == sources[2] != sources[1]

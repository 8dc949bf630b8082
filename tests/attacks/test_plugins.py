"""Plug-ins that raise, end the process, are no backend or take another's name: named, left out, and the rest runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import registry
from backends.pool.pool import Pool
from backends.pool.selection import select
from common.case import write_case
from common.errors import InputError
from tests.attacks.plugins import plug
from tests.cases import a_case
from tests.command_line.test_exit_codes import ABSENT, all_of

HOSTILE = {
    "raises": ("raise RuntimeError('no licence')", "must load; got RuntimeError('no licence')"),
    "ends": ("raise SystemExit(0)", "must load; got SystemExit(0)"),
    "silent": ("import os\nos._exit(0)", "must load; got SystemExit('os._exit(0)')"),
    "syntax": ("def", "must load; got SyntaxError("),
    "nothing": ("", "must load; got AttributeError("),
    "number": ("BACKEND = 5", "must name a Backend; got 5"),
    "thief": (
        "from backends.registry import Backend\nBACKEND = Backend('torch', 'json:loads')",
        "must have a name of its own; got 'torch', which is taken",
    ),
    "path": (
        "from backends.registry import Backend\nBACKEND = Backend('../up', 'json:loads')",
        "must have a name of letters, digits, dots, - and _; got '../up'",
    ),
    "says": ("print('hello from a plug-in')\nraise RuntimeError('later')", "must load; got RuntimeError('later')"),
}


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All of them installed, in this process, beside the numpy plug-in of the environment."""
    for name, (source, _) in HOSTILE.items():
        plug(tmp_path / name, name, f"hostile_{name}:BACKEND", source)
        monkeypatch.syspath_prepend(str(tmp_path / name))
    registry._loaded.cache_clear()
    yield
    registry._unwanted.clear()
    registry._loaded.cache_clear()


def test_each_is_left_out_with_its_reason_and_no_other_is(plugged: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(registry.backends()) == {"torch", "jax", "tensorflow", "mxnet", "onnxruntime", "numpy"}
    assert registry.backends()["torch"].load == "backends.pytorch:load"
    assert registry.left_out().keys() == HOSTILE.keys()
    for name, (_, reason) in HOSTILE.items():
        assert f"the plug-in {name}, " in registry.left_out()[name]
        assert reason in registry.left_out()[name]
        assert "\n" not in registry.left_out()[name]
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "hello from a plug-in\n"), "stdout is for results"


def test_those_that_were_asked_for_are_broken_and_the_others_noted(plugged: None) -> None:
    with Pool.open() as pool:
        selection = select(pool, ["[nr]*/*"])
        assert selection.implementations == {"numpy": ["loop"]}
        assert selection.broken.keys() == {"plug-in raises", "plug-in nothing", "plug-in number"}
        assert len(selection.left_out) == len(HOSTILE) - 3
        assert len(selection.notes()) == len(HOSTILE)
        with pytest.raises(InputError, match=r"the plug-in ends, .* must load; got SystemExit"):
            select(pool, ["ends/*"])


def test_without_plugin_says_nothing_of_them_and_knows_its_names(plugged: None) -> None:
    registry.leave_out(["raises", "thief"])
    assert registry.left_out().keys() == HOSTILE.keys() - {"raises", "thief"}
    registry.leave_out(["numpy"])
    assert "numpy" not in registry.backends()
    with pytest.raises(InputError, match=r"must name a plug-in \(.*ends.*numpy.*\); got 'nosuch'"):
        registry.leave_out(["nosuch"])


def test_the_commands_name_it_and_go_on(tmp_path: Path) -> None:
    """By default with one line and exit code 2, which --without-plugin spares."""
    environment = ABSENT | plug(tmp_path / "plugged", "ends", "hostile_ends:BACKEND", HOSTILE["ends"][0])
    case = tmp_path / "c.safetensors"
    write_case(a_case("gru"), case)
    verify = ("verify", case, "--dtype", "float32")
    every, numpy, without, listed = all_of(
        [verify, (*verify, "-i", "numpy"), (*verify, "--without-plugin", "ends"), ("backends",)], **environment
    )
    for done, code in ((every, 2), (numpy, 0)):
        assert (done.returncode, done.stderr.count("the plug-in ends, the entry point")) == (code, 1), done
        assert "1 agree, 0 unsupported, 0 wrong" in done.stdout
    assert (without.returncode, "plug-in" in without.stderr) == (0, False), without
    assert (listed.returncode, "plug-in ends  left out" in listed.stdout) == (2, True), listed

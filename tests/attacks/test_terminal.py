"""Text from outside drives no terminal: files, labels, options and plug-ins full of control characters, shown."""

from __future__ import annotations

import io
import re
import subprocess
import unicodedata
from dataclasses import replace
from pathlib import Path

from rich.table import Table
from rich.text import Text

from benchmarks.store.records import CRASHED
from benchmarks.store.store import Store
from birnn.display import PlainConsole
from common.case import write_case
from common.terminal import CONTROLS, plain
from tests.attacks.plugins import plug
from tests.benchmarks.made_up_run import made_up_content
from tests.cases import a_case
from tests.command_line.running import birnn
from tests.command_line.test_exit_codes import ABSENT, all_of

TITLE = "\x1b]0;owned\x07"
HOSTILE = f"{TITLE}\x1b[2J\x9b31m\x7f\r\u202egreen\u2066\u2028[/bold]"
SHOWN = plain(HOSTILE)
CONTROL = re.compile("[" + "".join(f"{chr(low)}-{chr(high)}" for low, high in CONTROLS) + "]")

PLUGIN = """
import sys
from backends.interface.framework import Framework
from backends.interface.gaps import Gap
from backends.registry import Backend
BACKEND = Backend(name="hostile", load="hostile_plugin:Hostile")
HOSTILE = {hostile!r}
class Hostile(Framework):
    name = "hostile"
    gaps = (Gap(("gap" + HOSTILE,), HOSTILE, HOSTILE, lambda request: True),)
    def __init__(self):
        from birnn_numpy_loop.framework import Loop
        class Raises(Loop):
            def forward_backward(self):
                raise RuntimeError(HOSTILE)
        class Dies(Loop):
            def forward_backward(self):
                print(HOSTILE, file=sys.stderr, flush=True)
                import os
                os._exit(3)
        self.implementations = {{"raises" + HOSTILE.replace("/", ""): Raises, "dies": Dies, "gap" + HOSTILE: Loop}}
    def versions(self):
        return {{"hostile": HOSTILE}}
    def devices(self):
        return {{"cpu": HOSTILE}}
"""


def assert_harmless(done: subprocess.CompletedProcess[str]) -> str:
    text = done.stdout + done.stderr
    assert not CONTROL.search(text), (done.args, text)
    assert "\nTraceback" not in f"\n{text}", "but for a worker's, in its log"
    assert "birnn's own" not in text
    return text


def test_files_options_and_labels_are_shown_without_their_controls(tmp_path: Path) -> None:
    named = tmp_path / f"{TITLE}\u202e\udc80.safetensors"
    case = replace(a_case("gru"), name=f"a{HOSTILE.translate(dict.fromkeys(range(32))).replace('/', '')}")
    write_case(replace(case, source=HOSTILE), named)
    (tmp_path / f"bad{TITLE}").write_text("not safetensors")
    content, store = made_up_content(), tmp_path / "s.duckdb"
    with Store.open(store, write=True) as opened, opened.transaction():
        opened.add_run(replace(content.run, label=HOSTILE))
        crashed = [row for row in content.rows if row.status == CRASHED]
        for row in crashed:
            opened.put_row(replace(row, reason=HOSTILE, log=HOSTILE, kernels=[HOSTILE]))
    page, rows = tmp_path / f"page{TITLE}.html", tmp_path / f"rows{TITLE}.csv"
    commands: tuple[tuple[object, ...], ...] = (
        ("case", "show", named),
        ("verify", tmp_path / f"bad{TITLE}"),
        ("results", "list", store),
        ("report", store, "-o", page),
        ("results", "export", store, "-o", rows),
        (f"no{HOSTILE}",),
        ("compare", store, HOSTILE, "two"),
    )
    show, bad, listed, report, export, usage, _ = (assert_harmless(birnn(*command)) for command in commands)
    assert f"source: {SHOWN[:20]}" in show
    assert "\\udc80" in plain(str(named))
    assert f"bad{plain(TITLE)}: must be a readable safetensors file" in bad
    assert "\\x1b]0;owned" in listed
    assert plain(str(page)) in report
    assert plain(str(rows)) in export
    assert "\\x9b31m" in usage
    written = rows.read_text()
    assert written.count("owned") >= 4 * len(crashed) > 0
    assert not CONTROL.search(written.replace("\r\n", "\n"))


def test_a_plug_in_s_texts_are_shown_without_their_controls(tmp_path: Path) -> None:
    environment = plug(tmp_path / "plugged", "hostile", "hostile_plugin:BACKEND", PLUGIN.format(hostile=HOSTILE))
    case, report = tmp_path / "c.safetensors", tmp_path / "report.json"
    write_case(a_case("gru"), case)
    verify, backends, as_json = (
        assert_harmless(done)
        for done in all_of(
            [
                ("verify", case, "-i", "hostile/*", "--dtype", "float32", "--json", report),
                ("backends",),
                ("backends", "--json"),
            ],
            **ABSENT | environment,
        )
    )
    assert f"RuntimeError: {plain(HOSTILE.splitlines()[0])}" in verify
    assert "    | " in verify
    assert verify.count("\\x1b]0;owned\\x07") >= 5
    assert "[/bold]" in backends
    assert "\\u202e" in as_json
    assert not CONTROL.search(report.read_text())


def test_whatever_way_text_comes_to_a_console_it_drives_nothing() -> None:
    file = io.StringIO()
    console = PlainConsole(file=file, force_terminal=True, width=300, color_system="standard")
    table = Table(HOSTILE.replace("[/bold]", ""))
    table.add_row(Text(HOSTILE))
    console.print(HOSTILE, markup=False)
    console.print(Text(HOSTILE), table)
    with console.status(HOSTILE.replace("[/bold]", "")):
        pass
    console.print("[bold]words[/bold]")
    written = file.getvalue()
    for hostile in (TITLE, "\x1b[2J", "\x9b", "\x7f", "\u202e", "\u2066", "\u2028"):
        assert hostile not in written
    assert "\x1b[1mwords" in written, "what rich itself writes stays"


def test_every_control_is_escaped_and_nothing_else() -> None:
    everything = "".join(map(chr, range(0x110000)))
    assert not CONTROL.search(plain(everything))
    assert plain("tab\tnewline\nJapanese 日本語, é, emoji 👩‍🚀, Persian می‌خواهم") == (
        "tab\tnewline\nJapanese 日本語, é, emoji 👩‍🚀, Persian می‌خواهم"
    )


def test_every_control_character_but_tab_and_newline_is_escaped_and_nothing_else() -> None:
    """By Unicode's own categories: Cc, the bidirectional formats of UAX #9, line separators, surrogates."""
    bidirectional = {"\u061c", "\u200e", "\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}
    for number in range(0x11000):
        character = chr(number)
        is_control = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") and character not in "\t\n"
        assert (plain(character) != character) == (is_control or character in bidirectional), hex(number)

"""What the commands print: tables on stdout, progress and notes on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.box import SIMPLE
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from common.terminal import plain

WIDTH_WITHOUT_TERMINAL = 120
"""Columns of what is printed into a file or a pipe."""
UNBOUNDED = 10_000
"""A width in which every table fits."""
LINE_SECONDS = 10.0
"""Seconds after which progress is told again where there is no terminal."""


class PlainConsole(Console):
    """A console on which text from outside is text: control characters are shown as their escapes, and a reader that
    has gone ends the command as it ends every other one.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """What is printed or stands in a table, with every control character visible."""
        return super().render_str(plain(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Whatever came another way, such as the text of a progress bar."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Let the error through; rich ends the process with 1, which means here that something is wrong."""
        raise  # called while it is handled


def _in_colour(stream: TextIO) -> dict[str, Any]:
    """What FORCE_COLOR asks for where there is no terminal: colours, but neither a bar that moves the cursor nor a
    terminal's width, which rich (15.0) takes it for. NO_COLOR, which rich minds itself, takes the colours away again.
    """
    if os.environ.get("FORCE_COLOR") and not stream.isatty():
        return {"force_terminal": False, "color_system": "standard"}
    return {}


def stdout() -> Console:
    """Where results go; a fixed width where there is no terminal and COLUMNS says none, as in a file or a CI log."""
    options = {"highlight": False, "emoji": False} | _in_colour(sys.stdout)
    console = PlainConsole(**options)
    if console.is_terminal or os.environ.get("COLUMNS", "").isdecimal():
        return console
    return PlainConsole(**options, width=WIDTH_WITHOUT_TERMINAL)


def console_into(file: TextIO) -> Console:
    """A console that writes plain text into ``file``, as wide as ``stdout()``."""
    return PlainConsole(file=file, highlight=False, emoji=False, width=stdout().width, color_system=None)


def stderr() -> Console:
    """Where progress and notes go."""
    return PlainConsole(stderr=True, highlight=False, emoji=False, soft_wrap=True, **_in_colour(sys.stderr))


def say(text: str, end: str = "\n") -> None:
    """Print ``text`` on stdout as it is, but for control characters."""
    print(plain(text), end=end)


def say_written(path: Path, what: str) -> None:
    """Say on stderr what a command has written, and where; below what it has printed."""
    sys.stdout.flush()
    stderr().print(f"birnn: wrote {what}: {path}", markup=False)


def left(task: Task) -> str:
    """How long a task takes still, by its field ``seconds_left`` or else by its pace; empty where it cannot be told."""
    seconds = task.fields.get("seconds_left", task.time_remaining)
    if seconds is None or task.finished:
        return ""
    return f"about {seconds / 60:.1f} min left" if seconds >= 60 else f"about {seconds:.0f} s left"


class LeftColumn(ProgressColumn):
    """The time that a task takes still."""

    def render(self, task: Task) -> Text:
        """``about 40 s left``."""
        return Text(left(task))


class ProgressLines(Progress):
    """A bar on a terminal; elsewhere, as in a file, a CI's log or the output of tox, a line every ten seconds that says
    what is being done, how far it is, and how long it takes still.
    """

    _told: float | None = None

    def start(self) -> None:
        """Begin; the first line comes ten seconds later."""
        self._told = time.monotonic()
        super().start()

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Note that a task has advanced."""
        super().advance(task_id, advance)
        self._tell(task_id)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Note whatever has changed of a task."""
        super().update(task_id, **changes)
        self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        """Print the line of a task where it is time for one."""
        if self.console.is_terminal or self._told is None or time.monotonic() < self._told + LINE_SECONDS:
            return
        self._told = time.monotonic()
        (task,) = (each for each in self.tasks if each.id == task_id)
        of = "" if task.total is None else f" of {task.total:.0f}"
        parts = [task.description, f"{task.completed:.0f}{of} done", left(task)]
        self.console.print(f"birnn: {', '.join(filter(None, parts))}", markup=False)


def progress() -> Progress:
    """A progress bar on stderr, gone when it ends; lines where stderr is no terminal."""
    console = stderr()
    return ProgressLines(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        LeftColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def close_table(title: str = "") -> Table:
    """A table without lines between columns, for narrow consoles."""
    return Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, title=title, title_justify="left")


def print_fitting(console: Console, *layouts: Sequence[RenderableType]) -> None:
    """Print the first layout of which nothing is wider than the console, or the last; each is a list of tables."""
    unbounded = console.options.update(width=UNBOUNDED)
    for layout in layouts[:-1]:
        if all(console.measure(table, options=unbounded).maximum <= console.width for table in layout):
            break
    else:
        layout = layouts[-1]
    for table in layout:
        console.print(table)


def count_of(count: int, noun: str) -> str:
    """``1 case`` or ``3 cases``."""
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"

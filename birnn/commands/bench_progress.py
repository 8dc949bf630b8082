"""What ``birnn bench`` says while it measures: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from benchmarks.measure.budget import time_left
from benchmarks.measure.session import Progress as Told
from benchmarks.report.table import cell_text
from benchmarks.store.records import TIMED, Row
from birnn.display import LINE_SECONDS

BAR_SECONDS = 1.0
"""The bar is drawn again when so long a time is over, and a line is printed after ``LINE_SECONDS``; after a block,
never during one."""


class ProgressBar:
    """Progress on stderr, drawn when there is something to say: no thread of the controller runs while it measures."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            auto_refresh=False,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=None, left="")
        self._job_told, self._told = "starting", time.monotonic()

    def __enter__(self) -> Told:
        self._progress.start()
        return Told(self._job, self._row, self._note, self._left)

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def _job(self, text: str, done: int, total: int, left: float) -> None:
        """Show the job that begins, and how far the run is."""
        self._job_told = f"{text}, job {done + 1} of {total}"
        self._progress.update(
            self._task, description=text, completed=done, total=total, left=time_left(left), refresh=True
        )
        self._left(left)

    def _left(self, left: float) -> None:
        """Show the time that is left, now and then."""
        pause = BAR_SECONDS if self._console.is_terminal else LINE_SECONDS
        if time.monotonic() < self._told + pause:
            return
        self._told = time.monotonic()
        if self._console.is_terminal:
            self._progress.update(self._task, left=time_left(left), refresh=True)
        else:
            self._console.print(f"birnn: {self._job_told}, {time_left(left)}", markup=False, soft_wrap=True)

    def _row(self, row: Row) -> None:
        """Show the newest median."""
        if row.status in TIMED:
            self._progress.update(
                self._task, description=f"{row.key.implementation} {cell_text(row)} ms, {row.key.case}", refresh=True
            )

    def _note(self, text: str) -> None:
        """Print a sentence above the bar."""
        self._progress.console.print(f"birnn: {text}", markup=False)

"""Answers with their probabilities as a table, as JSON, and as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from birnn.commands.answers.likeliest import Answered, Place
from birnn.display import close_table, say, say_written, stdout
from birnn.options import writable_file
from common.errors import InputError
from common.output import write_bytes
from common.terminal import plain

SUFFIXES = (".json", ".tsv")
"""The endings of files that answers are written to."""
HEADS = ("text", "place", "token", "rank", "answer", "probability")
"""The columns of a file with tabs."""


def check_out(out: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Raise an ``InputError`` for a file that answers cannot be written to."""
    if out.suffix not in suffixes:
        raise InputError(f"--out must end in {' or '.join(suffixes)}, which says how it is written; got {str(out)!r}")
    writable_file("--out", out)


def show_answers(
    model: str, implementation: str, every: Sequence[Answered], json_wanted: bool, out: Path | None
) -> None:
    """Print the answers as JSON or as a table, or write them to a file and say so."""
    content = as_json(model, implementation, every)
    if out is not None:
        write_answers(out, content)
        say_written(out, "the answers")
    if json_wanted:
        say(json_text(content))
    elif out is None:
        print_answers(stdout(), every)


def print_answers(console: Console, every: Sequence[Answered]) -> None:
    """A line a place: the token, or the text where it is about all of it, and its answers, the likeliest first."""
    places = [(number, place) for number, each in enumerate(every, 1) for place in each.places]
    most = max(len(place.answers) for _, place in places)
    several, whole = len(every) > 1, all(place.index is None for _, place in places)
    table = close_table()
    if several:
        table.add_column("no.", justify="right", no_wrap=True)
    if not whole:
        table.add_column("place", justify="right", no_wrap=True)
    table.add_column("text" if whole else "token", overflow="fold")
    for rank in range(1, most + 1):
        table.add_column(f"{rank}.", overflow="fold")
        table.add_column("p", justify="right", no_wrap=True)
    for number, place in places:
        cells = [str(number)] if several else []
        cells += [] if whole else [str(place.number)]
        table.add_row(*cells, escape(place.token), *_cells(place))
    console.print(table)


def _cells(place: Place) -> list[str]:
    """The answers of a place and their probabilities."""
    return [cell for each in place.answers for cell in (escape(each.answer), f"{each.probability:.4f}")]


def as_json(model: str, implementation: str, every: Sequence[Answered]) -> dict[str, Any]:
    """The answers to all texts as a JSON object, and who gave them."""
    return {
        "version": 1,
        "model": model,
        "implementation": implementation,
        "texts": [each.as_json() for each in every],
    }


def json_text(content: dict[str, Any]) -> str:
    """A JSON object as it is printed and written."""
    return json.dumps(content, indent=1, ensure_ascii=False)


def write_answers(path: Path, content: dict[str, Any]) -> None:
    """Write the answers of ``as_json`` as JSON or, by the file's ending, as lines with tabs, whole or not at all."""
    if path.suffix == ".json":
        write_bytes(path, f"{json_text(content)}\n".encode())
        return
    lines = ["\t".join(HEADS)]
    for number, text in enumerate(content["texts"], 1):
        for place in text["places"]:
            for rank, each in enumerate(place["answers"], 1):
                where = "" if place["place"] is None else place["place"]
                cells = (number, where, place["token"], rank, each["answer"], repr(each["probability"]))
                lines.append("\t".join(plain(str(cell)) for cell in cells))
    write_bytes(path, ("\n".join(lines) + "\n").encode())

"""English prose that every Python brings: the sentences of its language reference, as ``help()`` shows it.

CPython carries the reference's sections as plain text in ``pydoc_data.topics`` (under the licence of Python itself),
more or less the same in each release. Many sections hold others, so a sentence counts once.
"""

from __future__ import annotations

import re

from common.data.text import prose
from common.errors import InputError

SENTENCE = re.compile(r"[A-Z](?:\S* ){3,}\S*[.:!?]")
"""A sentence of prose: from a capital to its mark, of four words or more."""
NO_PROSE = re.compile(r">>> | ([-=*^~] )*([-=*^~])\2{3}")
"""A session of the interpreter, and the line below a heading."""


def read_manual() -> list[str]:
    """Each sentence once, as it is spelled, in the order of the sections' names.

    Raises
    ------
    InputError
        If this Python brings no reference.
    """
    try:
        from pydoc_data.topics import topics
    except ModuleNotFoundError:
        raise InputError("there must be --data where Python brings no pydoc_data.topics, as here; got none") from None
    sentences = [sentence for name in sorted(topics) for sentence in prose(topics[name].splitlines())]
    return [
        sentence
        for sentence in dict.fromkeys(sentences)
        if SENTENCE.fullmatch(sentence) and not NO_PROSE.search(sentence)
    ]

"""Tagging schemes: how the tags of single words mark entities of several, and what tags may follow one another.

A tag is ``O``, outside of every entity, or a prefix, a hyphen and the entity's type, which may have hyphens of its own
(``B-creative-work``). BIO (IOB2): an entity is a B and as many I as it goes on. IOBES (BIOES): one of a single word is
S, a longer one begins with B and ends with E. IOB1, as the CoNLL-2003 files were first given out: an entity begins
with I, or with B where one of its type stands right before (Tjong Kim Sang and Veenstra 1999, cs/9907006).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

OUTSIDE = "O"
"""The tag of a word outside of every entity."""
PREFIXES = {"bio": "BI", "iobes": "BIES"}
"""The prefixes of each scheme that is trained on."""
BEGIN, OPEN = "BS", "BI"
"""The prefixes that begin an entity; those after which, in IOBES, it must go on."""
SCHEMES = ("auto", "bio", "iobes", "iob1", "none")
"""What a user may say of a file's tags: ``auto`` looks at them, ``iob1`` becomes ``bio``, ``none`` says that they mark
no entities."""


def parts_of(tag: str) -> tuple[str, str]:
    """A tag's prefix and the type of its entity; ``O`` and "" outside of one, and "" and the tag where it is none."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    prefix, hyphen, kind = tag.partition("-")
    return (prefix, kind) if hyphen and kind and prefix in PREFIXES["iobes"] and len(prefix) == 1 else ("", tag)


def scheme_of(tags: Iterable[str]) -> str | None:
    """The scheme that tags are of: iobes where one has E or S, else bio; None where they mark no entities.

    They do where there is an ``O`` and a tag with B or I, and every other is ``O`` or has a prefix, too, or is broken:
    what breaks the scheme is for ``broken_at`` to say.
    """
    prefixes = {parts_of(tag)[0] for tag in set(tags)}
    if OUTSIDE not in prefixes or not prefixes & set(PREFIXES["iobes"]):
        return None
    return "iobes" if prefixes & {"E", "S"} else "bio"


def follows(before: str | None, after: str | None, scheme: str) -> bool:
    """Whether a tag may come after another; None stands for the beginning and for the end of a sentence."""
    (prefix, kind), (next_prefix, next_kind) = (
        (OUTSIDE, "") if tag is None else parts_of(tag) for tag in (before, after)
    )
    if next_prefix in ("I", "E"):
        return prefix in OPEN and kind == next_kind
    return scheme == "bio" or prefix not in OPEN


def broken_at(tags: Sequence[str], scheme: str) -> tuple[int, str] | None:
    """The first word whose tag breaks a scheme, and how; None where all is legal."""
    for index, tag in enumerate(tags):
        prefix, _ = parts_of(tag)
        if prefix != OUTSIDE and prefix not in (*PREFIXES[scheme],):
            return index, f"is neither O nor one of {', '.join(PREFIXES[scheme])} with a hyphen and a type"
    for index, (before, after) in enumerate(pairwise([None, *tags, None])):
        if not follows(before, after, scheme):
            if after is None or parts_of(after)[0] not in ("I", "E"):
                return index - 1, f"is followed by {after or 'the end of the sentence'}, and its entity does not end"
            return index, f"follows {before or 'the beginning of the sentence'}"
    return None


def from_iob1(tags: Sequence[str]) -> tuple[str, ...]:
    """Tags of IOB1 in BIO: an I begins an entity where none of its type goes on."""
    bio: list[str] = []
    for before, tag in pairwise([OUTSIDE, *tags]):
        prefix, kind = parts_of(tag)
        begins = prefix == "I" and parts_of(before)[1] != kind
        bio.append(f"B-{kind}" if begins else tag)
    return tuple(bio)


def allowed(names: Sequence[str], scheme: str) -> np.ndarray:
    """What a path through labels of these names may do, (labels + 2, labels) bool (``common.models.crf.scores``)."""
    between = [[follows(before, after, scheme) for after in names] for before in (*names, None)]
    return np.array([*between, [follows(name, None, scheme) for name in names]], bool)

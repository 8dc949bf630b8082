"""Tagging schemes: how the tags of single words mark entities of several, and what tags may follow one another.

A tag is ``O``, outside of every entity, or a prefix, a hyphen and the entity's type, which may have hyphens of its own
(``B-creative-work``). BIO (IOB2): an entity is a B and as many I as it goes on. IOBES (BIOES): one of a single word is
S, a longer one begins with B and ends with E. IOB1, as the CoNLL-2003 files were first given out: an entity begins
with I, or with B where one of its type stands right before (Tjong Kim Sang and Veenstra 1999, cs/9907006). Legal BIO
read as IOB1 stays what it is, and a stray I begins an entity, as conlleval has it.
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


def several(tag: str) -> list[str]:
    """The tags of a word that annotators gave several, joined by commas as in WNUT 2017's test file; else its one."""
    tags = tag.split(",")
    return tags if len(tags) > 1 and all(parts_of(each)[0] for each in tags) else [tag]


def one_of_several(tags: Sequence[str], scheme: str) -> tuple[str, ...]:
    """One tag for each word: of all choices the one that breaks the scheme least often, and of those that do so equally
    the one with the tags that are named first.
    """
    ways: list[tuple[tuple[int, int], list[str]]] = [((0, 0), [])]  # the best way to each choice for the words so far
    for tag in tags:
        ways = [min(_further(way, each, place, scheme) for way in ways) for place, each in enumerate(several(tag))]
    return tuple(min(ways)[1])


def _further(
    way: tuple[tuple[int, int], list[str]], tag: str, place: int, scheme: str
) -> tuple[tuple[int, int], list[str]]:
    """A way with one more tag: how often it breaks the scheme, the places of its tags added up, and the tags."""
    (breaks, places), so_far = way
    broken = not follows(so_far[-1] if so_far else None, tag, scheme)
    return (breaks + broken, places + place), [*so_far, tag]


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

"""One trial judged whole: a result, what else its implementation gives, and whether the padding has an influence.

Everything that says of a result that it agrees comes through here: ``verify``, ``run``'s result files, ``bench``, a
hand-written layer, and the public ``judge``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from common.case import Case
from common.cases.seeded import GARBAGE_SCALE
from common.judging.agreement import DISAGREES, Verdict, judge
from common.judging.exact import differing
from common.judging.explanation import Explanation, explained
from common.judging.yardstick import without_gradients
from common.reference import Arrays

OTHERS = {"again": "a second call on the same object", "forward": "a forward pass alone"}
"""What else an implementation is asked to give for a case, by its name in a request."""
WILD, TAME = "NaN and infinity", "other numbers"
"""What stands in the padding in a second run."""


def other_paddings(case: Case) -> dict[str, Case]:
    """The case with NaN, infinity and other numbers in the padding, and with other numbers alone; none without padding.

    An implementation may declare that it does not take the first; what it gives for either is equal to the last bit.
    """
    if not case.padding_mask().any():
        return {}
    return {
        WILD: case.with_nonfinite_padding(np.random.default_rng(1), GARBAGE_SCALE),
        TAME: case.with_padding(np.random.default_rng(1), GARBAGE_SCALE),
    }


def judge_trial(
    result: Arrays,
    yard: Any,
    *,
    judge: Callable[[Arrays, Any], Verdict] = judge,
    explain: Callable[[Arrays, Any], Explanation | None] | None = explained,
    others: Callable[[], Mapping[str, Arrays]] = dict,
    paddings: Mapping[str, Callable[[], Arrays | None]] | None = None,
) -> Verdict:
    """Judge a result; where it is right, what else was given; where that is right, the runs with other padding.

    Parameters
    ----------
    result
        The result's tensors by name.
    yard
        The yardstick that ``judge`` takes, a ``Yardstick`` where ``judge`` is not given.
    judge
        Holds a result against the yardstick.
    explain
        Finds the known mistakes that give the same numbers as a wrong result; it may give none. None: do not look.
    others
        Computes what ``OTHERS`` names, or the part of it that is not equal to the result to the last bit.
    paddings
        Computes the case again with what the key names in its padding (``WILD`` before ``TAME``); None where the
        implementation declares that it does not.
    """
    verdict = judge(result, yard)
    if verdict.status == DISAGREES:
        explanation = None if explain is None else explain(result, yard)
        if explanation is None:
            return verdict
        return replace(verdict, matches=explanation.matches, nearest=explanation.nearest)
    reasons = []
    for name, other in others().items():
        again = judge(other, yard if name == "again" else without_gradients(yard))
        if again.status == DISAGREES:
            reasons.append(f"{OTHERS[name]}: {'; '.join(again.reasons)}")
    reasons = reasons or _influence(result, paddings or {})
    return Verdict(False, reasons, verdict.measures) if reasons else verdict


def _influence(result: Arrays, paddings: Mapping[str, Callable[[], Arrays | None]]) -> list[str]:
    """Sentences on what depends on the padding's content, by the tamest content that shows it."""
    influence: list[str] = []
    for what, compute in paddings.items():
        again = compute()
        if again is None:
            continue
        reasons = differing(result, again)
        if not reasons:  # the wild one holds other numbers, too
            return influence
        influence = [f"{reason}, with {what} there" for reason in reasons]
    return influence

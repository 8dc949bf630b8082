"""Whether a result was computed in wider arithmetic than its run's precision, and rounded to it in the end.

Such a result is nearer to the truth than the plain loop, so no limit on errors sees it; but it is not what was asked
for, and its time is another precision's. What gives it away is that it is right to the last bit wherever the plain loop
is not: code in the run's own precision has rounding errors of its own there.
"""

from __future__ import annotations

import numpy as np

from common.judging.precision import numpy_dtype
from common.judging.yardstick import Yardstick
from common.reference import Arrays

DTYPES = ("float32", "float64")
"""Where frameworks compute in what they are asked for; in narrower dtypes they add up, and more, in float32."""
FEWEST_NUMBERS = 200
"""How many numbers the plain loop must miss for them to tell."""
LARGEST_SHARE = 0.1
"""The share of them that wider arithmetic may miss, as where one tensor alone is not of it; correct code of the run's
own precision missed at least 78 % of them over the small built-in cases (MXNet 1.9.1)."""


def wider_arithmetic(result: Arrays, yard: Yardstick) -> list[str]:
    """A sentence where a result is right to the last bit wherever the plain loop is not; else nothing."""
    if yard.dtype not in DTYPES:
        return []
    dtype = numpy_dtype(yard.dtype)
    telling = missed = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for name, truth in yard.truth.items():
            right = truth.astype(dtype)
            tells = (yard.plain[name] != right) & np.isfinite(right)
            telling += int(tells.sum())
            missed += int((tells & (result[name].astype(dtype) != right)).sum())
    if telling < FEWEST_NUMBERS or missed > LARGEST_SHARE * telling:
        return []
    return [
        f"the result must be computed in {yard.dtype}; of {telling} numbers that a plain loop in it misses by a bit or "
        f"more, it has {telling - missed} to the last, as only wider arithmetic gives"
    ]

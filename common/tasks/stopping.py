"""Early stopping: which epoch's weights are kept, and when a training is over, by its validation losses alone.

The rule is that of Goodfellow, Bengio and Courville 2016, *Deep Learning*, algorithm 7.1, asked once an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def best_epoch(losses: Sequence[float]) -> int:
    """The epoch, from 1 on, of the lowest validation loss, the first of equals; 0 before the first one.

    A loss that is not a number is lower than none.
    """
    if not losses:
        return 0
    return 1 + int(np.argmin(np.where(np.isnan(losses), np.inf, losses)))


def is_over(losses: Sequence[float], patience: int) -> bool:
    """Whether the last ``patience`` epochs have had no lower validation loss than one before them."""
    return len(losses) - best_epoch(losses) >= patience

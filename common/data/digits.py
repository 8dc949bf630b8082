"""The 8×8 digits of scikit-learn (UCI's optical recognition of handwritten digits, its test part) as sequences.

All of the digits fill all 8 rows, but few all 8 columns. So a digit is read by columns, from left to right: a step is
a column of 8 pixels, and the empty columns on either side are cut away, which makes lengths of 1 to 8 steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.data.files import data_package

BRIGHTEST = 16
"""The largest value of a pixel."""
PIXELS = 8
"""Pixels of a column of the picture."""
CLASSES = 10
"""Digits to be told apart."""


@dataclass(frozen=True)
class Digit:
    """A picture of a digit: pixels (seq_len, 8) float64 from 0 to 1, a column of it at each step, and the digit."""

    pixels: np.ndarray
    digit: int


def read_digits() -> list[Digit]:
    """All 1,797 digits, in scikit-learn's order.

    Raises
    ------
    InputError
        If scikit-learn is not installed.
    """
    bunch = data_package("sklearn.datasets", "scikit-learn", "the digits").load_digits()
    columns = np.swapaxes(bunch.images, 1, 2) / BRIGHTEST  # (digits, rows, columns) → (digits, columns, rows)
    return [Digit(_without_margins(picture), int(digit)) for picture, digit in zip(columns, bunch.target, strict=True)]


def _without_margins(columns: np.ndarray) -> np.ndarray:
    """The columns from the first to the last that has ink."""
    inked = np.flatnonzero(columns.any(axis=1))
    return columns[inked[0] : inked[-1] + 1]

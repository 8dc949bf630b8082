"""The 8×8 digits of scikit-learn (UCI's optical recognition of handwritten digits, its test part) as sequences.

All of the digits fill all 8 rows, but few all 8 columns. So a digit is read by columns, from left to right: a step is
a column of 8 pixels, and the empty columns on either side are cut away, which makes lengths of 1 to 8 steps.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass

import numpy as np

from common.data.files import data_file, data_package

FILE = "datasets/data/digits.csv.gz"
"""Where the digits are in scikit-learn's folder: 64 pixels and the digit on each line."""
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
    images, targets = _pictures()
    columns = np.swapaxes(images, 1, 2) / BRIGHTEST  # (digits, rows, columns) → (digits, columns, rows)
    return [Digit(_without_margins(picture), int(digit)) for picture, digit in zip(columns, targets, strict=True)]


def _pictures() -> tuple[np.ndarray, np.ndarray]:
    """The pictures (1797, 8, 8) float64 and their digits (1797,) int64: from the file that scikit-learn's
    ``load_digits`` reads, which spares the second that importing it takes; where it is no longer there, by that.
    """
    package = ("scikit-learn", "the digits")
    file = data_file("sklearn", FILE, *package)
    if not file.exists():
        bunch = data_package("sklearn.datasets", *package).load_digits()
        return bunch.images, bunch.target
    with gzip.open(file, "rt") as lines:
        table = np.loadtxt(lines, delimiter=",")
    return table[:, :-1].reshape(-1, PIXELS, PIXELS), table[:, -1].astype(np.int64)


def _without_margins(columns: np.ndarray) -> np.ndarray:
    """The columns from the first to the last that has ink."""
    inked = np.flatnonzero(columns.any(axis=1))
    return columns[inked[0] : inked[-1] + 1]

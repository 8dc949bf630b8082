"""Nearest neighbours by cosine, of vectors that come in parts."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import numpy as np

Item = TypeVar("Item")
"""What a vector stands for."""


class Neighbour(NamedTuple, Generic[Item]):
    """What a vector that lies near stands for, and the cosine of the angle between them."""

    cosine: float
    item: Item


def cosines(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The cosine between each of (q, width) and each of (n, width), (q, n) float64; 0 where either is zeros."""
    first, second = (unit(each) for each in (queries, vectors))
    return first @ second.T


def unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors (n, width) in float64, each divided by its length; zeros stay zeros."""
    wide = vectors.astype(np.float64)
    largest = np.abs(wide).max(axis=-1, keepdims=True)
    wide = wide / np.where(largest > 0, largest, 1)  # so that no square overflows or vanishes
    length = np.linalg.norm(wide, axis=-1, keepdims=True)
    return wide / np.where(length > 0, length, 1)


class Nearest(Generic[Item]):
    """The k nearest neighbours of each query; of equally near ones those that came first.

    Parameters
    ----------
    queries
        (q, width).
    k
        How many of each.

    Attributes
    ----------
    neighbours
        For each query its neighbours so far, the nearest first.
    """

    def __init__(self, queries: np.ndarray, k: int) -> None:
        self._queries = queries
        self._k = k
        self.neighbours: list[list[Neighbour[Item]]] = [[] for _ in queries]

    def add(self, vectors: np.ndarray, items: list[Item]) -> None:
        """Take (n, width) vectors in, which stand for the n items."""
        for row, nearby in enumerate(cosines(self._queries, vectors)):
            order = np.argsort(-nearby, kind="stable")[: self._k]
            new = [Neighbour(float(nearby[i]), items[i]) for i in order]
            both = sorted([*self.neighbours[row], *new], key=lambda each: -each.cosine)
            self.neighbours[row] = both[: self._k]

"""Nearest neighbours: the cosine of an angle, over all parts at once."""

from __future__ import annotations

import numpy as np
import pytest

from common.answers.neighbours import Nearest, cosines


def test_a_cosine_is_that_of_the_angle_whatever_the_lengths() -> None:
    angles = np.array([0.0, 0.3, 1.2, np.pi])
    turned = np.stack([np.cos(angles), np.sin(angles)], axis=1) * [[1e-200], [1e180], [7], [0.5]]
    np.testing.assert_allclose(cosines(np.array([[5.0, 0.0]]), turned)[0], np.cos(angles), rtol=0, atol=1e-15)
    assert cosines(np.zeros((1, 2)), turned).tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("cuts", [(), (1,), (3, 4, 11)])
def test_neighbours_do_not_depend_on_the_parts(cuts: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    queries, vectors = rng.normal(size=(2, 5)), rng.normal(size=(17, 5))
    vectors[13] = 4 * vectors[2]  # as near as the earlier one
    nearest = Nearest[int](queries, 16)
    for part in np.split(np.arange(17), cuts):
        nearest.add(vectors[part], part.tolist())
    for query, row in zip(queries, nearest.neighbours, strict=True):
        cosine = [float(query @ each / np.linalg.norm(query) / np.linalg.norm(each)) for each in vectors]
        expected = sorted(range(17), key=lambda i: (-round(cosine[i], 12), i))[:16]
        assert [each.item for each in row] == expected
        assert [each.cosine for each in row] == pytest.approx([cosine[i] for i in expected], rel=1e-12)

"""The start of engines that search a linear map: given maps are checked, first guesses lie at the centers."""

from __future__ import annotations

import numpy as np
import pytest
from DeepVsClassicRegLib.core.engines.engine_input import first_guesses, given_start
from DeepVsClassicRegLib.core.errors import RegistrationError
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.transforms.transform import Affine, DisplacementField, Transform
from testing_grids import oblique_grid

FIXED = oblique_grid((20, 18, 16), (1.7, 1.8, 2.4), seed=1, left_handed=True)
MOVING = oblique_grid((18, 20, 17), (1.9, 1.6, 2.0), seed=2, left_handed=False)


def shown(grid, *, corner, size):
    """Return a volume that shows one bright box, `corner` and `size` in voxels i, j, k."""
    array = np.zeros(grid.shape, dtype=np.float32)
    (i, j, k), (di, dj, dk) = corner, size
    array[k : k + dk, j : j + dj, i : i + di] = 100
    return Volume(array, grid)


def test_a_first_guess_aligns_the_centers_of_what_both_volumes_show():
    fixed = shown(FIXED, corner=(3, 4, 5), size=(5, 7, 3))
    moving = shown(MOVING, corner=(8, 2, 6), size=(3, 5, 7))
    headers, centers = first_guesses(Pair(fixed, moving))
    assert np.allclose(headers.matrix, np.eye(3)) and np.allclose(headers.translation_mm, 0)
    middle = FIXED.index_to_point([3 + 2, 4 + 3, 5 + 1])
    assert np.allclose(centers.apply(middle), MOVING.index_to_point([8 + 1, 2 + 2, 6 + 3]))


def test_a_volume_that_shows_nothing_gives_the_center_of_its_view():
    empty, body = (
        Volume(np.zeros(FIXED.shape, dtype=np.float32), FIXED),
        shown(MOVING, corner=(8, 2, 6), size=(3, 5, 7)),
    )
    _, centers = first_guesses(Pair(empty, body))
    assert np.allclose(centers.apply(FIXED.center_mm), MOVING.index_to_point([9, 4, 9]))


def test_a_mirroring_or_deformable_start_is_refused():
    pair = Pair(shown(FIXED, corner=(3, 4, 5), size=(5, 7, 3)), shown(MOVING, corner=(8, 2, 6), size=(3, 5, 7)))
    assert given_start(pair, "The search") is None
    shift = Affine.shift([1, 2, 3])
    assert given_start(Pair(pair.fixed, pair.moving, initial=Transform((shift,))), "The search") is shift
    mirrored = Transform((Affine(np.diag([-1.0, 1, 1]), np.zeros(3)),))
    with pytest.raises(RegistrationError, match="mirrors"):
        given_start(Pair(pair.fixed, pair.moving, initial=mirrored), "The search")
    field = Transform((DisplacementField(np.full((*FIXED.shape, 3), 0.5, dtype=np.float32), FIXED),))
    with pytest.raises(RegistrationError, match="The search cannot start from a deformable"):
        given_start(Pair(pair.fixed, pair.moving, initial=field), "The search")

"""Phantoms with known growth: the map is exact, its inverse too, and volumes change as stated."""

from __future__ import annotations

import numpy as np
import pytest
from DeepVsClassicRegLib.core.errors import SettingsError
from DeepVsClassicRegLib.core.phantom.growth import Growth, growths_of, make_time_point, true_changes


@pytest.mark.parametrize("percent", [-10.0, 0.0, 10.0])
def test_inverse_and_determinant(percent):
    growth = Growth((3.0, -2.0, 5.0), (7.0, 20.0, 6.0), percent)
    points = np.random.default_rng(0).uniform(-60, 60, (500, 3))
    assert np.abs(growth.apply(growth.inverse(points)) - points).max() < 1e-6
    far = np.linalg.norm((points - growth.center_mm) / np.array(growth.axes_mm), axis=1) > 2
    assert far.any() and np.allclose(growth.apply(points[far]), points[far])
    inside = np.array(growth.center_mm) + 0.3 * np.array(growth.axes_mm) * np.eye(3)
    step = 1e-4
    slopes = [
        (growth.apply(inside[0] + step * axis) - growth.apply(inside[0] - step * axis)) / (2 * step)
        for axis in np.eye(3)
    ]
    assert np.linalg.det(np.array(slopes)) == pytest.approx(1 + percent / 100, abs=1e-6)


def test_true_changes_are_the_stated_ones():
    found = true_changes({17: -10.0, 51: 5.0}, spacing_mm=3.0)
    assert found[17] == pytest.approx(-10.0, abs=0.1) and found[51] == pytest.approx(5.0, abs=0.1)
    assert found[47] == pytest.approx(0, abs=1e-6), "the other side of the cerebellum is far away"


def test_time_points_differ_where_the_structure_is():
    first, labels = make_time_point({}, size=24, noise=0.0, supersampling=1)
    second, _ = make_time_point({8: -20.0}, size=24, noise=0.0, supersampling=1)
    changed = np.abs(first.array - second.array) > 1
    assert changed.any()
    center = np.argwhere(labels.array == 8).mean(axis=0)
    assert np.linalg.norm(np.argwhere(changed).mean(axis=0) - center) < 3
    again, _ = make_time_point({8: -20.0}, size=24, noise=0.0, supersampling=1)
    assert np.array_equal(second.array, again.array)


def test_unknown_labels_are_refused():
    with pytest.raises(SettingsError, match="no label 999"):
        growths_of({999: 1.0})

"""Views and places to look at: one sign, one set of colors, and the same places for the report and the panel."""

from __future__ import annotations

import numpy as np
import pytest
from DeepVsClassicRegLib.core.errors import SettingsError
from DeepVsClassicRegLib.core.evaluation import colors
from DeepVsClassicRegLib.core.evaluation.evaluate import evaluate
from DeepVsClassicRegLib.core.evaluation.figures import Pictures, planes_of, strip
from DeepVsClassicRegLib.core.evaluation.locations import lowest_dice, mismatches_of, worst_folds, worst_matches
from DeepVsClassicRegLib.core.evaluation.plotting import diverging
from DeepVsClassicRegLib.core.evaluation.views.catalogue import VIEWS, get_view, panel_views, report_views
from DeepVsClassicRegLib.core.evaluation.views.contours import outlines
from DeepVsClassicRegLib.core.evaluation.views.difference import difference
from DeepVsClassicRegLib.core.evaluation.views.grid import deformable_part
from DeepVsClassicRegLib.core.evaluation.views.jacobian import FOLD_CODE, LIMIT, coded_log_jacobian
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.transforms.transform import Affine, DisplacementField, Transform

GRID = Grid((24, 24, 24), (2.0, 2.0, 2.0))


def drawn(view, fixed, moving):
    """Return the RGB pixels of the axial plane that a view draws of two volumes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    pair = Pair(Volume(fixed, GRID), Volume(moving, GRID))
    pictures = Pictures(pair, Transform(), evaluate(pair, Transform(), threads=1, measures=["regularity"]))
    figure = Figure(figsize=(2, 2), dpi=50)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    get_view(view).row(pictures, pictures.after)(axes, 0)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def brighter_and_darker():
    """Return a volume and one that is brighter in its front half and darker behind."""
    fixed = np.full(GRID.shape, 50.0)
    fixed[:, :4], fixed[:, -4:] = 0, 100
    moving = fixed.copy()
    moving[:, 4:12] = 80
    moving[:, 12:-4] = 20
    return fixed, moving


def test_difference_is_warped_minus_fixed():
    fixed, warped = np.array([0, 255, 100], dtype=np.uint8), np.array([255, 0, 100], dtype=np.uint8)
    assert difference(fixed, warped).tolist() == [100, -100, 0]
    assert get_view("difference").legend.text(before=False) == "Warped - fixed (% of window)"
    assert get_view("difference").legend.text(before=True) == "Moving - fixed (% of window)"
    assert get_view("difference").caption.startswith("Warped minus fixed: orange where the warped volume is brighter")


def test_pictures_lie_side_by_side_and_lines_end_at_their_edges():
    """One axes holds all pictures: the n-th is drawn in its own pixels, and nothing reaches into its neighbors."""
    collections = pytest.importorskip("matplotlib.collections")
    planes = planes_of(GRID, np.ones(GRID.shape, dtype=bool))

    def draw(panel, n):
        width, height, _ = planes[n].grid.size
        picture = np.zeros((height, width, 3))
        picture[: height // 2, :, n] = 1.0  # red, green, blue in the upper halves
        panel.imshow(picture, interpolation="nearest")
        if n == 1:
            panel.add_collection(collections.LineCollection([[(-99, height), (99, height - 5)]], colors=["white"]))

    figure = strip(planes, [("Row", draw)])
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    frame = pixels[0, 0]
    columns = [np.flatnonzero((pixels[..., n] > 200).mean(axis=0) > 0.3) for n in range(3)]
    for n, (own, previous) in enumerate(zip(columns, [[0], *columns], strict=False)):
        assert own[0] > previous[-1] and len(own) == own[-1] - own[0] + 1
        rows = np.flatnonzero(pixels[:, own[len(own) // 4], n] > 200)
        assert len(rows) == pytest.approx(len(own) / 2, abs=5), "square pixels, and the upper half above"
    white = np.argwhere((pixels > 180).all(axis=-1) & (np.arange(pixels.shape[0]) > rows[-1] + 20)[:, None])
    inside = white[(white[:, 1] > columns[0][-1] + 3) & (white[:, 1] < columns[2][0] - 3)]
    assert len(inside) > 50
    assert inside[:, 1].min() >= columns[1][0] and inside[:, 1].max() <= columns[1][-1]
    for gap in (columns[0][-1] + 3, columns[1][-1] + 3):
        assert (np.abs(pixels[:, gap] - frame) < 3).all()


def test_outlines_are_the_contours_of_each_label():
    """Those of matplotlib, which computes every label over the whole picture."""
    figure = pytest.importorskip("matplotlib.figure").Figure()
    labels = np.zeros((12, 15), dtype=np.int32)
    labels[:4, 2:7], labels[4:9, 5:15], labels[6, 8], labels[10, 1] = 3, 7, 0, 3
    found = [tuple(map(tuple, line)) for line in outlines(labels)]
    for label in (3, 7):
        member = np.pad(labels == label, 1).astype(float)
        drawn = figure.add_subplot().contour(np.arange(-1, 16), np.arange(-1, 13), member, levels=[0.5])
        for line in drawn.get_paths()[0].to_polygons(closed_only=False):
            points = set(map(tuple, line))
            assert points in [set(each) for each in found]
            found.remove(next(each for each in found if set(each) == points))
    assert not found


def test_the_report_draws_a_brighter_warped_volume_orange():
    pytest.importorskip("matplotlib")
    pixels = drawn("difference", *brighter_and_darker())
    front, back = pixels[30, 50], pixels[70, 50]  # patient front is up
    assert front[0] > front[2] + 50, front  # orange
    assert back[2] > back[0] + 50, back  # blue


def test_report_and_slice_views_share_the_color_scale():
    pytest.importorskip("matplotlib")
    table = colors.diverging(256)
    assert np.allclose(diverging()(np.arange(256)), table, atol=1e-6)
    assert table[0, 2] > table[0, 0] and table[-1, 0] > table[-1, 2]  # blue below, orange above
    assert table[127:129, :3].max() < 0.02


def test_folds_have_a_color_that_the_scale_has_not():
    scale = colors.diverging(256)[:, :3]
    assert np.linalg.norm(scale - np.array(colors.FOLD), axis=1).min() > 0.4
    coded = coded_log_jacobian(np.array([[[-0.5, 0.0, 1e-9, 1.0, 100.0]]], dtype=np.float32)).ravel()
    assert coded.tolist() == [FOLD_CODE, FOLD_CODE, -LIMIT, 0.0, LIMIT]


def test_views_have_their_words():
    assert {view.name for view in map(get_view, VIEWS)} == set(VIEWS)
    assert set(VIEWS) == {view.name for view in (*panel_views(), *report_views())}
    for view in map(get_view, VIEWS):
        assert view.title and view.caption.endswith(".")
        assert "fixed" in view.roles(before=True) and "warped" not in view.roles(before=True)
    with pytest.raises(SettingsError, match="no view 'diference'"):
        get_view("diference")


def test_the_grid_is_free_of_the_linear_part():
    affine = Affine(np.array([[1.1, 0.1, 0], [0, 0.9, 0], [0, 0, 1.0]]), np.array([5.0, -3, 2]))
    points = GRID.points()
    assert np.abs(deformable_part(Transform((affine,)), GRID).displacement_on(GRID).array_mm).max() < 1e-3
    bump = np.exp(-((points - GRID.center_mm) ** 2).sum(-1, keepdims=True) / 200) * np.array([4.0, 0, 0])
    both = Transform((DisplacementField(bump, GRID), affine))
    shown = deformable_part(both, GRID).displacement_on(GRID).array_mm
    assert np.corrcoef(shown[..., 0].ravel(), bump[..., 0].ravel())[0, 1] > 0.9


def test_disagreement_is_found_for_any_contrast():
    rng = np.random.default_rng(0)
    fixed = rng.integers(50, 200, (40, 40, 40)).astype(np.uint8)
    warped = (255 - fixed).astype(np.uint8)
    warped[20:30, 10:20, 0:10] = rng.integers(50, 200, (10, 10, 10))
    grid = Grid((40, 40, 40))
    found = mismatches_of(fixed, warped, np.ones(grid.shape, dtype=bool), grid, count=20)
    inside = [bool((np.abs(np.array(each.point_mm) - (4.5, 14.5, 24.5)) < 5).all()) for each in found]
    assert inside[0] and not any(inside[1:])  # one block of ten voxels
    assert found[0].percent > 10
    assert max(each.percent for each in found[1:]) < 0.1
    places = worst_matches(found, grid, count=3)
    assert np.abs(np.array(places[0].point_mm) - (4.5, 14.5, 24.5)).max() < 5


def test_noise_without_structure_is_no_mismatch():
    """A correlation of noise is as bad as that of a misplaced structure; what is unexplained is not."""
    rng = np.random.default_rng(1)
    fixed = rng.normal(0, 1, (40, 40, 40))
    warped = rng.normal(0, 1, (40, 40, 40))
    fixed[20:30, 10:20, 10:20] += 100 * (np.indices((10, 10, 10)).sum(0) % 7 > 3)
    grid = Grid((40, 40, 40))
    found = mismatches_of(fixed, warped, np.ones(grid.shape, dtype=bool), grid)
    assert np.abs(np.array(found[0].point_mm) - (14.5, 14.5, 24.5)).max() < 6


def test_locations_are_inside_the_region():
    rng = np.random.default_rng(2)
    fixed, warped = rng.normal(0, 1, (2, 40, 40, 40))
    grid, inside = Grid((40, 40, 40)), np.zeros((40, 40, 40), dtype=bool)
    inside[:, :, :20] = True
    found = mismatches_of(fixed, warped, inside, grid)
    assert found and all(each.point_mm[0] < 20 for each in found)
    assert mismatches_of(fixed, warped, np.zeros_like(inside), grid) == []
    determinant = np.ones(grid.shape, dtype=np.float32)
    determinant[5, 5, 5], determinant[30, 30, 30], determinant[6, 5, 5] = -0.1, -3.0, -0.05
    folds = worst_folds(Volume(determinant, grid), inside)
    assert [place.voxel for place in folds] == [(5, 5, 5)]  # its neighbor is too near, the other one outside


def test_structures_are_ordered_and_lie_inside():
    array = np.zeros(GRID.shape, dtype=np.int32)
    array[4:20, 4:20, 4:20] = 1
    array[6:20, 4:20, 6:18] = 0  # a bent structure, hollow in the middle
    array[10:12, 10:12, 10:12] = 2
    labels = LabelMap(array, GRID, {1: "Bent"})
    places = lowest_dice(labels, {"1": 0.4, "2": 0.2, "3": 0.1, "4": None}, GRID)
    assert [place.text for place in places] == ["Label 2: Dice 0.20.", "Bent: Dice 0.40."]
    i, j, k = places[1].voxel
    assert array[k, j, i] == 1

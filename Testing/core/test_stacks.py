"""Alignment of serial sections: known motion is found, bad sections do not break the chain, trends can be kept."""

from __future__ import annotations

import json

import numpy as np
import pytest
from DeepVsClassicRegLib.core.api import stack
from DeepVsClassicRegLib.core.errors import Cancelled, RegistrationError, SettingsError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.resample import warp_volume
from DeepVsClassicRegLib.core.images.sections import Sections
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.stacks.align import StackSettings, align_sections, similarity, without_trend
from DeepVsClassicRegLib.core.stacks.linear import NotAligned, aligned_linearly
from DeepVsClassicRegLib.core.stacks.plane import composed, displacement_of, identity, inverted, sampled
from DeepVsClassicRegLib.core.stacks.report import cuts, stack_page, stack_report
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform
from scipy import ndimage
from testing_grids import oblique_grid

SHAPE = (44, 48)
COUNT = 7


def object_of(count=COUNT, shape=SHAPE, seed=2):
    """A textured ellipse that changes little from section to section."""
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.normal(size=(count, *shape)), (3.0, 2.0, 2.0))
    y, x = identity(shape)
    inside = ((y - shape[0] / 2) / 14) ** 2 + ((x - shape[1] / 2) / 17) ** 2 < 1
    return np.where(inside, 100 + 40 * texture / texture.std(), 0.0).clip(0)


def turn(degrees, shift, shape=SHAPE):
    """A rotation about the center and a shift (y, x), as a displacement in pixels."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.array([[c, -s], [s, c]])
    middle = (np.array(shape) - 1) / 2
    return displacement_of(np.column_stack([matrix, middle - matrix @ middle + shift]), shape)


def moved(images, maps):
    return np.stack([sampled(image, u, fill=0.0) for image, u in zip(images, maps, strict=True)])


def sections_of(images, grid=None):
    z, y, x = images.shape
    volume = Volume(images.astype(np.float32), grid or Grid((x, y, z), (0.5, 0.5, 2.0)), "stack")
    return Sections(volume, tuple(f"s{number}" for number in range(z)))


def errors(found, motion, images):
    """Mean distance, pixels, of where each section's pixels come from, from where they were, inside the object."""
    total = [composed(u, g) for u, g in zip(found.maps_px, motion, strict=True)]
    return np.array([np.linalg.norm(t, axis=0)[image > 20].mean() for t, image in zip(total, images, strict=True)])


@pytest.fixture(scope="module")
def rigid():
    rng, images = np.random.default_rng(5), object_of()
    motion = np.stack([turn(rng.uniform(-8, 8), rng.uniform(-3, 3, 2)) for _ in images])
    motion[3] = 0
    return images, motion, moved(images, motion)


def test_maps_are_composed_and_inverted():
    u, v = turn(7.0, (1.0, -2.0)), turn(-3.0, (0.5, 1.5))
    inner = (slice(None), slice(8, -8), slice(8, -8))
    assert np.abs(composed(u, inverted(u))[inner]).max() < 0.02
    x = identity(SHAPE)
    there = x + u
    expected = there + np.stack([sampled(component, there - x) for component in v]) - x
    assert np.allclose(composed(u, v)[inner], expected[inner], atol=1e-6)


@pytest.mark.parametrize("kind", ["rigid", "affine"])
def test_linear_alignment_finds_a_known_map(kind):
    image, truth = object_of(1)[0], turn(11.0, (3.0, -2.0))
    if kind == "affine":
        truth = displacement_of(np.array([[1.06, 0.05, -1.0], [-0.04, 0.95, 2.0]]), SHAPE)
    moving = sampled(image, truth, fill=0.0)
    matrix = aligned_linearly(image, moving, kind=kind, turn_deg=20.0, start=np.eye(2, 3))
    left = composed(displacement_of(matrix, SHAPE), truth)
    assert np.linalg.norm(left, axis=0)[image > 20].mean() < 0.35
    if kind == "rigid":
        assert np.allclose(matrix[:, :2] @ matrix[:, :2].T, np.eye(2), atol=1e-9)


def test_large_rotations_are_searched():
    image = object_of(1)[0]
    truth = turn(-110.0, (0.0, 0.0))
    matrix = aligned_linearly(image, sampled(image, truth, fill=0.0), kind="rigid", turn_deg=180.0, start=np.eye(2, 3))
    assert np.linalg.norm(composed(displacement_of(matrix, SHAPE), truth), axis=0)[image > 20].mean() < 0.5
    with pytest.raises(NotAligned):
        aligned_linearly(image, np.zeros(SHAPE), kind="rigid", turn_deg=10.0, start=np.eye(2, 3))


def test_rigid_motion_of_sections_is_undone(rigid):
    images, motion, given = rigid
    found = stack(sections_of(given), "none", reference=3, threads=1, drift=0)
    before = np.array([np.linalg.norm(g, axis=0)[image > 20].mean() for g, image in zip(motion, images, strict=True)])
    assert before.max() > 2 and errors(found, motion, images).max() < 0.8
    assert np.array_equal(found.volume.array[3], given[3].astype(np.float32)) and found.reference == 3
    assert found.similarity_after.mean() > found.similarity_before.mean() + 0.1
    assert found.poor == () and "straightened" in found.notes[-1]


def test_one_torn_section_does_not_break_the_chain(rigid):
    images, motion, given = rigid
    torn = given.copy()
    torn[5] = np.random.default_rng(1).uniform(0, 100, SHAPE)
    found = stack(sections_of(torn), "none", reference=0, threads=1, neighbors=2, drift=0)
    assert 5 in found.poor
    relative = composed(inverted(motion[0]), found.maps_px[6])
    assert np.isfinite(relative).all()
    moved_back = composed(found.maps_px[6], motion[6])
    expected = composed(np.zeros_like(motion[0]), motion[0])
    assert np.linalg.norm(moved_back - expected, axis=0)[images[6] > 20].mean() < 1.0


def test_an_empty_section_gets_the_map_of_its_neighbor(rigid):
    _images, _motion, given = rigid
    empty = given.copy()
    empty[2] = 0.0
    found = stack(sections_of(empty), "none", reference=3, threads=1, drift=0)
    assert found.poor == (2,) and any("Section 2 was not aligned" in note for note in found.notes)
    assert np.array_equal(found.maps_px[2], found.maps_px[3])


def test_empty_sections_do_not_hide_a_torn_one():
    given = object_of(10)
    given[1:5] = 0.0
    given[8] = 0.15 * given[8] + np.random.default_rng(1).uniform(0, 100, SHAPE)
    found = stack(sections_of(given), "none", reference=0, threads=1, drift=0)
    assert found.poor == (1, 2, 3, 4, 8)


class Shift:
    """An engine that adds a constant displacement after the linear start, and remembers what it saw."""

    def __init__(self, shift_mm):
        self.shift, self.seen = shift_mm, []

    def __call__(self, pair):
        self.seen.append(pair)
        return Transform.of([Affine.shift(self.shift), pair.initial])


@pytest.mark.parametrize("single", [True, False])
def test_the_deformation_of_an_engine_is_in_pixels_of_the_plane(rigid, single):
    _images, _motion, given = rigid
    engine = Shift((1.0, -0.5, 0.0))
    settings = StackSettings(linear="none", drift=0, reference=0)
    found = align_sections(sections_of(given), settings, register=engine, single_slices=single)
    assert np.allclose(found.maps_px[1:, 0], -1.0, atol=1e-5) and np.allclose(found.maps_px[1:, 1], 2.0, atol=1e-5)
    assert engine.seen[0].fixed.grid.size == (48, 44, 1 if single else 9)
    assert np.array_equal(engine.seen[0].moving.array[-1], given[1].astype(np.float32))


def test_neighbors_are_averaged_by_distance(rigid):
    _images, _motion, given = rigid
    engine = Shift((0.0, 0.0, 0.0))
    align_sections(sections_of(given), StackSettings(linear="none", drift=0, reference=0, neighbors=2), register=engine)
    expected = (given[1] + 0.5 * given[0]) / 1.5
    assert np.allclose(engine.seen[1].fixed.array[0], expected, atol=1e-3)


def test_transforms_are_those_of_the_patient(rigid):
    """Aligned voxels of an oblique volume are where the transform says they come from."""
    _images, _motion, given = rigid
    grid = oblique_grid((48, 44, COUNT), (0.6, 0.9, 2.0), seed=4, left_handed=True)
    engine = Shift((1.2, -0.9, 0.0))
    found = align_sections(
        sections_of(given, grid), StackSettings(linear="none", drift=0, reference=0), register=engine
    )
    start = grid.index_to_point([20, 20, 4])
    target = found.transform(4).apply(start[None])[0]
    assert np.allclose(grid.point_to_index(target), [22, 19, 4], atol=1e-4)


def test_slow_motion_can_be_kept():
    """Independent motion of the sections goes, a bend of the whole stack stays."""
    rng = np.random.default_rng(8)
    count = 40
    bend = np.linspace(-1, 1, count) ** 2 * 6
    noise = rng.normal(0, 1.0, (count, 2))
    maps = np.zeros((count, 2, 20, 22))
    maps[:, 0], maps[:, 1] = (bend + noise[:, 0])[:, None, None], noise[:, 1][:, None, None]
    found = without_trend(maps, 3.0)[:, :, 10, 11]
    assert np.abs(found[5:-5, 0] - noise[5:-5, 0]).mean() < 0.5 and np.abs(bend).max() == 6
    assert np.corrcoef(found[5:-5, 0], noise[5:-5, 0])[0, 1] > 0.9


def test_drift_is_a_setting(rigid):
    _images, _motion, given = rigid
    plain = align_sections(sections_of(given), StackSettings(linear="none", drift=0), register=Shift((0.5, 0.0, 0.0)))
    kept = align_sections(sections_of(given), StackSettings(linear="none", drift=50.0), register=Shift((0.5, 0.0, 0.0)))
    assert np.abs(plain.maps_px[1, 1] - 1.0).max() < 1e-5
    assert np.abs(kept.maps_px.mean(axis=0)).max() < 0.2 and "kept" in kept.notes[-1]


def test_what_cannot_be_done_is_refused(rigid):
    given = sections_of(rigid[2])
    for wrong, match in (
        ({"reference": 20}, "section 20"),
        ({"linear": "none"}, "Neither"),
        ({"neighbors": 0}, "neighbors"),
    ):
        with pytest.raises(SettingsError, match=match):
            stack(given, "none", threads=1, **wrong)
    with pytest.raises(SettingsError):
        stack(given, "no-such-engine", threads=1)
    with pytest.raises(Cancelled):
        stack(given, "none", threads=1, progress=Progress(cancelled=lambda: True))


def test_similarity_ignores_the_background():
    first, second = object_of(2)
    assert similarity(first, first) == pytest.approx(1.0)
    assert similarity(first, second) < similarity(first, first)
    assert similarity(first, np.zeros(SHAPE)) == 0.0


def test_report_and_page(rigid):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    found = stack(sections_of(rigid[2]), "none", reference=3, threads=1, drift=0)
    report = stack_report(found, {"linear": "rigid"})
    assert json.loads(json.dumps(report)) == report and len(report["per_section"]) == COUNT
    assert report["similarity"]["after"]["mean"] > report["similarity"]["before"]["mean"]
    assert report["per_section"][-1]["similarity_to_next_after"] is None
    page = stack_page(found, report, title="My <stack>")
    assert "My &lt;stack&gt;" in page and page.count("data:image/") == 2


def test_an_engine_for_volumes_gets_slabs(rigid):
    """SimpleITK's B-spline takes volumes only."""
    images, motion, given = rigid
    found = stack(sections_of(given[2:5]), "sitk-demons", reference=1, threads=1, drift=0)
    assert found.maps_px.shape == (3, 2, *SHAPE) and np.isfinite(found.maps_px).all()
    assert errors(found, motion[2:5], images[2:5]).max() < 1.5


def test_one_transform_holds_the_maps_of_all_sections(rigid):
    """It warps a drawing on the sections as the sections are warped."""
    images, _motion, given = rigid
    grid = oblique_grid((48, 44, COUNT), (0.6, 0.9, 2.0), seed=4, left_handed=True)
    found = stack(sections_of(given, grid), "none", reference=3, threads=1, drift=0)
    for number in (0, 3, 6):
        point = grid.index_to_point([[20, 25, number]])
        assert np.allclose(found.whole.apply(point), found.transform(number).apply(point), atol=1e-4)
    warped = warp_volume(found.before, grid, found.whole).array
    inside = np.s_[:, 6:-6, 6:-6]
    assert np.abs(warped[inside] - found.volume.array[inside]).mean() < 0.2 < images.std() / 50


def test_all_channels_of_color_sections_are_aligned(rigid):
    _images, _motion, given = rigid
    gray = given / given.max()
    color = np.stack([255 * gray, 80 * gray, 255 - 200 * gray], axis=-1).astype(np.uint8)
    plain = sections_of(given)
    found = stack(Sections(plain.volume, plain.names, color), "none", reference=3, threads=1, drift=0)
    assert found.channels.dtype == np.uint8 and found.channels.shape == color.shape
    expected = 255 * found.volume.array / given.max()
    assert np.abs(found.channels[..., 0] - expected)[:, 6:-6, 6:-6].max() < 2
    assert found.channels[0, 0, 0, 2] == 255, "the background of a channel is what lies outside"
    pytest.importorskip("matplotlib")
    shown = [axes.images[0].get_array() for axes in cuts(found).axes]
    assert [picture.shape[-1] for picture in shown] == [3] * 4, "the cuts are in color"
    with pytest.raises(RegistrationError):
        Sections(plain.volume, plain.names, color[:2])

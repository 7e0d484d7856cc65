"""Transforms: analytic cases, round trips and SimpleITK as the reference, on every kind of grid."""

import numpy as np
import pytest
import SimpleITK as sitk
from DeepVsClassicRegLib.core.engines.registration import stored
from DeepVsClassicRegLib.core.errors import FileError, GeometryError, RegistrationError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.transforms import files, units
from DeepVsClassicRegLib.core.transforms.files import read_transform, write_transform
from DeepVsClassicRegLib.core.transforms.invert import invert
from DeepVsClassicRegLib.core.transforms.jacobian import field_jacobian, jacobian_determinant, regularity
from DeepVsClassicRegLib.core.transforms.transform import (
    Affine,
    BSpline,
    DisplacementField,
    Transform,
    VelocityField,
    compacted,
    deviation_mm,
    fit_affine,
)
from testing_grids import GRIDS, rotation


def smooth_field(grid, amplitude_mm=1.5, edge=5):
    """A smooth field that fades to zero at the border, like fields that are stored."""
    points = grid.points() - grid.center_mm
    u = amplitude_mm * np.stack([np.sin(points[..., a] / 9 + a) for a in (1, 2, 0)], -1)
    fade = np.ones(grid.shape)
    for axis, count in enumerate(grid.shape):
        distance = np.minimum(np.arange(count), count - 1 - np.arange(count)) / edge
        ramp = np.clip(distance, 0, 1) ** 2 * (3 - 2 * np.clip(distance, 0, 1))
        fade *= ramp.reshape([-1 if a == axis else 1 for a in range(3)])
    return DisplacementField(u * fade[..., None], grid)


def some_affine(seed=0):
    return Affine(rotation(seed) @ np.diag([1.1, 0.9, 1.05]), np.array([4.0, -3.0, 2.0]))


def inner_points(grid, count=60):
    index = np.random.default_rng(1).uniform(0.3, 0.7, size=(count, 3)) * (np.array(grid.size) - 1)
    return grid.index_to_point(index)


def test_affine_is_sitks():
    affine, points = some_affine(), np.random.default_rng(0).normal(size=(20, 3)) * 30
    expected = [affine.to_sitk().TransformPoint(p.tolist()) for p in points]
    assert np.allclose(affine.apply(points), expected)
    assert np.allclose(affine.inverse().apply(affine.apply(points)), points)
    assert np.allclose(Affine.from_sitk(affine.to_sitk()).homogeneous, affine.homogeneous)


def test_euler_about_a_center_is_read():
    euler = sitk.Euler3DTransform((10, 20, 30), 0.1, 0.2, 0.3, (1, 2, 3))
    affine = Affine.from_sitk(euler)
    assert affine.is_rigid
    assert np.allclose(affine.apply([5, 6, 7]), euler.TransformPoint((5, 6, 7)))


@pytest.mark.parametrize("kind", ["rigid", "similarity", "affine"])
def test_landmark_fit_recovers_its_kind(kind):
    points = np.random.default_rng(3).normal(size=(8, 3)) * 40
    scale = {"rigid": np.eye(3), "similarity": 1.2 * np.eye(3), "affine": np.diag([1.2, 0.8, 1.1])}[kind]
    truth = Affine(rotation(5) @ scale, np.array([10.0, -20.0, 30.0]))
    fit = fit_affine(points, truth.apply(points), kind=kind)
    assert np.allclose(fit.homogeneous, truth.homogeneous)


def test_landmark_fit_refuses_flat_points():
    line = np.outer(np.arange(5), [1.0, 2.0, 3.0])
    with pytest.raises(RegistrationError, match="too flat"):
        fit_affine(line, line)


def test_singular_affine_is_refused():
    with pytest.raises(GeometryError, match="not invertible"):
        Affine(np.diag([1, 1, 0]), np.zeros(3))


def test_chain_applies_the_first_part_first(grid):
    field, affine = smooth_field(grid), some_affine()
    points = inner_points(grid)
    chain = Transform.of([field, affine])
    assert np.allclose(chain.apply(points), affine.apply(Transform((field,)).apply(points)), atol=1e-6)
    assert np.allclose(chain.to_sitk().TransformPoint(points[0].tolist()), chain.apply(points)[0])
    sampled = chain.displacement_on(grid)
    assert np.allclose(
        sampled.array_mm[5, 6, 7], chain.apply(grid.points()[5, 6, 7]) - grid.points()[5, 6, 7], atol=1e-4
    )


def test_neighboring_affines_merge():
    chain = Transform.of([some_affine(0), Transform((some_affine(1),))])
    assert len(chain.parts) == 1
    assert np.allclose(chain.apply([1, 2, 3]), some_affine(1).apply(some_affine(0).apply([1, 2, 3])))


def test_field_is_zero_outside_its_grid(grid):
    field = DisplacementField(np.full((*grid.shape, 3), 2.0), grid)
    outside = grid.index_to_point(np.array(grid.size) + 3.0)
    assert np.allclose(Transform((field,)).apply(outside), outside)


def test_inverse_returns_points(grid):
    transform = Transform.of([smooth_field(grid), some_affine()])
    inverse = invert(transform, grid)
    points = inner_points(grid)
    assert np.abs(inverse.transform.apply(transform.apply(points)) - points).max() < 0.1
    assert inverse.residual_mean_mm < 0.05


def test_a_folded_field_reports_its_residual():
    grid = Grid((24, 24, 24))
    points = grid.points() - grid.center_mm
    folded = DisplacementField(np.stack([-1.8 * points[..., 0], 0 * points[..., 0], 0 * points[..., 0]], -1), grid)
    assert regularity(field_jacobian(folded)).folding_percent > 90
    assert invert(Transform((folded,)), grid).residual_max_mm > 1


def test_velocity_exponential_is_the_flow():
    """A linear velocity v = A x has the flow expm(A) x, known in closed form."""
    grid = Grid((41, 41, 41), origin_mm=(-20, -20, -20))
    rate = np.array([[0.1, 0.2, 0], [-0.2, 0.1, 0], [0, 0, -0.15]])
    velocity = VelocityField(grid.points() @ rate.T, grid)
    values, vectors = np.linalg.eig(rate)
    flow = (vectors @ np.diag(np.exp(values)) @ np.linalg.inv(vectors)).real
    points = np.random.default_rng(0).uniform(-8, 8, size=(50, 3))
    assert np.abs(Transform((velocity,)).apply(points) - points @ flow.T).max() < 0.01
    back = Transform((velocity.inverse(),))
    assert np.abs(back.apply(Transform((velocity,)).apply(points)) - points).max() < 0.01


def test_jacobian_of_an_affine_field_is_its_determinant(grid):
    affine = some_affine()
    jacobian = jacobian_determinant(Transform((affine,)), grid)
    assert np.allclose(jacobian.array, np.linalg.det(affine.matrix), atol=1e-4)
    assert regularity(jacobian).sd_log_jacobian < 1e-4


def test_jacobian_follows_the_closed_form(grid):
    """The field a sin(k . x + p) w has det = 1 + a (k . w) cos(...)."""
    wave, amplitude = np.array([0.05, -0.04, 0.03]), np.array([3.0, 2.0, -4.0])
    phase = grid.points() @ wave
    field = DisplacementField(np.sin(phase)[..., None] * amplitude, grid)
    expected = 1 + (wave @ amplitude) * np.cos(phase)
    inner = np.s_[1:-1, 1:-1, 1:-1]
    assert np.abs(field_jacobian(field).array - expected)[inner].max() < 5e-3


def test_regularity_by_hand():
    values = np.array([-1.0, 1.0, np.e, 1.0]).repeat(16).reshape(4, 4, 4)
    volume = Volume(values, Grid((4, 4, 4)))
    assert regularity(volume).folding_percent == 25
    assert regularity(volume, values > 0).sd_log_jacobian == pytest.approx(np.std([0, 1, 0]), abs=1e-6)


@pytest.mark.parametrize("ending", ["h5", "nii.gz", "nrrd", "mha"])
def test_files_hold_the_complete_map(tmp_path, grid, ending):
    transform = Transform.of([smooth_field(grid), some_affine()])
    path = write_transform(transform, tmp_path / f"té st.{ending}", grid=grid)
    points = inner_points(grid)
    assert np.abs(read_transform(path).apply(points) - transform.apply(points)).max() < (
        1e-9 if ending == "h5" else 1e-4 + 0.05
    )
    if ending == "h5":
        read_by_sitk = sitk.ReadTransform(str(path))
        assert np.allclose(read_by_sitk.TransformPoint(points[0].tolist()), transform.apply(points[0]))


@pytest.mark.parametrize("compress", [True, False])
def test_a_small_file_is_read_by_itk_as_its_own(tmp_path, monkeypatch, compress):
    """Parts, order and every number as in the file that ITK writes, at half of its size or a fraction of it."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (48, 60, 56)), indexing="ij")
    waves = np.stack([3 * np.sin(3 * y), 2 * np.cos(2 * x * z), x * y], axis=-1)
    field = DisplacementField(waves, Grid((56, 60, 48), (1.0, 1.5, 2.0), (3.0, 4.0, 5.0), tuple(rotation(0).ravel())))
    spline = BSpline(waves[:8, :8, :8], Grid((8, 8, 8), (20.0, 20.0, 20.0)))
    transform = Transform((field, Affine.shift([1, 2, 3]), spline))
    small = write_transform(transform, tmp_path / "small.h5", compress=compress)
    share = small.stat().st_size / (8 * waves.size)
    assert share < 0.5 if compress else 0.5 < share < 0.55
    monkeypatch.setattr(files, "can_compress", lambda: False)
    plain = write_transform(transform, tmp_path / "plain.h5")
    assert plain.stat().st_size > 8 * waves.size
    found, expected = (sitk.CompositeTransform(sitk.ReadTransform(path)) for path in (small, plain))
    assert found.GetNumberOfTransforms() == expected.GetNumberOfTransforms() == 3
    for number in range(3):
        part, other = (whole.GetNthTransform(number) for whole in (found, expected))
        assert part.GetName() == other.GetName()
        assert part.GetFixedParameters() == other.GetFixedParameters()
        assert part.GetParameters() == other.GetParameters()
    assert np.array_equal(read_transform(small).parts[0].array_mm, field.array_mm)


def test_velocity_and_bspline_survive_h5(tmp_path):
    grid = GRIDS["left-handed"]
    spline = BSpline(np.random.default_rng(0).normal(size=(*grid.shape, 3)), grid)
    velocity = VelocityField(smooth_field(grid).array_mm, grid)
    points = inner_points(grid)
    for part in (spline, velocity):
        path = write_transform(Transform((part,)), tmp_path / "t.h5")
        assert np.allclose(read_transform(path).apply(points), Transform((part,)).apply(points), atol=1e-5)


def test_displacement_image_is_an_lps_vector_image(tmp_path):
    grid = GRIDS["oblique"]
    field = smooth_field(grid)
    image = sitk.ReadImage(str(write_transform(Transform((field,)), tmp_path / "u.nii.gz", grid=grid)))
    assert image.GetMetaData("intent_code") == "1007"
    assert np.allclose(sitk.GetArrayFromImage(image), field.array_mm, atol=1e-5)


def test_wrong_transform_files_say_why(tmp_path):
    with pytest.raises(FileError, match="unknown ending"):
        write_transform(Transform(), tmp_path / "t.xyz")
    with pytest.raises(FileError, match="needs a grid"):
        write_transform(Transform(), tmp_path / "t.nrrd")
    with pytest.raises(FileError, match="only linear"):
        write_transform(Transform((smooth_field(Grid((16, 16, 16))),)), tmp_path / "t.tfm")
    with pytest.raises(FileError, match="No such"):
        read_transform(tmp_path / "missing.h5")
    (tmp_path / "bad.h5").write_text("no transform")
    with pytest.raises(FileError, match="not a transform file that is known"):
        read_transform(tmp_path / "bad.h5")


def test_units_round_trip_and_match_the_grid(grid):
    voxels = np.random.default_rng(0).normal(size=(*grid.shape, 3))
    mm = units.voxels_to_mm(voxels, grid)
    assert np.allclose(units.mm_to_voxels(mm, grid), voxels)
    index = np.array([4.0, 5.0, 6.0])
    moved = grid.index_to_point(index + voxels[6, 5, 4]) - grid.index_to_point(index)
    assert np.allclose(mm[6, 5, 4], moved)
    channels = units.mm_to_channels(mm, grid)
    assert channels.shape == (3, *grid.shape)
    assert np.allclose(channels[0], voxels[..., 2])
    assert np.allclose(units.channels_to_mm(channels, grid), mm)


def test_compacting_keeps_the_promise():
    grid = Grid((48, 44, 40))
    points = grid.points()
    smooth = DisplacementField(3 * np.sin(points / 30), grid)
    coarse = compacted(smooth)
    assert coarse.grid.voxel_count < grid.voxel_count / 7
    assert deviation_mm(coarse, smooth) <= 0.05
    rough = DisplacementField(np.random.default_rng(0).normal(size=(*grid.shape, 3)), grid)
    assert compacted(rough) is rough


@pytest.mark.parametrize("unit_mm", [0.01, 1.0, 10.0])
def test_results_are_stored_with_rounded_displacements(unit_mm, tmp_path):
    grid = Grid((48, 48, 48), (unit_mm,) * 3)
    rough = np.random.default_rng(0).normal(size=(*grid.shape, 3)).astype(np.float32) * unit_mm
    exact = Transform((DisplacementField(rough, grid),))
    result = stored(exact, unit_mm=unit_mm)
    assert 0 < np.abs(result.parts[0].array_mm - rough).max() <= 0.001 * unit_mm
    paths = [write_transform(transform, tmp_path / f"{n}.h5") for n, transform in enumerate((exact, result))]
    assert np.array_equal(read_transform(paths[1]).parts[0].array_mm, result.parts[0].array_mm)
    assert paths[1].stat().st_size < 0.7 * paths[0].stat().st_size
    assert stored(exact, unit_mm=unit_mm, given=exact).parts[0] is exact.parts[0]

"""The domain check: JSON round trip, own images inside, changed ones outside with the right reason."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from DeepVsClassicRegLib.core.errors import FileError, RegistrationError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.resample import warp_volume
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.core.recommendation.domain import (
    DomainStatistics,
    domain_distance,
    domain_statistics,
    one_subject,
)
from DeepVsClassicRegLib.core.recommendation.likeness import likeness, most_alike
from DeepVsClassicRegLib.core.recommendation.profile import anatomy_of, profile_of
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform
from scipy.spatial.transform import Rotation


@pytest.fixture(scope="module")
def heads():
    return [make_phantom("head", size=32, seed=seed).pair.fixed for seed in range(5)]


@pytest.fixture(scope="module")
def statistics(heads):
    return domain_statistics(heads[:4], name="phantoms")


def changed(volume, change):
    return Volume(change(volume.array), volume.grid)


def test_own_images_are_inside_and_json_keeps_everything(heads, statistics):
    report = domain_distance(heads[4], statistics)
    assert report.inside and not report.reasons and report.score <= report.threshold
    again = DomainStatistics.from_json(statistics.to_json())
    assert domain_distance(heads[4], again).score == pytest.approx(report.score, abs=1e-3)
    assert again.count == 4 and again.name == "phantoms"


def test_inverted_intensities_differ_in_intensity(heads, statistics):
    report = domain_distance(changed(heads[4], lambda a: np.where(a > 0.1 * a.max(), 1.1 * a.max() - a, 0)), statistics)
    assert not report.inside
    assert max(report.parts["intensity"], report.parts["contrast"]) > report.threshold
    assert report.reasons


def test_thick_slices_differ_in_spacing_and_finer_voxels_do_not(heads, statistics):
    volume = heads[4]
    grid = volume.grid
    thick = Grid((32, 32, 8), (*grid.spacing_mm[:2], 4 * grid.spacing_mm[2]), grid.origin_mm, grid.direction)
    report = domain_distance(Volume(volume.array[::4], thick), statistics)
    assert report.parts["spacing"] > report.threshold
    fine = volume.array.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    half = grid.with_spacing([s / 2 for s in grid.spacing_mm])
    assert domain_distance(Volume(fine, half), statistics).inside


def test_a_crop_differs_in_view(heads, statistics):
    grid = heads[4].grid.cropped((8, 8, 8), (16, 16, 16))
    report = domain_distance(Volume(heads[4].array[8:24, 8:24, 8:24], grid), statistics)
    assert report.parts["view"] > report.threshold and report.score >= report.parts["view"]


def test_the_header_decides_not_the_order_of_the_voxels(heads, statistics):
    volume = heads[4]
    size, spacing, axes = volume.grid.size, volume.grid.spacing_mm, volume.grid.axes
    turned = Grid(
        (size[1], size[2], size[0]),
        (spacing[1], spacing[2], spacing[0]),
        volume.grid.origin_mm,
        tuple(axes[:, [1, 2, 0]].ravel()),
    )
    array = np.moveaxis(volume.array, (0, 1, 2), (1, 2, 0))
    same = Volume(array, turned)
    assert domain_distance(same, statistics).score == pytest.approx(domain_distance(volume, statistics).score, abs=0.05)


def test_a_constant_volume_and_no_volume(statistics):
    assert not domain_distance(Volume(np.zeros((8, 8, 8)), Grid((8, 8, 8))), statistics).inside
    with pytest.raises(RegistrationError, match="at least one"):
        domain_statistics([], name="nothing")


def test_a_broken_card_is_reported():
    with pytest.raises(FileError, match="cannot be read"):
        DomainStatistics.from_json({"name": "x"})


@pytest.fixture(scope="module")
def subjects():
    return [make_phantom("head", size=32, seed=seed).pair.moving for seed in range(5)]


def test_likeness_tells_a_rescan_from_another_subject(subjects):
    first, *others = subjects
    turn = Rotation.from_rotvec([0, 0, np.deg2rad(6.0)]).as_matrix()
    rotated = Transform((Affine.about(turn, first.grid.center_mm),))
    rescan = warp_volume(changed(first, lambda a: 50 + 3 * a), first.grid, rotated)
    assert likeness(Pair(first, rescan)) > max(likeness(Pair(first, other)) for other in others)
    assert likeness(Pair(first, changed(first, np.zeros_like))) == 0


def test_a_pair_more_alike_than_different_subjects_is_one_subject(subjects, statistics):
    first = subjects[0]
    assert one_subject(Pair(first, first), statistics) == ""  # not measured
    measured = dataclasses.replace(statistics, most_alike=most_alike(subjects[:3]))
    assert measured.most_alike < measured.likeness_limit < 1
    assert "one subject" in one_subject(Pair(first, first), measured)
    assert one_subject(Pair(subjects[3], subjects[4]), measured) == ""
    read = DomainStatistics.from_json(measured.to_json())
    assert read.likeness_limit == pytest.approx(measured.likeness_limit, abs=1e-4)
    assert most_alike(subjects[:1]) == 0


def test_the_anatomy_alone_is_that_of_the_profile():
    volume = make_phantom("head", size=24, seed=1).pair.fixed
    assert np.array_equal(anatomy_of(volume), profile_of(volume).parts["anatomy"])

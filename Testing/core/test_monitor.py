"""Longitudinal change: known volumes, symmetry of the order, no change in rescans, and the report."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from DeepVsClassicRegLib.core.cohort.atlas_label import target_of
from DeepVsClassicRegLib.core.cohort.monitor import MonitorSettings, change_map, label_sums, log_ratios, monitor
from DeepVsClassicRegLib.core.cohort.monitor_page import verdict_of, write_monitor_page
from DeepVsClassicRegLib.core.cohort.monitor_space import brightened, brightness_factors, make_space, simulated_rescan
from DeepVsClassicRegLib.core.errors import SettingsError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import write_volume
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.transforms.jacobian import jacobian_determinant
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform

FAST = {"iterations": (60, 60), "shrink": (2, 1), "sigma_vox": 0.5, "match_points": 0}
SETTINGS = MonitorSettings(engine="sitk-demons", rescans=False, spacing_mm=1.5, sessions_percent=0)


def scan(grow: float, position=(0.0, 0.0, 0.0), *, size: int = 40, spacing: float = 1.5) -> tuple[Volume, LabelMap]:
    """Return a body with a sphere inside whose volume is multiplied by `grow`."""
    first = -(size - 1) / 2 * spacing
    grid = Grid((size,) * 3, (spacing,) * 3, (first,) * 3)
    points = grid.points() - np.array(position)
    outer = np.sqrt(((points / np.array([24.0, 20.0, 22.0])) ** 2).sum(axis=-1))
    inner = np.sqrt((points**2).sum(axis=-1)) / (9.0 * grow ** (1 / 3))
    image = 500 / (1 + np.exp(14 * (outer - 1))) + 500 / (1 + np.exp(8 * (inner - 1)))
    labels = (outer < 1).astype(np.int32) + (inner < 1)
    return Volume(image.astype(np.float32), grid, "scan"), LabelMap(labels, grid, {1: "Shell", 2: "Sphere"})


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    files = []
    for n, (grow, position) in enumerate([(1.0, (0, 0, 0)), (1.2, (3.0, -2.0, 1.0))]):
        image, labels = scan(grow, position)
        files.append((write_volume(image, folder / f"t{n}.nii.gz"), write_volume(labels, folder / f"s{n}.seg.nrrd")))
    return files


@pytest.fixture(scope="module")
def result(scans, tmp_path_factory):
    first = target_of(*scans[0])
    second = target_of(scans[1][0])
    folder = tmp_path_factory.mktemp("result")
    return monitor([first, second], folder, SETTINGS, days=(0, 365.25), engine_settings=FAST)


def test_growth_is_found(result):
    shell, sphere = result.trends
    assert sphere.name == "Sphere" and shell.label == 1
    change = sphere.changes[0]
    assert change.percent == pytest.approx(20, abs=5) and change.per_year == pytest.approx(change.percent)
    assert abs(shell.changes[0].percent) < 4
    assert sphere.first_mm3 == pytest.approx(4 / 3 * np.pi * 9**3, rel=0.1)
    assert change.volume_mm3 / sphere.first_mm3 == pytest.approx(1 + change.percent / 100)
    assert result.maps[0].array[result.segmentation.array == 2].mean() > 8
    assert min(result.residual) > 0.95 and result.folded_percent == 0


def test_the_other_order_gives_the_inverse(result, scans):
    turned = monitor([target_of(scans[1][0]), target_of(*scans[0])], result.folder, SETTINGS, engine_settings=FAST)
    for there, back in zip(result.trends, turned.trends, strict=True):
        assert (1 + there.changes[0].percent / 100) * (1 + back.changes[0].percent / 100) == pytest.approx(1)
        assert there.changes[0].forward == pytest.approx(100 * (1 / (1 + back.changes[0].backward / 100) - 1))
    assert turned.cpu_seconds == pytest.approx(result.cpu_seconds), "finished registrations were repeated"


def test_both_scans_are_moved_by_half(scans, tmp_path):
    both = [target_of(path) for path, _ in scans]
    space = make_space(both, tmp_path)
    first, second = space.poses
    assert np.allclose(first.then(second).homogeneous, np.eye(4), atol=1e-6)
    between = first.inverse().then(second).translation_mm
    assert np.abs(between - [3.0, -2.0, 1.0]).max() < 0.4
    assert space.confidence > 0.5


def test_differences_of_brightness_are_removed_and_changes_stay():
    first, labels = scan(1.0)
    second, _ = scan(1.3)
    slope = 1 + 0.004 * first.grid.points()[..., 0]
    shaded = Volume((second.array * 1.2 * slope).astype(np.float32), first.grid)
    factors = brightness_factors([first, shaded])
    assert np.allclose(factors[0] * factors[1], 1, atol=1e-4)
    body = labels.array > 0
    left = np.log(second.array * 1.2 * slope * factors[1] / (first.array * factors[0]))[body]
    assert np.median(np.abs(left)) < 0.03
    rim = (np.abs(second.array - first.array) > 60) & body
    assert np.log(brightened(shaded, factors[1]).array / brightened(first, factors[0]).array)[rim].mean() > 0.05


def test_brightness_is_finite_far_from_the_object():
    first, second = (scan(grow, size=80)[0] for grow in (1.0, 1.3))
    for factor in brightness_factors([first, second]):
        assert factor.min() > 0.5 and factor.max() < 2


def test_unchanged_scans_do_not_change_and_the_report_says_so(tmp_path):
    image, labels = scan(1.0)
    again = simulated_rescan(image, noise=5.0, seed=1)
    assert not again.grid.same_as(image.grid)
    files = [write_volume(image, tmp_path / "a.nii.gz"), write_volume(again, tmp_path / "b.nii.gz")]
    seg = write_volume(labels, tmp_path / "a.seg.nrrd")
    settings = dataclasses.replace(SETTINGS, rescans=True)
    found = monitor([target_of(files[0], seg), target_of(files[1])], tmp_path / "out", settings, engine_settings=FAST)
    for trend in found.trends:
        change = trend.changes[0]
        assert abs(change.percent) < 1.5 and np.isfinite(trend.no_change)
        assert change.uncertainty >= 1.9 * trend.no_change * 0.9
    text = write_monitor_page(found).read_text(encoding="utf-8")
    assert "Follow-up report" in text and "Sphere" in text and text.count("data:image") == 4
    assert not re.search(r"\bnan\b", re.sub(r"data:image[^\"]+", "", text))
    assert verdict_of(dataclasses.replace(found, residual=(0.5,)))["level"] == "bad"


def sharp_scan(grow: float, *, size: int = 36, fine: int = 4) -> tuple[Volume, LabelMap]:
    """Return a sphere of 7 mm in one of 14 mm with edges that are as sharp as voxels of 1 mm can show."""
    x = (np.arange(size * fine) + 0.5) / fine - size / 2
    radius = np.sqrt(x[:, None, None] ** 2 + (x[:, None] + 0.13) ** 2 + (x - 0.31) ** 2)
    inside = radius < 7 * grow ** (1 / 3)
    image = (400 * (radius < 14) + 400.0 * inside).reshape((size, fine) * 3).mean(axis=(1, 3, 5))
    grid = Grid((size,) * 3, (1.0,) * 3)
    labels = ((radius < 14).astype(np.int32) + inside)[1::fine, 1::fine, 1::fine]
    return Volume(image.astype(np.float32), grid), LabelMap(labels, grid, {1: "Shell", 2: "Sphere"})


def test_growth_of_sharp_structures_is_not_overstated(tmp_path):
    first, second = (sharp_scan(grow) for grow in (1.0, 1.1))
    files = [write_volume(image, tmp_path / f"t{n}.nii.gz") for n, (image, _) in enumerate((first, second))]
    labels = write_volume(first[1], tmp_path / "t0.seg.nrrd")
    scans = [target_of(files[0], labels), target_of(files[1])]
    found = monitor(scans, tmp_path / "out", MonitorSettings(rescans=False))
    shell, sphere = (trend.changes[0].percent for trend in found.trends)
    assert sphere == pytest.approx(10, abs=0.6), "12 % on the grid of the scans without smoothing"
    assert shell == pytest.approx(-100 * 0.1 * 7**3 / (14**3 - 7**3), abs=0.2)


def test_the_interval_contains_the_difference_of_sessions(result, scans):
    settings = dataclasses.replace(SETTINGS, sessions_percent=3)
    wider = monitor([target_of(*scans[0]), target_of(scans[1][0])], result.folder, settings, engine_settings=FAST)
    for before, after in zip(result.trends, wider.trends, strict=True):
        added = 1.96 * 3 * (1 + before.changes[0].percent / 100)
        assert after.changes[0].uncertainty == pytest.approx(np.hypot(before.changes[0].uncertainty, added), rel=0.01)
    assert wider.cpu_seconds == pytest.approx(result.cpu_seconds), "finished registrations were repeated"


def test_the_verdict_names_what_changed(result):
    verdict = verdict_of(result)
    assert verdict["level"] == "check" and "Sphere +" in verdict["sentence"]


def test_integrals_of_known_maps():
    grid = Grid((20, 20, 20), (1.5,) * 3)
    array = np.zeros(grid.shape, np.int32)
    array[4:9, 5:12, 6:10] = 3
    array[12:15, 5:12, 6:10] = 7
    labels = LabelMap(array, grid)
    ones = np.ones(grid.shape, np.float32)
    counts, values = label_sums([(labels, Transform())], grid, (3, 7), (2 * ones,))
    assert np.allclose(counts, [5 * 7 * 4, 3 * 7 * 4]) and np.allclose(values, 2 * counts)
    half = Transform((Affine.shift([0.75, 0, 0]),))
    assert np.allclose(label_sums([(labels, half)], grid, (3, 7), ())[0], counts), "linear interpolation keeps the sum"
    grown = Transform((Affine.about(1.1 * np.eye(3), grid.center_mm),))
    sums = label_sums([(labels, Transform())], grid, (3, 7), (jacobian_determinant(grown, grid).array,))
    logs = log_ratios(sums)
    assert np.allclose(logs, 3 * np.log(1.1), atol=1e-4)
    change = change_map(grown, Transform((grown.affine.inverse(),)), grid).array[6:-6, 6:-6, 6:-6]
    assert np.allclose(change, 100 * (1.1**3 - 1), atol=0.1)


def test_wrong_calls_are_refused(scans, tmp_path):
    one, two = (target_of(path) for path, _ in scans)
    with pytest.raises(SettingsError, match="different"):
        monitor([one, one], tmp_path)
    with pytest.raises(SettingsError, match="must increase"):
        monitor([one, two], tmp_path, days=(10, 5))

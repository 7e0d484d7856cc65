"""elastix: its files read back exactly, its settings, its complaints translated."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from DeepVsClassicRegLib.core.engines.elastix import engine as elastix
from DeepVsClassicRegLib.core.engines.elastix.engine import ElastixEngine, ElastixSettings, stage_parameters
from DeepVsClassicRegLib.core.engines.elastix.files import (
    fitted,
    iterations_of,
    prepared,
    read_parameters,
    read_part,
    write_initial,
    write_parameters,
)
from DeepVsClassicRegLib.core.engines.external.program import Output
from DeepVsClassicRegLib.core.errors import EngineFailed, FileError, SettingsError
from DeepVsClassicRegLib.core.files import resource_folder
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform
from testing_grids import GRIDS, oblique_grid

STAGES = sorted(path.stem for path in (resource_folder() / "Presets" / "elastix").glob("*.txt"))
POINTS = np.random.default_rng(0).uniform(-10, 20, (20, 3))


def test_affine_start_is_written_and_read_back(tmp_path):
    affine = Affine(np.eye(3) + np.random.default_rng(1).normal(0, 0.1, (3, 3)), [1.5, -2, 3])
    found = read_part(write_initial(affine, oblique_grid(), tmp_path / "start.txt"))
    np.testing.assert_allclose(found.homogeneous, affine.homogeneous, atol=1e-12)


@pytest.mark.parametrize("zyx", [False, True])
def test_euler_transform_is_read_with_its_center(tmp_path, zyx):
    numbers = (0.2, -0.1, 0.3, 4.0, 5.0, -6.0)
    entries = {
        "Transform": ["EulerTransform"],
        "TransformParameters": [str(n) for n in numbers],
        "CenterOfRotationPoint": ["10", "-20", "30"],
        "ComputeZYX": [str(zyx).lower()],
    }
    expected = sitk.Euler3DTransform((10, -20, 30), *numbers[:3], numbers[3:])
    expected.SetComputeZYX(zyx)
    expected.SetRotation(*numbers[:3])
    found = read_part(write_parameters(entries, tmp_path / "t.txt"))
    np.testing.assert_allclose(found.apply(POINTS), [expected.TransformPoint(p) for p in POINTS.tolist()], atol=1e-9)


@pytest.mark.parametrize("name", list(GRIDS))
def test_bspline_is_read_exactly_on_every_kind_of_grid(tmp_path, name):
    domain = GRIDS[name]
    image = sitk.Image(domain.size, sitk.sitkFloat32)
    image.SetSpacing(domain.spacing_mm)
    image.SetOrigin(domain.origin_mm)
    image.SetDirection(domain.direction)
    spline = sitk.BSplineTransformInitializer(image, [3, 4, 5], 3)
    spline.SetParameters(np.random.default_rng(2).normal(0, 2, spline.GetNumberOfParameters()).tolist())
    grid = spline.GetCoefficientImages()[0]
    entries = {
        "Transform": ["BSplineTransform"],
        "TransformParameters": [repr(p) for p in spline.GetParameters()],
        "GridSize": [str(n) for n in grid.GetSize()],
        "GridIndex": ["0", "0", "0"],
        "GridSpacing": [repr(s) for s in grid.GetSpacing()],
        "GridOrigin": [repr(o) for o in grid.GetOrigin()],
        "GridDirection": [repr(d) for d in np.array(grid.GetDirection()).reshape(3, 3).T.ravel().tolist()],
    }
    found = Transform((read_part(write_parameters(entries, tmp_path / "t.txt")),))
    points = domain.index_to_point(np.random.default_rng(3).uniform(0, np.array(domain.size) - 1, (20, 3)))
    np.testing.assert_allclose(found.apply(points), [spline.TransformPoint(p) for p in points.tolist()], atol=1e-4)


def test_a_missing_transform_file_is_a_failure(tmp_path):
    with pytest.raises(EngineFailed, match="without writing"):
        read_part(tmp_path / "TransformParameters.0.txt")


@pytest.mark.parametrize("stage", STAGES)
def test_every_shipped_stage_can_be_prepared(stage):
    (entries,) = stage_parameters(ElastixSettings(stages=(stage,)), seed=5, grid=Grid((160, 192, 160)))
    levels = int(entries["NumberOfResolutions"][0])
    assert len(iterations_of(entries)) == levels
    assert entries["RandomSeed"] == ("5",)
    assert entries["AutomaticTransformInitialization"] == ("false",)
    if "ImagePyramidSchedule" in entries:
        assert len(entries["ImagePyramidSchedule"]) == 3 * levels
    if "GridSpacingSchedule" in entries:
        assert len(entries["GridSpacingSchedule"]) == levels


def test_settings_change_every_stage():
    settings = ElastixSettings(
        stages=("affine", "bspline"), grid_spacing_mm=12, iterations=7, samples=99, metric="AdvancedMeanSquares"
    )
    affine, spline = stage_parameters(settings, seed=1, grid=Grid((160, 192, 160)))
    assert "FinalGridSpacingInPhysicalUnits" not in affine
    assert spline["FinalGridSpacingInPhysicalUnits"] == ("12",) or spline["FinalGridSpacingInPhysicalUnits"] == (
        "12.0",
    )
    for entries in (affine, spline):
        assert entries["MaximumNumberOfIterations"] == ("7",)
        assert entries["NumberOfSpatialSamples"] == ("99",)
        assert entries["Metric"][0] == "AdvancedMeanSquares"


def test_stages_are_fitted_to_thick_slices_and_small_crops():
    entries = {
        "ImagePyramidSchedule": ("8", "8", "8", "1", "1", "1"),
        "SampleRegionSize": ("50", "50", "50"),
        "SP_a": ("1000.0",),
    }
    thick = fitted(entries, Grid((200, 200, 60), (1.0, 1.0, 4.0)))
    assert thick["ImagePyramidSchedule"] == ("8", "8", "2", "1", "1", "1")
    assert thick["SP_a"] == ("1000.000",)
    crop = fitted(entries, Grid((41, 41, 41)))
    assert crop["ImagePyramidSchedule"][:3] == ("6", "6", "6")
    assert crop["SampleRegionSize"] == ("20.000", "20.000", "20.000")
    assert float(crop["SP_a"][0]) == pytest.approx(1000 * 0.4**3)
    # elastix reads the region of level n at the places 3 n to 3 n + 2; the two levels of a slab need their own.
    slab = fitted({**entries, "NumberOfResolutions": ("2",)}, Grid((121, 121, 21)))
    assert slab["SampleRegionSize"] == ("50.000", "50.000", "10.000") * 2


def test_unknown_stage_transform_and_invalid_file_are_reported(tmp_path):
    grid = Grid((32, 32, 32))
    with pytest.raises(SettingsError, match="no elastix stage"):
        stage_parameters(ElastixSettings(stages=("bsplin",)), seed=1, grid=grid)
    with pytest.raises(SettingsError, match="no elastix stage"):
        stage_parameters(ElastixSettings(stages=()), seed=1, grid=grid)
    with pytest.raises(SettingsError, match="SplineKernelTransform"):
        prepared({"Transform": ("SplineKernelTransform",)}, seed=1, source="mine.txt")
    broken = tmp_path / "broken.txt"
    broken.write_text("no entries here")
    with pytest.raises(FileError, match="no line like"):
        read_parameters(broken)
    with pytest.raises(FileError, match="Could not read"):
        read_parameters(tmp_path / "missing.txt")


def test_comments_and_quotes_of_parameter_files_are_understood(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text('// (Ignored 1)\n(Metric "A B" "C") // remark\n  (Numbers 1 2.5)\n')
    assert read_parameters(path) == {"Metric": ("A B", "C"), "Numbers": ("1", "2.5")}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Description: itk::ERROR: Too many samples map outside moving image buffer: 7 / 2048", "hardly overlap"),
        ("Could not find enough image samples within reasonable time.", "mask"),
        ("std::bad_alloc", "memory"),
        ("Please select a smaller SampleRegionSize!", "sample region"),
        ("Description: something new", "something new"),
    ],
)
def test_complaints_of_elastix_are_translated(line, words):
    with pytest.raises(EngineFailed, match=words) as raised:
        ElastixEngine().check_output(Output(1, ("before", line, "after")))
    assert raised.value.hint


def test_program_is_found_by_variable_extension_and_setting(tmp_path, monkeypatch):
    name = "elastix.exe" if sys.platform == "win32" else "elastix"
    program = tmp_path / "SlicerElastix" / "lib" / "Slicer-5.12" / name
    module = program.parent / "qt-scripted-modules" / "Elastix.py"
    module.parent.mkdir(parents=True)
    for path in (program, module):
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    monkeypatch.setattr(elastix.shutil, "which", lambda command: command if Path(command).is_file() else None)
    monkeypatch.delenv("ELASTIX_PATH", raising=False)
    assert elastix.find_program() is None
    monkeypatch.setattr(sys, "path", [*sys.path, str(module.parent)])
    assert elastix.find_program() == program
    monkeypatch.setattr(sys, "path", sys.path[:-1])
    for given in (program, program.parent):
        monkeypatch.setenv("ELASTIX_PATH", str(given))
        assert elastix.find_program() == program
    assert elastix.backend(str(program)) == [str(program)]
    with pytest.raises(SettingsError, match="not an executable program"):
        elastix.backend(str(tmp_path / "nothing"))

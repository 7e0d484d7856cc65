"""A pair as large as clinical CT registers within a laptop's memory, and says at which resolution it was worked at."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import read_volume
from DeepVsClassicRegLib.core.images.resample import to_sitk, warp_volume
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom

pytest.importorskip("numba")
SIZE = (512, 512, 400)
SIX_GIB_MB = 6 * 1024


def write_large(volume, path):
    """Write a volume resampled to the size of a whole-body CT, as 16-bit integers."""
    grid = volume.grid
    spacing = [n * s / m for n, s, m in zip(grid.size, grid.spacing_mm, SIZE, strict=True)]
    large = warp_volume(volume, Grid(SIZE, tuple(spacing), grid.origin_mm, grid.direction))
    sitk.WriteImage(sitk.Cast(to_sitk(large), sitk.sitkInt16), str(path))


@pytest.mark.slow
def test_a_whole_body_ct_stays_within_six_gib(program, tmp_path):
    pair = make_phantom("lung", size=96).pair
    for name, volume in (("fixed", pair.fixed), ("moving", pair.moving)):
        write_large(volume, tmp_path / f"{name}.mha")
    out = tmp_path / "out"
    process = program(
        "register", "--fixed", tmp_path / "fixed.mha", "--moving", tmp_path / "moving.mha", "--engine", "instance",
        "--set", "iterations=5,5,5,5,3", "--no-html", "--quiet", "--out", out,
    )  # fmt: skip
    _, error = process.communicate(timeout=1500)
    assert process.returncode == 0, error
    report = json.loads((out / "report.json").read_text())
    assert report["peak_memory_mb"] < SIX_GIB_MB
    assert any("stay within 3 GiB" in note for note in report["notes"]), report["notes"]
    warped = read_volume(out / "warped.nii.gz")
    assert tuple(warped.grid.size) == SIZE and np.isfinite(warped.array).all()

"""Masks keep what lies outside of them from misleading an engine; an elastix program works like the package."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from DeepVsClassicRegLib.core.device import Compute, sitk_threads
from DeepVsClassicRegLib.core.engines.catalogue import get_engine
from DeepVsClassicRegLib.core.engines.external.program import PACKAGE_ROOT
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.settings import make_settings
from testing_grids import oblique_grid

GRID = oblique_grid((28, 26, 24), (1.8, 1.8, 1.8), seed=5, left_handed=True)
MIDDLE = GRID.center_mm
SHIFT = np.array([1.5, -1.0, 1.0])
CHANGES = {
    "elastix": {"iterations": 200},
    "sitk-bspline": {"metric": "mean-squares", "iterations": (10, 10, 10), "grid_spacing_mm": 12},
    "ants": {"iterations": (30, 30, 20, 10)},
    "greedy": {"update_sigma_vox": 2.2, "total_sigma_vox": 0.8},
    "sitk-demons": {},
}
SLOW = [pytest.param(n, marks=pytest.mark.slow) if n in ("elastix", "ants", "sitk-bspline") else n for n in CHANGES]


def anatomy(points):
    rng = np.random.default_rng(11)
    blobs = zip(rng.uniform(-14, 14, (30, 3)), rng.uniform(3.5, 7, 30), rng.uniform(0.3, 1, 30), strict=True)
    return 100 * sum(h * np.exp(-((points - MIDDLE - c) ** 2).sum(-1) / r**2) for c, r, h in blobs)


def masked_pair(*, with_masks: bool) -> tuple[Pair, np.ndarray]:
    """A shifted anatomy whose one side carries a bright box ("table") in the moving volume that must be ignored."""
    points = GRID.points()
    side = GRID.point_to_index(points)[..., 0] >= 20
    fixed, moving = anatomy(points + SHIFT), anatomy(points)
    moving[side] = 250
    masks = {}
    if with_masks:
        keep = LabelMap((~side).astype(int), GRID)
        masks = {"fixed_mask": keep, "moving_mask": keep}
    inside = GRID.point_to_index(points)[..., 0] < 15
    return Pair(Volume(fixed, GRID), Volume(moving, GRID), **masks), inside


def error(name: str, *, with_masks: bool, **changes) -> float:
    engine = get_engine(name)
    if engine.info.missing():
        pytest.skip(f"engine '{name}' needs {engine.info.missing()[0].name}")
    pair, inside = masked_pair(with_masks=with_masks)
    seen = inside & (pair.fixed.array > 15)
    with sitk_threads(1):
        settings = make_settings(engine.info.settings, name, changes={**CHANGES[name], **changes})
        result = engine.run(pair, settings, Progress(), Compute(device="cpu", threads=1))
    found = result.transform.displacement_on(GRID).array_mm
    return float(np.linalg.norm(found - SHIFT, axis=-1)[seen].mean())


@pytest.mark.parametrize("name", SLOW)
def test_masked_part_does_not_mislead(name):
    before = float(np.linalg.norm(SHIFT))
    assert error(name, with_masks=True) < 0.5 * before


@pytest.mark.slow
def test_an_elastix_program_gives_what_the_package_gives(tmp_path):
    if os.name == "nt":
        pytest.skip("the stand-in is a shell script")
    program = tmp_path / "my elastix"
    module = "DeepVsClassicRegLib.core.engines.elastix.child"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{PACKAGE_ROOT}" exec "{sys.executable}" -m {module} "$@"\n')
    program.chmod(0o755)
    package = error("elastix", with_masks=False, iterations=30)
    assert error("elastix", with_masks=False, iterations=30, executable=str(program)) == package

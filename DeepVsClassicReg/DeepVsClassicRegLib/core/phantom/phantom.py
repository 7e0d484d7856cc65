"""Phantom: a pair of volumes of one analytic anatomy, with labels, landmarks and the exact warp between them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import SettingsError, did_you_mean
from ..images.grid import Grid
from ..images.io import write_volume
from ..images.points import write_points
from ..images.resample import image_from_array
from ..images.volume import LabelMap, Volume
from ..pair import Pair
from ..transforms.files import write_transform
from ..transforms.transform import Affine, DisplacementField, Transform
from . import head, lung
from .warp import SineWarp, random_warp

Array = npt.NDArray[np.floating]
KINDS: dict[str, Any] = {"head": head, "lung": lung}
DEFAULT_CONTRAST = {"head": "t1", "lung": "ct"}
SMALLEST = 16


@dataclass(frozen=True, eq=False)
class Phantom:
    """A pair with its exact transform.

    Attributes
    ----------
    pair : Pair
        Volumes, labels and landmarks; no initial transform.
    warp : SineWarp
        The exact fixed-to-moving transform in closed form.
    kind : str
        'head' or 'lung'.
    """

    pair: Pair
    warp: SineWarp
    kind: str

    @property
    def truth(self) -> Transform:
        """The exact transform sampled on the fixed grid, with a separate linear part."""
        grid = self.pair.fixed.grid
        field = DisplacementField(self.warp.displacement(grid.points()).astype(np.float32), grid)
        return Transform.of([field, self.warp.affine])


def make_phantom(
    kind: str = "head",
    *,
    size: int = 96,
    seed: int = 0,
    contrasts: tuple[str, str] | None = None,
    amplitude_mm: float | None = None,
    affine: Affine | None = None,
    fixed_grid: Grid | None = None,
    moving_grid: Grid | None = None,
    noise: float = 0.02,
) -> Phantom:
    """Generate a phantom pair.

    Parameters
    ----------
    kind : {'head', 'lung'}
        Anatomy.
    size : int
        Number of voxels along each axis, at least 16; the field of view does not change (192 mm head, 320 mm lung).
    seed : int
        Seed of warp and noise; the same arguments give the same phantom.
    contrasts : (fixed, moving), optional
        't1' or 't2' for 'head'; 'ct' for 'lung'.
    amplitude_mm : float, optional
        Approximate maximum of the non-linear displacement (8 mm head, 14 mm lung).
    affine : Affine, optional
        Linear part of the transform; default: a small rotation, scale and translation.
    fixed_grid, moving_grid : Grid, optional
        Any grids (oblique, anisotropic, left-handed); default: centered cubes.
    noise : float
        Standard deviation of the Gaussian noise relative to the intensity range.

    Examples
    --------
    >>> phantom = make_phantom("head", size=24)
    >>> phantom.pair.fixed.grid.size
    (24, 24, 24)
    """
    if kind not in KINDS:
        raise SettingsError(f"There is no phantom '{kind}'.", hint=did_you_mean(kind, KINDS))
    if size < SMALLEST:
        raise SettingsError(f"A phantom needs at least {SMALLEST} voxels per axis, got {size}.")
    anatomy = KINDS[kind]
    warp = random_warp(
        seed + 1,
        size_mm=anatomy.SIZE_MM * 0.8,
        amplitude_mm=amplitude_mm if amplitude_mm is not None else {"head": 8.0, "lung": 14.0}[kind],
        affine=affine or _default_affine(kind),
        direction={"head": None, "lung": (0.3, 0.5, 1.0)}[kind],
    )
    fixed_grid = fixed_grid or cube(size, anatomy.SIZE_MM)
    moving_grid = moving_grid or cube(size, anatomy.SIZE_MM)
    first, second = contrasts or (DEFAULT_CONTRAST[kind],) * 2
    fixed = anatomy_images(anatomy, fixed_grid, _same, first, noise, seed + 2, "fixed")
    moving = anatomy_images(anatomy, moving_grid, warp.inverse, second, noise, seed + 3, "moving")
    points = landmarks_in(fixed[1], seed)
    pair = Pair(
        fixed[0],
        moving[0],
        fixed_labels=fixed[1],
        moving_labels=moving[1],
        fixed_points=points,
        moving_points=warp.apply(points).astype(np.float64),
    )
    return Phantom(pair, warp, kind)


def cube(size: int, edge_mm: float) -> Grid:
    """Return a grid of size**3 voxels over a cube with this edge length, centered at the LPS origin."""
    spacing = edge_mm / size
    first = -edge_mm / 2 + spacing / 2
    return Grid((size, size, size), (spacing,) * 3, (first,) * 3)


def write_phantom(phantom: Phantom, folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Write everything a phantom contains and return the files by role.

    Roles are fixed, moving, fixed_labels, moving_labels, fixed_points, moving_points and truth.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    pair = phantom.pair
    files = {
        "fixed": write_volume(pair.fixed, target / "fixed.nii.gz"),
        "moving": write_volume(pair.moving, target / "moving.nii.gz"),
        "truth": write_transform(phantom.truth, target / "truth.h5"),
    }
    if pair.fixed_labels is not None and pair.moving_labels is not None:
        files["fixed_labels"] = write_volume(pair.fixed_labels, target / "fixed_seg.nii.gz")
        files["moving_labels"] = write_volume(pair.moving_labels, target / "moving_seg.nii.gz")
    if pair.fixed_points is not None and pair.moving_points is not None:
        files["fixed_points"] = write_points(pair.fixed_points, target / "fixed_points.csv")
        files["moving_points"] = write_points(pair.moving_points, target / "moving_points.csv")
    return files


def _default_affine(kind: str) -> Affine:
    angle = np.deg2rad({"head": 9.0, "lung": 2.0}[kind])
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    shift = {"head": (14.0, -9.0, 7.0), "lung": (4.0, -3.0, -9.0)}[kind]
    return Affine(turn @ np.diag([1.03, 0.97, 1.02]), np.array(shift))


def _same(points: Array) -> Array:
    return points


def anatomy_images(
    anatomy: Any, grid: Grid, pull: Callable[[Array], Array], contrast: str, noise: float, seed: int, name: str
) -> tuple[Volume, LabelMap]:
    """Sample the anatomy at the mapped voxel centers and add blur, bias and noise."""
    points = pull(grid.points())
    labels, _ = anatomy.label_at(points)
    clean = anatomy.intensity_at(points, contrast=contrast)
    sigma = 0.5 * np.array(grid.spacing_mm)
    blurred = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(image_from_array(clean, grid), sigma.tolist()))
    rng = np.random.default_rng(seed)
    span = float(clean.max() - clean.min())
    if contrast == "ct":
        image = blurred + noise * 0.5 * span * rng.normal(size=grid.shape)
    else:
        relative = (grid.points() - grid.center_mm) / (grid.extent_mm.max() / 2)
        bias = 1 + 0.06 * relative @ rng.uniform(-1, 1, 3)
        inside = blurred > 0.02
        image = 1000 * np.where(
            inside, np.clip(blurred * bias + noise * span * rng.normal(size=grid.shape), 0, None), 0
        )
    return Volume(image.astype(np.float32), grid, name), LabelMap(labels, grid, anatomy.NAMES, f"{name} segmentation")


def landmarks_in(labels: LabelMap, seed: int, *, count: int = 24) -> npt.NDArray[np.float64]:
    """Return centers of structures and random voxels inside them, LPS mm."""
    inside = np.argwhere(labels.array > 0)
    chosen = np.random.default_rng(seed + 4).choice(len(inside), size=min(count, len(inside)), replace=False)
    centers = [np.argwhere(labels.array == label).mean(0) for label in labels.labels]
    return labels.grid.index_to_point(np.concatenate([centers, inside[chosen]])[:, ::-1]).astype(np.float64)

"""Populations of phantom heads: data sets with individual contrast, noise and labels, in 3D or as one slice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import SettingsError, did_you_mean
from ..images.grid import Grid
from ..images.resample import image_from_array
from ..images.volume import LabelMap, Volume
from ..transforms.transform import Affine
from . import head
from .warp import random_warp

Array = npt.NDArray[np.floating]
SLICE_MM = 10.0
FIELD_MM = 208.0
# Parcels: sectors of the outer tissue around the axis of the head, with borders not visible in the intensity.
SECTORS = 8
PARCEL_FIRST, DISC_FIRST = 101, 151
DISCS_MM = ((28.0, -38.0, 12.0), (-28.0, -38.0, 12.0), (30.0, 48.0, 12.0), (-30.0, 48.0, 12.0))
DISC_RADIUS_MM = 11.0
NUCLEI = (4, 43, 10, 49, 11, 50, 12, 51, 17, 53, 14)
PROTOCOLS = {
    "tissues": "cortex, white matter, fluid and deep nuclei: visible in the intensity",
    "structures": "the 18 structures of the head, left and right separate",
    "parcels": "sectors of the cortex and discs in the white matter: borders not visible in the intensity",
    "nuclei": "ventricles and deep nuclei only",
}


@dataclass(frozen=True)
class Cohort:
    """A data set: the common properties of its subjects.

    Attributes
    ----------
    name : str
        Name in tables.
    tones : mapping of tissue to intensity
        Changed intensities of the T1 contrast ('csf', 'cortex', 'white', 'deep', 'cerebellum', 'stem').
    noise : float
        Standard deviation relative to the brightest tissue.
    protocol : str
        Label protocol of its segmentations, a key of `PROTOCOLS`.
    amplitude_mm : float
        Approximate deformation between subjects.
    seed : int
        Seed that distinguishes the subjects of cohorts.
    """

    name: str
    tones: Mapping[str, float] = field(default_factory=dict)
    noise: float = 0.03
    protocol: str = "structures"
    amplitude_mm: float = 9.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Subject:
    """One subject of a cohort.

    Attributes
    ----------
    name : str
        Cohort and number.
    image : Volume
        Its image.
    labels : LabelMap
        Its segmentation by the protocol of the cohort.
    """

    name: str
    image: Volume
    labels: LabelMap


def make_subject(cohort: Cohort, number: int, grid: Grid, *, protocol: str = "") -> Subject:
    """Return a subject, determined by cohort, number and grid.

    Parameters
    ----------
    cohort : Cohort
        The data set.
    number : int
        Number of the subject.
    grid : Grid
        Grid of the samples, LPS mm. On a grid of one slice the anatomy differs only within the plane, so that two
        subjects correspond completely.
    protocol : str
        Label protocol to use instead of that of the cohort.

    Examples
    --------
    >>> subject = make_subject(Cohort("A"), 3, plane(32))
    >>> subject.image.grid.size
    (32, 32, 1)
    """
    wanted = protocol or cohort.protocol
    if wanted not in PROTOCOLS:
        raise SettingsError(f"There is no label protocol '{wanted}'.", hint=did_you_mean(wanted, PROTOCOLS))
    flat = 1 in grid.size
    warp = random_warp(
        1_000_003 * cohort.seed + number,
        size_mm=head.SIZE_MM * 0.8,
        amplitude_mm=cohort.amplitude_mm,
        affine=Affine(np.eye(3), np.zeros(3)),
        direction=(1.0, 1.0, 0.0) if flat else None,
    )
    points = warp.inverse(grid.points(), tolerance_mm=1e-3)
    labels, content = head.label_at(points)
    rng = np.random.default_rng([cohort.seed, number, 7])
    image = _scan(labels, content, cohort, grid, rng)
    name = f"{cohort.name}{number:03d}"
    drawn, names = _drawn(labels, points, wanted)
    return Subject(name, Volume(image, grid, name), LabelMap(drawn, grid, names, f"{name} {wanted}"))


def plane(size: int) -> Grid:
    """Return a grid of size x size voxels over an axial slice through ventricles and nuclei."""
    spacing = FIELD_MM / size
    first = -FIELD_MM / 2 + spacing / 2
    return Grid((size, size, 1), (spacing,) * 3, (first, first, SLICE_MM))


def _scan(
    labels: npt.NDArray[np.int32],
    content: npt.NDArray[np.bool_],
    cohort: Cohort,
    grid: Grid,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Assign tissue intensities, blur by half a voxel, add a smooth bias field and noise; 0 outside the head."""
    tones = head.CONTRASTS["t1"] | dict(cohort.tones)
    clean = np.where(content, tones["csf"], 0.0)
    for tissue, members in head.TISSUES.items():
        clean[np.isin(labels, members)] = tones[tissue]
    if min(grid.size) >= 4:
        sigma = [0.5 * spacing for spacing in grid.spacing_mm]
        clean = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(image_from_array(clean, grid), sigma))
    relative = (grid.points() - grid.center_mm) / (grid.extent_mm.max() / 2)
    bias = 1 + 0.06 * relative @ rng.uniform(-1, 1, 3)
    noisy = clean * bias + cohort.noise * max(tones.values()) * rng.normal(size=grid.shape)
    return np.asarray(np.where(content, np.clip(noisy, 0, None), 0.0), dtype=np.float32)


def _drawn(
    labels: npt.NDArray[np.int32], points: Array, protocol: str
) -> tuple[npt.NDArray[np.int32], Mapping[int, str]]:
    """Return the segmentation by a protocol and the names of its labels."""
    if protocol == "structures":
        return labels, head.NAMES
    drawn = np.zeros_like(labels)
    if protocol == "nuclei":
        chosen = np.isin(labels, NUCLEI)
        drawn[chosen] = labels[chosen]
        return drawn, {label: head.NAMES[label] for label in NUCLEI}
    if protocol == "tissues":
        for number, members in enumerate(head.TISSUES.values(), 1):
            drawn[np.isin(labels, members)] = number
        return drawn, dict(enumerate(head.TISSUES, 1))
    x, y, _ = np.moveaxis(points, -1, 0)
    sector = np.floor((np.arctan2(y + 4, x) / (2 * np.pi) + 1) * SECTORS).astype(np.int32) % SECTORS
    cortex = np.isin(labels, head.TISSUES["cortex"])
    drawn[cortex] = PARCEL_FIRST + sector[cortex]
    names = {PARCEL_FIRST + number: f"Cortex sector {number + 1}" for number in range(SECTORS)}
    for number, (cx, cy, cz) in enumerate(DISCS_MM):
        near = np.sqrt((x - cx) ** 2 + (y - cy) ** 2 + ((points[..., 2] - cz) / 2) ** 2) < DISC_RADIUS_MM
        drawn[near & np.isin(labels, head.TISSUES["white"])] = DISC_FIRST + number
        names[DISC_FIRST + number] = f"White matter disc {number + 1}"
    return drawn, names

"""Breathing: frames of the lung phantom over one cycle, with the exact motion and landmarks in every frame."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import SettingsError
from ..files import write_csv
from ..images.series import write_series
from ..images.volume import Volume
from ..transforms.transform import Affine
from . import lung
from .phantom import SMALLEST, anatomy_images, cube, landmarks_in
from .warp import SineWarp, random_warp

Array = npt.NDArray[np.float64]
FEWEST = 2
PERIOD_S = 4.0
# Parts of the body do not move at the same time: the largest delay, as a share of the cycle.
LATEST = 0.08


@dataclass(frozen=True, eq=False)
class BreathingPhantom:
    """Frames of one breathing cycle that begins at the end of expiration.

    Attributes
    ----------
    frames : tuple of Volume
        The frames, on one grid.
    warps : tuple of SineWarp
        The exact map from points of the first frame to points of each frame.
    landmarks : (T, N, 3) array
        The same points in every frame, LPS mm.
    step_s : float
        Time between frames in seconds.
    """

    frames: tuple[Volume, ...]
    warps: tuple[SineWarp, ...]
    landmarks: Array
    step_s: float


def make_breathing(
    frames: int = 10, *, size: int = 96, seed: int = 0, amplitude_mm: float = 14.0, noise: float = 0.02
) -> BreathingPhantom:
    """Generate the frames of a breathing cycle of the lung phantom.

    Parameters
    ----------
    frames : int
        Number of frames, at least 2.
    size : int
        Number of voxels along each axis, at least 16.
    seed : int
        Seed of motion and noise.
    amplitude_mm : float
        Approximate maximum of the displacement at the end of inspiration.
    noise : float
        Standard deviation of the Gaussian noise relative to the intensity range.

    References
    ----------
    Lujan et al., Med. Phys. 26:715-720, 1999, doi 10.1118/1.598577 (shape of the breathing curve).

    Examples
    --------
    >>> phantom = make_breathing(3, size=16)
    >>> len(phantom.frames), phantom.landmarks.shape
    (3, (3, 28, 3))
    """
    if frames < FEWEST or size < SMALLEST:
        raise SettingsError(f"Breathing needs at least {FEWEST} frames of {SMALLEST} voxels, got {frames} of {size}.")
    deepest = random_warp(
        seed + 1,
        size_mm=lung.SIZE_MM * 0.8,
        amplitude_mm=amplitude_mm,
        affine=Affine.identity(),
        direction=(0.3, 0.5, 1.0),
    )
    delay = LATEST * np.random.default_rng(seed + 5).uniform(size=len(deepest.phases))
    grid = cube(size, lung.SIZE_MM)
    warps, volumes = [], []
    for number in range(frames):
        depth = np.sin(np.pi * (number / frames - delay)) ** 2 - np.sin(np.pi * delay) ** 2
        warps.append(replace(deepest, amplitudes_mm=deepest.amplitudes_mm * depth[:, None]))
        image, labels = anatomy_images(
            lung, grid, warps[-1].inverse, "ct", noise, seed + 100 + number, f"frame {number}"
        )
        volumes.append(image)
        if number == 0:
            points = landmarks_in(labels, seed)
    landmarks = np.stack([warp.apply(points) for warp in warps]).astype(np.float64)
    return BreathingPhantom(tuple(volumes), tuple(warps), landmarks, PERIOD_S / frames)


def write_breathing(phantom: BreathingPhantom, folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Write series.nii.gz and landmarks.csv (frame, name, x, y, z) and return the files by role."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    points = target / "landmarks.csv"
    rows = [
        [number, f"P{n + 1}", *(f"{value:.4f}" for value in point)]
        for number, frame in enumerate(phantom.landmarks)
        for n, point in enumerate(frame)
    ]
    write_csv(points, ["frame", "name", "x", "y", "z"], rows)
    series = write_series(phantom.frames, target / "series.nii.gz", step_s=phantom.step_s)
    return {"series": series, "landmarks": points}

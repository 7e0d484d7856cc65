"""Real volumes brought onto the training grid once, kept as arrays on the disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FileError, RegistrationError
from ..files import NO_SPACE
from ..images.grid import Grid
from ..images.intensity import background_value, foreground, normalized
from ..images.io import read_volume
from ..images.resample import sampled_on, warp_labels
from ..images.segmentations import read_labels
from ..images.volume import LabelMap, Volume
from ..transforms.transform import Transform
from .listing import Case

Align = Callable[[Volume, Volume], Transform]
Array = npt.NDArray[Any]
LEAST_SHOWN = 0.5  # part of what a volume shows that must lie on the training grid
VERSION = 1


@dataclass(frozen=True)
class Frame:
    """Where all volumes are brought to.

    Attributes
    ----------
    grid : Grid
        The training grid.
    template : Volume or None
        What they are aligned to first; None when their headers are believed.
    align : callable or None
        `align(template, volume)` returns the linear map from template to volume points.
    """

    grid: Grid
    template: Volume | None = None
    align: Align | None = None


def training_frame(
    reference: Volume, size: tuple[int, int, int], spacing_mm: float, align: Align | None = None
) -> Frame:
    """Return the frame around what a volume shows, axes along the patient's."""
    center = reference.grid.index_to_point(_middle(foreground(reference)))
    origin = center - (np.array(size) - 1) / 2 * spacing_mm
    grid = Grid(size, (spacing_mm,) * 3, (float(origin[0]), float(origin[1]), float(origin[2])))
    return Frame(grid, reference if align else None, align)


def prepared(case: Case, frame: Frame, cache: Path) -> tuple[Array, Array | None]:
    """Return a case on the training grid, from the cache when it was there before.

    Returns
    -------
    image : (Z, Y, X) float16 array
        Intensities 0 to 1, mapped from the disk.
    labels : (Z, Y, X) int32 array or None
        Its label numbers.

    Raises
    ------
    RegistrationError
        When most of what it shows lies beyond the grid.
    """
    image, labels = (cache / f"{case.name}-{_key(case, frame)}-{part}.npy" for part in ("image", "labels"))
    if not image.is_file() or (case.labels is not None and not labels.is_file()):
        _prepare(case, frame, image, labels)
    return np.load(image, mmap_mode="r"), np.load(labels, mmap_mode="r") if case.labels is not None else None


def _prepare(case: Case, frame: Frame, image: Path, labels: Path) -> None:
    volume = read_volume(case.image)
    if case.mask is not None:
        volume = _masked(volume, read_labels(case.mask))
    transform = None
    if frame.template is not None and frame.align is not None:
        transform = frame.align(frame.template, volume)
    sampled = sampled_on(volume, frame.grid, transform)
    _check_view(volume, sampled, transform)
    if case.labels is not None:
        _write(labels, warp_labels(read_labels(case.labels), frame.grid, transform).array)
    _write(image, normalized(sampled).astype(np.float16))


def _masked(volume: Volume, mask: LabelMap) -> Volume:
    inside = warp_labels(mask, volume.grid).mask()
    return Volume(np.where(inside, volume.array, background_value(volume)), volume.grid, volume.name)


def _check_view(volume: Volume, sampled: Volume, transform: Transform | None) -> None:
    lower, upper = np.percentile(volume.array, [0.5, 99.5])
    cut = lower + 0.1 * (upper - lower)
    scale = 1.0
    if transform is not None and transform.affine is not None:
        scale = abs(float(np.linalg.det(transform.affine.matrix)))
    whole = float((volume.array > cut).sum()) * volume.grid.voxel_volume_mm3
    shown = float((sampled.array > cut).sum()) * sampled.grid.voxel_volume_mm3 * scale
    if whole == 0 or shown < LEAST_SHOWN * whole:
        raise RegistrationError(
            f"'{volume.name}' shows {100 * shown / max(whole, 1e-9):.0f} % of its contents on the training grid.",
            hint="Give --linear first to align the images, or a larger --size or --spacing.",
        )


def _middle(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.floating]:
    """Return the center (i, j, k) of the box that holds all but the outermost hundredth along each axis."""
    ends = []
    for axis in (2, 1, 0):
        share = np.cumsum(mask.sum(axis=tuple(other for other in range(3) if other != axis), dtype=np.float64))
        ends.append(np.searchsorted(share, np.array([0.01, 0.99]) * share[-1]).mean())
    return np.array(ends)


def _key(case: Case, frame: Frame) -> str:
    files = [file for file in (case.image, case.labels, case.mask) if file is not None]
    states = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    template = "" if frame.template is None else hashlib.sha256(frame.template.array.tobytes()).hexdigest()
    grid = frame.grid
    content = [VERSION, states, template, grid.size, grid.spacing_mm, grid.origin_mm, grid.direction]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def _write(path: Path, array: Array) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            np.save(file, array)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise FileError(f"Could not write {path}: {error.strerror or error}.", hint=NO_SPACE) from error

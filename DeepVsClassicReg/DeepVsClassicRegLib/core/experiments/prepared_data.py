"""Subjects on one grid for engines and networks: computed once, stored as a file, with simulated domain shifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import FileError, RegistrationError, SettingsError, did_you_mean
from ..images.grid import Grid
from ..images.intensity import foreground, normalized
from ..images.resample import to_sitk, volume_from_sitk, warp_labels, warp_volume
from ..images.volume import LabelMap, Volume
from ..pair import Pair
from ..transforms.transform import Transform
from .base import LINEAR, registered
from .dataset import load_subject

Images = npt.NDArray[np.float32]
SHIFTS = {
    "none": "as in training",
    "inverted": "inverted contrast",
    "gamma": "gamma 2.2 and a strong bias field",
    "noise": "added noise of 10 % of the range",
}
# 3D engines register a plane as a slab of equal slices, so that there is no force out of the plane.
SLAB = 8
MULTIPLE = 16


@dataclass(frozen=True, eq=False)
class PreparedData:
    """Subjects on one grid.

    Attributes
    ----------
    names : tuple of str
        Names of the subjects.
    images : (N, Z, Y, X) array
        Intensities 0 to 1; Z = 1 for planes.
    labels : (N, Z, Y, X) array
        Segmentations available for training.
    held_out : (N, Z, Y, X) array
        Segmentations not used in training; all 0 when there are none.
    spacing_mm : float
        Isotropic voxel size.
    label_names : mapping of int to str
        Names of `labels`.
    """

    names: tuple[str, ...]
    images: Images
    labels: npt.NDArray[np.int32]
    held_out: npt.NDArray[np.int32]
    spacing_mm: float
    label_names: Mapping[int, str]

    @property
    def flat(self) -> bool:
        """Whether they are 2D."""
        return self.images.shape[1] == 1

    @property
    def values(self) -> tuple[int, ...]:
        """Label values of `labels`, ascending."""
        return tuple(int(value) for value in np.unique(self.labels) if value)

    def save(self, path: Path) -> None:
        """Write one compressed file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            path,
            names=np.array(self.names),
            images=self.images,
            labels=self.labels,
            held_out=self.held_out,
            spacing_mm=self.spacing_mm,
            label_values=np.array(list(self.label_names), dtype=np.int64),
            label_names=np.array(list(self.label_names.values())),
        )

    @classmethod
    def load(cls, path: str | Path) -> PreparedData:
        """Read a file of `save`; `FileError` when it does not exist."""
        try:
            with np.load(path) as file:
                names = dict(zip(file["label_values"].tolist(), file["label_names"].tolist(), strict=True))
                return cls(
                    tuple(file["names"].tolist()), file["images"], file["labels"], file["held_out"],
                    float(file["spacing_mm"]), names,
                )  # fmt: skip
        except (OSError, KeyError, ValueError) as error:
            raise FileError(f"Could not read {path}: {error}.", hint="Delete the folder and start again.") from error

    def pair(self, fixed: int, moving: int) -> Pair:
        """Return two subjects as a linearly aligned pair; a plane becomes a slab."""
        depth = SLAB if self.flat else self.images.shape[1]
        grid = _grid((depth, *self.images.shape[2:]), self.spacing_mm)
        volumes = [Volume(np.broadcast_to(self.images[n], grid.shape), grid, self.names[n]) for n in (fixed, moving)]
        maps = [LabelMap(np.broadcast_to(self.labels[n], grid.shape), grid) for n in (fixed, moving)]
        return Pair(volumes[0], volumes[1], fixed_labels=maps[0], moving_labels=maps[1], initial=Transform())


def prepare_phantom(
    path: str, cohort: Mapping[str, Any], numbers: Sequence[int], size: int, shift: str, protocols: Sequence[str]
) -> list[dict[str, Any]]:
    """Generate phantom planes and write them."""
    images, labels, held_out, names = [], [], [], []
    title: Mapping[int, str] = {}
    for number in numbers:
        where = {"cohort": dict(cohort), "number": int(number), "size": size, "flat": True}
        image, first = load_subject({**where, "protocol": protocols[0]})
        images.append(normalized(image, low=0.0, high=99.9))
        labels.append(first.array)
        held_out.append(load_subject({**where, "protocol": protocols[1]})[1].array)
        names.append(image.name)
        title = first.names
    spacing_mm = image.grid.spacing_mm[0]
    prepared = PreparedData(tuple(names), np.stack(images), np.stack(labels), np.stack(held_out), spacing_mm, title)
    return _written(shifted(prepared, shift), path)


def prepare_data(
    path: str,
    subjects: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    reference: Mapping[str, Any],
    spacing_mm: float,
    shift: str,
    threads: int,
) -> list[dict[str, Any]]:
    """Align subjects linearly to a reference subject, resample them on a common grid, and write the prepared data.

    Parameters
    ----------
    path : str
        File to write.
    subjects, names : sequences
        Volume and segmentation of each subject (see `load_subject`), and its name.
    reference : mapping
        The subject around whose foreground the common grid lies.
    spacing_mm : float
        Edge of the cubic voxels of the common grid.
    shift : str
        Simulated domain shift, see `shifted`.
    threads : int
        Threads of the alignment.

    Raises
    ------
    RegistrationError
        When the segmentations have no label in common.
    """
    template, _ = load_subject(reference)
    grid = _frame(template, spacing_mm)
    images, labels = [], []
    for where in subjects:
        image, drawn = load_subject(where)
        map_to = registered(Pair(template, image), LINEAR, threads=threads)
        smooth = _smoothed(image, spacing_mm)
        images.append(normalized(warp_volume(smooth, grid, map_to)))
        labels.append(warp_labels(drawn, grid, map_to).array)
    shared = set.intersection(*(set(np.unique(array).tolist()) for array in labels)) - {0}
    if not shared:
        raise RegistrationError(f"The segmentations of {', '.join(names[:3])}, … have no label in common.")
    kept = np.stack([np.where(np.isin(array, list(shared)), array, 0) for array in labels])
    title = {int(value): str(int(value)) for value in sorted(shared)}
    prepared = PreparedData(tuple(names), np.stack(images), kept, np.zeros_like(kept), float(spacing_mm), title)
    return _written(shifted(prepared, shift), path)


def shifted(prepared: PreparedData, kind: str) -> PreparedData:
    """Return the data with a simulated domain shift; anatomy and segmentations do not change.

    Parameters
    ----------
    kind : str
        A key of `SHIFTS`.
    """
    if kind == "none":
        return prepared
    if kind not in SHIFTS:
        raise SettingsError(f"There is no shift '{kind}'.", hint=did_you_mean(kind, SHIFTS))
    rng = np.random.default_rng([0, sorted(SHIFTS).index(kind)])
    return replace(prepared, images=np.stack([_shifted_image(image, kind, rng) for image in prepared.images]))


def _shifted_image(image: Images, kind: str, rng: np.random.Generator) -> Images:
    inside = image > 0.02
    if kind == "inverted":
        return np.asarray(np.where(inside, 1.05 - image, 0.0), dtype=np.float32).clip(0, 1)
    if kind == "noise":
        return np.asarray(np.where(inside, image + 0.1 * rng.normal(size=image.shape), 0.0), np.float32).clip(0, 1)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in image.shape), indexing="ij")
    slopes = rng.uniform(-1, 1, 3)
    bias = np.exp(0.45 * sum(s * a for s, a in zip(slopes / np.abs(slopes).max(), axes, strict=True)))
    bent = image**2.2 * bias
    return np.asarray(np.where(inside, bent / bent.max(), 0.0), dtype=np.float32)


def _written(prepared: PreparedData, path: str) -> list[dict[str, Any]]:
    prepared.save(Path(path))
    return [{"prepared": path, "subjects": len(prepared.names), "labels": len(prepared.values)}]


def _grid(shape: tuple[int, ...], spacing_mm: float) -> Grid:
    return Grid((shape[2], shape[1], shape[0]), (spacing_mm,) * 3)


def _frame(template: Volume, spacing_mm: float) -> Grid:
    """Return a grid around the template's foreground, with LPS axes and sizes suitable for networks."""
    index = np.argwhere(foreground(template))[:, ::-1]
    points = template.grid.index_to_point(index)
    low, high = points.min(0) - spacing_mm, points.max(0) + spacing_mm
    size = [int(-(-n // MULTIPLE) * MULTIPLE) for n in np.ceil((high - low) / spacing_mm)]
    first = (low + high) / 2 - (np.array(size) - 1) / 2 * spacing_mm
    return Grid((size[0], size[1], size[2]), (spacing_mm,) * 3, (float(first[0]), float(first[1]), float(first[2])))


def _smoothed(image: Volume, spacing_mm: float) -> Volume:
    """Return the image smoothed for the coarser grid."""
    if min(image.grid.spacing_mm) >= spacing_mm * 0.9 or min(image.grid.size) < 4:
        return image
    smooth = sitk.SmoothingRecursiveGaussian(to_sitk(image), 0.4 * spacing_mm)
    return volume_from_sitk(smooth, name=image.name)

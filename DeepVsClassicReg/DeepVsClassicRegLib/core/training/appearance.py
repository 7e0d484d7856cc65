"""A statistical appearance model of a few images as a source: pairs with known displacement (Uzunova et al.)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..errors import FileError
from ..images.grid import Grid
from ..images.volume import Volume
from ..networks.flow import compose, integrate, warp
from ..pair import Pair
from ..progress import Progress
from ..settings import option, to_json
from ..transforms.transform import Transform
from .manifest import Manifest
from .preprocessing import Frame, preprocessed, read_case
from .synthesis import separable
from .synthesis.draws import Draws
from .synthesis.noise import smooth_noise
from .synthesis.pairs import GeneratedPair
from .synthesis.source import GeneratedSource
from .teacher import Teacher, displacement_of_engine

Tensor = torch.Tensor
FEWEST = 3  # with two images there is one direction of variation only
EXAMPLES = 30
STEPS = 6  # squarings of the exponential
ITERATIONS = 10  # of the logarithm
SMOOTHING = 0.7  # voxels, standard deviation


@dataclass(frozen=True)
class AppearanceSettings:
    """Settings of the statistical appearance model."""

    locality_mm: float = option(
        40.0, "Locality", unit="mm", minimum=0.0,
        tooltip="Points much farther apart vary independently; 0 for a global model.",
    )  # fmt: skip
    shape: float = option(
        1.0, "Variation of shape", minimum=0.0, maximum=3.0, tooltip="1 is the variation of the images."
    )
    appearance: float = option(
        1.0, "Variation of intensities", minimum=0.0, maximum=3.0, tooltip="1 is the variation of the images."
    )


@dataclass(frozen=True, eq=False)
class Variation:
    """Mean and deviations of fields on one grid, from which new fields are drawn.

    Attributes
    ----------
    mean : (C, *shape) tensor
        Mean of the fields.
    deviations : (n, C, *shape) tensor
        Differences of the n fields from the mean.
    """

    mean: Tensor
    deviations: Tensor

    @classmethod
    def of(cls, fields: Tensor) -> Variation:
        """Return the variation of (n, C, *shape) fields."""
        mean = fields.mean(dim=0)
        return cls(mean, fields - mean)

    def draw(self, draws: Draws, *, strength: float, distance: float) -> Tensor:
        """Return a random field, (C, *shape).

        Parameters
        ----------
        draws : Draws
            Where the random numbers come from.
        strength : float
            Factor of the deviations from the mean.
        distance : float
            Distance of the control points of the weights, voxels; 0 for weights that are constant over the grid.

        Notes
        -----
        Every deviation is multiplied with an independent smooth random weight of unit variance. The covariance of two
        points is thus the sample covariance of the fields times the correlation of the weights, which decreases with
        the distance of the points.
        """
        count, shape = len(self.deviations), self.mean.shape[1:]
        if distance:
            weights = smooth_noise(draws, shape, scale=distance, channels=count)
        else:
            weights = draws.normals(count).to(self.mean).reshape(count, *[1] * len(shape))
        field = self.mean.clone()
        for weight, deviation in zip(weights, self.deviations, strict=True):
            field += strength / math.sqrt(count - 1) * weight * deviation
        return field


class AppearanceSource(GeneratedSource):
    """Pairs of images drawn from a statistical model of the shape and the intensities of a few images.

    The reference, the first image, is registered to all images. The stationary velocities of these registrations are
    the shapes, the images resampled on the reference are the intensities. Each image of a pair has a random shape and
    random intensities; labels are those of the reference. As the velocity v of a shape has the inverse flow exp(-v),
    the displacement between the two images is exp(-v_fixed) followed by exp(v_moving).

    Parameters
    ----------
    manifest : Manifest
        Images, at least 3; the labels of the first one are used.
    frame : Frame
        The grid, and the alignment of images to it.
    cache : Path
        Folder for prepared images.
    teacher : Teacher
        Provides the velocity of a registration, see `velocity_teacher`.
    settings : AppearanceSettings
        Settings of the model.
    seed, batch, device, validation_pairs, known_displacement
        As for `GeneratedSource`. Validation pairs are drawn from the same model.
    labels_per_step : int
        Number of random labels of each training pair; 0 for all.
    progress : Progress, optional
        Receives the image being registered.

    Raises
    ------
    FileError
        When there are fewer than 3 images.

    Notes
    -----
    All velocities and intensities are in memory, 16 bytes per voxel and image. Weights of the deviations are smooth
    random fields, which gives the locality without the eigenvectors of the paper.

    Reference
    ---------
    Uzunova et al., Training CNNs for Image Registration from Few Samples with Model-based Data Augmentation, MICCAI
    2017, LNCS 10433:223-231, doi 10.1007/978-3-319-66182-7_26.
    """

    def __init__(
        self,
        manifest: Manifest,
        frame: Frame,
        cache: Path,
        teacher: Teacher,
        settings: AppearanceSettings,
        *,
        seed: int,
        batch: int = 1,
        device: torch.device | str = "cpu",
        validation_pairs: int = 4,
        known_displacement: bool = False,
        labels_per_step: int = 0,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(
            settings,
            seed=seed,
            size=frame.grid.size,
            spacing_mm=float(frame.grid.spacing_mm[0]),
            batch=batch,
            device=device,
            validation_pairs=validation_pairs,
            known_displacement=known_displacement,
        )
        self.cases = [
            manifest.cases[place] for place in sorted({place for pair in manifest.training for place in pair})
        ]
        if len(self.cases) < FEWEST:
            raise FileError(
                f"'{manifest.name}' has {len(self.cases)} images; an appearance model needs at least {FEWEST}.",
                hint="Use a folder with more images.",
            )
        self.licence = manifest.licence or "not stated by the dataset"
        self.teacher, self.labels_per_step = teacher, labels_per_step
        prepared = [preprocessed(case, frame, cache) for case in self.cases]
        volumes = [
            Volume(np.asarray(image, np.float32), frame.grid, case.name)
            for (image, _), case in zip(prepared, self.cases, strict=True)
        ]
        self.shapes, self.intensities = self._variations(volumes, progress or Progress())
        self.labels, self._members = _members(prepared[0][1], manifest.label_names, self.device)

    def domain_examples(self) -> Sequence[Volume]:
        """Return the images of the model as they were before they were resampled to the training grid."""
        return [read_case(case) for case in self.cases[:EXAMPLES]]

    def describe(self) -> dict[str, Any]:
        """Return what the card says about the data."""
        return {
            "kind": "drawn from an appearance model",
            "images": [case.name for case in self.cases],
            "labels": len(self.labels),
            "teacher": self.teacher.name,
            "seed": self.seed,
            "size": list(self.size),
            "spacing_mm": self.spacing_mm,
            "batch": self.batch,
            "licence": self.licence,
            "settings": to_json(self.settings),
        }

    def _variations(self, volumes: Sequence[Volume], progress: Progress) -> tuple[Variation, Variation]:
        """Return the variation of the velocities and that of the intensities on the reference."""
        reference, velocities, images = volumes[0], [], []
        for number, volume in enumerate(volumes, start=1):
            progress.report(0.0, f"Registering {volume.name}, {number} of {len(volumes)}")
            image = torch.tensor(volume.array, device=self.device)[None]
            velocity = torch.zeros(len(self.shape), *self.shape, device=self.device)
            if volume is not reference:
                found = np.asarray(self.teacher.field(reference, volume), np.float32)
                velocity = torch.tensor(found, device=self.device)
                image = warp(image[None], integrate(velocity[None], steps=STEPS))[0]
            velocities.append(velocity)
            images.append(image)
        return Variation.of(torch.stack(velocities)), Variation.of(torch.stack(images))

    def _pair(self, step: int, number: int) -> GeneratedPair:
        return self._generated(self._draws("appearance", step, number), self.labels_per_step)

    def _validation_pair(self, number: int) -> GeneratedPair:
        return self._generated(self._draws("validation", number), 0)

    def _generated(self, draws: Draws, count: int) -> GeneratedPair:
        chosen: Tensor | None = self._members
        if chosen is not None and 0 < count < len(chosen):
            chosen = chosen[sorted(draws.order(len(chosen))[:count])]
        images, labels, velocities = [], [], []
        for _ in range(2):
            velocity = self._drawn(draws, self.shapes, self.settings.shape)
            intensities = self._drawn(draws, self.intensities, self.settings.appearance).clamp(0, 1)
            to_reference = integrate(-velocity[None], steps=STEPS)
            images.append(warp(intensities[None], to_reference)[0, 0])
            labels.append(None if chosen is None else warp(chosen[None], to_reference, padding="zeros")[0])
            velocities.append(velocity)
        displacement = displacement_between(*velocities) if self.known_displacement else None
        return GeneratedPair(images[0], images[1], labels[0], labels[1], displacement)

    def _drawn(self, draws: Draws, variation: Variation, strength: float) -> Tensor:
        return variation.draw(draws, strength=strength, distance=self.settings.locality_mm / self.spacing_mm)


def displacement_between(fixed: Tensor, moving: Tensor) -> Tensor:
    """Return the displacement between two images of one reference, (D, *shape) voxels.

    Parameters
    ----------
    fixed, moving : (D, *shape) tensors
        Velocities whose flows map points of the reference to points of the two images, voxels.
    """
    return compose(integrate(-fixed[None], steps=STEPS), integrate(moving[None], steps=STEPS))[0]


def velocity_teacher(name: str, register: Callable[[Pair], Transform], grid: Grid, folder: Path) -> Teacher:
    """Return an engine (or engine:preset) as a teacher of stationary velocities, stored on disk.

    Parameters
    ----------
    name : str
        Name of the engine.
    register : callable
        Returns the transform of the engine for a pair.
    grid : Grid
        The training grid.
    folder : Path
        Contains a file per pair.
    """
    find = displacement_of_engine(register, grid)

    def velocity(fixed: Volume, moving: Volume) -> npt.NDArray[Any]:
        displacement = torch.from_numpy(np.array(find(fixed, moving), np.float32))
        return velocity_of(displacement[None])[0].numpy()

    return Teacher(f"{name}, velocity", velocity, folder)


def velocity_of(displacement: Tensor) -> Tensor:
    """Return the stationary velocity whose flow is nearest to a displacement: its logarithm.

    The update of an iteration is the slightly smoothed part of the displacement that remains after the inverse flow.
    The iteration stops when that part no longer decreases; a displacement with folds has no exact logarithm.

    Parameters
    ----------
    displacement : (1, D, *shape) tensor
        Voxels.

    Reference
    ---------
    Bossa and Olmos, A new algorithm for the computation of the group logarithm of diffeomorphisms, MFCA 2008.
    """
    smoothing = [separable.gaussian(count, SMOOTHING, displacement.device) for count in displacement.shape[2:]]
    velocity, best = torch.zeros_like(displacement), torch.zeros_like(displacement)
    least = math.inf
    for _ in range(ITERATIONS):
        remaining = compose(displacement, integrate(-velocity, steps=STEPS))
        size = float(remaining.square().mean())
        if not size < least:
            break
        best, least = velocity, size
        velocity = velocity + separable.along_axes(remaining[0], smoothing)[None]
    return best


def _members(
    labels: npt.NDArray[Any] | None, names: Mapping[int, str], device: torch.device
) -> tuple[Mapping[int, str], Tensor | None]:
    """Return the labels of the reference with their names, and their memberships (K, *shape), None without labels."""
    values = [] if labels is None else [int(value) for value in np.unique(labels) if value > 0]
    if labels is None or not values:
        return {}, None
    members = np.stack([labels == value for value in values])
    named = {value: names.get(value, f"label {value}") for value in values}
    return named, torch.from_numpy(members).to(device, torch.float32)

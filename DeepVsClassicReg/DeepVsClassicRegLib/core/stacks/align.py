"""Alignment of serial sections: each to its aligned neighbors, from a reference section outwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..device import Compute, sitk_threads
from ..errors import EngineFailed, SettingsError
from ..images.intensity import background_value
from ..images.sections import Sections
from ..images.volume import Volume
from ..pair import Pair
from ..progress import Progress
from ..settings import option
from ..transforms.transform import Affine, Transform
from .linear import AFFINE, RIGID, NotAligned, aligned_linearly
from .plane import composed, displacement_of, flat_grid, inverted, patient_transform, sampled, shown, stack_transform

Array = npt.NDArray[np.floating]
NONE = "none"
SLAB = 9  # slices of the slab that engines for volumes get
POOR = 0.6  # of the median similarity so far: such a section is no neighbor of others
SEEN = 3
Register = Callable[[Pair], Transform]


@dataclass(frozen=True)
class StackSettings:
    """How the sections are aligned; all values are our choice."""

    reference: int = option(-1, "Reference section", tooltip="Number of the section that stays; -1: the middle one.")
    neighbors: int = option(
        2,
        "Neighbors",
        tooltip="Number of aligned sections whose weighted mean a section is aligned to; with several, one bad section "
        "does not break the chain.",
        minimum=1,
        maximum=10,
    )
    linear: str = option(RIGID, "Linear alignment", choices=(RIGID, AFFINE, NONE))
    turn_deg: float = option(20.0, "Search of rotations", unit="degrees", minimum=0, maximum=180)
    drift: float = option(
        4.0,
        "Kept trend",
        unit="sections",
        tooltip="Motion common to this many neighboring sections (Gaussian sigma) is not corrected, because it may be "
        "the true shape; 0 corrects everything, which straightens what is curved (Testing/bench/STACKS.md).",
        minimum=0,
        maximum=1000,
    )


@dataclass(frozen=True, eq=False)
class AlignedStack:
    """Aligned sections.

    Attributes
    ----------
    volume : Volume
        The aligned volume, on the grid of the sections.
    channels, channels_before : (Z, Y, X, C) arrays or None
        All values of color sections, aligned and as they were, in their type.
    before : Volume
        The sections as they were.
    maps_px : (N, 2, Y, X) array
        For every section the displacement (y, x) in pixels from aligned to original positions.
    reference : int
        Number of the reference section.
    similarity_before, similarity_after : (N - 1,) arrays
        Correlation of sections k and k + 1.
    poor : tuple of int
        Sections that did not match their neighbors; they were not used as neighbors of others.
    names : tuple of str
        Names of the sections.
    notes : tuple of str
        Notes for the user.
    seconds : float
        Wall time.
    """

    volume: Volume
    before: Volume
    maps_px: Array
    reference: int
    similarity_before: Array
    similarity_after: Array
    poor: tuple[int, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float
    channels: npt.NDArray[Any] | None = None
    channels_before: npt.NDArray[Any] | None = None

    @property
    def whole(self) -> Transform:
        """The maps of all sections as one transform in the patient (LPS mm), aligned to original points."""
        return stack_transform(self.maps_px, self.volume.grid)

    def transform(self, number: int) -> Transform:
        """Return the map of a section as a transform in the patient (LPS mm), aligned to original points."""
        return patient_transform(self.maps_px[number], self.volume.grid, number)


def align_sections(
    sections: Sections,
    settings: StackSettings,
    *,
    register: Register | None = None,
    single_slices: bool = True,
    compute: Compute | None = None,
    progress: Progress | None = None,
) -> AlignedStack:
    """Align the sections of a stack.

    Parameters
    ----------
    sections : Sections
        The stack.
    settings : StackSettings
        How.
    register : callable, optional
        Returns the deformable transform of a pair of sections whose `initial` is the linear alignment; None aligns
        linearly only.
    single_slices : bool
        Whether `register` takes single slices; otherwise it gets slabs of equal slices, where no force points out of
        the plane.
    compute : Compute, optional
        Threads.
    progress : Progress, optional
        Receives every section.

    Notes
    -----
    Sections alone do not tell a curved object from a shifted one: a chain of alignments makes every object as straight
    as it can (the banana problem). `settings.drift` limits this: the smooth part of the motion along the stack is not
    corrected. It is right when the true shape changes slowly and the errors of the sections are independent.

    References
    ----------
    Yoo et al., ssEMnet, DLMIA 2017, arXiv 1707.07833 (sections aligned to their neighbors by features).
    """
    begun, progress = time.perf_counter(), progress or Progress()
    volume = sections.volume
    images = volume.array.astype(np.float64)
    count = len(images)
    reference = count // 2 if settings.reference < 0 else settings.reference
    if reference >= count:
        raise SettingsError(f"There is no section {reference}; the last one is {count - 1}.")
    if settings.linear == NONE and register is None:
        raise SettingsError("Neither a linear nor a deformable alignment was requested.", hint="Choose one.")
    chain = _Chain(images, volume, settings, register, single_slices, background_value(volume))
    order = [*range(reference + 1, count), *range(reference - 1, -1, -1)]
    with sitk_threads((compute or Compute()).thread_count):
        for done, number in enumerate(order):
            progress.report(done / max(len(order), 1), f"Section {done + 2} of {count}")
            chain.align(number, reference)
    maps = np.stack(chain.maps)
    notes = list(chain.notes)
    if settings.drift > 0:
        maps = without_trend(maps, settings.drift)
        notes.append(f"Motion common to about {settings.drift:g} neighboring sections was kept.")
    else:
        notes.append(
            "Every section was aligned to its neighbors: what is truly curved along the stack is straightened. "
            "'drift' limits this."
        )
    array = np.stack([sampled(image, u, fill=chain.fill) for image, u in zip(images, maps, strict=True)])
    found = replace(volume, array=array.astype(np.float32), valid=None, name=f"{volume.name} aligned", notes=())
    progress.report(1.0, "Sections aligned")
    return AlignedStack(
        found,
        volume,
        maps,
        reference,
        similarities(images),
        similarities(array),
        tuple(sorted(chain.poor)),
        sections.names,
        tuple(notes),
        time.perf_counter() - begun,
        None if sections.channels is None else _aligned_channels(sections.channels, volume, maps),
        sections.channels,
    )


def _aligned_channels(channels: npt.NDArray[Any], volume: Volume, maps: Array) -> npt.NDArray[Any]:
    """Return all channels (Z, Y, X, C) of the aligned sections, rounded where their type is integer."""
    found = np.empty_like(channels)
    limits = np.iinfo(channels.dtype) if channels.dtype.kind in "iu" else None
    for channel in range(channels.shape[-1]):
        values = channels[..., channel]
        fill = background_value(replace(volume, array=values.astype(np.float32), valid=None))
        for number, u in enumerate(maps):
            moved = sampled(values[number].astype(np.float64), u, fill=fill)
            found[number, ..., channel] = moved if limits is None else np.rint(moved).clip(limits.min, limits.max)
    return found


class _Chain:
    """The state of the alignment: maps, aligned images and the sections that are no good neighbors."""

    def __init__(
        self,
        images: Array,
        volume: Volume,
        settings: StackSettings,
        register: Register | None,
        single_slices: bool,
        fill: float,
    ) -> None:
        self.images, self.volume, self.settings = images, volume, settings
        self.register, self.single_slices, self.fill = register, single_slices, fill
        self.shape = (images.shape[1], images.shape[2])
        self.maps: list[Array] = [np.zeros((2, *self.shape)) for _ in images]
        self.linear: list[Array] = [np.eye(2, 3) for _ in images]
        self.aligned = images.copy()
        self.poor: set[int] = set()
        self.matches: list[float] = []
        self.notes: list[str] = []

    def align(self, number: int, reference: int) -> None:
        """Align a section to the mean of its aligned neighbors toward the reference."""
        neighbors = self._neighbors(number, reference)
        fixed, nearest = self._mean(neighbors, number), neighbors[0]
        moving = self.images[number]
        try:
            self.linear[number] = self._linear(fixed, moving, self.linear[nearest])
            u = displacement_of(self.linear[number], self.shape)
            if self.register is not None:
                u = self._deformed(fixed, moving, self.linear[number])
        except (NotAligned, EngineFailed) as error:
            self.linear[number], u = self.linear[nearest], self.maps[nearest]
            self.poor.add(number)
            self.notes.append(f"Section {number} was not aligned and has the map of its neighbor: {error.message}")
        self.maps[number] = u
        self.aligned[number] = sampled(moving, u, fill=self.fill)
        if number not in self.poor:
            self._judge(number, fixed)

    def _neighbors(self, number: int, reference: int) -> list[int]:
        """Return the nearest aligned sections that matched their own neighbors, the nearest first."""
        step = -1 if number > reference else 1
        between = range(number + step, reference + step, step)
        good = [n for n in between if n not in self.poor] or [reference]
        return good[: self.settings.neighbors]

    def _mean(self, neighbors: Sequence[int], number: int) -> Array:
        weights = np.array([1 / abs(number - n) for n in neighbors])
        return np.average(self.aligned[list(neighbors)], axis=0, weights=weights)

    def _linear(self, fixed: Array, moving: Array, start: Array) -> Array:
        if self.settings.linear == NONE:
            if np.ptp(moving) == 0:
                raise NotAligned("The section is empty.")
            return np.eye(2, 3)
        turn = self.settings.turn_deg
        return aligned_linearly(fixed, moving, kind=self.settings.linear, turn_deg=turn, start=start)

    def _deformed(self, fixed: Array, moving: Array, linear: Array) -> Array:
        """Return the displacement found by the engine, which begins at the linear alignment, (2, Y, X) pixels."""
        assert self.register is not None
        grid = flat_grid(self.volume.grid, slices=1 if self.single_slices else SLAB)
        sides = [
            Volume(np.repeat(image[None], grid.size[2], axis=0).astype(np.float32), grid, name)
            for image, name in ((fixed, "neighbors"), (moving, "section"))
        ]
        transform = self.register(Pair(sides[0], sides[1], initial=Transform((_in_mm(linear, grid.spacing_mm),))))
        found = transform.displacement_on(grid).array_mm[grid.size[2] // 2]
        x, y, _z = grid.spacing_mm
        return np.stack([found[..., 1] / y, found[..., 0] / x])

    def _judge(self, number: int, fixed: Array) -> None:
        match = similarity(fixed, self.aligned[number])
        if len(self.matches) >= SEEN and match < POOR * float(np.median(self.matches)):
            self.poor.add(number)
        else:
            self.matches.append(match)


def _in_mm(linear: Array, spacing_mm: Sequence[float]) -> Affine:
    """Return a linear map of pixel positions (y, x) as one of points (x, y, z), mm."""
    scale = np.array([spacing_mm[1], spacing_mm[0]])
    matrix = np.eye(3)
    matrix[:2, :2] = (linear[:, :2] * scale[:, None] / scale)[::-1, ::-1]
    return Affine(matrix, np.append((linear[:, 2] * scale)[::-1], 0.0))


def without_trend(maps: Array, sigma: float) -> Array:
    """Return the maps without their smooth part along the stack.

    Parameters
    ----------
    maps : (N, 2, Y, X) array
        Displacements from aligned to original positions, pixels.
    sigma : float
        Standard deviation of the smooth part's Gaussian, sections.

    Notes
    -----
    With T = D o C, where C is the smooth part and D the error of a section, the result is T o C^-1.
    """
    trend = ndimage.gaussian_filter1d(maps, sigma, axis=0, mode="nearest")
    return np.stack([composed(inverted(c), u) for c, u in zip(trend, maps, strict=True)])


def similarity(first: Array, second: Array) -> float:
    """Return the correlation of two sections where at least one shows something; 0 when one is constant."""
    compared = shown(first) | shown(second)
    a, b = first[compared], second[compared]
    if a.size < 2 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def similarities(images: Array) -> Array:
    """Return the similarity of every section with the next one, (N - 1,)."""
    return np.array([similarity(a, b) for a, b in pairwise(images)])

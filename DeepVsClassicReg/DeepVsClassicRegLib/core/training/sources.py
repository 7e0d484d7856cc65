"""Sources of batches: what a training learns from, named by one line of text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import SettingsError
from ..progress import Progress
from ..settings import from_json, to_json
from .config import FIRST, SHAPES, DataSettings, parts_of

if TYPE_CHECKING:
    import torch

    from ..images.volume import Volume
    from ..networks.base import Batch
    from ..pair import Pair
    from ..transforms.transform import Transform
    from .preprocessing import Align
    from .synthesis.source import GeneratedSource

__all__ = ["DataSettings", "LazyBatches", "Source", "make_source"]


class Source(Protocol):
    """Generated or real pairs on one grid.

    A source has no memory: `sample(step)` returns the same batch whatever was sampled before, which is all that an
    exact resume needs. It never touches the global random generators. With several processes the trainer asks
    process r of w for `sample(step * w + r)`.

    Attributes
    ----------
    size : tuple of int
        (X, Y, Z) of every batch; (X, Y) for plane images.
    spacing_mm : float
        Isotropic voxel size of that grid.
    labels : mapping of int to str
        Label value -> name, in the order of the label channels of a batch; empty without labels.
    licence : str
        What the data allow, in words, for the card.
    """

    size: tuple[int, ...]
    spacing_mm: float
    labels: Mapping[int, str]
    licence: str

    def sample(self, step: int) -> Batch:
        """Return the batch of a step, on the device the source was made for."""
        ...

    def validation(self) -> Sequence[Batch]:
        """Return fixed pairs, always the same, never among the training samples; those with labels give a Dice."""
        ...

    def validation_pairs(self) -> Sequence[Pair]:
        """Return the same pairs as the user would register them, none for generated ones; see `validate_pairs`."""
        ...

    def domain_examples(self) -> Sequence[Volume]:
        """Return a few images as the network sees them, for the statistics on the card (plane images with Z = 1)."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what the card says about the data, as plain JSON values."""
        ...


class LazyBatches(Sequence["Batch"]):
    """Batches that are made when they are looked at, so that many of them need no memory.

    Parameters
    ----------
    count : int
        How many.
    make : callable
        Returns the batch of a number.
    """

    def __init__(self, count: int, make: Callable[[int], Batch]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def __getitem__(self, index: Any) -> Any:
        """Return a batch, or the batches of a slice."""
        if isinstance(index, slice):
            return [self._make(number) for number in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return self._make(index % self._count)


def make_source(
    data: DataSettings,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
    align: Align | None = None,
    teach: Callable[[Pair], Transform] | None = None,
    supervision: str = "none",
    partial_labels: bool = False,
    progress: Progress | None = None,
) -> Source:
    """Return the source of a specification.

    Parameters
    ----------
    data : DataSettings
        What is wanted.
    seed : int
        Of every random choice of the source.
    device : device
        Where generators compute.
    cache : Path, optional
        Folder for prepared volumes of real data.
    align : callable, optional
        `align(template, volume)` returns the linear map from template to volume points; needed with `data.linear`.
        (The engines are not known here: training and engines are rooms beside each other.)
    teach : callable, optional
        Returns the map that the teacher engine finds for a pair; needed with `data.teacher`.
    supervision : str
        With 'displacement' the batches hold known displacements, or those of the teacher; with 'error' the moving
        images are warped with a known error (`data.misalignment`).
    partial_labels : bool
        Whether pairs with labels of one image only are welcome; else all training images need labels.
    progress : Progress, optional
        Receives which real volume is being prepared.

    Raises
    ------
    SettingsError
        When the data cannot give what the supervision needs.
    """
    if data.generated:
        source = _generated(data, seed, device, known=supervision in ("displacement", "error"))
    else:
        if supervision == "displacement" and not data.teacher:
            raise SettingsError(
                "The displacement between real images is not known.", hint="Give --teacher ENGINE, or generated pairs."
            )
        source = _dataset(
            data, seed, cache, align, teach if data.teacher else None, partial_labels, progress or Progress()
        )
    if data.augmentation:
        from .augmentation import AugmentationSettings, AugmentedSource

        source = AugmentedSource(source, from_json(AugmentationSettings, data.augmentation), seed=seed)
    if supervision == "error":
        from .misalignment import MisalignedSource, MisalignmentSettings

        source = MisalignedSource(source, from_json(MisalignmentSettings, data.misalignment), seed=seed)
    if data.patch:
        from .patches import PatchSource

        source = PatchSource(source, data.patch, seed=seed)
    return source


def _dataset(
    data: DataSettings,
    seed: int,
    cache: Path | None,
    align: Align | None,
    teach: Callable[[Pair], Transform] | None,
    partial_labels: bool,
    progress: Progress,
) -> Source:
    from ..images.io import read_volume
    from .dataset import DatasetSource
    from .manifest import read_manifest
    from .preprocessing import training_frame
    from .teacher import Teacher

    if len(data.size) != 3 or cache is None:
        raise SettingsError(f"Real data need a grid of 3 sizes and a cache folder, got {data.size}, {cache}.")
    if data.linear and align is None:
        raise SettingsError("Linear alignment was asked for, but no way to do it was given.")
    if data.teacher and teach is None:
        raise SettingsError("A teacher engine was asked for, but no way to run it was given.")
    manifest = read_manifest(Path(data.spec), validation=data.validation)
    first = manifest.cases[manifest.training[0][0]].image
    reference = read_volume(first if data.linear in ("", FIRST) else data.linear)
    frame = training_frame(reference, data.size, data.spacing_mm, align if data.linear else None)
    return DatasetSource(
        manifest,
        frame,
        cache,
        seed=seed,
        batch=data.batch,
        labels_per_step=data.labels_per_step,
        partial_labels=partial_labels,
        teacher=None if teach is None else Teacher(data.teacher, teach, frame.grid, cache / "teacher"),
        teacher_pairs=data.teacher_pairs,
        align=align,
        progress=progress,
    )


def _generated(data: DataSettings, seed: int, device: torch.device | str, *, known: bool) -> Source:
    from .synthesis.mixed_source import MixedSource

    parts = parts_of(data.spec)
    made = {part: _generator(part, data, seed, device, known=known) for part in dict.fromkeys(parts)}
    return made[parts[0]] if len(parts) == 1 else MixedSource([made[part] for part in parts])


def _generator(part: str, data: DataSettings, seed: int, device: torch.device | str, *, known: bool) -> GeneratedSource:
    from .synthesis.label_maps_source import LabelMapsSource
    from .synthesis.settings import LABEL_MAPS, SynthesisSettings
    from .synthesis.settings import SHAPES as FROM_NOTHING
    from .synthesis.shapes_source import ShapesSource

    base = FROM_NOTHING if part == SHAPES else LABEL_MAPS
    settings = from_json(SynthesisSettings, {**to_json(base), **data.synthesis})
    common: dict[str, Any] = {
        "seed": seed,
        "size": data.size,
        "spacing_mm": data.spacing_mm,
        "batch": data.batch,
        "device": device,
        "validation_pairs": data.validation,
        "known_displacement": known,
    }
    if part == SHAPES:
        return ShapesSource(settings, **common)
    return LabelMapsSource(Path(part.partition(":")[2]), settings=settings, **common)

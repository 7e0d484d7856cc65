"""Creates the source of a config: the data of a specification, with augmentation and patches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..errors import SettingsError
from ..images.io import read_volume
from ..networks.base import MethodTeacher
from ..pair import Pair
from ..progress import Progress
from ..settings import from_json, to_json
from ..transforms.transform import Transform
from .appearance import AppearanceSettings, AppearanceSource, velocity_teacher
from .augmentation import AugmentationSettings, AugmentedSource
from .config import APPEARANCE, FIRST, SECTIONS, SHAPES, DataSettings, parts_of
from .dataset import DatasetSource
from .manifest import Manifest, read_manifest
from .misalignment import MisalignedSource, MisalignmentSettings
from .patches import PatchSource
from .preprocessing import Align, Frame, training_frame
from .sections_source import SectionsSource
from .sources import Source
from .synthesis.label_maps_source import LabelMapsSource
from .synthesis.mixed_source import MixedSource
from .synthesis.settings import LABEL_MAPS, SynthesisSettings
from .synthesis.settings import SHAPES as FROM_NOTHING
from .synthesis.shapes_source import ShapesSource
from .synthesis.source import GeneratedSource
from .teacher import Teacher, teacher_of_engine, teacher_of_method


def make_source(
    data: DataSettings,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
    align: Align | None = None,
    teach: Callable[[Pair], Transform] | None = None,
    method_teacher: MethodTeacher | None = None,
    supervision: str = "none",
    partial_labels: bool = False,
    progress: Progress | None = None,
) -> Source:
    """Return the source of a specification.

    Parameters
    ----------
    data : DataSettings
        The data settings.
    seed : int
        Seed of the source.
    device : device
        Device of the generators.
    cache : Path, optional
        Folder for prepared volumes of real data and of appearance models.
    align : callable, optional
        `align(template, volume)` returns the linear map from template to volume points; needed with `data.linear`.
        (It is a parameter because training must not import engines.)
    teach : callable, optional
        Returns the transform of the teacher engine for a pair; needed with `data.teacher`.
    method_teacher : MethodTeacher, optional
        Teacher of the method itself; needed with supervision 'momentum'.
    supervision : str
        With 'displacement' the batches contain known displacements or those of the teacher; with 'error' or
        'pose' the moving images are warped with a known error or rigid map (`data.misalignment`); with 'momentum' they
        contain what the teacher of the method computes.
    partial_labels : bool
        Whether pairs with labels of one image only are allowed; otherwise all training images need labels.
    progress : Progress, optional
        Receives the real volume being prepared.

    Raises
    ------
    SettingsError
        When the data do not provide the supervision.
    """
    if supervision == "momentum" and (data.generated or data.augmentation):
        raise SettingsError(
            "The momentum of generated or augmented pairs is not known.",
            hint="Use a dataset of real volumes, without --augment.",
        )
    if data.generated:
        known = supervision in ("displacement", "error", "pose")

        def generator(part: str) -> Source:
            if part.partition(":")[0] == SECTIONS:
                return _sections(part, data, seed, device, supervision)
            if part.partition(":")[0] == APPEARANCE:
                return _appearance(part, data, seed, device, cache, align, teach, progress or Progress(), known=known)
            return _generator(part, data, seed, device, known=known)

        source = _generated(data, generator)
    else:
        if supervision == "displacement" and not data.teacher:
            raise SettingsError(
                "The displacement between real images is not known.", hint="Use --teacher ENGINE, or generated pairs."
            )
        own = method_teacher if supervision == "momentum" else None
        taught = teach if data.teacher else None
        source = _dataset(data, seed, cache, align, taught, own, partial_labels, progress or Progress())
    if data.augmentation:
        source = AugmentedSource(source, from_json(AugmentationSettings, data.augmentation), seed=seed)
    if supervision in ("error", "pose"):
        errors = from_json(MisalignmentSettings, data.misalignment)
        source = MisalignedSource(source, errors, seed=seed, rigid=supervision == "pose")
    if data.patch:
        source = PatchSource(source, data.patch, seed=seed)
    return source


def _dataset(
    data: DataSettings,
    seed: int,
    cache: Path | None,
    align: Align | None,
    teach: Callable[[Pair], Transform] | None,
    own: MethodTeacher | None,
    partial_labels: bool,
    progress: Progress,
) -> Source:
    if cache is None:
        raise SettingsError("Real data need a cache folder.")
    if data.teacher and teach is None:
        raise SettingsError("A teacher engine needs the argument 'teach'.")
    manifest, frame = _manifest_and_frame(data, Path(data.spec), data.validation, align)
    teacher: Teacher | None = None
    if own is not None:
        teacher = teacher_of_method(own, cache / "teacher")
    elif teach is not None:
        teacher = teacher_of_engine(data.teacher, teach, frame.grid, cache / "teacher")
    return DatasetSource(
        manifest,
        frame,
        cache,
        seed=seed,
        batch=data.batch,
        labels_per_step=data.labels_per_step,
        partial_labels=partial_labels,
        teacher=teacher,
        teacher_pairs=data.teacher_pairs,
        align=align,
        progress=progress,
    )


def _manifest_and_frame(data: DataSettings, path: Path, validation: int, align: Align | None) -> tuple[Manifest, Frame]:
    if len(data.size) != 3:
        raise SettingsError(f"Real data need a grid of 3 sizes, got {data.size}.")
    if data.linear and align is None:
        raise SettingsError("Linear alignment needs the argument 'align'.")
    manifest = read_manifest(path, validation=validation)
    first = manifest.cases[manifest.training[0][0]].image
    reference = read_volume(first if data.linear in ("", FIRST) else data.linear)
    return manifest, training_frame(reference, data.size, data.spacing_mm, align if data.linear else None)


def _appearance(
    part: str,
    data: DataSettings,
    seed: int,
    device: torch.device | str,
    cache: Path | None,
    align: Align | None,
    teach: Callable[[Pair], Transform] | None,
    progress: Progress,
    *,
    known: bool,
) -> GeneratedSource:
    if cache is None or teach is None:
        raise SettingsError("An appearance model needs the arguments 'cache' and 'teach'.")
    manifest, frame = _manifest_and_frame(data, Path(part.partition(":")[2]), 0, align)
    return AppearanceSource(
        manifest,
        frame,
        cache,
        velocity_teacher(data.teacher, teach, frame.grid, cache / "teacher"),
        from_json(AppearanceSettings, data.synthesis),
        seed=seed,
        batch=data.batch,
        device=device,
        validation_pairs=data.validation,
        known_displacement=known,
        labels_per_step=data.labels_per_step,
        progress=progress,
    )


def _sections(part: str, data: DataSettings, seed: int, device: torch.device | str, supervision: str) -> SectionsSource:
    if supervision != "none":
        raise SettingsError(
            f"Sections alone do not provide the supervision '{supervision}'.",
            hint="Use --supervision none, for example with the method ssemnet.",
        )
    if data.synthesis:
        raise SettingsError("Sections are not generated and have no settings.", hint="Omit --synth.")
    return SectionsSource(
        Path(part.partition(":")[2]),
        seed=seed,
        size=data.size,
        spacing_mm=data.spacing_mm,
        batch=data.batch,
        validation_pairs=data.validation,
        device=device,
    )


def _generated(data: DataSettings, generator: Callable[[str], Source]) -> Source:
    parts = parts_of(data.spec)
    made = {part: generator(part) for part in dict.fromkeys(parts)}
    return made[parts[0]] if len(parts) == 1 else MixedSource([made[part] for part in parts])


def _generator(part: str, data: DataSettings, seed: int, device: torch.device | str, *, known: bool) -> GeneratedSource:
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

"""Reads a worker's result folder into memory for publication; thread-safe."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import vtk
from slicer.i18n import tr as _

from ..core.errors import FileError
from ..core.evaluation.report import Measured, Report, read_report
from ..core.files import read_json
from ..core.images.volume import LabelMap, Volume
from ..core.job import OUTPUT_FOLDER, RESULT_FILE
from .arrays import Image, image_of

if TYPE_CHECKING:
    from ..core.transforms.transform import Transform


@dataclass(frozen=True, eq=False)
class LoadedExtra:
    """An additional output of an engine.

    Attributes
    ----------
    title : str
        Title shown to users.
    kind : str
        'map', 'image', 'labels' or 'transform'.
    content : Image or vtkAbstractTransform
        On its own grid.
    numbers : tuple of int
        The labels of a label map.
    """

    title: str
    kind: str
    content: Image | vtk.vtkAbstractTransform
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """One result: transform, volumes and report.

    Attributes
    ----------
    transform : Transform
        Fixed-to-moving map.
    mapping : vtkAbstractTransform
        The same map for `transforms.attach`.
    warped, jacobian : Image or None
        On the fixed grid.
    uncertainty : Image or None
        In mm, on its own grid; only some engines provide it.
    error : Image or None
        Estimated error in mm, on its own grid; only when requested.
    extras : tuple of LoadedExtra
        Additional outputs of the engine.
    warped_labels : Image or None
        On the fixed grid.
    label_numbers : tuple of int
        The labels in `warped_labels`.
    report : Report
        Measures before and after, engine, preset, seconds, notes, trace.
    """

    transform: Transform
    mapping: vtk.vtkAbstractTransform
    warped: Image | None = None
    jacobian: Image | None = None
    uncertainty: Image | None = None
    error: Image | None = None
    extras: tuple[LoadedExtra, ...] = ()
    warped_labels: Image | None = None
    label_numbers: tuple[int, ...] = ()
    report: Report


def load_result(folder: str | os.PathLike[str]) -> Loaded:
    """Read the job folder of a successful worker.

    Raises
    ------
    FileError
        When result.json or one of its files is missing or invalid.
    """
    from ..core.images.io import read_volume
    from ..core.images.segmentations import read_labels
    from ..core.transforms.files import read_transform

    result = read_json(Path(folder) / RESULT_FILE, hint=_what_now())
    out = Path(folder) / OUTPUT_FOLDER
    files = {role: out / name for role, name in result.get("files", {}).items()}
    readers = {"labels": read_labels, "transform": read_transform}
    if "transform" not in files:
        raise FileError(_("The result in {folder} contains no transform.").format(folder=folder), hint=_what_now())
    return loaded_result(
        read_transform(files["transform"]),
        warped=read_volume(files["warped"]) if "warped" in files else None,
        jacobian=read_volume(files["jacobian"]) if "jacobian" in files else None,
        uncertainty=read_volume(files["uncertainty"]) if "uncertainty" in files else None,
        error=read_volume(files["error"]) if "error" in files else None,
        extras=[
            (entry, readers.get(entry["kind"], read_volume)(files["extra:" + entry["name"]]))
            for entry in result.get("extras", ())
        ],
        warped_labels=read_labels(files["warped_labels"]) if "warped_labels" in files else None,
        report=read_report(files["report"]) if "report" in files else Report(measures=Measured({}, {})),
    )


def loaded_result(
    transform: Transform,
    *,
    warped: Volume | None,
    jacobian: Volume | None,
    uncertainty: Volume | None,
    error: Volume | None,
    extras: Sequence[tuple[Mapping[str, Any], Any]],
    warped_labels: LabelMap | None,
    report: Report,
) -> Loaded:
    """Return a result that lies in memory; `extras` are title and kind of each, and its content."""
    from .transforms import vtk_of

    return Loaded(
        transform=transform,
        mapping=vtk_of(transform),
        warped=_image(warped),
        jacobian=_image(jacobian),
        uncertainty=_image(uncertainty),
        error=_image(error),
        extras=tuple(_loaded_extra(about, value) for about, value in extras),
        warped_labels=_label_image(warped_labels) if warped_labels is not None else None,
        label_numbers=warped_labels.labels if warped_labels is not None else (),
        report=report,
    )


def _loaded_extra(about: Mapping[str, Any], value: Volume | LabelMap | Transform) -> LoadedExtra:
    from .transforms import vtk_of

    if isinstance(value, Volume):
        return LoadedExtra(about["title"], about["kind"], Image(image_of(value.array), value.grid))
    if isinstance(value, LabelMap):
        return LoadedExtra(about["title"], about["kind"], _label_image(value), value.labels)
    return LoadedExtra(about["title"], about["kind"], vtk_of(value))


def _image(volume: Volume | None) -> Image | None:
    return None if volume is None else Image(image_of(volume.array), volume.grid)


def _label_image(labels: LabelMap) -> Image:
    small = labels.array.astype(np.int16) if labels.array.max() < 1 << 15 else labels.array
    return Image(image_of(small), labels.grid)


def _what_now() -> str:
    return _("Register again; if the error persists, see the log.")

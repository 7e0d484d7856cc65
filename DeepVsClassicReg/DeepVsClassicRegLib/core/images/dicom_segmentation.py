"""DICOM segmentation objects (SEG): segments with their names, colors and terminology, on a grid made of the frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FileError, GeometryError, RegistrationError
from .dicom import decoded
from .dicom_slices import SEGMENTATIONS, Unfit, read_dataset, slices_of
from .dicom_stacks import coordinates
from .grid import Grid, grid_from_lps

LABELMAP = SEGMENTATIONS[1]
# Fraction of a step by which a frame may deviate from the planes of the grid.
_BESIDE = 0.05
# A voxel belongs to a fractional segment if its value is at least half of the highest one.
_HALF = 0.5


@dataclass(frozen=True, eq=False)
class DicomSegment:
    """One segment: its number, name, what Slicer keeps with it, and where it is, (Z, Y, X)."""

    number: int
    name: str
    facts: Mapping[str, str]
    mask: npt.NDArray[np.bool_]


def is_dicom_segmentation(path: Path) -> bool:
    """Return whether a file is a DICOM segmentation object."""
    dataset = read_dataset(path, pixels=False)
    return dataset is not None and dataset.get("SOPClassUID") in SEGMENTATIONS


def read_dicom_segments(path: Path) -> tuple[Grid, list[DicomSegment], tuple[str, ...]]:
    """Return grid, segments and notes of a DICOM segmentation object.

    Raises
    ------
    FileError
        When the file is damaged or describes no segments.
    GeometryError
        When its frames are not on the planes of one regular grid.
    """
    dataset = read_dataset(path, pixels=False)
    if dataset is None:
        raise FileError(f"{path.name} is not a DICOM file.")
    about = {int(item.SegmentNumber): item for item in dataset.get("SegmentSequence") or []}
    is_map = dataset.SOPClassUID == LABELMAP or dataset.get("SegmentationType") == "LABELMAP"
    grid, planes, notes = _planes(dataset, path)
    frames = decoded(path)
    fractional = dataset.get("SegmentationType") == "FRACTIONAL"
    if fractional:
        frames = frames >= _HALF * float(dataset.get("MaximumFractionalValue") or 255)
        notes.append("A fractional segmentation: voxels with at least half of the highest value belong to a segment.")
    masks: dict[int, npt.NDArray[np.bool_]] = {}
    for frame, plane in enumerate(planes):
        numbers = np.unique(frames[frame]).tolist() if is_map else [_segment_of(dataset, frame)]
        for number in numbers:
            if is_map and number == 0:
                continue
            mask = masks.setdefault(int(number), np.zeros(grid.shape, bool))
            mask[plane] |= frames[frame] == number if is_map else frames[frame].astype(bool)
    numbers = sorted({*about, *masks} - {0})
    if not numbers:
        raise FileError(f"{path.name} is a DICOM segmentation without a segment.", hint="Save it again.")
    empty = np.zeros(grid.shape, bool)
    segments = [_segment(number, about.get(number), masks.get(number, empty)) for number in numbers]
    return grid, segments, tuple(notes)


def _planes(dataset: Any, path: Path) -> tuple[Grid, list[int], list[str]]:
    """Return the grid, the plane of each frame, and notes."""
    try:
        frames = slices_of(dataset, path, segmentations=True)
    except Unfit as reason:
        message = f"{path.name} is {reason}."
        raise RegistrationError(message, hint="Export it again as a segmentation of a CT or MR.") from reason
    where = coordinates(frames)
    pixel = min(frames[0].spacing_mm)
    if np.abs(where[:, :2] - where[0, :2]).max() > _BESIDE * pixel or any(
        np.linalg.norm(frame.normal - frames[0].normal) > 2e-3 for frame in frames
    ):
        raise GeometryError(
            f"The frames of {path.name} are not stacked along one line.",
            hint="Resample the segmentation onto a regular volume first (in Slicer: Export to label map).",
        )
    heights = where[:, 2] - where[:, 2].min()
    steps = np.diff(np.unique(np.round(heights, 3)))
    step = _stated_step(dataset) or (float(steps.min()) if len(steps) else frames[0].thickness_mm or 1.0)
    planes = np.rint(heights / step)
    if np.abs(heights - planes * step).max() > _BESIDE * step:
        raise GeometryError(
            f"The frames of {path.name} do not have equal distances of {step:.4g} mm.",
            hint="Resample the segmentation onto a regular volume first (in Slicer: Export to label map).",
        )
    notes: list[str] = []
    first = frames[int(heights.argmin())]
    matrix = np.eye(4)
    matrix[:3, :3] = np.column_stack([first.row, first.column, first.normal]) * [*first.spacing_mm, step]
    matrix[:3, 3] = first.position_mm
    size = (first.size[0], first.size[1], int(planes.max()) + 1)
    return grid_from_lps(matrix, size, path.name, notes), planes.astype(int).tolist(), notes


def _stated_step(dataset: Any) -> float:
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
    measures = (shared.get("PixelMeasuresSequence") or [{}])[0]
    return abs(float(measures.get("SpacingBetweenSlices") or 0))


def _segment_of(dataset: Any, frame: int) -> int:
    for groups in (dataset.PerFrameFunctionalGroupsSequence[frame], dataset.SharedFunctionalGroupsSequence[0]):
        if "SegmentIdentificationSequence" in groups:
            return int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
    return 1


def _segment(number: int, item: Any, mask: npt.NDArray[np.bool_]) -> DicomSegment:
    if item is None:
        return DicomSegment(number, f"Segment_{number}", {}, mask)
    facts = {}
    terminology = [_code(item, f"SegmentedProperty{part}CodeSequence") for part in ("Category", "Type")]
    if all(terminology):
        entry = "~".join(["Segmentation category and type - DICOM master list", *terminology, "^^", "", "^^", "^^"])
        facts["Tags"] = f"TerminologyEntry:{entry}|"
    color = item.get("RecommendedDisplayCIELabValue")
    if color:
        facts["Color"] = " ".join(f"{value:.6g}" for value in _rgb([float(value) for value in color]))
    return DicomSegment(number, str(item.get("SegmentLabel") or f"Segment_{number}"), facts, mask)


def _code(item: Any, name: str) -> str:
    found = item.get(name)
    if not found:
        return ""
    code = found[0]
    return f"{code.get('CodingSchemeDesignator', '')}^{code.get('CodeValue', '')}^{code.get('CodeMeaning', '')}"


def _rgb(lab: list[float]) -> npt.NDArray[np.float64]:
    """Return sRGB in 0..1 of DICOM's 16-bit CIELab (D50)."""
    lightness, a, b = lab[0] * 100 / 65535, lab[1] * 255 / 65535 - 128, lab[2] * 255 / 65535 - 128
    y = (lightness + 16) / 116
    curve = [y + a / 500, y, y - b / 200]
    xyz = [v**3 if v**3 > 0.008856 else (v - 16 / 116) / 7.787 for v in curve] * np.array([0.9642, 1.0, 0.8251])
    to_rgb = np.array([[3.1339, -1.6169, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]])
    linear = np.clip(to_rgb @ xyz, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)

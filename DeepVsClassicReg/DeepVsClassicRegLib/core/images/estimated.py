"""The mark of segmentations that a network made: a tag of every segment, and names that say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .volume import LabelMap

TAG = "DeepVsClassicReg.Estimated"
"""Tag of an estimated segment; its value is the name of the model."""
REMARK = " (estimated)"


def tag_entry(model: str) -> str:
    """Return the entry 'Tags' of an estimated segment, in the format of Slicer's segmentation files."""
    return f"{TAG}:{model}|"


def is_estimated(labels: LabelMap) -> bool:
    """Return whether a network made a segmentation; the mark survives .seg.nrrd files, not plain label maps."""
    return any(TAG in segment.facts.get("Tags", "") for segment in labels.segments.values())


def marked_name(name: str) -> str:
    """Return the name of a structure with the remark that its segmentation is estimated."""
    return name if name.endswith(REMARK) else name + REMARK


def is_marked(labels: LabelMap) -> bool:
    """Return whether the names of a segmentation say that it, or the other one of its pair, is estimated."""
    return any(name.endswith(REMARK) for name in labels.names.values())


def with_marked_names(*sides: LabelMap | None) -> tuple[LabelMap | None, ...]:
    """Return segmentations whose structures are marked on both sides when one side is estimated."""
    if not any(side is not None and is_estimated(side) for side in sides):
        return sides
    return tuple(None if side is None else replace(side, names=_marked(side.names)) for side in sides)


def _marked(names: Mapping[int, str]) -> dict[int, str]:
    return {value: marked_name(name) for value, name in names.items()}

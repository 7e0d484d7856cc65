"""The selected nodes of one registration."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import slicer
from slicer.i18n import tr as _

TITLES = {
    "fixed": _("fixed volume"),
    "moving": _("moving volume"),
    "fixed_labels": _("fixed segmentation"),
    "moving_labels": _("moving segmentation"),
    "fixed_mask": _("fixed mask"),
    "moving_mask": _("moving mask"),
    "fixed_points": _("fixed landmarks"),
    "moving_points": _("moving landmarks"),
    "initial": _("initial transform"),
}


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The nodes of one registration; roles have the names of `core.pair.Pair` and of the worker's job.

    Parameters
    ----------
    fixed, moving : vtkMRMLScalarVolumeNode
        The moving volume is registered to the fixed volume.
    fixed_labels, moving_labels : vtkMRMLSegmentationNode or vtkMRMLLabelMapVolumeNode, optional
        Segmentations for the evaluation and for engines that use labels.
    fixed_segment, moving_segment : str
        Id of the segment to use; all segments when empty.
    fixed_mask, moving_mask : vtkMRMLSegmentationNode or vtkMRMLLabelMapVolumeNode, optional
        Region where the similarity is measured: all segments or non-zero voxels.
    fixed_mask_segment, moving_mask_segment : str
        Id of the segment to use as mask.
    fixed_points, moving_points : vtkMRMLMarkupsFiducialNode, optional
        Corresponding landmarks in the same order.
    initial : vtkMRMLTransformNode, optional
        Transform to start from: applied to the moving volume (with its parent transforms), it aligns that volume
        with the fixed one.
    """

    fixed: slicer.vtkMRMLScalarVolumeNode | None = None
    moving: slicer.vtkMRMLScalarVolumeNode | None = None
    fixed_labels: slicer.vtkMRMLNode | None = None
    moving_labels: slicer.vtkMRMLNode | None = None
    fixed_segment: str = ""
    moving_segment: str = ""
    fixed_mask: slicer.vtkMRMLNode | None = None
    moving_mask: slicer.vtkMRMLNode | None = None
    fixed_mask_segment: str = ""
    moving_mask_segment: str = ""
    fixed_points: slicer.vtkMRMLMarkupsFiducialNode | None = None
    moving_points: slicer.vtkMRMLMarkupsFiducialNode | None = None
    initial: slicer.vtkMRMLTransformNode | None = None

    def given(self) -> Iterator[tuple[str, Any]]:
        """Yield (role, node) of every selected node."""
        for role in TITLES:
            node = getattr(self, role)
            if node is not None:
                yield role, node

    def swapped(self) -> Inputs:
        """Return the inputs with fixed and moving swapped, without the initial transform, which has a direction."""
        changes: dict[str, Any] = {"initial": None}
        for entry in dataclasses.fields(self):
            side, _, rest = entry.name.partition("_")
            if side in ("fixed", "moving"):
                other = {"fixed": "moving", "moving": "fixed"}[side]
                changes[entry.name] = getattr(self, f"{other}_{rest}" if rest else other)
        return dataclasses.replace(self, **changes)

    def without(self, *roles: str) -> Inputs:
        """Return the inputs without some roles."""
        return dataclasses.replace(self, **dict.fromkeys(roles))

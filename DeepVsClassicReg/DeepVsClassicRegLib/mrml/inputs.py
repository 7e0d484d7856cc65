"""The selected nodes of one registration."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

TITLES = {
    "fixed": _("fixed volume"),
    "moving": _("moving volume"),
    "fixed_labels": _("fixed segmentation"),
    "moving_labels": _("moving segmentation"),
    "fixed_mask": _("fixed mask"),
    "moving_mask": _("moving mask"),
    "fixed_excluded": _("excluded region of the fixed volume"),
    "moving_excluded": _("excluded region of the moving volume"),
    "fixed_rigid": _("rigid bodies of the fixed volume"),
    "moving_rigid": _("rigid bodies of the moving volume"),
    "fixed_points": _("fixed landmarks"),
    "moving_points": _("moving landmarks"),
    "initial": _("initial transform"),
}


VOLUMES = ("vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode")  # classes that can be fixed and moving
INSTANCES = "DICOM.instanceUIDs"  # attribute of volumes that Slicer has loaded from a DICOM series


def is_volume(node: Any) -> bool:
    """Whether a node can be the fixed or the moving volume; subclasses such as label maps cannot."""
    return node is not None and node.GetClassName() in VOLUMES and not node.GetHideFromEditors()


def is_from_dicom(volume: Any) -> bool:
    """Return whether a volume was loaded from a DICOM series; a registration object refers to that series."""
    return volume is not None and bool(volume.GetAttribute(INSTANCES))


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The nodes of one registration; roles have the names of `core.pair.Pair` and of the worker's job.

    Parameters
    ----------
    fixed, moving : vtkMRMLScalarVolumeNode or vtkMRMLVectorVolumeNode
        The moving volume is registered to the fixed volume.
    fixed_channel, moving_channel : str
        Number, from 0, of the channel of a color or vector volume that is registered; '' is the luminance of a color
        volume.
    fixed_labels, moving_labels : vtkMRMLSegmentationNode or vtkMRMLLabelMapVolumeNode, optional
        Segmentations for the evaluation and for engines that use labels.
    fixed_segment, moving_segment : str
        Id of the segment to use; all segments when empty.
    fixed_mask, moving_mask : vtkMRMLSegmentationNode or vtkMRMLLabelMapVolumeNode, optional
        Region where the similarity is measured: all segments or non-zero voxels.
    fixed_mask_segment, moving_mask_segment : str
        Id of the segment to use as mask.
    fixed_excluded, moving_excluded : vtkMRMLSegmentationNode or vtkMRMLLabelMapVolumeNode, optional
        Regions that are left out (lesions, resections, implants): all segments or non-zero voxels.
    fixed_excluded_segment, moving_excluded_segment : str
        Id of the segment to leave out.
    fixed_rigid, moving_rigid : vtkMRMLSegmentationNode or vtkMRMLLabelMapVolumeNode, optional
        Bodies that move rigidly, one per segment or label.
    fixed_points, moving_points : vtkMRMLMarkupsFiducialNode, optional
        Corresponding landmarks in the same order.
    initial : vtkMRMLTransformNode, optional
        Transform to start from: applied to the moving volume (with its parent transforms), it aligns that volume
        with the fixed one.
    """

    fixed: slicer.vtkMRMLScalarVolumeNode | None = None
    moving: slicer.vtkMRMLScalarVolumeNode | None = None
    fixed_channel: str = ""
    moving_channel: str = ""
    fixed_labels: slicer.vtkMRMLNode | None = None
    moving_labels: slicer.vtkMRMLNode | None = None
    fixed_segment: str = ""
    moving_segment: str = ""
    fixed_mask: slicer.vtkMRMLNode | None = None
    moving_mask: slicer.vtkMRMLNode | None = None
    fixed_mask_segment: str = ""
    moving_mask_segment: str = ""
    fixed_excluded: slicer.vtkMRMLNode | None = None
    moving_excluded: slicer.vtkMRMLNode | None = None
    fixed_excluded_segment: str = ""
    moving_excluded_segment: str = ""
    fixed_rigid: slicer.vtkMRMLNode | None = None
    moving_rigid: slicer.vtkMRMLNode | None = None
    fixed_points: slicer.vtkMRMLMarkupsFiducialNode | None = None
    moving_points: slicer.vtkMRMLMarkupsFiducialNode | None = None
    initial: slicer.vtkMRMLTransformNode | None = None

    @property
    def drawings(self) -> list[str]:
        """The roles with a segmentation or a label map."""
        kinds = ("labels", "mask", "excluded", "rigid")
        roles = [f"{side}_{kind}" for kind in kinds for side in ("fixed", "moving")]
        return [role for role in roles if getattr(self, role) is not None]

    def segment_of(self, role: str) -> str:
        """Return the id of the selected segment of a role; '' for all segments."""
        return str(getattr(self, f"{role.removesuffix('_labels')}_segment", ""))

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

    def using(self, role: str, node: Any) -> Inputs:
        """Return the inputs with a volume as 'fixed' or 'moving'; the two change places when it was the other one."""
        other = {"fixed": "moving", "moving": "fixed"}[role]
        changes: dict[str, Any] = {role: node, f"{role}_channel": ""}
        if getattr(self, other) is node:
            changes |= {
                other: getattr(self, role),
                f"{role}_channel": getattr(self, f"{other}_channel"),
                f"{other}_channel": getattr(self, f"{role}_channel"),
            }
        return dataclasses.replace(self, **changes)

    def without(self, *roles: str) -> Inputs:
        """Return the inputs without some roles."""
        changes: dict[str, Any] = dict.fromkeys(roles)
        return dataclasses.replace(self, **changes)


def fingerprint(inputs: Inputs) -> tuple[Hashable, ...]:
    """Return a value that changes with the content of the selected nodes, but not with their names or display."""
    parts = tuple(
        getattr(inputs, entry.name)
        for entry in dataclasses.fields(inputs)
        if entry.name.endswith(("_segment", "_channel"))
    )
    return (*((role, node.GetID(), _content(node), _place(node)) for role, node in inputs.given()), parts)


def _content(node: Any) -> Hashable:
    if node.IsA("vtkMRMLVolumeNode"):
        image, matrix = node.GetImageData(), vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        return (image.GetMTime() if image is not None else 0, _numbers(matrix))
    if node.IsA("vtkMRMLSegmentationNode"):
        return int(node.GetSegmentation().GetMTime())
    if node.IsA("vtkMRMLMarkupsNode"):
        return int(node.GetNumberOfControlPoints())
    if node.IsA("vtkMRMLTransformNode"):
        return int(node.GetTransformToWorldMTime())
    return int(node.GetMTime())


def _place(node: Any) -> Hashable:
    parent = node.GetParentTransformNode()
    return (parent.GetID(), int(parent.GetTransformToWorldMTime())) if parent is not None else None


def _numbers(matrix: Any) -> tuple[float, ...]:
    return tuple(matrix.GetElement(row, column) for row in range(3) for column in range(4))

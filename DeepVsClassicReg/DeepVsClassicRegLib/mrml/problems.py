"""Checks of the inputs, with remedies for clinicians; fast enough to run after every click."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from ..core.errors import RegistrationError
from ..core.images.grid import is_single_slice
from ..core.pair import FEWEST_VOXELS
from . import segmentations
from .channels import channel_count, gray, needs_channel
from .geometry import array_of_image, flipped, from_vtk, grid_of, world_matrix
from .inputs import TITLES, Inputs

ERROR, WARNING, NOTE = "error", "warning", "note"


@dataclass(frozen=True)
class InputProblem:
    """One problem of the inputs.

    Attributes
    ----------
    role : str
        The input, a key of `inputs.TITLES`.
    message, hint : str
        What is wrong; what to do about it.
    severity : {'error', 'warning', 'note'}
        Errors prevent the run, warnings do not; a note only informs.
    """

    role: str
    message: str
    hint: str = ""
    severity: str = ERROR

    @property
    def is_error(self) -> bool:
        """Whether it prevents the run."""
        return self.severity == ERROR

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


def problems(inputs: Inputs) -> list[InputProblem]:
    """Return all problems, errors first and notes last; empty when there are none."""
    found = list(_gone(inputs))
    present = inputs.without(*(problem.role for problem in found))
    lost = {problem.role for problem in found}
    for role in ("fixed", "moving"):
        node = getattr(present, role)
        if node is not None:
            found += _volume(role, node, getattr(present, f"{role}_channel"))
        elif role not in lost:
            found.append(
                InputProblem(
                    role,
                    _("No {what} is selected.").format(what=TITLES[role]),
                    _("Select the {what}.").format(what=TITLES[role]),
                )
            )
    found += _same(present)
    found += _single_slices(present)
    for role in present.drawings:
        found += _drawing(present, role)
    found += _labels_together(present)
    found += _points(present)
    found += _initial(present)
    return sorted(found, key=lambda problem: (ERROR, WARNING, NOTE).index(problem.severity))


def _gone(inputs: Inputs) -> Iterator[InputProblem]:
    for role, node in inputs.given():
        if node.GetScene() is None:
            yield InputProblem(role, _("The {what} was deleted.").format(what=TITLES[role]), _("Select another one."))


def _volume(role: str, node: Any, channel: str) -> Iterator[InputProblem]:
    title = _("The {what} '{name}'").format(what=TITLES[role], name=node.GetName())
    image = node.GetImageData()
    if image is None or 0 in image.GetDimensions() or image.GetPointData().GetScalars() is None:
        yield InputProblem(role, _("{title} contains no image.").format(title=title), _("Load it again."))
        return
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        yield InputProblem(
            role, _("{title} is a segmentation.").format(title=title), _("Select the image it was drawn on.")
        )
        return
    if needs_channel(node, channel):
        count = channel_count(node)
        yield InputProblem(
            role,
            _("{title} has {count} values per voxel that are no color.").format(title=title, count=count),
            _("Select the channel to register beside it. A displacement field is used as a transform."),
        )
        return
    try:
        grid = grid_of(node)
    except RegistrationError as error:
        yield InputProblem(role, error.message, error.hint)
        return
    yield from _content(role, title, array_of_image(image), channel, grid.size)
    if _is_frame(node):
        yield InputProblem(
            role,
            _("{title} is a frame of a sequence.").format(title=title),
            _("Only the current frame is used."),
            WARNING,
        )


def _content(
    role: str, title: str, voxels: np.ndarray, channel: str, size: tuple[int, int, int]
) -> Iterator[InputProblem]:
    fewest = sorted(size)[1] if is_single_slice(size) else min(size)
    if fewest < FEWEST_VOXELS:
        yield InputProblem(
            role,
            _("{title} has only {fewest} voxels along one axis {size}; at least {needed} are needed.").format(
                title=title, fewest=fewest, size=size, needed=FEWEST_VOXELS
            ),
            _("Resample it to thinner slices first, if that is appropriate for the data."),
        )
    # A few voxels nearly always suffice; all are compared only when those are equal.
    array = gray(voxels[::8, ::8, ::8], channel)
    if np.ptp(array) == 0:
        array = gray(voxels, channel)
    if array.min() == array.max():
        message = _("{title} is constant (every voxel is {value:g}).").format(title=title, value=float(array.flat[0]))
        yield InputProblem(role, message, _("Select another volume."))


def _single_slices(inputs: Inputs) -> Iterator[InputProblem]:
    """Report a single slice on one side only."""
    sizes = {
        side: node.GetImageData().GetDimensions()
        for side, node in (("fixed", inputs.fixed), ("moving", inputs.moving))
        if node is not None and node.GetImageData() is not None
    }
    slices = [side for side, size in sizes.items() if is_single_slice(size)]
    if len(sizes) == 2 and len(slices) == 1:
        (role,) = slices
        yield InputProblem(
            role,
            _("The {what} '{name}' is a single slice {size}, the other volume is not.").format(
                what=TITLES[role], name=getattr(inputs, role).GetName(), size=sizes[role]
            ),
            _("Select two single slices, which are registered in their plane, or two 3D volumes."),
        )


def _is_frame(node: Any) -> bool:
    browsers = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")
    return any(browser.IsProxyNodeID(node.GetID()) for browser in browsers)


def _same(inputs: Inputs) -> Iterator[InputProblem]:
    if inputs.fixed is not None and inputs.fixed is inputs.moving:
        yield InputProblem("moving", _("Fixed and moving are the same volume."), _("Select two different volumes."))
    if inputs.fixed_points is not None and inputs.fixed_points is inputs.moving_points:
        yield InputProblem("moving_points", _("Fixed and moving landmarks are the same list."), _("Select two lists."))
    if (
        inputs.fixed_labels is not None
        and inputs.fixed_labels is inputs.moving_labels
        and inputs.fixed_segment == inputs.moving_segment
    ):
        yield InputProblem(
            "moving_labels",
            _("Fixed and moving segmentation are the same."),
            _("Select two segmentations, or one segment each."),
        )


def _drawing(inputs: Inputs, role: str) -> Iterator[InputProblem]:
    """Yield the problems of one segmentation or mask."""
    node = getattr(inputs, role)
    if node is None:
        return
    segment = inputs.segment_of(role)
    title = _("The {what} '{name}'").format(what=TITLES[role], name=node.GetName())
    severity = ERROR if "mask" in role else WARNING
    if segment and node.IsA("vtkMRMLSegmentationNode") and not segmentations.entries(node, segment):
        yield InputProblem(
            role, _("{title} no longer has the selected segment.").format(title=title), _("Select another segment.")
        )
        return
    try:
        world_matrix(node)
        if not node.IsA("vtkMRMLSegmentationNode") and node.GetImageData() is not None:
            grid_of(node)
    except RegistrationError as error:
        yield InputProblem(role, error.message, error.hint)
        return
    if segmentations.is_empty(node, segment):
        yield InputProblem(role, _("{title} is empty.").format(title=title), _("Draw it, or select none."), severity)
    elif not _near(node, getattr(inputs, role.partition("_")[0])):
        side = role.partition("_")[0]
        yield InputProblem(
            role,
            _("{title} is completely outside the {side} volume.").format(title=title, side=side),
            _("Select one that was drawn on that volume."),
            ERROR,
        )


def _near(node: Any, volume: Any) -> bool:
    """Return whether the bounding boxes of a segmentation and its volume overlap; True when that is unknown."""
    if volume is None or volume.GetImageData() is None:
        return True
    boxes = np.zeros((2, 6))
    node.GetRASBounds(boxes[0])
    volume.GetRASBounds(boxes[1])
    low, high = boxes[:, ::2].max(axis=0), boxes[:, 1::2].min(axis=0)
    return bool((low <= high).all())


def _labels_together(inputs: Inputs) -> Iterator[InputProblem]:
    fixed, moving = inputs.fixed_labels, inputs.moving_labels
    if (fixed is None) != (moving is None):
        absent = "fixed_labels" if fixed is None else "moving_labels"
        hint = _("Select the {what} as well to measure the overlap.").format(what=TITLES[absent])
        yield InputProblem(absent, _("Only one segmentation is selected."), hint, WARNING)
    if fixed is None or moving is None:
        return
    sides = segmentations.entries(fixed, inputs.fixed_segment), segmentations.entries(moving, inputs.moving_segment)
    if not all(sides):
        return
    numbers = segmentations.numbering(*sides)
    if not numbers.shared:
        yield InputProblem(
            "moving_labels",
            _("The two segmentations have no segment name in common and, where names are generic, no label value."),
            _("Give the same structures the same names, or select one segment on each side."),
            WARNING,
        )
    elif numbers.by_value:
        yield InputProblem(
            "moving_labels", numbers.matching, _("Name the structures so that they match by name."), NOTE
        )


def _points(inputs: Inputs) -> Iterator[InputProblem]:
    lists = {role: getattr(inputs, role) for role in ("fixed_points", "moving_points")}
    given = {role: node for role, node in lists.items() if node is not None}
    for role, node in given.items():
        unplaced = node.GetNumberOfControlPoints() - node.GetNumberOfDefinedControlPoints()
        if unplaced:
            hint = _("Place or remove them, so that both lists correspond.")
            yield InputProblem(
                role, _("{unplaced} of the {what} are not placed.").format(unplaced=unplaced, what=TITLES[role]), hint
            )
        elif node.GetNumberOfControlPoints() == 0:
            yield InputProblem(
                role,
                _("The list of {what} is empty.").format(what=TITLES[role]),
                _("Place landmarks, or select no list."),
            )
    if len(given) == 1:
        absent = next(role for role in lists if role not in given)
        yield InputProblem(
            absent,
            _("Landmarks are given on one side only."),
            _("Select the {what}, or none.").format(what=TITLES[absent]),
        )
    if len(given) == 2:
        counts = [node.GetNumberOfControlPoints() for node in given.values()]
        if counts[0] != counts[1]:
            yield InputProblem(
                "moving_points",
                _("The landmark lists have different lengths: {fixed} fixed, {moving} moving.").format(
                    fixed=counts[0], moving=counts[1]
                ),
                _("Each fixed landmark needs a corresponding moving landmark, in the same order."),
            )
    yield from _stray_points(inputs)


def _stray_points(inputs: Inputs) -> Iterator[InputProblem]:
    for side in ("fixed", "moving"):
        volume, points = getattr(inputs, side), getattr(inputs, f"{side}_points")
        if volume is None or points is None or volume.GetImageData() is None:
            continue
        try:
            grid = grid_of(volume)
        except RegistrationError:
            continue
        outside = int((~grid.contains(points_mm(points))).sum())
        if outside:
            message = _("{outside} of the {side} landmarks are outside the {side} volume.").format(
                outside=outside, side=side
            )
            yield InputProblem(f"{side}_points", message, _("Check that they belong to this volume."), WARNING)


def points_mm(node: Any) -> np.ndarray:
    """Return the control points of a markups node in LPS mm, shape (N, 3)."""
    points = np.zeros((node.GetNumberOfControlPoints(), 3))
    for index in range(len(points)):
        node.GetNthControlPointPositionWorld(index, points[index])
    return flipped(points)


def _initial(inputs: Inputs) -> Iterator[InputProblem]:
    node = inputs.initial
    if node is None:
        return
    title = _("The initial transform '{name}'").format(name=node.GetName())
    if node.IsTransformToWorldLinear():
        matrix = vtk.vtkMatrix4x4()
        node.GetMatrixTransformToWorld(matrix)
        if abs(np.linalg.det(from_vtk(matrix)[:3, :3])) < 1e-9:
            yield InputProblem(
                "initial", _("{title} cannot be inverted.").format(title=title), _("Select another one, or none.")
            )
    elif any(image is None for image in _grids(node)):
        yield InputProblem(
            "initial", _("{title} contains no displacements.").format(title=title), _("Load it again, or select none.")
        )
    if inputs.moving is not None and inputs.moving.GetParentTransformNode() is node:
        yield InputProblem(
            "initial",
            _("{title} is already applied to the moving volume, so it would be applied twice.").format(title=title),
            _("Remove it from the moving volume (module Transforms), or select no initial transform."),
        )


def _grids(node: Any) -> list[Any]:
    whole, parts = vtk.vtkGeneralTransform(), vtk.vtkCollection()
    node.GetTransformFromWorld(whole)
    slicer.vtkMRMLTransformNode.FlattenGeneralTransform(parts, whole)
    items = [parts.GetItemAsObject(index) for index in range(parts.GetNumberOfItems())]
    return [item.GetDisplacementGrid() for item in items if isinstance(item, vtk.vtkGridTransform)]

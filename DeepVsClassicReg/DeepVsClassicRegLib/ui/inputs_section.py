"""The section where the user selects the nodes of a registration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..mrml.channels import channel_choices
from ..mrml.inputs import Inputs, is_volume
from .preferences import INPUT, SceneParameters

SELECTORS = {
    "fixed": "fixedSelector",
    "moving": "movingSelector",
    "fixed_labels": "fixedLabelsSelector",
    "moving_labels": "movingLabelsSelector",
    "fixed_mask": "fixedMaskSelector",
    "moving_mask": "movingMaskSelector",
    "fixed_excluded": "fixedExcludedSelector",
    "moving_excluded": "movingExcludedSelector",
    "fixed_rigid": "fixedRigidSelector",
    "moving_rigid": "movingRigidSelector",
    "fixed_points": "fixedPointsSelector",
    "moving_points": "movingPointsSelector",
    "initial": "initialSelector",
}
# Selector of a segmentation -> combo box of its segments and the entry of `Inputs` it fills.
SEGMENTS = {
    "fixed_labels": ("fixedLabelsSegmentCombo", "fixed_segment"),
    "moving_labels": ("movingLabelsSegmentCombo", "moving_segment"),
    "fixed_mask": ("fixedMaskSegmentCombo", "fixed_mask_segment"),
    "moving_mask": ("movingMaskSegmentCombo", "moving_mask_segment"),
    "fixed_excluded": ("fixedExcludedSegmentCombo", "fixed_excluded_segment"),
    "moving_excluded": ("movingExcludedSegmentCombo", "moving_excluded_segment"),
}
# The same for the channels of color and vector volumes.
CHANNELS = {"fixed": ("fixedChannelCombo", "fixed_channel"), "moving": ("movingChannelCombo", "moving_channel")}
PARTS = CHANNELS | SEGMENTS


class InputsSection:
    """Node selectors, choices of segments and channels, and the swap button.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name.
    changed : callable
        Called after every change by the user.
    """

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self._ui, self._changed = ui, changed
        self._parameters: SceneParameters | None = None
        self._loading = False
        for name in SELECTORS.values():
            getattr(ui, name).connect("currentNodeChanged(vtkMRMLNode*)", self._on_changed)
        for combo, _entry in PARTS.values():
            getattr(ui, combo).connect("currentIndexChanged(int)", self._on_changed)
        ui.swapButton.connect("clicked()", self.swap)
        self._fill_parts()

    def inputs(self) -> Inputs:
        """Return the selected nodes."""
        chosen = {role: getattr(self._ui, name).currentNode() for role, name in SELECTORS.items()}
        parts = {entry: getattr(self._ui, combo).currentData or "" for combo, entry in PARTS.values()}
        return Inputs(**chosen, **parts)

    def load(self, parameters: SceneParameters | None) -> None:
        """Show the nodes stored in a scene."""
        self._parameters, self._loading = parameters, True
        for role, name in SELECTORS.items():
            node = parameters.node(INPUT + role) if parameters is not None else None
            getattr(self._ui, name).setCurrentNode(node)
        self._fill_parts()
        for combo, entry in PARTS.values():
            self._choose_part(combo, parameters.text(INPUT + entry) if parameters is not None else "")
        self._loading = False

    def pick(self, inputs: Inputs) -> None:
        """Select nodes as if the user had."""
        self._loading = True
        for role, name in SELECTORS.items():
            getattr(self._ui, name).setCurrentNode(getattr(inputs, role))
        self._fill_parts()
        for combo, entry in PARTS.values():
            self._choose_part(combo, getattr(inputs, entry))
        self._loading = False
        self._on_changed()

    def pick_the_only_pair(self) -> None:
        """Select fixed and moving when nothing is selected and the scene contains exactly two volumes."""
        found = self.inputs()
        if any(True for _entry in found.given()):
            return
        volumes = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if is_volume(node)]
        if len(volumes) == 2:
            self.pick(Inputs(fixed=volumes[0], moving=volumes[1]))

    def use(self, role: str, node: Any) -> None:
        """Select a volume as 'fixed' or 'moving'; the two change places when it was the other one."""
        self.pick(self.inputs().using(role, node))

    def swap(self) -> None:
        """Exchange fixed and moving, with everything that belongs to them."""
        self.pick(self.inputs().swapped())

    def refresh_segments(self) -> None:
        """Update the segment lists after segments are added, removed or renamed."""
        if self._loading:
            return
        self._loading = True
        self._fill_parts()
        self._loading = False

    def _on_changed(self) -> None:
        if self._loading:
            return
        self.refresh_segments()
        self._save()
        self._changed()

    def _save(self) -> None:
        if self._parameters is None:
            return
        inputs = self.inputs()
        with self._parameters.together():
            for role in SELECTORS:
                self._parameters.set_node(INPUT + role, getattr(inputs, role))
            for _combo, entry in PARTS.values():
                self._parameters.set_text(INPUT + entry, getattr(inputs, entry))

    def _fill_parts(self) -> None:
        for role, (name, _entry) in PARTS.items():
            combo = getattr(self._ui, name)
            node = getattr(self._ui, SELECTORS[role]).currentNode()
            wanted = _parts(node)
            if [(combo.itemText(index), combo.itemData(index)) for index in range(combo.count)] == wanted:
                continue
            chosen = combo.currentData or ""
            combo.blockSignals(True)
            combo.clear()
            for text, part in wanted:
                combo.addItem(text, part)
            combo.blockSignals(False)
            self._choose_part(name, chosen)
            combo.visible = len(wanted) > 1

    def _choose_part(self, name: str, part: str) -> None:
        combo = getattr(self._ui, name)
        index = combo.findData(part)
        combo.currentIndex = max(index, 0)


def _parts(node: Any) -> list[tuple[str, str]]:
    """Return (text, id) of the segments of a segmentation node, or of the channels of a volume."""
    if is_volume(node):
        return channel_choices(node)
    if node is None or not node.IsA("vtkMRMLSegmentationNode"):
        return [(_("All"), "")]
    segmentation = node.GetSegmentation()
    found = [(_("All segments"), "")]
    for index in range(segmentation.GetNumberOfSegments()):
        part = segmentation.GetNthSegmentID(index)
        found.append((segmentation.GetSegment(part).GetName(), part))
    return found

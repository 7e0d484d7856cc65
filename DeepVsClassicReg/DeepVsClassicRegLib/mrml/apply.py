"""Brings nodes of the scene to one side of a registration: placed under the transform, or as hardened copies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from ..core.errors import RegistrationError
from ..core.transforms.reliability import Reliability
from .geometry import grid_of
from .movable import Movable, movable
from .nodes import remove_node
from .transforms import flattened, resolved

INVERSE_OF = "DeepVsClassicReg.InverseOf"


@dataclass(frozen=True)
class Applied:
    """What became of one node.

    Attributes
    ----------
    source : vtkMRMLNode
        The given node.
    node : vtkMRMLNode or None
        The hardened copy, or the given node placed under the transform; None when it was refused.
    notes : tuple of str
        Warnings: folds, extrapolation, what lies outside of the view.
    refusal : str
        Why it was refused.
    """

    source: Any
    node: Any = None
    notes: tuple[str, ...] = ()
    refusal: str = ""


class Application:
    """A transform applied to nodes, in three steps: copying (the constructor), `compute` in any thread, `publish`.

    Parameters
    ----------
    transform : vtkMRMLTransformNode
        Transform of a registration: applied to the moving volume, it aligns that volume with the fixed one.
    nodes : sequence of vtkMRMLNode
        Volumes, segmentations, models and markups.
    to : {'fixed', 'moving'}
        The side the nodes come to; they belong to the other one.
    reference : vtkMRMLVolumeNode, optional
        Volume of the side `to`, whose grid hardened images get; default: the one the transform was made from.
    harden : bool
        New nodes with the transform applied; otherwise the nodes themselves are placed under the transform.
    interpolation : {'nearest', 'smooth'}
        Of labels.

    Raises
    ------
    RegistrationError
        When there is no transform, nothing to apply it to, or no volume of the side `to`.
    """

    def __init__(
        self,
        transform: Any,
        nodes: Sequence[Any],
        *,
        to: str = "fixed",
        reference: Any = None,
        harden: bool = True,
        interpolation: str = "nearest",
    ) -> None:
        from ..core.transforms.sides import SideChange

        SideChange.check_side(to)
        if transform is None or not nodes:
            what = _("There is no transform to apply.") if transform is None else _("Nothing was selected.")
            raise RegistrationError(what, hint=_("Select volumes, segmentations, models or markups."))
        self._transform, self._to, self._harden, self._interpolation = transform, to, harden, interpolation
        self._reference = reference if reference is not None else reference_of(transform, to)
        self._pieces = flattened(transform)
        if self._reference is None:
            raise RegistrationError(
                _("The {side} volume of '{name}' is not known.").format(side=to, name=transform.GetName()),
                hint=_("Give it as the reference."),
            )
        self._grid = grid_of(self._reference)
        self._nodes = list(dict.fromkeys(nodes))
        self._movables: dict[str, Movable] = {}
        self._refusals: dict[str, str] = {}
        self._checks: dict[str, Reliability] = {}
        for node in self._nodes:
            try:
                self._refuse_wrong(node)
                self._movables[node.GetID()] = movable(node)
            except RegistrationError as error:
                self._refusals[node.GetID()] = str(error)

    def compute(self) -> None:
        """Check and, when hardened copies are wanted, move the objects; uses neither Qt nor the scene."""
        from ..core.transforms.sides import SideChange

        change = SideChange(resolved(self._pieces, self._grid), self._to, self._grid)
        for name, item in self._movables.items():
            self._checks[name] = item.move(change, self._interpolation) if self._harden else item.check(change)

    def publish(self) -> list[Applied]:
        """Add the hardened copies to the scene, or place the nodes under the transform; all of them or none."""
        made: list[Any] = []
        results = []
        try:
            for node in self._nodes:
                name = node.GetID()
                if name in self._refusals or node.GetScene() is None:
                    results.append(Applied(node, refusal=self._refusals.get(name, _("It was deleted."))))
                    continue
                result = self._hardened(node, made) if self._harden else self._placed(node)
                item = self._movables[name]
                results.append(
                    Applied(result.source, result.node, (*self._checks[name].notes(self._view), *item.notes))
                )
        except BaseException:
            for node in made:
                remove_node(node)
            raise
        return results

    @property
    def _view(self) -> str:
        return f"'{self._reference.GetName()}'"

    def _refuse_wrong(self, node: Any) -> None:
        if node is self._reference:
            raise RegistrationError(_("It is the volume of the side to which objects come."))
        parent = node.GetParentTransformNode() if node.IsA("vtkMRMLTransformableNode") else None
        while parent is not None:
            if parent is self._transform or parent.GetAttribute(INVERSE_OF) == self._transform.GetID():
                raise RegistrationError(
                    _("It is already under this transform."), hint=_("Remove it from the transform first.")
                )
            parent = parent.GetParentTransformNode()

    def _hardened(self, node: Any, made: list[Any]) -> Applied:
        where = self._reference.GetName()
        copy = self._movables[node.GetID()].publish(
            slicer.mrmlScene.GenerateUniqueName(_("{name} on {volume}").format(name=node.GetName(), volume=where)),
            self._reference,
        )
        made.append(copy)
        _file_beside(copy, node)
        return Applied(node, copy)

    def _placed(self, node: Any) -> Applied:
        """Place a node under the transform; a transform it is under already is applied first."""
        target = self._transform if self._to == "fixed" else _inverse_node(self._transform)
        parent = node.GetParentTransformNode()
        if parent is None:
            node.SetAndObserveTransformNodeID(target.GetID())
            return Applied(node, node)
        own = slicer.mrmlScene.AddNewNodeByClass(
            "vtkMRMLTransformNode", slicer.mrmlScene.GenerateUniqueName(f"{node.GetName()} {parent.GetName()}")
        )
        own.SetAndObserveTransformToParent(_copied_to_world(parent))
        own.SetAndObserveTransformNodeID(target.GetID())
        node.SetAndObserveTransformNodeID(own.GetID())
        return Applied(node, node)


def apply_transform(transform: Any, nodes: Sequence[Any], **options: Any) -> list[Applied]:
    """Apply a transform to nodes in one call, as `Application`."""
    work = Application(transform, nodes, **options)
    work.compute()
    return work.publish()


def reference_of(transform: Any, to: str) -> Any:
    """Return the fixed or moving volume that a transform was made from; None when it is unknown."""
    node = slicer.vtkMRMLTransformNode
    role = node.GetFixedNodeReferenceRole() if to == "fixed" else node.GetMovingNodeReferenceRole()
    return transform.GetNodeReference(role)


def nodes_in(items: Iterable[int]) -> list[Any]:
    """Return the data nodes of subject hierarchy items and of everything below them, each once."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    found: dict[str, Any] = {}
    for item in items:
        below = vtk.vtkIdList()
        hierarchy.GetItemChildren(item, below, True)
        for entry in (item, *(below.GetId(index) for index in range(below.GetNumberOfIds()))):
            node = hierarchy.GetItemDataNode(entry)
            if node is not None and node.IsA("vtkMRMLTransformableNode") and not node.IsA("vtkMRMLTransformNode"):
                found.setdefault(node.GetID(), node)
    return list(found.values())


def _inverse_node(transform: Any) -> Any:
    """Return a node with the inverse of a transform, made once."""
    for node in slicer.util.getNodesByClass("vtkMRMLTransformNode"):
        if node.GetAttribute(INVERSE_OF) == transform.GetID():
            return node
    name = slicer.mrmlScene.GenerateUniqueName(_("{name} inverse").format(name=transform.GetName()))
    inverse = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", name)
    inverse.SetAttribute(INVERSE_OF, transform.GetID())
    inverse.SetAndObserveTransformFromParent(_copied_to_world(transform))
    _file_beside(inverse, transform)
    return inverse


def _copied_to_world(transform: Any) -> vtk.vtkGeneralTransform:
    whole, copy = vtk.vtkGeneralTransform(), vtk.vtkGeneralTransform()
    transform.GetTransformToWorld(whole)
    copy.DeepCopy(whole)
    return copy


def _file_beside(node: Any, other: Any) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item, beside = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(other)
    if item and beside:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(beside))

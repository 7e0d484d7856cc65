"""Records of finished runs in the scene, saved and loaded with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from ..core.errors import FileError, RegistrationError
from ..core.evaluation.locations import Location
from ..core.evaluation.measures import LATER
from ..core.evaluation.report import Measured, Report
from ..core.settings import Choice
from .inputs import TITLES
from .nodes import hidden_node
from .segmentations import LabelStyle

RUN_ROLE = "DeepVsClassicReg.Run"
BASE_ROLE = "DeepVsClassicReg.Base"
RECORD_MARK = "DeepVsClassicReg.RunRecord"
INPUT_ROLES = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_points", "moving_points")
OUTPUT_ROLES = ("transform", "warped", "warped_labels", "jacobian", "report_table")
# Outputs of some engines, or on request, only.
RARE_ROLES = ("uncertainty", "error")
# Any number of nodes with additional outputs of an engine.
EXTRAS = "extras"
VIEWS = "views_"  # with a number: one parameter for each time that views were added to the report
VIEW_BYTES = "bytes_of_views"  # their size, known without reading them
ROLE_TITLES = {
    **TITLES,
    "transform": _("transform"),
    "warped": _("warped volume"),
    "warped_labels": _("warped segmentation"),
    "jacobian": _("Jacobian"),
    "uncertainty": _("uncertainty"),
    "error": _("estimated error"),
    "report_table": _("table of measures"),
}


@dataclass(frozen=True)
class Run:
    """A finished registration, stored in a record node; two Runs of the same record are equal.

    Attributes
    ----------
    record : vtkMRMLScriptedModuleNode
        Hidden node that stores the run.
    """

    record: slicer.vtkMRMLScriptedModuleNode

    @property
    def exists(self) -> bool:
        """Whether the record is still in a scene."""
        return self.record.GetScene() is not None

    @property
    def title(self) -> str:
        """The title shown to users, such as 'MR2 to MR1 (elastix)'."""
        return self.record.GetName() or ""

    @property
    def engine(self) -> str:
        """Engine name."""
        return self.typed_report.engine

    @property
    def preset(self) -> str:
        """Preset name."""
        return self.typed_report.preset

    @property
    def report(self) -> dict[str, Any]:
        """The content of report.json, for scripts."""
        return self.typed_report.to_json()

    @property
    def typed_report(self) -> Report:
        """The worker's report; one without measures where an earlier version wrote a record that cannot be read."""
        return _report(self.record.GetParameter("report") or "{}")

    @property
    def measures(self) -> Mapping[str, Any]:
        """Measures after the run, named as in `core.evaluation.measures.MEASURES`, and 'seconds'."""
        report = self.typed_report
        seconds = report.total_seconds
        return {**report.measures.after, **({} if seconds is None else {"seconds": seconds})}

    @property
    def measures_before(self) -> Mapping[str, Any]:
        """Measures before the run."""
        return self.typed_report.measures.before

    @property
    def labels(self) -> dict[int, LabelStyle]:
        """Label number -> name and color."""
        stored = _parsed(self.record.GetParameter("labels"))
        return {int(number): LabelStyle(name, tuple(color)) for number, (name, color) in stored.items()}

    @property
    def missing(self) -> str:
        """Names of the measures that were not computed (yet); empty when the report is complete."""
        return ", ".join(LATER.get(family, family) for family in self.typed_report.missing)

    @property
    def look_at(self) -> list[Location]:
        """Locations that the verdict asks the user to check, the most severe first."""
        return list(self.typed_report.look_at)

    def locations(self, kind: str) -> list[Location] | None:
        """Return the locations of a kind ('fold', 'match', 'structure', 'error') from the report, worst first.

        None when they were not measured, as in runs of version 0.1 and earlier.
        """
        found = self.typed_report.locations
        return None if found is None else list(getattr(found, kind))

    @property
    def base(self) -> Run | None:
        """The run that this one repairs; None when it repairs none, or that run was removed."""
        record = self.record.GetNodeReference(BASE_ROLE)
        return Run(record) if record is not None else None

    @property
    def short_title(self) -> str:
        """The engine, with its preset unless that is the default one."""
        return str(Choice(self.engine, self.preset))

    def node(self, role: str) -> Any:
        """Return the node of a role out of `INPUT_ROLES`, `OUTPUT_ROLES`, `RARE_ROLES`; None when absent or deleted."""
        return self.record.GetNodeReference(role)

    def need(self, role: str) -> Any:
        """Return the node of a role.

        Raises
        ------
        RegistrationError
            When it was deleted or emptied, or never existed.
        """
        node = self.node(role)
        if node is not None and not (node.IsA("vtkMRMLVolumeNode") and node.GetImageData() is None):
            return node
        what, run = ROLE_TITLES[role], self.title
        if self.had(role) and node is None:
            message = _("The {what} of '{run}' was deleted.").format(what=what, run=run)
        elif node is not None:
            message = _("The {what} of '{run}' contains no image.").format(what=what, run=run)
        else:
            message = _("'{run}' has no {what}.").format(what=what, run=run)
        raise RegistrationError(message, hint=_("Choose another view or another run, or register again."))

    def had(self, role: str) -> bool:
        """Whether the run had a node of a role when it ended; for runs of older versions, whether it has one now."""
        roles = self.record.GetParameter("roles")
        return role in roles.split() if roles else self.node(role) is not None

    def lost(self, role: str) -> bool:
        """Whether the node of a role was deleted."""
        return self.had(role) and self.node(role) is None

    def channel(self, role: str) -> str:
        """Return the channel of 'fixed', 'moving' or 'warped' that was registered, '' for the luminance."""
        side = "fixed" if role == "fixed" else "moving"
        return self.record.GetParameter(f"{side}_channel") or ""

    @property
    def extras(self) -> list[Any]:
        """The nodes of additional outputs of the engine."""
        count = self.record.GetNumberOfNodeReferences(EXTRAS)
        nodes = [self.record.GetNthNodeReference(EXTRAS, index) for index in range(count)]
        return [node for node in nodes if node is not None]

    @property
    def fixed(self) -> Any:
        """The fixed volume node, or None."""
        return self.node("fixed")

    @property
    def moving(self) -> Any:
        """The moving volume node, or None."""
        return self.node("moving")

    @property
    def transform(self) -> Any:
        """The transform node, or None."""
        return self.node("transform")

    @property
    def warped(self) -> Any:
        """The warped volume node, or None."""
        return self.node("warped")

    @property
    def warped_labels(self) -> Any:
        """The warped segmentation node, or None."""
        return self.node("warped_labels")

    @property
    def jacobian(self) -> Any:
        """The node of the Jacobian determinant, or None."""
        return self.node("jacobian")


def new_record(
    title: str,
    report: Report,
    nodes: Mapping[str, Any],
    *,
    labels: Mapping[int, LabelStyle] | None = None,
    extras: Sequence[Any] = (),
    channels: Mapping[str, str] | None = None,
) -> Run:
    """Add the record of a run to the scene."""
    record = slicer.mrmlScene.AddNode(hidden_node("vtkMRMLScriptedModuleNode", title, saved=True))
    record.SetAttribute(RECORD_MARK, "1")
    set_report(Run(record), report)
    styles = {str(number): [style.name, style.color] for number, style in (labels or {}).items()}
    record.SetParameter("labels", _text(styles))
    for side, channel in (channels or {}).items():
        record.SetParameter(f"{side}_channel", channel)
    for role, node in nodes.items():
        if node is not None and node.GetScene() is not None:
            add_node(Run(record), role, node)
    for node in extras:
        record.AddNodeReferenceID(EXTRAS, node.GetID())
    return Run(record)


def set_report(run: Run, report: Report) -> None:
    """Store the report of a run."""
    run.record.SetParameter("report", _text(report.to_json()))


def add_node(run: Run, role: str, node: Any) -> None:
    """Add the node of a role to a run."""
    run.record.SetNodeReferenceID(role, node.GetID())
    run.record.SetParameter("roles", f"{run.record.GetParameter('roles')} {role}".strip())


def add_views(run: Run, content: Mapping[str, Any]) -> None:
    """Store views that the user has added to the report with a run."""
    names = _view_names(run)
    number = int(names[-1].removeprefix(VIEWS)) + 1 if names else 0
    text = _text(content)
    run.record.SetParameter(VIEW_BYTES, str(size_of_views(run) + len(text)))
    run.record.SetParameter(f"{VIEWS}{number}", text)


def stored_views(run: Run) -> list[str]:
    """Return the views that were added with a run, as JSON, oldest first."""
    return [run.record.GetParameter(name) for name in _view_names(run)]


def count_views(run: Run) -> int:
    """Return how often views were added with a run."""
    return len(_view_names(run))


def size_of_views(run: Run) -> int:
    """Return the bytes of the views that were added with a run."""
    return int(run.record.GetParameter(VIEW_BYTES) or 0)


def forget_views(run: Run) -> None:
    """Remove the views that were added with a run."""
    for name in (*_view_names(run), VIEW_BYTES):
        run.record.UnsetParameter(name)


def _view_names(run: Run) -> list[str]:
    names = [name for name in run.record.GetParameterNames() if name.startswith(VIEWS)]
    return sorted(names, key=lambda name: int(name.removeprefix(VIEWS)))


def set_base(run: Run, base: Run) -> None:
    """Store that a run repairs another one."""
    run.record.SetNodeReferenceID(BASE_ROLE, base.record.GetID())


def repairs_of(parameter_node: slicer.vtkMRMLScriptedModuleNode, run: Run) -> list[Run]:
    """Return the runs that repair a run, oldest first."""
    return [other for other in runs(parameter_node) if other.base == run]


def runs(parameter_node: slicer.vtkMRMLScriptedModuleNode) -> list[Run]:
    """Return the runs of a parameter node, oldest first."""
    records = [
        parameter_node.GetNthNodeReference(RUN_ROLE, index)
        for index in range(parameter_node.GetNumberOfNodeReferences(RUN_ROLE))
    ]
    return [Run(record) for record in records if record is not None]


def remember(parameter_node: slicer.vtkMRMLScriptedModuleNode, run: Run) -> None:
    """Add a run to a parameter node."""
    parameter_node.AddNodeReferenceID(RUN_ROLE, run.record.GetID())


def restore_runs(parameter_node: slicer.vtkMRMLScriptedModuleNode) -> list[Run]:
    """Return the runs of a loaded scene and restore the interpolation of their transforms."""
    from .transforms import use_linear_interpolation

    found = runs(parameter_node)
    for run in found:
        if run.transform is not None:
            use_linear_interpolation(run.transform)
    return found


def forget_run(parameter_node: slicer.vtkMRMLScriptedModuleNode, run: Run, *, delete_outputs: bool = False) -> None:
    """Remove a run's record and, with `delete_outputs`, its output nodes and their folder."""
    if not run.exists:
        return
    scene = slicer.mrmlScene
    for index in reversed(range(parameter_node.GetNumberOfNodeReferences(RUN_ROLE))):
        if parameter_node.GetNthNodeReferenceID(RUN_ROLE, index) == run.record.GetID():
            parameter_node.RemoveNthNodeReferenceID(RUN_ROLE, index)
    if delete_outputs:
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        folders = set()
        for node in (*(run.node(role) for role in (*OUTPUT_ROLES, *RARE_ROLES)), *run.extras):
            if node is not None:
                folders.add(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)))
                scene.RemoveNode(node)
        for folder in folders:
            remove_empty_folder(hierarchy, folder)
    scene.RemoveNode(run.record)


def remove_empty_folder(hierarchy: slicer.vtkMRMLSubjectHierarchyNode, item: int) -> None:
    """Remove the folder of a run from the subject hierarchy when it is empty."""
    if item and hierarchy.GetItemAttribute(item, RECORD_MARK) and not _has_children(hierarchy, item):
        hierarchy.RemoveItem(item)


@lru_cache(maxsize=64)
def _report(text: str) -> Report:
    try:
        return Report.from_json(_parsed(text))
    except FileError:
        return Report(measures=Measured({}, {}))


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=True, separators=(",", ":"))


def _parsed(text: str) -> dict[str, Any]:
    return json.loads(text) if text else {}


def _has_children(hierarchy: slicer.vtkMRMLSubjectHierarchyNode, item: int) -> bool:
    children = vtk.vtkIdList()
    hierarchy.GetItemChildren(item, children)
    return children.GetNumberOfIds() > 0

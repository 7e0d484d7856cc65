"""The outputs of a worker: read from its result folder (thread-safe), then published as nodes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
import vtk
from slicer.i18n import tr as _

from ..core.errors import FileError, RegistrationError
from ..core.evaluation.report import Measured, Report, read_report
from ..core.evaluation.views.error import HIGHEST
from ..core.files import read_json
from ..core.images.channels import Channels
from ..core.images.io import read_labels
from ..core.images.volume import TAG, LabelMap, Volume, is_estimated
from ..core.job import OUTPUT_FOLDER, RESULT_FILE
from .channels import channel_count
from .geometry import Image, image_of, place
from .inputs import TITLES, Inputs
from .nodes import (
    GRAY,
    add_labels,
    file_safe,
    label_image,
    need_in_scene,
    output_name,
    remove_node,
    show_channels,
    show_volume,
)
from .runs import INPUT_ROLES, RECORD_MARK, Run, add_node, new_record, remember, remove_empty_folder, set_report
from .segmentations import fill_segmentation
from .snapshot import Snapshot
from .tables import update_measures_table

if TYPE_CHECKING:
    from ..core.transforms.transform import Transform

# What a run gives unless other outputs are asked for; the estimated error is only made on request.
WANTED = frozenset({"transform", "warped", "warped_labels", "jacobian", "uncertainty", "report_table"})
CLASSES = {
    "transform": "vtkMRMLTransformNode",
    "warped": "vtkMRMLScalarVolumeNode",
    "warped_labels": "vtkMRMLSegmentationNode",
    "jacobian": "vtkMRMLScalarVolumeNode",
    "uncertainty": "vtkMRMLScalarVolumeNode",
    "error": "vtkMRMLScalarVolumeNode",
    "report_table": "vtkMRMLTableNode",
}
VECTORS = "vtkMRMLVectorVolumeNode"
EXTRA_CLASSES = {"labels": "vtkMRMLSegmentationNode", "transform": "vtkMRMLTransformNode"}
SUFFIXES = {
    "transform": "transform",
    "warped": "warped",
    "warped_labels": "segmentation",
    "jacobian": "Jacobian",
    "uncertainty": "uncertainty",
    "error": "estimated error",
    "report_table": "measures",
}
HOT = "vtkMRMLColorTableNodeFileInferno.txt"
DIVERGING = "vtkMRMLColorTableNodeFileDivergingBlueRed.txt"


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
        On the fixed grid; the warped image of a color or vector volume has all channels.
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


def load_result(folder: str | os.PathLike[str], *, file: str = RESULT_FILE) -> Loaded:
    """Read the job folder of a successful worker, or the first result of one that goes on.

    Parameters
    ----------
    folder : path
        The job folder.
    file : str
        File in it with the content of result.json, `job.FIRST_FILE` for a first result.

    Raises
    ------
    FileError
        When that file or one of the files in it is missing or invalid.
    """
    from ..core.images.io import read_channels, read_labels, read_volume
    from ..core.transforms.files import read_transform

    result = read_json(Path(folder) / file, hint=_what_now())
    out = Path(folder) / OUTPUT_FOLDER
    files = {role: out / name for role, name in result.get("files", {}).items()}
    readers: dict[str, Callable[[Path], Any]] = {"labels": read_labels, "transform": read_transform}
    if "transform" not in files:
        raise FileError(_("The result in {folder} contains no transform.").format(folder=folder), hint=_what_now())
    return loaded_result(
        read_transform(files["transform"]),
        warped=read_channels(files["warped"]) or read_volume(files["warped"]) if "warped" in files else None,
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


def load_report(folder: Path) -> Report:
    """Read the report of a successful worker; `FileError` when it is missing or invalid."""
    return read_report(folder / OUTPUT_FOLDER / read_json(folder / RESULT_FILE, hint=_what_now())["files"]["report"])


def loaded_result(
    transform: Transform,
    *,
    warped: Volume | Channels | None,
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
        warped_labels=label_image(warped_labels) if warped_labels is not None else None,
        label_numbers=warped_labels.labels if warped_labels is not None else (),
        report=report,
    )


def _loaded_extra(about: Mapping[str, Any], value: Volume | LabelMap | Transform) -> LoadedExtra:
    from .transforms import vtk_of

    if isinstance(value, Volume):
        return LoadedExtra(about["title"], about["kind"], Image(image_of(value.array), value.grid))
    if isinstance(value, LabelMap):
        return LoadedExtra(about["title"], about["kind"], label_image(value), value.labels)
    return LoadedExtra(about["title"], about["kind"], vtk_of(value))


def _image(volume: Volume | Channels | None) -> Image | None:
    return None if volume is None else Image(image_of(volume.array), volume.grid)


def _what_now() -> str:
    return _("Register again; if the error persists, see the log.")


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Nodes selected by the user to be overwritten; wanted outputs without a node are created."""

    transform: slicer.vtkMRMLTransformNode | None = None
    warped: slicer.vtkMRMLScalarVolumeNode | None = None
    warped_labels: slicer.vtkMRMLSegmentationNode | None = None
    jacobian: slicer.vtkMRMLScalarVolumeNode | None = None
    uncertainty: slicer.vtkMRMLScalarVolumeNode | None = None
    error: slicer.vtkMRMLScalarVolumeNode | None = None
    report_table: slicer.vtkMRMLTableNode | None = None
    wanted: frozenset[str] = WANTED


def publish(
    loaded: Loaded,
    inputs: Inputs,
    snapshot: Snapshot,
    *,
    parameter_node: slicer.vtkMRMLScriptedModuleNode | None = None,
    targets: Targets | None = None,
    title: str = "",
) -> Run:
    """Add a result to the scene; main thread only, fast because voxels are not copied.

    Parameters
    ----------
    loaded : Loaded
        From `load_result`; can be published once.
    inputs : Inputs
        The registered nodes; some may have been deleted since.
    snapshot : Snapshot
        From the start of the run: names of nodes, and names and colors of labels.
    parameter_node : vtkMRMLScriptedModuleNode, optional
        Receives a reference to the run's record.
    targets : Targets, optional
        Nodes to overwrite, and which outputs are wanted.
    title : str, optional
        Replaces 'Moving to Fixed (engine)' and is the first part of the outputs' names; characters that file
        systems forbid are removed.

    Returns
    -------
    Run
        The record of the run. On an error all created nodes are removed and overwritten nodes get their former
        voxels and transform back.

    Raises
    ------
    RegistrationError
        When an input is selected as output.
    """
    check_targets(inputs, targets or Targets())
    work = _Publication(loaded, inputs, snapshot, targets or Targets(), file_safe(title))
    try:
        run = work.publish()
        if parameter_node is not None:
            remember(parameter_node, run)
    except BaseException:
        work.undo()
        raise
    return run


def complete_run(run: Run, report: Report, snapshot: Snapshot) -> None:
    """Replace the first report of a published run by the complete one, also in its table; nothing when it was removed.

    Parameters
    ----------
    run : Run
        From `publish`.
    report : Report
        From `load_report`.
    snapshot : Snapshot
        The same as for `publish`.
    """
    if not run.exists:
        return
    set_report(run, _with_matching(report, snapshot))
    table = run.node("report_table")
    if table is not None:
        update_measures_table([run], table)


def _with_matching(report: Report, snapshot: Snapshot) -> Report:
    """Return the report, with a note when structures were not matched by their names."""
    matching = snapshot.matching
    return dataclasses.replace(report, notes=(*report.notes, matching)) if matching else report


class _Publication:
    """The publication of one result, which can be undone."""

    def __init__(self, loaded: Loaded, inputs: Inputs, snapshot: Snapshot, targets: Targets, title: str) -> None:
        self.loaded, self.inputs, self.snapshot, self.targets = loaded, inputs, snapshot, targets
        self.moving, self.fixed = (snapshot.names.get(side, side) for side in ("moving", "fixed"))
        self.engine = loaded.report.engine or "unknown"
        self.given_title = title
        self.title = slicer.mrmlScene.GenerateUniqueName(
            title or file_safe(f"{self.moving} to {self.fixed} ({self.engine})")
        )
        self.nodes: dict[str, Any] = {}
        self.extras: list[Any] = []
        self.back: list[Callable[[], Any]] = []

    def publish(self) -> Run:
        for role, fill in (
            ("transform", self._fill_transform),
            ("warped", self._fill_warped),
            ("warped_labels", self._fill_labels),
            ("jacobian", self._fill_jacobian),
            ("uncertainty", self._fill_uncertainty),
            ("error", self._fill_error),
        ):
            if role in self.targets.wanted and (role == "transform" or getattr(self.loaded, role) is not None):
                fill(self._node(role))
        extras = [self._extra_node(extra) for extra in self.loaded.extras]
        originals = {role: self._alive(role) for role in INPUT_ROLES}
        run = new_record(
            self.title,
            _with_matching(self.loaded.report, self.snapshot),
            {**originals, **self.nodes},
            labels=self.snapshot.labels,
            extras=extras,
            channels=self.snapshot.channels,
        )
        self.back.append(lambda: remove_node(run.record))
        if "report_table" in self.targets.wanted:
            table = self._node("report_table")
            update_measures_table([run], table)
            add_node(run, "report_table", table)
        self._file()
        return run

    def undo(self) -> None:
        for action in reversed(self.back):
            action()

    def _alive(self, role: str) -> Any:
        node = getattr(self.inputs, role)
        return node if node is not None and node.GetScene() is not None else None

    def _node(self, role: str) -> Any:
        chosen = getattr(self.targets, role)
        if chosen is not None and chosen.GetScene() is not None:
            node = chosen
        else:
            name = f"{self.given_title} {SUFFIXES[role]}"
            if not self.given_title:
                name = output_name(self.moving, SUFFIXES[role], self.engine)
            kind = VECTORS if role == "warped" and self._has_channels else CLASSES[role]
            node = slicer.mrmlScene.AddNewNodeByClass(kind, slicer.mrmlScene.GenerateUniqueName(name))
            self.back.append(lambda: remove_node(node))
        self.nodes[role] = node
        return node

    @property
    def _has_channels(self) -> bool:
        image = self.loaded.warped
        return image is not None and image.data.GetNumberOfScalarComponents() > 1

    def _extra_node(self, extra: LoadedExtra) -> Any:
        """Return a new node with an additional output of the engine."""
        name = slicer.mrmlScene.GenerateUniqueName(f"{self.title} {extra.title}")
        node = slicer.mrmlScene.AddNewNodeByClass(EXTRA_CLASSES.get(extra.kind, CLASSES["warped"]), name)
        self.back.append(lambda: remove_node(node))
        self.extras.append(node)
        if extra.kind == "transform":
            from .transforms import attach

            attach(node, extra.content)
        elif extra.kind == "labels":
            fill_segmentation(node, extra.content, extra.numbers, self.snapshot.labels)
        else:
            low, high = extra.content.data.GetScalarRange()
            color = HOT if extra.kind == "map" and slicer.mrmlScene.GetNodeByID(HOT) is not None else GRAY
            self._fill_volume(node, extra.content, high - low, (low + high) / 2, color)
        return node

    def _fill_transform(self, node: Any) -> None:
        from .transforms import attach

        former = node.GetTransformFromParent()
        self.back.append(lambda: node.SetAndObserveTransformFromParent(former))
        attach(node, self.loaded.mapping)
        for role, side in ((node.GetMovingNodeReferenceRole(), "moving"), (node.GetFixedNodeReferenceRole(), "fixed")):
            volume = self._alive(side)
            node.SetNodeReferenceID(role, volume.GetID() if volume is not None else None)

    def _fill_warped(self, node: Any) -> None:
        image, moving = self.loaded.warped, self._alive("moving")
        if image is None:
            return
        shown = moving.GetDisplayNode() if moving is not None else None
        if self._has_channels:
            former = node.GetVoxelVectorType()
            self.back.append(lambda: node.SetVoxelVectorType(former))
            show_channels(node, moving)
            self._fill(node, image)
        elif shown is not None:
            self._fill_volume(node, image, shown.GetWindow(), shown.GetLevel(), shown.GetColorNodeID())
        else:
            low, high = image.data.GetScalarRange()
            self._fill_volume(node, image, high - low, (low + high) / 2, GRAY)

    def _fill_jacobian(self, node: Any) -> None:
        color = DIVERGING if slicer.mrmlScene.GetNodeByID(DIVERGING) is not None else GRAY
        self._fill_volume(node, self.loaded.jacobian, 2.0, 1.0, color)

    def _fill_uncertainty(self, node: Any) -> None:
        image = self.loaded.uncertainty
        if image is None:
            return
        color = HOT if slicer.mrmlScene.GetNodeByID(HOT) is not None else GRAY
        highest = image.data.GetScalarRange()[1]
        self._fill_volume(node, image, highest, highest / 2, color)

    def _fill_error(self, node: Any) -> None:
        color = HOT if slicer.mrmlScene.GetNodeByID(HOT) is not None else GRAY
        self._fill_volume(node, self.loaded.error, HIGHEST, HIGHEST / 2, color)

    def _fill_volume(self, node: Any, image: Image | None, window: float, level: float, color: str) -> None:
        if image is not None:
            show_volume(node, window=window, level=level, color=color)
            self._fill(node, image)

    def _fill(self, node: Any, image: Image) -> None:
        matrix, former = vtk.vtkMatrix4x4(), node.GetImageData()
        node.GetIJKToRASMatrix(matrix)
        self.back.append(lambda: (node.SetAndObserveImageData(former), node.SetIJKToRASMatrix(matrix)))
        node.SetAndObserveTransformNodeID(None)
        place(node, image.grid)
        node.SetAndObserveImageData(image.data)

    def _fill_labels(self, node: Any) -> None:
        image = self.loaded.warped_labels
        if image is None:
            return
        former = slicer.vtkSegmentation()
        former.DeepCopy(node.GetSegmentation())
        self.back.append(lambda: node.GetSegmentation().DeepCopy(former))
        node.SetAndObserveTransformNodeID(None)
        fill_segmentation(node, image, self.loaded.label_numbers, self.snapshot.labels)
        if node is not self.targets.warped_labels:
            # A visible segmentation would cover the views when a comparison ends.
            node.GetDisplayNode().SetVisibility(_is_shown(self._alive("moving_labels")))
        fixed = self._alive("fixed")
        if fixed is not None:
            node.SetReferenceImageGeometryParameterFromVolumeNode(fixed)

    def _file(self) -> None:
        """Put new nodes into a subject hierarchy folder beside the moving volume."""
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        beside = self._alive("moving") or self._alive("fixed")
        item = hierarchy.GetItemByDataNode(beside) if beside is not None else 0
        parent = hierarchy.GetItemParent(item) if item else hierarchy.GetSceneItemID()
        made = [node for role, node in self.nodes.items() if node is not getattr(self.targets, role)]
        made += self.extras
        items = [hierarchy.GetItemByDataNode(node) for node in made]
        items = [entry for entry in items if entry]
        if not items:
            return
        folder = hierarchy.CreateFolderItem(parent, self.title)
        hierarchy.SetItemAttribute(folder, RECORD_MARK, "1")
        self.back.insert(0, lambda: remove_empty_folder(hierarchy, folder))
        for entry in items:
            hierarchy.SetItemParent(entry, folder)


def _is_shown(node: Any) -> bool:
    display = node.GetDisplayNode() if node is not None else None
    return display is not None and node.IsA("vtkMRMLSegmentationNode") and bool(display.GetVisibility())


def check_targets(inputs: Inputs, targets: Targets) -> None:
    """Raise `RegistrationError` when an input is selected as output, or the warped volume does not fit its node."""
    given = {id(node): TITLES[role] for role, node in inputs.given()}
    for role in SUFFIXES:
        node = getattr(targets, role)
        if node is not None and id(node) in given:
            raise RegistrationError(
                _("The output '{name}' is the {input}.").format(name=node.GetName(), input=given[id(node)]),
                hint=_("Select another output, or create a new one."),
            )
    warped = targets.warped
    if warped is not None and inputs.moving is not None and (warped.IsA(VECTORS) != (channel_count(inputs.moving) > 1)):
        raise RegistrationError(
            _("The output '{name}' cannot hold the warped volume, which has {count} values per voxel.").format(
                name=warped.GetName(), count=channel_count(inputs.moving)
            ),
            hint=_("Select none: a new node of the right kind is created."),
        )


def load_segmentations(folder: Path) -> dict[str, LabelMap]:
    """Return side -> segmentation of the job folder of a finished worker; thread-safe."""
    files = read_json(folder / RESULT_FILE)["files"]
    return {side: read_labels(folder / OUTPUT_FOLDER / name) for side, name in files.items()}


def publish_segmentations(found: Mapping[str, LabelMap], inputs: Inputs) -> dict[str, Any]:
    """Add the segmentations to the scene and return role ('fixed_labels', ...) -> segmentation node.

    Raises
    ------
    RegistrationError
        When a segmented volume is no longer in the scene.
    """
    for side in found:
        need_in_scene(getattr(inputs, side))
    return {f"{side}_labels": _added(labels, getattr(inputs, side)) for side, labels in found.items()}


def _added(labels: LabelMap, volume: Any) -> Any:
    name = _("{volume} estimated segmentation").format(volume=volume.GetName())
    node = add_labels(labels, file_safe(name), reference=volume)
    segmentation = node.GetSegmentation()
    for index in range(segmentation.GetNumberOfSegments() if is_estimated(labels) else 0):
        segmentation.GetNthSegment(index).SetTag(TAG, "1")
    return node

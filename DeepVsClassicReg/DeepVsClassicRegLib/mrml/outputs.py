"""Publishing a result: nodes made or updated in one go, or none at all."""

from __future__ import annotations

from dataclasses import dataclass

import slicer

from .inputs import Inputs
from .results import Loaded
from .runs import Run
from .snapshot import Snapshot

WANTED = frozenset({"transform", "warped", "warped_labels", "jacobian", "report_table"})


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Nodes chosen by the user to be overwritten; what is None and wanted is created."""

    transform: slicer.vtkMRMLTransformNode | None = None
    warped: slicer.vtkMRMLScalarVolumeNode | None = None
    warped_labels: slicer.vtkMRMLSegmentationNode | None = None
    jacobian: slicer.vtkMRMLScalarVolumeNode | None = None
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
    """Bring a result into the scene; main thread only.

    Parameters
    ----------
    loaded : Loaded
        From `results.load_result`.
    inputs : Inputs
        What was registered; nodes deleted since are no obstacle.
    snapshot : Snapshot
        From the start of the run: the fixed grid and the labels' names and colors.
    parameter_node : vtkMRMLScriptedModuleNode, optional
        Gets a reference to the run's record.
    targets : Targets, optional
        Nodes to overwrite, and which outputs are wanted.
    title : str, optional
        Replaces 'Moving -> Fixed (engine)'.

    Returns
    -------
    Run
        The record of the run; when anything fails, every node made so far is removed again.
    """
    raise NotImplementedError

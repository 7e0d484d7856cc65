"""Stored choices of the panel: those of the scene in its parameter node, those of the computer in QSettings.

The parameter node also refers to the panel's table and chart nodes, which are hidden nodes of the scene.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import qt
import slicer

from ..core.device import DEVICES, Compute
from ..mrml.nodes import hidden_node

SETTINGS = "DeepVsClassicReg/"
INPUT, TARGET = "Input.", "Output."
ROLE = "Shown."


class SceneParameters:
    """The panel's entries in the parameter node; only changed values are written.

    Parameters
    ----------
    node : vtkMRMLScriptedModuleNode
        The module's parameter node.
    """

    def __init__(self, node: Any) -> None:
        self.parameter_node = node

    def text(self, name: str, default: str = "") -> str:
        """Return a stored text."""
        return self.parameter_node.GetParameter(name) or default

    def set_text(self, name: str, value: str) -> None:
        """Store a text; an empty one removes the entry."""
        if self.text(name) == value:
            return
        if value:
            self.parameter_node.SetParameter(name, value)
        else:
            self.parameter_node.UnsetParameter(name)

    def value(self, name: str, default: Any) -> Any:
        """Return a stored JSON value; an unreadable one counts as not set."""
        try:
            return json.loads(self.text(name)) if self.text(name) else default
        except json.JSONDecodeError:
            return default

    def set_value(self, name: str, value: Any) -> None:
        """Store a JSON value; an empty one removes the entry."""
        self.set_text(name, json.dumps(value, sort_keys=True) if value else "")

    def node(self, role: str) -> Any:
        """Return a referenced node, None when there is none or it was deleted."""
        return self.parameter_node.GetNodeReference(role)

    def set_node(self, role: str, node: Any) -> None:
        """Set a node reference; None removes it."""
        node_id = node.GetID() if node is not None else None
        if self.parameter_node.GetNodeReferenceID(role) != node_id:
            self.parameter_node.SetNodeReferenceID(role, node_id)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Notify observers once after several changes."""
        was = self.parameter_node.StartModify()
        try:
            yield
        finally:
            self.parameter_node.EndModify(was)


class Preferences:
    """Preferences of this computer, independent of the scene."""

    @property
    def device(self) -> str:
        """Device of engines that support several."""
        device = str(slicer.util.settingsValue(SETTINGS + "device", "auto"))
        return device if device in DEVICES else "auto"

    @device.setter
    def device(self, value: str) -> None:
        qt.QSettings().setValue(SETTINGS + "device", value)

    @property
    def threads(self) -> int:
        """Maximum number of CPU threads, 0 for all cores."""
        return max(0, slicer.util.settingsValue(SETTINGS + "threads", 0, converter=int))

    @threads.setter
    def threads(self, value: int) -> None:
        qt.QSettings().setValue(SETTINGS + "threads", value)

    @property
    def keep_files(self) -> bool:
        """Whether the job folders of runs are kept."""
        return bool(slicer.util.settingsValue(SETTINGS + "keepTemporaryFiles", False, converter=slicer.util.toBool))

    @keep_files.setter
    def keep_files(self, value: bool) -> None:
        qt.QSettings().setValue(SETTINGS + "keepTemporaryFiles", value)

    @property
    def advise(self) -> bool:
        """Whether advice is requested as soon as a pair is selected."""
        return bool(slicer.util.settingsValue(SETTINGS + "advise", True, converter=slicer.util.toBool))

    @advise.setter
    def advise(self, value: bool) -> None:
        qt.QSettings().setValue(SETTINGS + "advise", value)

    def compute(self, seed: int) -> Compute:
        """Return device, threads and seed of the next run."""
        return Compute(device=self.device, threads=self.threads, seed=seed)


def scene_table(purpose: str, parameter_node: Any) -> Any:
    """Return the panel's table node of a purpose, created when missing; the parameter node refers to it."""
    return _scene_node(f"{purpose}.table", "vtkMRMLTableNode", parameter_node)


def scene_chart(purpose: str, parameter_node: Any) -> Any:
    """Return the panel's plot chart node of a purpose, as `scene_table`."""
    return _scene_node(f"{purpose}.chart", "vtkMRMLPlotChartNode", parameter_node)


def has_scene_table(purpose: str, parameter_node: Any) -> bool:
    """Whether the table node of a purpose is in the scene."""
    return parameter_node.GetNodeReference(f"{ROLE}{purpose}.table") is not None


def _scene_node(name: str, kind: str, parameter_node: Any) -> Any:
    node = parameter_node.GetNodeReference(ROLE + name)
    if node is None:
        unique = slicer.mrmlScene.GenerateUniqueName(f"Registration {name.partition('.')[0]}")
        node = slicer.mrmlScene.AddNode(hidden_node(kind, unique, saved=True))
        parameter_node.SetNodeReferenceID(ROLE + name, node.GetID())
    return node

"""The table and chart nodes of the panel: hidden nodes of the scene, found again when a scene is loaded."""

from __future__ import annotations

from typing import Any

import slicer

from ..mrml.nodes import hidden_node

ROLE = "Shown."


class SceneNodes:
    """Finds or creates one node per purpose; the parameter node refers to them."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def table(self, purpose: str, parameter_node: Any) -> Any:
        """Return the table node of a purpose."""
        return self._node(f"{purpose}.table", "vtkMRMLTableNode", parameter_node)

    def chart(self, purpose: str, parameter_node: Any) -> Any:
        """Return the plot chart node of a purpose."""
        return self._node(f"{purpose}.chart", "vtkMRMLPlotChartNode", parameter_node)

    def has_table(self, purpose: str, parameter_node: Any) -> bool:
        """Whether the table node of a purpose is in the scene."""
        return parameter_node.GetNodeReference(f"{ROLE}{purpose}.table") is not None

    def forget(self) -> None:
        """Forget all nodes: the scene was closed or another one loaded."""
        self._known.clear()

    def _node(self, name: str, kind: str, parameter_node: Any) -> Any:
        node = parameter_node.GetNodeReference(ROLE + name)
        if node is None:
            title = f"Registration {name.partition('.')[0]}"
            unique = slicer.mrmlScene.GenerateUniqueName(title)
            node = slicer.mrmlScene.AddNode(hidden_node(kind, unique, saved=True))
            parameter_node.SetNodeReferenceID(ROLE + name, node.GetID())
        return node

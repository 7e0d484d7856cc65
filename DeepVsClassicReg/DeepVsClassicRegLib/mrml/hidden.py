"""Nodes that are hidden from Slicer's node lists."""

from __future__ import annotations

from typing import Any

import slicer


def hidden_node(kind: str, name: str = "", *, saved: bool) -> Any:
    """Return a hidden node that is not in the scene yet.

    The Data module lists nodes that are visible when they are added, and keeps listing them when they are hidden later.

    Parameters
    ----------
    kind : str
        Class of the node.
    name : str
        Name of the node; the scene assigns one when empty.
    saved : bool
        Whether it is saved with the scene.
    """
    node = slicer.mrmlScene.CreateNodeByClass(kind)
    node.UnRegister(None)
    node.SetName(name or None)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(saved)
    return node

"""Nodes that Slicer's modules do not list."""

from __future__ import annotations

from typing import Any

import slicer


def hidden_node(kind: str, name: str = "", *, saved: bool) -> Any:
    """Return a node that is not listed, not yet in the scene.

    The Data module lists what is visible at the moment it is added, and goes on listing it when it is hidden later.

    Parameters
    ----------
    kind : str
        Class of the node.
    name : str
        What it is called; the scene names it when this is empty.
    saved : bool
        Whether it is saved with the scene.
    """
    node = slicer.mrmlScene.CreateNodeByClass(kind)
    node.UnRegister(None)
    node.SetName(name or None)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(saved)
    return node

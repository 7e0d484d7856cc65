"""Sections that few users need: built when they are expanded for the first time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer


class OnDemand:
    """A collapsed section that costs nothing until the user expands it, hidden while the scene has nothing for it.

    Parameters
    ----------
    button : ctkCollapsibleButton
        The section.
    make : callable
        Builds what fills it, with `busy`, `refresh()` and `close()`.
    kinds : tuple of str
        Classes of the nodes it is made for.
    suits : callable, optional
        Whether the scene has such a node that the section can use; any node of these classes otherwise.
    """

    def __init__(
        self, button: Any, make: Callable[[], Any], kinds: tuple[str, ...], suits: Callable[[], bool] = lambda: True
    ) -> None:
        self._button, self._make, self._kinds, self._suits = button, make, kinds, suits
        self._content: Any = None
        button.connect("contentsCollapsed(bool)", self._on_collapsed)

    @property
    def content(self) -> Any:
        """What fills the section."""
        if self._content is None:
            self._content = self._make()
            self._content.refresh()
        return self._content

    @property
    def busy(self) -> bool:
        """Whether it is at work."""
        return self._content is not None and self._content.busy

    def refresh(self) -> None:
        """Show or hide the section for the nodes of the scene."""
        there = any(slicer.mrmlScene.GetNumberOfNodesByClass(kind) for kind in self._kinds)
        self._button.visible = self.busy or (there and self._suits())
        if self._content is not None:
            self._content.refresh()

    def close(self) -> None:
        """Stop what is at work."""
        if self._content is not None:
            self._content.close()

    def _on_collapsed(self, collapsed: bool) -> None:
        if not collapsed:
            self.content.refresh()

"""Blend: the warped volume over the fixed one."""

from __future__ import annotations

from .base import View

VIEW = View(
    name="blend",
    title="Blend",
    caption="Warped over fixed: fade from one to the other with the slider.",
    options={"opacity": "Fixed to warped:"},
)

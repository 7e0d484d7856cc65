"""Flicker: the fixed and the warped volume in turn."""

from __future__ import annotations

from .base import View

VIEW = View(
    name="flicker",
    title="Flicker",
    caption="Fixed and warped in turn: what jumps is not aligned.",
    options={"flicker": "Change every:"},
)

"""Flicker: the fixed and the warped volume alternately."""

from __future__ import annotations

from .base import View

VIEW = View(
    name="flicker",
    title="Flicker",
    caption="Fixed and warped volume alternately: structures that jump are not aligned.",
    options={"flicker": "Change every:"},
)

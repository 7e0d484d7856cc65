"""Arrows: where the deformable part of the map takes points of the fixed space."""

from __future__ import annotations

from .base import UPPER, View

VIEW = View(
    name="arrows",
    title="Arrows",
    caption="Where each point of the fixed volume goes in the moving volume; shift, rotation, scale and shear are "
    "taken away.",
    needs=("fixed", UPPER, "transform"),
    options={"spacing": "Arrow distance:"},
)

"""Arrows: displacements of fixed points by the deformable part of the transform."""

from __future__ import annotations

from .base import UPPER, View

VIEW = View(
    name="arrows",
    title="Arrows",
    caption="Displacement of each point of the fixed volume; shift, rotation, scale and shear are removed.",
    needs=("fixed", UPPER, "transform"),
    options={"spacing": "Arrow distance:"},
)

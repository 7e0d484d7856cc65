"""A breathing chest in closed form, in Hounsfield units: lungs with vessels, heart, spine, ribs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
SIZE_MM = 320.0
NAMES = {1: "Left lung", 2: "Right lung", 3: "Heart", 4: "Spine"}
AIR, FAT, SOFT, BONE, LUNG, VESSEL = -1000.0, -90.0, 45.0, 500.0, -840.0, 30.0


def label_at(points_mm: Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Return labels and the mask of the body at LPS points."""
    x, y, z = np.moveaxis(points_mm, -1, 0)
    body = (x / 148) ** 2 + (y / 105) ** 2 < 1
    side = np.abs(x)
    top = np.clip((z + 110) / 230, 0, 1)
    width = 46 * np.sqrt(np.clip(1 - top**3, 0, 1))
    dome = -95 + 0.006 * ((side - 70) ** 2 + (y + 5) ** 2)
    lungs = (((side - 68) / np.maximum(width, 1)) ** 2 + (y / (74 - 18 * top)) ** 2 < 1) & (z > dome) & (z < 115)
    heart = ((x - 22) / 52) ** 2 + ((y + 25) / 44) ** 2 + ((z + 45) / 50) ** 2 < 1
    spine = (x / 18) ** 2 + ((y - 72) / 18) ** 2 < 1
    labels = np.zeros(x.shape, np.int32)
    labels[lungs & (x > 0)] = 1
    labels[lungs & (x <= 0)] = 2
    labels[heart] = 3
    labels[spine] = 4
    return labels, body


def intensity_at(points_mm: Array, *, contrast: str = "ct") -> Array:
    """Return noise-free Hounsfield units at LPS points; `contrast` is 'ct' only."""
    if contrast != "ct":
        raise ValueError(f"The lung phantom has the contrast 'ct' only, got '{contrast}'.")
    labels, body = label_at(points_mm)
    x, y, z = np.moveaxis(points_mm, -1, 0)
    image = np.where(body, SOFT, AIR)
    skin = (x / 138) ** 2 + (y / 95) ** 2
    image[body & (skin > 1)] = FAT
    ribs = (np.abs(np.sqrt((x / 126) ** 2 + (y / 92) ** 2) - 1) < 0.05) & (np.sin(0.26 * z + 0.02 * y) > 0.55)
    image[ribs & body] = BONE
    lungs = np.isin(labels, (1, 2))
    image[lungs] = LUNG + 35 * np.sin(0.03 * z)[lungs] + 60 * (y[lungs] / 80)
    image[lungs & _vessels(x, y, z)] = VESSEL
    image[labels == 3] = 40 + 8 * np.sin(0.1 * x + 0.13 * z)[labels == 3]
    discs = np.sin(2 * np.pi * z / 32)
    image[labels == 4] = (BONE * 0.6 + 120 * discs)[labels == 4]
    return np.asarray(image)


def _vessels(x: Array, y: Array, z: Array) -> npt.NDArray[np.bool_]:
    """Return vessels from the hilum in all directions, thinner toward the outside, with side branches."""
    side = np.abs(x) - 34
    out = np.sqrt(side**2 + y**2 + (z - 5) ** 2) + 1e-6
    thick = np.clip(5.2 - 0.026 * out, 1.8, None)
    found = np.zeros(x.shape, bool)
    for index in range(14):
        polar = -1.2 + 2.4 * ((index * 0.618) % 1.0)
        turn = -1.25 + 2.5 * index / 13
        direction = np.array([np.cos(polar) * np.cos(turn), np.sin(turn), np.sin(polar) * np.cos(turn)])
        along = side * direction[0] + y * direction[1] + (z - 5) * direction[2]
        wiggle = 4.0 * np.sin(0.07 * along + index)
        off = out**2 - along**2 + 2 * wiggle * (y * direction[2] - (z - 5) * direction[1]) / out + wiggle**2 * 0.2
        branch = np.abs(np.sin(0.11 * along + 0.7 * index)) > 0.25
        found |= (along > 4) & (off < thick**2) & branch | (along > 4) & (off < (0.6 * thick) ** 2)
    return found

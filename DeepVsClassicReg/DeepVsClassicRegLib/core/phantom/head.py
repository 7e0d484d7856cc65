"""A skull-stripped head in closed form: cortex ribbon, white matter, ventricles, deep nuclei, cerebellum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
SIZE_MM = 192.0

# Half-axes and centers in LPS mm for the right-positive mirror coordinate |x|; FreeSurfer label pairs (left, right).
NUCLEI = {
    (4, 43): (((10, -8, 17), (6, 27, 6)), ((19, 25, 9), (6, 17, 6))),
    (11, 50): (((17, -22, 13), (5, 15, 8)),),
    (10, 49): (((12, 9, 5), (8.5, 14, 9)),),
    (12, 51): (((28, -8, 2), (6, 17, 10)),),
    (17, 53): (((27, 15, -17), (6, 20, 6)),),
}
NAMES = {
    2: "Left white matter",
    41: "Right white matter",
    3: "Left cortex",
    42: "Right cortex",
    4: "Left lateral ventricle",
    43: "Right lateral ventricle",
    8: "Left cerebellum",
    47: "Right cerebellum",
    10: "Left thalamus",
    49: "Right thalamus",
    11: "Left caudate",
    50: "Right caudate",
    12: "Left putamen",
    51: "Right putamen",
    17: "Left hippocampus",
    53: "Right hippocampus",
    14: "Third ventricle",
    16: "Brain stem",
}
CONTRASTS = {
    "t1": {"csf": 0.18, "cortex": 0.52, "white": 0.92, "deep": 0.66, "cerebellum": 0.6, "stem": 0.85},
    "t2": {"csf": 1.0, "cortex": 0.58, "white": 0.34, "deep": 0.46, "cerebellum": 0.52, "stem": 0.36},
}
TISSUES = {
    "csf": (4, 43, 14),
    "cortex": (3, 42),
    "white": (2, 41),
    "deep": (10, 49, 11, 50, 12, 51, 17, 53),
    "cerebellum": (8, 47),
    "stem": (16,),
}


def label_at(points_mm: Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Return labels and the mask of the whole content (sulcal fluid included) at LPS points."""
    x, y, z = np.moveaxis(_asymmetric(points_mm), -1, 0)
    side = np.abs(x)
    left = x > 0
    labels = np.zeros(x.shape, np.int32)
    shell = np.sqrt((x / 67) ** 2 + ((y + 4) / 86) ** 2 + ((z - 10) / 61) ** 2)
    folds = _folds(x, y, z)
    cerebrum = (shell < 1) & (z > -34 + 0.004 * (y + 4) ** 2 * (y < 0))
    fissure = (side < 1.6) & (shell > 0.55)
    # Sulci are the sheets where the folding pattern changes sign: they contain fluid and are lined by the cortex.
    sulci = shell + 0.16 * np.clip(1 - 4.5 * np.abs(folds), 0, 1) > 0.985
    tissue = cerebrum & ~fissure & ~sulci
    ribbon = shell + 0.24 * np.clip(1 - 1.6 * np.abs(folds), 0, 1) > 0.93
    near_fissure = (side < 4.6) & (shell > 0.52)
    _paint(labels, tissue, left, (2, 41))
    _paint(labels, tissue & (ribbon | near_fissure), left, (3, 42))
    cerebellum = _ellipsoid(side, y, z, (21, 46, -38), (27, 25, 19))
    _paint(labels, cerebellum, left, (8, 47))
    stem = _ellipsoid(x, y, z, (0, 20, -40), (12, 13, 34))
    labels[stem] = 16
    for pair, blobs in NUCLEI.items():
        for center, axes in blobs:
            _paint(labels, _ellipsoid(side, y, z, center, axes), left, pair)
    labels[_ellipsoid(x, y, z, (0, 3, 2), (2.6, 15, 10))] = 14
    return labels, cerebrum | cerebellum | stem


def intensity_at(points_mm: Array, *, contrast: str = "t1") -> Array:
    """Return noise-free intensities (0 outside, about 1 at most) at LPS points."""
    labels, content = label_at(points_mm)
    tones = CONTRASTS[contrast]
    image = np.where(content, tones["csf"], 0.0)
    for tissue, members in TISSUES.items():
        image[np.isin(labels, members)] = tones[tissue]
    x, y, z = np.moveaxis(points_mm, -1, 0)
    texture = np.sin(0.31 * x + 0.17 * y) * np.sin(0.29 * z - 0.2 * y) + np.sin(0.43 * y + 0.37 * z + 0.2 * x)
    folia = np.where(np.isin(labels, (8, 47)), np.sin(1.1 * z + 0.25 * y), 0.0)
    return np.asarray(image + np.where(content, 0.022 * texture + 0.06 * folia, 0.0))


def _folds(x: Array, y: Array, z: Array) -> Array:
    """Return a pattern of ridges about 20 mm apart in -1..1; sulci are where it changes sign."""
    bend = 1.2 * np.sin(0.055 * y + 0.08 * z) + 0.9 * np.sin(0.06 * x - 0.05 * z)
    waves = np.sin(0.26 * x + bend + 0.5) + np.sin(0.25 * y - 0.11 * x + bend) + np.sin(0.27 * z + 0.09 * y - bend)
    return np.asarray(waves / 3 * 1.4)


def _asymmetric(points_mm: Array) -> Array:
    """Deform the mirror-symmetric head slightly, because real heads are not symmetric."""
    x, y, z = np.moveaxis(points_mm, -1, 0)
    return np.stack(
        [x + 1.8 * np.sin(0.035 * y + 0.4), y + 2.0 * np.sin(0.04 * x + 0.9), z + 1.7 * np.sin(0.045 * x + 0.03 * y)],
        -1,
    )


def _ellipsoid(
    x: Array, y: Array, z: Array, center: tuple[float, ...], axes: tuple[float, ...]
) -> npt.NDArray[np.bool_]:
    parts = (((v - c) / a) ** 2 for v, c, a in zip((x, y, z), center, axes, strict=True))
    return np.asarray(sum(parts) < 1)


def _paint(
    labels: npt.NDArray[np.int32], where: npt.NDArray[np.bool_], left: npt.NDArray[np.bool_], pair: tuple[int, int]
) -> None:
    labels[where & left], labels[where & ~left] = pair

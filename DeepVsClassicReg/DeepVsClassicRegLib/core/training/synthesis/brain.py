"""FreeSurfer's brain labels: names, sides and tissues, as used by the generator."""

from __future__ import annotations

STRUCTURES = {
    2: "left cerebral white matter",
    3: "left cerebral cortex",
    4: "left lateral ventricle",
    7: "left cerebellar white matter",
    8: "left cerebellar cortex",
    10: "left thalamus",
    11: "left caudate",
    12: "left putamen",
    13: "left pallidum",
    14: "third ventricle",
    15: "fourth ventricle",
    16: "brain stem",
    17: "left hippocampus",
    18: "left amygdala",
    28: "left ventral diencephalon",
    41: "right cerebral white matter",
    42: "right cerebral cortex",
    43: "right lateral ventricle",
    46: "right cerebellar white matter",
    47: "right cerebellar cortex",
    49: "right thalamus",
    50: "right caudate",
    51: "right putamen",
    52: "right pallidum",
    53: "right hippocampus",
    54: "right amygdala",
    60: "right ventral diencephalon",
}
"""The 27 structures aligned by the brain model."""

SIDES = (
    (2, 41), (3, 42), (4, 43), (5, 44), (7, 46), (8, 47), (10, 49), (11, 50), (12, 51), (13, 52), (17, 53), (18, 54),
    (25, 57), (26, 58), (28, 60), (30, 62), (136, 163), (137, 164),
)  # fmt: skip
"""Left label, right label."""

TISSUES = (
    (2, 41, 7, 46, 16, 28, 60),
    (3, 42, 8, 47),
    (10, 49, 11, 50, 12, 51, 13, 52, 17, 53, 18, 54, 26, 58),
    (24, 4, 43, 5, 44, 14, 15, 72),
)
"""Labels with similar intensities: white matter, cortex, deep gray matter, fluid."""

FLUID = 24
"""Fluid around the brain, kept by some brain extractions."""

OUTSIDE = 500
"""Labels from this value on are outside the brain: skull, skin, eyes, neck."""

LANDMARKS = (2, 41, 3, 42, 4, 43, 7, 46, 8, 47, 10, 49, 11, 50, 12, 51, 13, 52, 16, 17, 53, 18, 54, 28, 60)
"""Labels whose centers align one subject with another."""

CORTEX = (3, 42)
"""Labels whose eight parts are also landmarks, near the outline of the brain."""

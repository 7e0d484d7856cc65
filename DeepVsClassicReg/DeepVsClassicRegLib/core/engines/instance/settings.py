"""The settings of the instance engine."""

from __future__ import annotations

from dataclasses import dataclass

from ...settings import option

SIMILARITIES = ("auto", "lncc", "mi", "mind", "mse")


@dataclass(frozen=True)
class InstanceSettings:
    """What drives the optimization; lengths in units of the finest spacing of a level unless said otherwise."""

    similarity: str = option(
        "auto",
        "Similarity",
        choices=SIMILARITIES,
        tooltip="auto looks at the pair: lncc for one contrast, mind for different ones; the reason is reported.",
    )
    iterations: tuple[int, ...] = option(
        (40, 40, 40, 30, 15),
        "Iterations",
        minimum=0,
        maximum=5000,
        tooltip="At most, per level, coarsest first; every level halves the spacing, up to 16 times the finest. "
        "Small volumes leave out the first ones.",
    )
    coarsen: float = option(
        1.0, "Working spacing", unit="x fixed", minimum=1, maximum=8, tooltip="1: full resolution, 2: half."
    )
    resolution_mm: float = option(
        0.0,
        "Finest spacing",
        unit="mm",
        minimum=0,
        maximum=20,
        tooltip="0: as the fixed volume.",
        special="automatic",
        advanced=True,
    )
    radius_vox: int = option(
        2, "Window radius", unit="voxels", minimum=1, maximum=8, tooltip="Of the local correlation.", advanced=True
    )
    second_radius_vox: int = option(
        0,
        "Second window radius",
        unit="voxels",
        minimum=0,
        maximum=8,
        tooltip="Windows of this size count as much as the others on the finest level (local correlation); 0: none.",
        special="none",
        advanced=True,
    )
    step: float = option(
        0.5, "Longest step", unit="voxels", minimum=0.05, maximum=2, tooltip="Of one iteration.", advanced=True
    )
    momentum: float = option(
        0.5, "Momentum", minimum=0, maximum=0.95, tooltip="How much of the last steps goes on.", advanced=True
    )
    softness: float = option(
        1.0,
        "Equalization of forces",
        minimum=0.1,
        maximum=100,
        tooltip="Small: weak edges move as fast as strong ones; large: steps are proportional to the force.",
        advanced=True,
    )
    sigma_update: float = option(
        1.5, "Update smoothing", unit="voxels", minimum=0, maximum=6, tooltip="Fluid regularization."
    )
    sigma_field: float = option(
        0.5, "Field smoothing", unit="voxels", minimum=0, maximum=6, tooltip="Elastic regularization."
    )
    label_weight: float = option(
        0.0,
        "Weight of segmentations",
        minimum=0,
        maximum=100,
        tooltip="0: not used; 1: as strong as the images. Segmentations used here cannot judge the result.",
        special="not used",
    )
    landmark_weight: float = option(
        0.0,
        "Weight of landmarks",
        minimum=0,
        maximum=1,
        tooltip="0: not used; 1: landmarks are pulled onto each other in every step.",
        special="not used",
    )
    landmark_reach: float = option(
        4.0, "Reach of landmarks", unit="voxels", minimum=1, maximum=30, tooltip="Sigma around each.", advanced=True
    )
    search_vox: float = option(
        0.0,
        "Search of large motion",
        unit="voxels",
        minimum=0,
        maximum=500,
        tooltip="0: none. Tries all displacements up to here (in finest fixed voxel edges) on a coarse lattice first: "
        "lung, abdomen.",
        special="none",
    )
    symmetric: bool = option(
        False,
        "Both directions",
        tooltip="Registers both ways and returns their consistent mean: several times the time, less detail.",
    )
    consensus: bool = option(
        True,
        "Consensus of coarse levels",
        tooltip="Registers all but the finest level both ways and goes on from the mean: steadier, a quarter slower. "
        "Not with mind, nor with landmarks.",
        advanced=True,
    )
    adapt: bool = option(
        True,
        "Adapt to the pair",
        tooltip="Raises the field smoothing to 1.2 unless both volumes show clean, cut-out organs (skull-stripped).",
        advanced=True,
    )
    tolerance: float = option(
        2e-4,
        "Settled at",
        minimum=0,
        maximum=0.1,
        tooltip="A level ends when its objective falls by less than this share per iteration; 0: never.",
        advanced=True,
    )
    min_determinant: float = option(
        0.02,
        "Least Jacobian determinant",
        minimum=0,
        maximum=0.5,
        tooltip="The field is relaxed where a cell shrinks further; 0 allows folds (reported).",
        advanced=True,
    )
    memory_gib: float = option(
        3.0, "Memory", unit="GiB", minimum=0.25, maximum=1024, tooltip="The working spacing grows until it fits."
    )

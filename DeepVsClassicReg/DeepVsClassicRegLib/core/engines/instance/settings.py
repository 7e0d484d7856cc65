"""The settings of the instance engine."""

from __future__ import annotations

from dataclasses import dataclass

from ...settings import option
from ..similarity_models import FEATURE_PREFIX, METRIC_PREFIX

SIMILARITIES = ("auto", "lncc", "mi", "mind", "mse")
TRAINED = (METRIC_PREFIX, FEATURE_PREFIX)  # what the names of similarities begin with that are trained models


def is_trained(similarity: str) -> bool:
    """Return whether the name of a similarity names a model, which needs PyTorch."""
    return similarity.startswith(TRAINED)


@dataclass(frozen=True)
class InstanceSettings:
    """Settings of the optimization; lengths are in units of the finest spacing of a level unless stated otherwise."""

    similarity: str = option(
        "auto",
        "Similarity",
        choices=SIMILARITIES,
        prefixes=TRAINED,
        tooltip="auto selects lncc for equal and mind for different contrasts; the reason is reported. metric:MODEL "
        "uses a trained metric, features:MODEL the features of an auto-encoder (both need PyTorch).",
    )
    iterations: tuple[int, ...] = option(
        (40, 40, 40, 30, 15),
        "Iterations",
        minimum=0,
        maximum=5000,
        tooltip="Maximum per level, coarsest first. Each level halves the spacing, starting at up to 16 times the "
        "finest. For small volumes the first levels are skipped.",
    )
    coarsen: float = option(
        1.0, "Working spacing", unit="x fixed", minimum=1, maximum=8, tooltip="1: full resolution, 2: half resolution."
    )
    resolution_mm: float = option(
        0.0,
        "Finest spacing",
        unit="mm",
        minimum=0,
        maximum=20,
        tooltip="Finest working spacing; 0 uses that of the fixed volume.",
        special="automatic",
        advanced=True,
    )
    radius_vox: int = option(
        2, "Window radius", unit="voxels", minimum=1, maximum=8, tooltip="For the local correlation.", advanced=True
    )
    second_radius_vox: int = option(
        0,
        "Second window radius",
        unit="voxels",
        minimum=0,
        maximum=8,
        tooltip="Additional windows with equal weight on the finest level (local correlation); 0 disables them.",
        special="none",
        advanced=True,
    )
    step: float = option(
        0.5, "Longest step", unit="voxels", minimum=0.05, maximum=2, tooltip="In one iteration.", advanced=True
    )
    momentum: float = option(
        0.5, "Momentum", minimum=0, maximum=0.95, tooltip="Weight of the previous steps.", advanced=True
    )
    softness: float = option(
        1.0,
        "Equalization of forces",
        minimum=0.1,
        maximum=100,
        tooltip="Small values let weak edges move as fast as strong ones; with large values steps follow the force.",
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
        tooltip="0: not used; 1: as strong as the images. Segmentations used here cannot evaluate the result.",
        special="not used",
    )
    excluded: str = option(
        "follow",
        "Excluded regions",
        choices=("follow", "volume", "rigid"),
        tooltip="What excluded regions (lesions, implants) keep besides following their neighborhood: nothing, their "
        "volume, or their shape.",
    )
    structures: str = option(
        "given",
        "Segmentations used",
        choices=("given", "auto"),
        tooltip="given: those of the pair, with their weight; auto: both volumes are segmented by a network first "
        "(brains; needs PyTorch), with weight 1 unless the weight says otherwise. The given ones then only evaluate.",
    )
    landmark_weight: float = option(
        0.0,
        "Weight of landmarks",
        minimum=0,
        maximum=1,
        tooltip="0: not used; 1: corresponding landmarks are pulled together in every step.",
        special="not used",
    )
    landmark_reach: float = option(
        4.0, "Range of landmarks", unit="voxels", minimum=1, maximum=30, tooltip="Gaussian sigma.", advanced=True
    )
    landmark_region: float = option(
        0.0,
        "Region around landmarks",
        unit="mm of a head",
        minimum=0,
        maximum=500,
        tooltip="Changes the start only within this distance of a landmark, in seconds; 0: everywhere. In proportion "
        "for smaller and larger fields of view. Needs a weight of landmarks.",
        special="everywhere",
    )
    search_vox: float = option(
        0.0,
        "Search of large motion",
        unit="voxels",
        minimum=0,
        maximum=500,
        tooltip="First tries all displacements up to this value, in finest fixed voxel edges, on a coarse grid, for "
        "large motion of lung or abdomen; 0: none.",
        special="none",
    )
    symmetric: bool = option(
        False,
        "Both directions",
        tooltip="Registers in both directions and returns the consistent mean; several times slower, less detail.",
    )
    consensus: bool = option(
        True,
        "Consensus of coarse levels",
        tooltip="Registers all levels except the finest in both directions and continues from the mean: more robust, "
        "25 % slower. Not used with mind or landmarks.",
        advanced=True,
    )
    adapt: bool = option(
        True,
        "Adapt to the pair",
        tooltip="Increases the field smoothing to 1.2 unless both volumes show segmented organs (skull-stripped).",
        advanced=True,
    )
    tolerance: float = option(
        2e-4,
        "Settled at",
        minimum=0,
        maximum=0.1,
        tooltip="A level ends when its objective decreases by less than this fraction per iteration; 0 disables this.",
        advanced=True,
    )
    min_determinant: float = option(
        0.02,
        "Lowest Jacobian determinant",
        minimum=0,
        maximum=0.5,
        tooltip="The field is smoothed where the determinant is lower; 0 allows folds, which are reported.",
        advanced=True,
    )
    memory_gib: float = option(
        3.0, "Memory", unit="GiB", minimum=0.25, maximum=1024, tooltip="The working spacing is increased to fit."
    )

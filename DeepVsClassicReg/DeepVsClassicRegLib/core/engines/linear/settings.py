"""Settings of the linear alignment."""

from __future__ import annotations

from dataclasses import dataclass

from ...settings import option

KINDS = ("rigid", "similarity", "affine")


@dataclass(frozen=True)
class LinearSettings:
    """Settings of the linear alignment."""

    kind: str = option(
        "affine", "Transform", choices=KINDS, tooltip="Rotation and translation, also scale, also shear."
    )
    header_start: bool = option(True, "Try headers", tooltip="Tries the positions in the image headers.")
    center_starts: bool = option(True, "Try centers", tooltip="Tries aligned centers of the volumes and objects.")
    moment_starts: bool = option(True, "Try principal axes", tooltip="Tries aligned principal axes of the objects.")
    turn_starts: bool = option(True, "Try rotations", tooltip="Tries rotated poses, for different patient positions.")
    axis_starts: bool = option(
        True, "Try swapped axes", tooltip="Tries swapped and flipped patient axes, for wrong headers.", advanced=True
    )
    translation_search: bool = option(
        True, "Search all translations", tooltip="Tries all translations, for fields of view of different size."
    )
    refined_starts: int = option(5, "Refined starts", minimum=1, maximum=24, tooltip="Number of optimized starts.")
    resolutions: tuple[int, ...] = option(
        (32, 64, 96),
        "Resolutions",
        unit="voxels",
        minimum=8,
        maximum=512,
        tooltip="Number of voxels along the mean edge of the smaller field of view, coarse to fine.",
    )
    iterations: int = option(60, "Iterations per resolution", minimum=1, maximum=1000)
    samples: int = option(100000, "Sample points", minimum=500, maximum=2000000, tooltip="At the finest resolution.")
    bins: int = option(32, "Histogram bins", minimum=8, maximum=128, advanced=True)
    stiffness: float = option(
        0.5, "Stiffness", minimum=0, maximum=1000, tooltip="Penalty on scale and shear.", advanced=True
    )
    largest_scale: float = option(
        1.6, "Largest scale", minimum=1, maximum=10, tooltip="An affine step with a larger stretch is rejected."
    )
    wide_search: bool = option(
        True,
        "Search all orientations when unsure",
        tooltip="Tries all orientations when the usual starts give no reliable match (takes some seconds).",
    )
    fall_back: bool = option(
        True,
        "Centers when unsure",
        tooltip="Returns the best of headers and centers when no pose matches better than chance.",
    )
    use_landmarks: bool = option(
        False, "Use landmarks", tooltip="Starts from the landmarks, which then cannot evaluate the result."
    )

"""Settings of the linear alignment."""

from __future__ import annotations

from dataclasses import dataclass

from ...settings import option

KINDS = ("rigid", "similarity", "affine")


@dataclass(frozen=True)
class LinearSettings:
    """Settings of the linear alignment."""

    kind: str = option(
        "affine", "Transform", choices=KINDS, tooltip="What the map may do: turn and shift, also scale, also shear."
    )
    header_start: bool = option(True, "Try headers", tooltip="Try the positions written in the files.")
    center_starts: bool = option(True, "Try centers", tooltip="Try bringing the centers of views and objects together.")
    moment_starts: bool = option(True, "Try principal axes", tooltip="Try bringing the objects' long axes together.")
    turn_starts: bool = option(True, "Try turns", tooltip="Try turned poses, for scans in different postures.")
    axis_starts: bool = option(
        True, "Try swapped axes", tooltip="Try swapped and flipped patient axes, for wrong headers.", advanced=True
    )
    translation_search: bool = option(
        True, "Search all translations", tooltip="Search every translation, for views of different size."
    )
    refined_starts: int = option(5, "Refined starts", minimum=1, maximum=24, tooltip="Starts optimized coarsely.")
    resolutions: tuple[int, ...] = option(
        (32, 64, 96),
        "Resolutions",
        unit="voxels",
        minimum=8,
        maximum=512,
        tooltip="Voxels along the mean edge of the smaller field of view, coarse to fine.",
    )
    iterations: int = option(60, "Iterations per resolution", minimum=1, maximum=1000)
    samples: int = option(100000, "Sample points", minimum=500, maximum=2000000, tooltip="At the finest resolution.")
    bins: int = option(32, "Histogram bins", minimum=8, maximum=128, advanced=True)
    stiffness: float = option(
        0.5, "Stiffness", minimum=0, maximum=1000, tooltip="Resistance against scaling and shearing.", advanced=True
    )
    largest_scale: float = option(
        1.6, "Largest scale", minimum=1, maximum=10, tooltip="Beyond this stretch the affine step is refused."
    )
    wide_search: bool = option(
        True,
        "Search all orientations when unsure",
        tooltip="When the usual starts give no convincing match, try every orientation (some seconds).",
    )
    fall_back: bool = option(
        True,
        "Centers when unsure",
        tooltip="When no pose matches better than chance, return the best of headers and centers as they are.",
    )
    use_landmarks: bool = option(
        False, "Use landmarks", tooltip="Start from the pair's landmarks; they no longer judge the result then."
    )

"""Settings of a motion correction and names of its files; nothing else is loaded, so that the panel can use them."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings import option

FIRST, MEAN = "first", "mean"
POSITION, LINEAR, NEIGHBOR = "position", "linear", "neighbor"
CORRECTED, REFERENCE, TRANSFORMS, FACTS = "corrected.nii.gz", "reference.nii.gz", "transforms", "motion.json"


@dataclass(frozen=True)
class MotionSettings:
    """How motion is corrected."""

    engine: str = option("instance", "Engine", tooltip="Engine, optionally with a preset: 'instance:fast'.")
    reference: str = option(
        FIRST, "Reference", tooltip="'first', 'mean' (the mean of all frames), or the number of a frame, from 0."
    )
    start: str = option(
        POSITION,
        "Start",
        tooltip="'position': frames start where they are; 'linear': with a linear alignment of each frame; 'neighbor': "
        "with the motion of the neighboring frame (at most two frames at a time).",
        choices=(POSITION, LINEAR, NEIGHBOR),
    )
    smooth_frames: float = option(
        0.0,
        "Smoothness over time",
        unit="frames",
        tooltip="Standard deviation of the Gaussian by which the motion is averaged over neighboring frames; 0: none.",
        minimum=0,
        maximum=100,
    )
    cyclic: bool = option(
        False, "Cyclic", tooltip="The first frame follows the last one, as in the phases of breathing or heartbeat."
    )
    both_ways: bool = option(False, "Both ways", tooltip="Also write the transform from each frame to the reference.")
    rounds: int = option(
        2,
        "Rounds",
        tooltip="With the mean as reference: how often all frames are registered to it; it becomes sharper.",
        minimum=1,
        maximum=10,
    )

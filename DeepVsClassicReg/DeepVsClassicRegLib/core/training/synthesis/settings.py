"""Settings of the generator: shapes, warps, contrasts, scanner faults; SynthMorph's ranges where it states them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...errors import SettingsError
from ...settings import option


@dataclass(frozen=True)
class SynthesisSettings:
    """What generated pairs look like; the defaults are those of generated shapes.

    Intensities are those of an image scaled to 0..1, lengths are mm on the training grid.

    Reference
    ---------
    Hoffmann et al., SynthMorph, IEEE TMI 41(3), 2022, doi 10.1109/TMI.2021.3116879.
    """

    shapes_low: int = option(8, "Fewest shapes", minimum=2, maximum=120)
    shapes_high: int = option(26, "Most shapes", minimum=2, maximum=120)
    shape_scales_mm: tuple[float, ...] = option((24.0, 48.0, 96.0), "Sizes of shapes", unit="mm", minimum=1)
    body: float = option(0.6, "Chance of an empty background", minimum=0, maximum=1)
    ribbons: float = option(0.5, "Chance of thin sheets among the shapes", minimum=0, maximum=1)

    warp_scales_mm: tuple[float, ...] = option((20.0, 40.0, 80.0), "Scales of the warps", unit="mm", minimum=1)
    warp_mm: tuple[float, ...] = option(
        (3.0, 4.5, 6.0),
        "Strongest warps",
        unit="mm",
        minimum=0,
        tooltip="Largest standard deviation of each component of the velocity, one number per scale.",
    )
    jitter_rotation_deg: float = option(3.0, "Rotation left after linear alignment", unit="degrees", minimum=0)
    jitter_scale: float = option(0.04, "Size difference left after linear alignment", minimum=0, maximum=0.5)
    jitter_translation_mm: float = option(3.0, "Shift left after linear alignment", unit="mm", minimum=0)
    pose_rotation_deg: float = option(12.0, "Rotation of the pair in the grid", unit="degrees", minimum=0)
    pose_scale: float = option(0.1, "Size of the pair in the grid", minimum=0, maximum=0.5)
    pose_translation_mm: float = option(10.0, "Shift of the pair in the grid", unit="mm", minimum=0)

    mean_low: float = option(0.1, "Lowest mean of a label", minimum=0, maximum=1)
    mean_high: float = option(0.9, "Highest mean of a label", minimum=0, maximum=1)
    deviation_low: float = option(0.01, "Least texture of a label", minimum=0, maximum=1)
    deviation_high: float = option(0.1, "Most texture of a label", minimum=0, maximum=1)
    same_contrast: float = option(0.3, "Chance that both images have the same contrast", minimum=0, maximum=1)
    merged: float = option(0.3, "Chance that labels share intensities", minimum=0, maximum=1)
    tissues: float = option(0.6, "Chance that labels of one tissue look alike", minimum=0, maximum=1)
    same_person: float = option(0.0, "Chance that both images show one person", minimum=0, maximum=1)
    stripped: float = option(0.5, "Chance that what surrounds the brain is removed", minimum=0, maximum=1)

    bias: float = option(0.3, "Strongest bias field", minimum=0, tooltip="Standard deviation of its logarithm.")
    bias_scale_mm: float = option(60.0, "Scale of the bias field", unit="mm", minimum=1)
    blur_mm: float = option(2.0, "Strongest blur", unit="mm", minimum=0, tooltip="Standard deviation.")
    thick: float = option(0.3, "Chance of thick slices", minimum=0, maximum=1)
    thickness_mm: float = option(5.0, "Thickest slices", unit="mm", minimum=0)
    ringing: float = option(0.15, "Chance of truncated k-space", minimum=0, maximum=1)
    noise: float = option(0.05, "Most noise", minimum=0, maximum=1)
    gamma: float = option(0.25, "Strongest gamma", minimum=0, tooltip="Standard deviation of its logarithm.")
    cropped: float = option(0.2, "Chance of a partial field of view", minimum=0, maximum=1)
    crop: float = option(0.25, "Largest part cut off a side", minimum=0, maximum=0.45)
    empty_background: float = option(0.7, "Chance that the background is exactly zero", minimum=0, maximum=1)

    points: int = option(4, "Points looked up per voxel", minimum=1, maximum=5, tooltip="More give partial volumes.")
    dice_labels: int = option(
        0, "Labels given per step", minimum=0, tooltip="A random choice of so many; 0 gives all of them."
    )

    def __post_init__(self) -> None:
        if len(self.warp_mm) != len(self.warp_scales_mm):
            raise SettingsError(
                f"Every scale of the warps needs one strength: {self.warp_scales_mm} mm, {self.warp_mm} mm.",
                hint="Give 'warp_scales_mm' and 'warp_mm' equally many numbers.",
            )
        for low, high in (
            ("shapes_low", "shapes_high"),
            ("mean_low", "mean_high"),
            ("deviation_low", "deviation_high"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise SettingsError(f"'{low}' is greater than '{high}'.", hint="Exchange the two numbers.")

    def for_validation(self) -> SynthesisSettings:
        """Return these settings with all structures, and memberships that are never exactly one half."""
        return replace(self, dice_labels=0, points=5)


SHAPES = SynthesisSettings()
"""Generated shapes: one label map, warped strongly and independently for the two images."""

LABEL_MAPS = SynthesisSettings(
    warp_scales_mm=(16.0, 32.0, 64.0),
    warp_mm=(0.8, 1.4, 2.0),
    jitter_rotation_deg=2.0,
    jitter_scale=0.03,
    jitter_translation_mm=2.0,
)
"""Label maps of different persons: they differ by themselves, so that modest warps are enough."""

"""Settings of the generator: shapes, warps, contrasts, artifacts; with the ranges of SynthMorph where published."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...errors import SettingsError
from ...settings import option


@dataclass(frozen=True)
class SynthesisSettings:
    """Settings of generated pairs; the defaults are those of generated shapes.

    Intensities are those of an image scaled to 0..1, lengths are mm on the training grid.

    Reference
    ---------
    Hoffmann et al., SynthMorph, IEEE TMI 41(3), 2022, doi 10.1109/TMI.2021.3116879.
    """

    shapes_low: int = option(8, "Fewest shapes", minimum=2, maximum=120)
    shapes_high: int = option(26, "Most shapes", minimum=2, maximum=120)
    shape_scales_mm: tuple[float, ...] = option((24.0, 48.0, 96.0), "Sizes of shapes", unit="mm", minimum=1)
    body: float = option(0.6, "Probability of an empty background", minimum=0, maximum=1)
    ribbons: float = option(0.5, "Probability of thin sheets between the shapes", minimum=0, maximum=1)

    warp_scales_mm: tuple[float, ...] = option((20.0, 40.0, 80.0), "Scales of the warps", unit="mm", minimum=1)
    warp_mm: tuple[float, ...] = option(
        (3.0, 4.5, 6.0),
        "Strongest warps",
        unit="mm",
        minimum=0,
        tooltip="Maximum standard deviation of each component of the velocity, one number per scale.",
    )
    jitter_rotation_deg: float = option(3.0, "Rotation remaining after linear alignment", unit="degrees", minimum=0)
    jitter_scale: float = option(0.04, "Scale remaining after linear alignment", minimum=0, maximum=0.5)
    jitter_translation_mm: float = option(3.0, "Translation remaining after linear alignment", unit="mm", minimum=0)
    pose_rotation_deg: float = option(12.0, "Rotation of the pair in the grid", unit="degrees", minimum=0)
    pose_scale: float = option(0.1, "Scale of the pair in the grid", minimum=0, maximum=0.5)
    pose_translation_mm: float = option(10.0, "Translation of the pair in the grid", unit="mm", minimum=0)

    mean_low: float = option(0.1, "Lowest mean of a label", minimum=0, maximum=1)
    mean_high: float = option(0.9, "Highest mean of a label", minimum=0, maximum=1)
    deviation_low: float = option(0.01, "Lowest texture of a label", minimum=0, maximum=1)
    deviation_high: float = option(0.1, "Highest texture of a label", minimum=0, maximum=1)
    same_contrast: float = option(0.3, "Probability of equal contrasts", minimum=0, maximum=1)
    merged: float = option(0.3, "Probability of labels with equal intensities", minimum=0, maximum=1)
    tissues: float = option(0.6, "Probability of similar intensities within a tissue", minimum=0, maximum=1)
    same_person: float = option(0.0, "Probability of two images of one subject", minimum=0, maximum=1)
    stripped: float = option(0.5, "Probability of skull stripping", minimum=0, maximum=1)

    bias: float = option(0.3, "Strongest bias field", minimum=0, tooltip="Standard deviation of its logarithm.")
    bias_scale_mm: float = option(60.0, "Scale of the bias field", unit="mm", minimum=1)
    blur_mm: float = option(2.0, "Strongest blur", unit="mm", minimum=0, tooltip="Standard deviation.")
    thick: float = option(0.3, "Probability of thick slices", minimum=0, maximum=1)
    thickness_mm: float = option(5.0, "Thickest slices", unit="mm", minimum=0)
    ringing: float = option(0.15, "Probability of truncated k-space", minimum=0, maximum=1)
    noise: float = option(0.05, "Most noise", minimum=0, maximum=1)
    gamma: float = option(0.25, "Strongest gamma", minimum=0, tooltip="Standard deviation of its logarithm.")
    cropped: float = option(0.2, "Probability of a partial field of view", minimum=0, maximum=1)
    crop: float = option(0.25, "Largest fraction cropped from a side", minimum=0, maximum=0.45)
    empty_background: float = option(0.7, "Probability of a zero background", minimum=0, maximum=1)

    points: int = option(4, "Sample points per voxel", minimum=1, maximum=5, tooltip="Several give partial volumes.")
    dice_labels: int = option(0, "Labels per step", minimum=0, tooltip="Number of random labels; 0 uses all.")

    def __post_init__(self) -> None:
        if len(self.warp_mm) != len(self.warp_scales_mm):
            raise SettingsError(
                f"Every scale of the warps needs one strength: {self.warp_scales_mm} mm, {self.warp_mm} mm.",
                hint="Give 'warp_scales_mm' and 'warp_mm' the same number of values.",
            )
        for low, high in (
            ("shapes_low", "shapes_high"),
            ("mean_low", "mean_high"),
            ("deviation_low", "deviation_high"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise SettingsError(f"'{low}' is greater than '{high}'.", hint="Swap the two numbers.")

    def for_validation(self) -> SynthesisSettings:
        """Return these settings with all structures, and memberships that are never exactly one half."""
        return replace(self, dice_labels=0, points=5)


SHAPES = SynthesisSettings()
"""Generated shapes: one label map with two independent strong warps."""

LABEL_MAPS = SynthesisSettings(
    warp_scales_mm=(16.0, 32.0, 64.0),
    warp_mm=(0.8, 1.4, 2.0),
    jitter_rotation_deg=2.0,
    jitter_scale=0.03,
    jitter_translation_mm=2.0,
)
"""Label maps of different subjects, which differ already, so that small warps suffice."""

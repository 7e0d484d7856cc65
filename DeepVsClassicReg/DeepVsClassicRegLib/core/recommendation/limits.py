"""What the advice cannot know, and which findings of the paper's sequel apply to the pair."""

from __future__ import annotations

from .facts import Facts

SEQUEL = "Jena et al., PMLR 315:4134-4165, 2026, arXiv 2512.15505"
# The sequel's images of high resolution have 0.6 mm; the network engine works at about 1.2 mm on a brain.
FINE_MM = 0.8
ALWAYS = (
    "The paper studied only skull-stripped T1 brains of different subjects: no other contrasts, no two scans of one "
    "subject, no hybrid methods (networks with refinement, correlation volumes, sparse features).",
    "Calibration and ranking are based on few datasets (see the provenance in the file), so the bands are wide.",
    "Mutual information is computed voxel by voxel and ignores structures that differ by position only.",
    "Run times are estimates for an idle computer, scaled by a short speed test; other jobs make them longer.",
)


def limits_of(facts: Facts) -> tuple[str, ...]:
    """Return the limits of the advice for a case.

    The sequel of the paper compares networks and optimization without training on the tested images (zero-shot):
    level on T1, networks less accurate on other contrasts, not able to run at 0.6 mm, and sensitive to preprocessing.

    Reference: R. Jena, P. Chaudhari, J. Gee, The LUMirage, PMLR 315:4134-4165, 2026, arXiv 2512.15505.
    """
    return (*ALWAYS, *(text for text in (_contrast(facts), _resolution(facts), _preprocessing(facts)) if text))


def _contrast(facts: Facts) -> str:
    if not facts.entries("deep"):
        return ""
    found = f"Networks trained on T1 were less accurate than optimization on T2, T2* and FLAIR ({SEQUEL})"
    if facts.same_contrast is False:
        return f"{found}; this pair has different contrasts, so it applies here."
    return f"{found}; on T1 both were level. It applies here unless both volumes have the contrast of the training."


def _resolution(facts: Facts) -> str:
    if not facts.entries("deep") or facts.voxel_mm is None or facts.voxel_mm > FINE_MM:
        return ""
    return (
        f"This pair has voxels of {facts.voxel_mm:.2g} mm. At 0.6 mm the networks of the paper's sequel did not run, "
        f"and optimization gained from the detail ({SEQUEL}); the networks here reduce the resolution instead."
    )


def _preprocessing(facts: Facts) -> str:
    if not facts.entries("deep"):
        return ""
    return (
        f"Networks are sensitive to preprocessing such as skull stripping, orientation and intensity range ({SEQUEL}): "
        "prepare the volumes as those of the training were; the domain check finds large differences only."
    )

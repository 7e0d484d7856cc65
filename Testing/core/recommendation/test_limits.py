"""The limits of the advice: those of every pair, and the findings of the paper's sequel that apply to this one."""

from __future__ import annotations

import dataclasses

import pytest
from DeepVsClassicRegLib.core.recommendation.facts import EngineFacts, Facts
from DeepVsClassicRegLib.core.recommendation.limits import ALWAYS, FINE_MM, SEQUEL, limits_of
from DeepVsClassicRegLib.core.recommendation.rules import RULES

PLAIN = Facts(
    engines=(EngineFacts("instance", "classical", True), EngineFacts("network", "deep", True)),
    same_contrast=True,
    voxel_mm=1.0,
)


def extra(**changes):
    """Return the limits beyond those of every pair, as one text."""
    found = limits_of(dataclasses.replace(PLAIN, **changes))
    assert found[: len(ALWAYS)] == ALWAYS
    return " ".join(found[len(ALWAYS) :])


def test_contrast_and_preprocessing_are_named_for_every_network():
    text = extra()
    assert "T2, T2* and FLAIR" in text and "unless both volumes" in text and "preprocessing" in text
    assert text.count(SEQUEL) == 2


def test_different_contrasts_are_said_to_apply():
    assert "it applies here" in extra(same_contrast=False)
    assert "it applies here" not in extra(same_contrast=None)


@pytest.mark.parametrize(("voxel_mm", "named"), [(0.6, True), (FINE_MM, True), (0.9, False), (None, False)])
def test_resolution_counts_for_fine_voxels_only(voxel_mm, named):
    assert ("0.6 mm the networks" in extra(voxel_mm=voxel_mm)) is named


def test_without_networks_nothing_is_said_about_them():
    assert extra(engines=PLAIN.engines[:1], same_contrast=False, voxel_mm=0.5) == ""
    missing = EngineFacts("network", "deep", True, available=False)
    assert extra(engines=(*PLAIN.engines[:1], missing)) == ""


def test_the_sequel_is_cited_beside_the_recipe():
    sources = {rule.name: rule.source for rule in RULES}
    assert SEQUEL in sources["classical-by-default"] and SEQUEL in sources["different-contrasts"]
    assert "NeurIPS 2024" in sources["classical-by-default"]

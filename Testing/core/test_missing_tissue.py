"""Half of a body that was set to zero is not compared, by any engine."""

import dataclasses

import numpy as np
import pytest
from DeepVsClassicRegLib.core.api import register
from DeepVsClassicRegLib.core.engines.missing_tissue import missing_tissue
from DeepVsClassicRegLib.core.engines.partial_views import LEAST_RISE, Gain, objection
from DeepVsClassicRegLib.core.engines.registration import repeated
from DeepVsClassicRegLib.core.evaluation.evaluate import evaluate
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.core.result import Diagnostics, Result
from DeepVsClassicRegLib.core.transforms.transform import Transform


@pytest.fixture(scope="module")
def whole():
    return make_phantom("head", size=48).pair


def without_left(volume):
    """The volume with the first half of its columns set to zero."""
    array = volume.array.copy()
    array[:, :, : array.shape[2] // 2] = 0
    return dataclasses.replace(volume, array=array)


def overlap_of_what_is_left(whole, transform):
    """The mean Dice of the structures of the second half of the columns."""
    array = whole.moving_labels.array
    left = set(np.unique(array[:, :, : array.shape[2] // 2]))
    dice = evaluate(whole, transform, measures=("overlap",)).after["dice_per_label"]
    kept = [value for label, value in dice.items() if int(label) not in left]
    assert len(kept) > 2
    return np.mean(kept)


def test_nothing_is_missing_in_whole_bodies(whole):
    assert missing_tissue(whole, Transform()) == ({}, [])


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_the_zeroed_half_is_found(whole, side):
    cut = without_left(getattr(whole, side))
    regions, notes = missing_tissue(whole.replace(**{side: cut}), Transform())
    assert list(regions) == [f"{side}_excluded"] and len(notes) == 1
    assert f"missing in the {side} volume" in notes[0]
    lost = regions[f"{side}_excluded"].mask()
    assert not lost[cut.array != 0].any()
    body = getattr(whole, side).array > 0.3 * np.percentile(whole.fixed.array, 99)
    assert lost[body & (cut.array == 0)].mean() > 0.8


def test_masks_and_excluded_regions_of_the_user_are_left_alone(whole):
    cut = whole.replace(moving=without_left(whole.moving), moving_excluded=whole.moving_labels)
    assert missing_tissue(cut, Transform()) == ({}, [])


def test_what_is_left_is_not_stretched_over_the_whole(whole):
    cut = whole.replace(moving=without_left(whole.moving))
    result = register(cut, "instance", threads=1)
    assert any("missing in the moving volume" in note for note in result.diagnostics.notes)
    start, found = (overlap_of_what_is_left(whole, transform) for transform in (result.start, result.transform))
    assert found > start + 0.02


def test_a_map_that_does_not_match_better_is_not_kept():
    lost = Gain(before=0.390, after=0.394, folding_percent=0.0, strain=0.26, seen_share=1.0)
    assert "a part of a volume is missing, and the deformation hardly raises" in objection(lost, least=LEAST_RISE)
    gained = dataclasses.replace(lost, after=0.65)
    assert objection(gained, least=LEAST_RISE) == objection(lost) == ""


def test_the_time_of_both_linear_alignments_counts():
    first, again = (
        Result(Transform(), Diagnostics(seconds=dict(stages), cpu_seconds=dict(stages)))
        for stages in ({"Search": 1.0, "Refinement": 2.0}, {"Search": 0.5})
    )
    both = repeated(first, again).diagnostics
    assert both.seconds == both.cpu_seconds == {"Search": 1.5, "Refinement": 2.0}

"""The front door: comparing engines checks the pair first and starts all of them alike."""

import numpy as np
import pytest
from DeepVsClassicRegLib.core import api
from DeepVsClassicRegLib.core.errors import RegistrationError
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom


def test_compare_checks_the_pair_before_any_compute(monkeypatch):
    pair = make_phantom("head", size=16).pair
    constant = Volume(np.ones(pair.moving.grid.shape), pair.moving.grid)
    monkeypatch.setattr(api, "align_linearly", lambda *_: pytest.fail("computed before the check"))
    with pytest.raises(RegistrationError, match="constant"):
        api.compare(pair.replace(moving=constant), ["sitk-demons"])


def test_compare_starts_every_engine_from_one_alignment():
    runs = api.compare(make_phantom("head", size=24).pair, ["linear", "sitk-demons"], threads=1)
    starts = [result.start.affine.homogeneous for result, _ in runs.values()]
    assert np.array_equal(*starts)
    assert runs["sitk-demons"][1].after["dice_mean"] > runs["sitk-demons"][1].before["dice_mean"]

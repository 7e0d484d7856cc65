"""The benchmarks measure functions that exist."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
profile_job = pytest.importorskip("profile_job")


@pytest.mark.parametrize("place", profile_job.STEPS)
def test_steps_of_the_profile_exist(place):
    holder, name, function = profile_job.found_step(place)
    assert callable(getattr(holder, name))
    assert function is vars(holder)[name]


def test_a_step_that_was_renamed_is_an_error():
    with pytest.raises(LookupError, match="evaluate:gone"):
        profile_job.found_step("core.evaluation.evaluate:gone")

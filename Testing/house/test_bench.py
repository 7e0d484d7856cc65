"""The benchmarks measure functions that exist."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
profile_job = pytest.importorskip("profile_job")
panel_wait = pytest.importorskip("panel_wait")
speed = pytest.importorskip("speed")


@pytest.mark.parametrize("place", profile_job.STEPS)
def test_steps_of_the_profile_exist(place):
    holder, name, function = profile_job.found_step(place)
    assert callable(getattr(holder, name))
    assert function is vars(holder)[name]


def test_a_step_that_was_renamed_is_an_error():
    with pytest.raises(LookupError, match="evaluate:gone"):
        profile_job.found_step("core.evaluation.evaluate:gone")


def test_waits_in_the_panel_are_medians_of_the_trials():
    key = {"case": "brain", "engine": "instance", "job": "first", "version": "after"}
    rows = [{**key, **dict.fromkeys(panel_wait.COLUMNS, value)} for value in (1.0, 9.0, 2.0)]
    *_, line = panel_wait.table(rows).splitlines()
    assert line == "| brain | instance | first | after | 3 |" + " 2.00 |" * len(panel_wait.COLUMNS)


def test_sections_below_the_table_of_speed_are_kept(tmp_path):
    log = tmp_path / "speed.jsonl"
    (tmp_path / "SPEED.md").write_text("# Old\n\ntable\n\n## Waits\n\nSome words.\n", encoding="utf-8")
    target = tmp_path / "SPEED.md"
    target.write_text(speed.page(speed._read(log)) + speed._further_sections(target), encoding="utf-8")
    assert target.read_text(encoding="utf-8") == speed.HEAD + "\n\n## Waits\n\nSome words.\n"

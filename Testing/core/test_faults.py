"""Files from real life are read right or refused, never silently wrong; see `Testing/faults`."""

from __future__ import annotations

import faults
import pytest

CASES = [pytest.param(case, id=case.id, marks=[pytest.mark.slow] if case.slow else []) for case in faults.all_cases()]


@pytest.mark.parametrize("case", CASES)
def test_result_is_correct_or_an_error_is_raised(case, tmp_path):
    try:
        run = case.run(tmp_path)
    except faults.NotInstalled as missing:
        pytest.skip(str(missing))
    failures = case.failures(run)
    assert not failures, "\n".join(failures)


def test_no_two_cases_share_a_name():
    names = [case.id for case in faults.all_cases()]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)

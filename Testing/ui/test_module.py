"""Runs the in-application test cases, the very class that ctest runs inside Slicer."""

from __future__ import annotations

import sys

import pytest
from panel_helpers import MODULE

FOLDER = MODULE.parent / "Testing" / "Python"
sys.path.insert(0, str(FOLDER))

import DeepVsClassicRegTestCases as cases  # noqa: E402

NAMES = sorted(name for name in dir(cases.DeepVsClassicRegTestCases) if name.startswith("test"))


@pytest.mark.parametrize("name", NAMES)
def test_case(widget, name):
    import unittest

    outcome = unittest.TextTestRunner().run(cases.DeepVsClassicRegTestCases(name))
    assert outcome.wasSuccessful(), (outcome.failures + outcome.errors)[0][1]


def test_the_test_class_of_the_module_runs_them(module):
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

    source = sys.modules["DeepVsClassicReg"]
    assert issubclass(source.DeepVsClassicRegTest, ScriptedLoadableModuleTest)
    assert "runTest" in vars(source.DeepVsClassicRegTest)
    assert cases.__name__ == source.TESTS

"""Fixtures of the tests on real MRML nodes: a phantom pair in the scene, and a result to publish."""

from __future__ import annotations

import pytest
from slicer_standin.pytest_plugin import *  # noqa: F403

import mrml_helpers as helpers  # isort: skip  (needs the running stand-in)


@pytest.fixture(scope="session")
def phantom():
    """A small oblique head phantom whose fixed and moving grids differ."""
    return helpers.oblique_phantom()


@pytest.fixture(scope="session")
def result(phantom):
    """The phantom's true transform as an engine would have returned it, and its evaluation."""
    return helpers.true_result(phantom)


@pytest.fixture
def nodes(slicer_scene, phantom):
    """The phantom's nodes in an empty scene."""
    from DeepVsClassicRegLib.mrml.sample_data import add_phantom

    return add_phantom(phantom)

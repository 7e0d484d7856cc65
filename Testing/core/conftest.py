"""Fixtures shared by the tests of the library."""

from __future__ import annotations

import pytest
from DeepVsClassicRegLib.core.images.grid import Grid
from testing_grids import GRIDS


@pytest.fixture(params=list(GRIDS))
def grid(request) -> Grid:
    """Every kind of grid that is a normal input."""
    return GRIDS[request.param]

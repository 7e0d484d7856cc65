"""Settings of every test run."""

import os

import pytest

# Volumes in tests are tiny: threads of BLAS and torch would only wait for each other, worst on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
LONGEST = "test_examples.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests: at the end they would keep one process busy and the others waiting."""
    items.sort(key=lambda item: item.path.name != LONGEST)

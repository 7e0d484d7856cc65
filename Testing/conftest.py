"""Settings of every test run."""

import gc
import os

import pytest

# Volumes in tests are tiny: threads of BLAS and torch would only wait for each other, worst on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
LONGEST = "test_examples.py"
# Automatic garbage collection runs in any thread, also in that of pytest-xdist, which receives messages. There it would
# destroy Qt and VTK objects of the panel while the main thread is in their event loop: suspected of rare crashes.
gc.disable()
WHOLE_EVERY = 20
TESTS = pytest.StashKey[int]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests: at the end they would keep one process busy and the others waiting."""
    items.sort(key=lambda item: item.path.name != LONGEST)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Collect garbage in the main thread: the young after every test, everything after some tests."""
    count = item.session.config.stash.get(TESTS, 0) + 1
    item.session.config.stash[TESTS] = count
    gc.collect(2 if count % WHOLE_EVERY == 0 else 1)

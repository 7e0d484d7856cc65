"""Fixtures for tests on the stand-in; a room's conftest.py loads them by importing everything from here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from slicer_standin import dialogs as _dialogs
from slicer_standin import errors as _errors
from slicer_standin import extras, screenshots, views, watch
from slicer_standin.boot import boot as _boot

slicer = _boot()

__all__ = ["dialogs", "fail_on_recorded_errors", "gl", "packages", "recorded_errors", "slicer_scene", "wait_until"]


@pytest.fixture(autouse=True)
def fail_on_recorded_errors() -> Iterator[None]:
    """Fail a test during which a slot, timer, observer or VTK reported an error that the test did not expect."""
    _errors.take()
    yield
    screenshots.settle(2)
    found = _errors.take()
    if found:
        pytest.fail("errors were only printed, as Slicer would:\n" + "\n".join(found), pytrace=False)


@pytest.fixture
def recorded_errors() -> Callable[[], list[str]]:
    """Return a function that hands out, and thereby forgives, the errors recorded so far."""
    return _errors.take


@pytest.fixture
def slicer_scene() -> Iterator[Any]:
    """Return `slicer.mrmlScene`, empty before the test and emptied after it; canned answers are forgotten."""
    _fresh()
    yield slicer.mrmlScene
    _fresh()


_left: list[Any] = []  # the nodes that were there after the scene was cleared


def _nodes() -> list[Any]:
    scene = slicer.mrmlScene
    return [(node.GetID(), node.GetMTime()) for node in map(scene.GetNthNode, range(scene.GetNumberOfNodes()))]


def _fresh() -> None:
    if not _left or _nodes() != _left:  # clearing takes long, so not twice in a row
        slicer.mrmlScene.Clear(0)
    _dialogs.reset()
    extras.packages.reset()
    extras.set_pytorch_extension(False)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    screenshots.settle(2)
    _left[:] = _nodes()


@pytest.fixture
def gl() -> Any:
    """Skip the test where nothing can be rendered; otherwise return the module `slicer_standin.views`."""
    if views.gl_problem():
        pytest.skip(views.gl_problem())
    return views


@pytest.fixture
def dialogs() -> Any:
    """Return the module that answers dialogs: `dialogs.answer("getSaveFileName", path)`, `dialogs.shown`."""
    return _dialogs


@pytest.fixture
def packages() -> Any:
    """Return the record of what was asked from pip: `packages.calls`, `.refuse`, `.missing`, `.on_install`."""
    return extras.packages


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """Return a function that runs the event loop until a condition holds."""
    return watch.wait_until

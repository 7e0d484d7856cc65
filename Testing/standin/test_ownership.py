"""Deferred deletes run as in the application, and what PythonQt would delete twice is found."""

from __future__ import annotations

import gc

import pytest
import qt
import slicer
from slicer_standin import ownership, screenshots
from slicer_standin.pythonqt import shiboken6


class Form:
    """Holds its widget; a slot of the widget's child holds the form."""

    def __init__(self, frame):
        self.content = qt.QWidget(frame)
        self.content.objectName = "content"
        self.spin = qt.QSpinBox(self.content)
        self.spin.connect("valueChanged(int)", lambda value: self.on_value(value))

    def on_value(self, value):
        self.value = value


@pytest.fixture
def frame():
    made = qt.QFrame()
    yield made
    made.delete()


def test_a_deferred_delete_waits_for_the_event_loop(frame):
    child = qt.QWidget(frame)
    child.deleteLater()
    slicer.app.processEvents()
    assert shiboken6.isValid(child)
    screenshots.settle(1)
    assert not shiboken6.isValid(child)


def test_a_deferred_delete_from_a_slot_waits_for_the_end_of_the_slot(frame, wait_until):
    child, seen = qt.QWidget(frame), []

    def on_timeout():
        child.deleteLater()
        slicer.app.processEvents()
        seen.append(shiboken6.isValid(child))

    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.connect("timeout()", on_timeout)
    timer.start(0)
    wait_until(lambda: not shiboken6.isValid(child))
    assert seen == [True]


def test_unparenting_before_deleting_deletes_twice(frame, recorded_errors):
    before = ownership.double_deletes
    form = Form(frame)
    form.content.setParent(None)
    form.content.deleteLater()
    del form
    screenshots.settle(1)
    found = recorded_errors()
    assert len(found) == 1
    assert "double delete" in found[0]
    assert "QWidget 'content'" in found[0]
    assert ownership.double_deletes == before + 1


def test_deleting_what_has_a_parent_is_fine(frame):
    form = Form(frame)
    form.content.deleteLater()
    del form
    screenshots.settle(1)
    assert not frame.children()


def test_a_widget_without_parent_lives_as_long_as_its_wrapper(frame):
    form = Form(frame)
    content = form.content
    content.setParent(None)
    content.deleteLater()
    del form
    screenshots.settle(1)
    assert not shiboken6.isValid(content)


def test_a_widget_without_parent_dies_with_its_wrapper():
    made = qt.QWidget()
    child = qt.QWidget(made)
    del made
    gc.collect()
    assert not shiboken6.isValid(child)


def test_a_widget_taken_from_its_parent_dies_with_its_wrapper(frame):
    made = qt.QWidget(frame)
    made.setParent(None)
    child = qt.QWidget(made)
    del made
    gc.collect()
    assert not shiboken6.isValid(child)

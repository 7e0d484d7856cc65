"""Keys show views and go through the places to look at, only while the module is open and a run is shown."""

from __future__ import annotations

import pytest
import slicer
from panel_helpers import settle, wait
from PySide6.QtTest import QTest
from slicer_standin import boot

# Keys that Slicer's slice views, 3D views and menus have without a modifier.
SLICER = set("BFGRTV[]{}")


@pytest.fixture
def press(panel):
    """A function that presses a key in the main window."""
    import qt

    window = boot.main_window()
    window.show()
    window.activateWindow()

    def keys(letter, field=None):
        (field or window).setFocus()
        QTest.keyClick(field or window, getattr(qt.Qt, f"Key_{letter}"))
        settle()
        wait(lambda: not panel.busy)

    yield keys
    window.hide()


def shortcuts():
    import qt

    return boot.main_window().findChildren(qt.QShortcut)


def test_keys_show_the_views_in_turn(panel, ui, finish, press):
    finish()
    press("O")
    assert panel.qa.view == "blend" and ui.blendButton.checked
    press("K")
    assert panel.qa.view == "flicker"
    seen = []
    for _press in range(20):
        press("M")
        seen.append(panel.qa.view)
    assert seen[0] == "checkerboard"
    enabled = [name for name in seen if seen.count(name) > 1]
    assert "blend" in enabled and "error" not in seen  # it goes round, and leaves out what the run lacks


def test_keys_go_through_the_places_to_look_at(panel, ui, finish, press):
    run = finish(worse=True)
    places = run.look_at
    assert len(places) > 1
    shown = []
    for letter in ("N", "N", "P", "P"):
        press(letter)
        shown.append(ui.locationLabel.text.partition(":")[0])
    count = len(places)
    assert shown == [f"1 of {count}", f"2 of {count}", f"1 of {count}", f"{count} of {count}"]
    node = slicer.util.getNode("vtkMRMLSliceNodeRed")
    matrix = node.GetSliceToRAS()
    center = [matrix.GetElement(row, 3) for row in range(3)]
    assert center[2] == pytest.approx(places[-1].point_mm[2], abs=1e-3)


def test_the_keys_belong_to_slicer_elsewhere(panel, ui, finish, press):
    finish()
    assert len(shortcuts()) == 5
    slicer.util.selectModule("Markups")
    assert shortcuts() == []
    slicer.util.selectModule("DeepVsClassicReg")
    assert len(shortcuts()) == 5
    panel.results.forget()
    assert not any(shortcut.enabled for shortcut in shortcuts())


def test_a_text_field_keeps_its_letters(panel, ui, finish, press):
    import qt

    finish()
    panel.qa.close()
    field = qt.QLineEdit(ui.resultButton)
    field.show()
    press("O", field)
    assert field.text == "o" and not panel.qa.view
    field.setParent(None)


def test_tool_tips_name_the_keys_and_none_is_one_of_slicers(panel, ui):
    keys = {shortcut.key.toString() for shortcut in shortcuts()}
    assert keys == set("OKMNP") and not keys & SLICER
    for name, letters in (("blend", "O"), ("flicker", "K")):
        assert f"Key: {letters}" in getattr(ui, f"{name}Button").toolTip
    assert "Key M" in ui.viewFrame.toolTip and "N and P" in ui.verdictLabel.toolTip

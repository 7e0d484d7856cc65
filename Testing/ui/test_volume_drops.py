"""Volumes dropped on the inputs are selected: files are loaded, items of the data tree are used as they are."""

from __future__ import annotations

import pytest
import slicer
from panel_helpers import settle, wait

# Qt has no other way to make the event that it sends at the beginning of a drag.
pytestmark = pytest.mark.filterwarnings("ignore:Function. 'QDragEnterEvent:DeprecationWarning")


def tree_item(node):
    """Return the address that Slicer's data tree gives to a dragged node."""
    import qt

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    return qt.QUrl(f"mrml://scene/subjecthierarchy/item?id={hierarchy.GetItemByDataNode(node)}")


@pytest.fixture
def drop(panel):
    """A function that drags addresses over a widget and drops them; returns whether they were accepted."""
    import qt

    def on(widget, *urls):
        data = qt.QMimeData()
        data.setUrls(list(urls))
        place, none = qt.QPoint(5, 5), qt.Qt.NoModifier
        # The data tree offers to move items only.
        offered = qt.Qt.MoveAction if urls[0].scheme() == "mrml" else qt.Qt.CopyAction
        enter = qt.QDragEnterEvent(place, offered, data, qt.Qt.LeftButton, none)
        enter.ignore()
        slicer.app.sendEvent(widget, enter)
        if not enter.isAccepted():
            return False
        dropped = qt.QDropEvent(qt.QPointF(place), offered, data, qt.Qt.LeftButton, none)
        slicer.app.sendEvent(widget, dropped)
        assert dropped.dropAction() != qt.Qt.MoveAction, "the tree would remove what was moved"
        settle()
        wait(lambda: not panel.checking)
        return True

    return on


@pytest.fixture
def files(pair, tmp_path):
    """The volumes of the pair as files."""
    import qt

    found = []
    for name in ("fixed", "moving"):
        path = tmp_path / f"{name}.nrrd"
        slicer.util.saveNode(getattr(pair, name), str(path))
        found.append(qt.QUrl.fromLocalFile(str(path)))
    slicer.mrmlScene.Clear(0)
    settle()
    return found


def test_files_are_loaded_and_selected(panel, ui, files, drop):
    assert drop(ui.movingSelector, files[0])
    assert ui.movingSelector.currentNode().GetName() == "fixed"
    assert ui.fixedSelector.currentNode() is None
    assert drop(ui.inputsButton, files[1])
    assert ui.fixedSelector.currentNode().GetName() == "moving"
    assert ui.registerButton.enabled


def test_two_files_are_a_pair(panel, ui, files, drop):
    assert drop(ui.fixedSelector, *files)
    assert ui.fixedSelector.currentNode().GetName() == "fixed"
    assert ui.movingSelector.currentNode().GetName() == "moving"


def test_an_item_of_the_data_tree_is_selected(panel, ui, picked, drop):
    assert drop(ui.fixedSelector, tree_item(picked.moving))
    assert ui.fixedSelector.currentNode() is picked.moving
    assert ui.movingSelector.currentNode() is picked.fixed


def test_what_is_no_volume_or_has_no_place_is_left_to_slicer(panel, ui, picked, drop, tmp_path):
    import qt

    text = tmp_path / "notes.txt"
    text.write_text("no volume")
    volume = tree_item(picked.fixed)
    for target, urls in (
        (ui.fixedSelector, [tree_item(picked.fixed_points)]),
        (ui.fixedSelector, [volume, tree_item(picked.fixed_points)]),
        (ui.fixedSelector, [qt.QUrl.fromLocalFile(str(text))]),
        (ui.fixedSelector, [qt.QUrl.fromLocalFile(str(tmp_path))]),
        (ui.fixedSelector, [qt.QUrl("mrml://scene/subjecthierarchy/item?id=99999")]),
        (ui.inputsButton, [volume]),  # both volumes are selected already
    ):
        assert not drop(target, *urls)
    assert ui.fixedSelector.currentNode() is picked.fixed


def test_a_broken_file_is_reported(panel, ui, drop, tmp_path, recorded_errors):
    import qt

    path = tmp_path / "broken.nrrd"
    path.write_text("NRRD0004\n")
    assert drop(ui.fixedSelector, qt.QUrl.fromLocalFile(str(path)))
    assert ui.fixedSelector.currentNode() is None
    assert any("broken" in text for text in recorded_errors())


def test_nothing_is_accepted_after_the_end(panel, ui, pair, drop):
    panel.drops.close()
    assert not drop(ui.fixedSelector, tree_item(pair.fixed))

"""Whatever is compared: a saved scene, another module and *Restore views* bring back what the user had."""

from __future__ import annotations

import pytest
import slicer
from panel_helpers import settle, wait

pytestmark = pytest.mark.usefixtures("only_the_hierarchy_complains")
MODES = ["blend", "checkerboard", "contours", "redCyan", "jacobian"]
LAYERS = ("BackgroundVolumeID", "ForegroundVolumeID", "LabelVolumeID")


@pytest.fixture
def compared(panel, picked, ui, fake):
    """A function that compares in a mode after the user arranged the views, and returns what these looked like."""

    def compare(mode):
        ui.registerButton.click()
        fake.process.finish()
        wait(lambda: not panel.busy)
        ui.closeViewButton.click()
        arrange(picked)
        before = views()
        getattr(ui, f"{mode}Button").click()
        wait(lambda: not panel.busy)
        assert views() != before
        return before

    return compare


def arrange(nodes) -> None:
    """Let the views show what no comparison would show."""
    layout = slicer.app.layoutManager()
    layout.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
    settle()
    for number, name in enumerate(("Red", "Yellow", "Green")):
        widget = layout.sliceWidget(name)
        composite, node = widget.mrmlSliceCompositeNode(), widget.mrmlSliceNode()
        composite.SetBackgroundVolumeID(nodes.moving.GetID())
        composite.SetForegroundVolumeID(nodes.fixed.GetID())
        composite.SetForegroundOpacity(0.3)
        composite.SetLabelOpacity(0.7)
        node.SetFieldOfView(120.0 + number, 90.0, 1.0)
        node.SetXYZOrigin(4.0, 5.0 + number, 0.0)
        node.JumpSliceByCentering(7.0 + number, -11.0, 13.0)
    fixed, moving = (nodes.fixed_labels.GetDisplayNode(), nodes.moving_labels.GetDisplayNode())
    fixed.SetVisibility(True)
    fixed.SetOpacity2DFill(0.4)
    moving.SetVisibility(False)


def views() -> dict:
    """Return what every slice view and segmentation shows, nodes by their names."""
    found = {"layout": slicer.app.layoutManager().layout}
    for name in ("Red", "Yellow", "Green"):
        composite = slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceCompositeNode{name}")
        node = slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{name}")
        layers = [getattr(composite, f"Get{layer}")() for layer in LAYERS]
        found[f"{name} layers"] = [slicer.mrmlScene.GetNodeByID(i).GetName() if i else None for i in layers]
        found[f"{name} opacity"] = pytest.approx(
            [composite.GetForegroundOpacity(), composite.GetLabelOpacity(), composite.GetCompositing()]
        )
        found[f"{name} linked"] = [composite.GetLinkedControl(), composite.GetHotLinkedControl()]
        matrix = node.GetSliceToRAS()
        place = [matrix.GetElement(row, column) for row in range(3) for column in range(4)]
        found[f"{name} place"] = pytest.approx([*place, node.GetSliceOffset(), *node.GetXYZOrigin()], abs=1e-6)
        # Slicer fits the height of a loaded view to its window.
        found[f"{name} width mm"] = pytest.approx(node.GetFieldOfView()[0])
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        if not node.GetHideFromEditors():
            display = node.GetDisplayNode()
            found[node.GetName()] = [display.GetVisibility(), display.GetOpacity2DFill()]
    return found


def plain(found: dict) -> dict:
    """Return the values of `views` without their tolerances, to be compared with others that have one."""
    return {key: getattr(value, "expected", value) for key, value in found.items()}


def names() -> set[str]:
    return {node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLNode") if node.GetName()}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("is_open", [True, False], ids=["panel open", "panel closed"])
def test_a_scene_saved_in_the_middle_of_a_comparison(widget, panel, compared, ui, tmp_path, mode, is_open):
    before = compared(mode)
    slicer.util.selectModule("DeepVsClassicReg")
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    assert getattr(ui, f"{mode}Button").checked, "looking goes on after saving"
    slicer.mrmlScene.Clear(0)
    settle()
    if not is_open:
        widget.cleanup()
    slicer.util.loadScene(str(path))
    settle()
    assert plain(views()) == before
    assert not [name for name in names() if name.startswith(("Comparison", "Views before"))]


def test_saved_twice_and_compared_again(panel, compared, ui, tmp_path):
    before = compared("blend")
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.util.loadScene(path)
    settle()
    wait(lambda: not panel.busy)
    ui.contoursButton.click()
    wait(lambda: not panel.busy)
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(path)
    settle()
    assert plain(views()) == before


def test_restore_views_is_exact(panel, compared, ui):
    before = compared("difference")
    ui.plotButton.click()  # changes the layout
    ui.linkedButton.click()
    ui.structureButton.click()  # moves the slices
    for mode in (*MODES, "flicker", "grid"):
        getattr(ui, f"{mode}Button").click()
        wait(lambda: not panel.busy)
    slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed").SetFieldOfView(30.0, 30.0, 1.0)
    slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeYellow").SetSliceOffset(-33.0)
    assert slicer.app.layoutManager().plotViewCount == 1
    ui.closeViewButton.click()
    settle()
    assert plain(views()) == before
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView
    assert not ui.closeViewButton.enabled


def test_restore_views_undoes_a_jump_and_a_plot_without_a_comparison(panel, compared, ui):
    before = compared("blend")
    ui.closeViewButton.click()
    assert plain(views()) == before
    assert not ui.closeViewButton.enabled
    for button in (ui.structureButton, ui.plotButton):
        button.click()
        settle()
        assert plain(views()) != before
        assert ui.closeViewButton.enabled
        ui.closeViewButton.click()
        settle()
        assert plain(views()) == before


def test_leaving_the_module_restores_what_is_shown_but_does_not_move_the_views(widget, panel, compared, ui):
    before = plain(compared("contours"))
    slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed").SetSliceOffset(21.0)
    widget.exit()
    after = plain(views())
    assert {key for key in before if before[key] != after[key]} == {"Red place"}
    assert slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed").GetSliceOffset() == pytest.approx(21.0)
    widget.enter()


def test_importing_a_scene_into_a_comparison(panel, compared, ui, tmp_path):
    """The other scene was saved in the middle of a comparison, too; ids of its nodes change on the way."""
    before = compared("blend")
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    ui.checkerboardButton.click()
    wait(lambda: not panel.busy)
    slicer.mrmlScene.ReadFromMRB(path, False)
    settle()
    shown = slicer.util.getNode("vtkMRMLSliceCompositeNodeRed").GetBackgroundVolumeID()
    assert slicer.mrmlScene.GetNodeByID(shown).GetName().startswith("Phantom head moving")
    visible = [
        node.GetDisplayNode().GetVisibility()
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        if node.GetName().startswith("Phantom head fixed")
    ]
    assert visible == [1, 1]
    assert not ui.checkerboardButton.checked
    assert before["Red opacity"] == [0.3, 0.7, 0]

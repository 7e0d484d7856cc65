"""Makes the pictures of the panel for the README and the Extensions Index: `make screenshots`.

Everything is real but the window: a generated head, real registrations in the worker, real slice views.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "DeepVsClassicReg")]
PANEL_WIDTH = 430  # as wide as Slicer's own panel
SCREENS = {"": (1680, 1050), "-1280": (1280, 800)}
COMMON, RARE = 120, 72
COMPARED = ("instance", "elastix", "sitk-demons", "greedy", "network")
# Slicer's dark style, qSlicerStyle::standardDarkPalette.
DARK = {
    "Window": "#323232",
    "WindowText": "#ffffff",
    "Base": "#1e1e1e",
    "AlternateBase": "#323232",
    "Text": "#ffffff",
    "Button": "#323232",
    "ButtonText": "#ffffff",
    "Light": "#828284",
    "Midlight": "#5a5a5b",
    "Dark": "#232323",
    "Mid": "#2b2b2b",
    "Shadow": "#141414",
    "Highlight": "#3ca4ff",
    "HighlightedText": "#ffffff",
    "Link": "#3ca4ff",
}
DISABLED = {"WindowText": "#6d6d6d", "Text": "#6d6d6d", "ButtonText": "#b4b4b4"}
# So little smoothing that the field folds.
FOLDING = {"variant": "fast-symmetric", "sigma_vox": 0.4, "iterations": "60", "shrink": "1"}
SECTION_PIXELS, SECTION_MM = (256, 320), 0.6
STACK_SECTIONS, STACK_MM = 40, 2.0
# Red, green and blue of stained tissue on a bright slide; the last is the slide.
STAIN = {
    "csf": (233, 214, 226),
    "cortex": (188, 112, 168),
    "white": (232, 158, 190),
    "deep": (160, 84, 148),
    "cerebellum": (148, 78, 150),
    "stem": (214, 138, 176),
    "": (246, 241, 243),
}
OWN_PRESET = "Knee MR, fine"
OWN_SETTINGS = {"resolution_mm": 0.8, "iterations": "120, 80, 60", "sigma_field": 0.9}


class Studio:
    """The module in its window with a head pair picked."""

    def __init__(self, folder: Path, size: int) -> None:
        from slicer_standin import boot, modules

        self.slicer = boot.boot()
        self.folder, self.size = folder, size
        module = modules.load_module(ROOT / "DeepVsClassicReg" / "DeepVsClassicReg.py")
        self.slicer.util.selectModule("DeepVsClassicReg")
        self.panel: Any = module.widgetRepresentation().self().panel
        self.ui = self.panel.ui
        self.ui.adviseCheck.checked = False  # requested when its picture is taken
        self.slicer.util.mainWindow().show()

    def wait(self, condition: Callable[[], Any], timeout_s: float = 900.0) -> None:
        """Run the event loop until a condition holds."""
        from slicer_standin.watch import wait_until

        wait_until(condition, timeout_s)

    def shoot(
        self, name: str, *, screens: Sequence[str] = ("",), scroll: str = "", size: tuple[int, int] | None = None
    ) -> None:
        """Save a picture of the window for each screen; `scroll` names a widget that is then at the top of the panel.

        Without it the panel is seen as it scrolled by itself. `size` replaces the size of the screen.
        """
        import qt
        from DeepVsClassicRegLib.ui.panel import scroll_to_result
        from slicer_standin import screenshots

        for screen in screens:
            path = self.folder / f"{name}{screen}.png"
            screenshots.screenshot(path, size=size or SCREENS[screen], panel_width=PANEL_WIDTH, scale=1.0)
            area = self.slicer.util.mainWindow()._panel._scroll
            if scroll:
                area.verticalScrollBar().value = getattr(self.ui, scroll).mapTo(area.widget(), qt.QPoint(0, 0)).y() - 4
            else:
                scroll_to_result(self.ui)
            screenshots.screenshot(path, size=size or SCREENS[screen], panel_width=PANEL_WIDTH, scale=1.0)
            area.verticalScrollBar().value = 0
            shrink(path)
            sys.stdout.write(f"{path}\n")

    def darken(self) -> Callable[[], None]:
        """Show the window in Slicer's dark style; return what ends that."""
        import qt

        application = qt.QApplication.instance()
        before, palette = qt.QPalette(application.palette()), qt.QPalette(application.palette())
        for role, color in DARK.items():
            palette.setColor(getattr(qt.QPalette, role), qt.QColor(color))
        for role, color in DISABLED.items():
            palette.setColor(qt.QPalette.Disabled, getattr(qt.QPalette, role), qt.QColor(color))
        application.setPalette(palette)
        return lambda: application.setPalette(before)

    def load_pair(self) -> None:
        """Add the head pair, its structures as surfaces in the 3D view, and pick it."""
        from DeepVsClassicRegLib.mrml.inputs import Inputs
        from DeepVsClassicRegLib.mrml.sample_data import load_phantom_pair

        nodes = load_phantom_pair(size=self.size)
        roles = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_points", "moving_points")
        for node in (nodes.fixed_labels, nodes.moving_labels, nodes.fixed_points, nodes.moving_points):
            node.GetDisplayNode().SetVisibility(0)
        for node, name in ((nodes.fixed, "Head 1"), (nodes.moving, "Head 2")):
            node.SetName(name)
            self._show_whole_range(node)
        self._show_surfaces(nodes.fixed_labels)
        self.panel.inputs.pick(Inputs(**{role: getattr(nodes, role) for role in roles}))
        self.lay_out(nodes.fixed, nodes.moving)
        self.slicer.app.layoutManager().resetThreeDViews()
        self.wait(lambda: self.ui.registerButton.enabled)

    def lay_out(self, fixed: Any, moving: Any) -> None:
        """Show one volume over the other in the slice views."""
        self.slicer.util.setSliceViewerLayers(background=fixed, foreground=moving, foregroundOpacity=0.5)
        self.slicer.app.layoutManager().resetSliceViews()

    def _show_whole_range(self, volume: Any) -> None:
        values = self.slicer.util.arrayFromVolume(volume)
        volume.GetDisplayNode().SetAutoWindowLevel(False)
        volume.GetDisplayNode().SetWindowLevelMinMax(float(values.min()), 1.15 * float(values.max()))

    def _show_surfaces(self, segmentation: Any) -> None:
        slicer = self.slicer
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Surfaces")
        segmentation.CreateClosedSurfaceRepresentation()
        slicer.modules.segmentations.logic().ExportAllSegmentsToModels(segmentation, folder)
        for model in slicer.util.getNodesByClass("vtkMRMLModelNode"):
            if model.GetDisplayNode() is not None and not model.GetHideFromEditors():
                cortex = "cortex" in model.GetName().lower() or "white" in model.GetName().lower()
                model.GetDisplayNode().SetOpacity(0.25 if cortex else 1.0)

    def choose(self, engine: str, *, enabled: str = "registerButton") -> None:
        """Choose an engine and wait until it may run."""
        combo = self.ui.engineCombo
        combo.currentIndex = combo.findData(engine)
        self.wait(lambda: getattr(self.ui, enabled).enabled and not self.panel.checking)

    def register(self) -> None:
        """Press the button and wait for the result."""
        self.ui.registerButton.click()
        self.wait(lambda: not self.panel.busy)
        if self.panel.results.run is None:
            sys.exit(self.ui.stageLabel.text)

    def look(self, button: str) -> None:
        """Choose a way of looking."""
        getattr(self.ui, button).click()
        self.wait(lambda: not self.panel.busy)


@contextmanager
def workers_suspended() -> Iterator[None]:
    """Suspend the running registration: drawing four views takes longer than the rest of its run."""
    workers = psutil.Process().children(recursive=True)
    for worker in workers:
        worker.suspend()
    try:
        yield
    finally:
        for worker in workers:
            worker.resume()


def shrink(path: Path) -> None:
    """Write a picture again with a palette: a third of the bytes, still crisp."""
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB")
    # Most colors where most pixels are, but some kept for the rare strong ones such as the color of folds.
    palette = Image.new("P", (1, 1))
    palette.putpalette(
        _colors(small, COMMON, Image.Quantize.MEDIANCUT) + _colors(small, RARE, Image.Quantize.MAXCOVERAGE)
    )
    small.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)


def _colors(picture: Any, count: int, method: Any) -> list[int]:
    found = picture.quantize(count, method=method).getpalette()[: 3 * count]
    return [*found, *found[:3] * (count - len(found) // 3)]


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "Resources" / "Screenshots")
    parser.add_argument("--models-only", action="store_true", help="only the page of models, in seconds")
    parser.add_argument("--only", nargs="+", choices=tuple(PICTURES), help="some pictures")
    parser.add_argument("--size", type=int, default=96, help="voxels along an edge of the head")
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)
    studio = Studio(wanted.out, wanted.size)
    studio.wait(lambda: not studio.panel.checking)
    names = ["models"] if wanted.models_only else wanted.only or list(PICTURES)
    pictures = dict.fromkeys(PICTURES[name] for name in PICTURES if name in names)
    for take in pictures:
        if take not in (_models, _training, _empty) and studio.panel.inputs.inputs().fixed is None:
            studio.load_pair()
        take(studio)


def _empty(studio: Studio) -> None:
    """Take the picture of the panel as it opens."""
    studio.shoot("empty", scroll="inputsButton")


def _finished(studio: Studio) -> None:
    """Take the pictures of a finished registration, in the dark style too."""
    studio.choose("instance")
    studio.register()
    studio.look("redCyanButton")
    studio.shoot("finished", screens=("", "-1280"))
    for button in ("checkerboardButton", "differenceButton", "gridButton", "arrowsButton"):
        studio.look(button)
        studio.shoot(button.removesuffix("Button"))
    lighten = studio.darken()
    studio.look("contoursButton")
    studio.shoot("dark", screens=("", "-1280"))
    lighten()
    studio.panel.results.forget()


def _side_by_side(studio: Studio) -> None:
    """Take the picture of fixed, warped and overlay in linked views, and of the menu below the result."""
    studio.choose("sitk-demons")
    studio.register()
    studio.look("sideBySideButton")
    studio.shoot("side-by-side")
    studio.panel.qa.inspection.fit_new_views()  # to the size of the picture
    studio.shoot("side-by-side")
    studio.panel.results.forget()


def _apply(studio: Studio) -> None:
    """Take the picture of the transform applied to a folder with a segmentation and landmarks."""
    ui, panel, slicer = studio.ui, studio.panel, studio.slicer
    studio.choose("sitk-demons")
    studio.register()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Plan of Head 2")
    inputs = panel.inputs.inputs()
    for node in (inputs.moving_labels, inputs.moving_points):
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), folder)
    ui.applyButton.collapsed = False
    panel.validate()
    panel.apply.check("Plan of Head 2")
    ui.applyNowButton.click()
    studio.wait(lambda: not panel.busy)
    studio.shoot("apply", scroll="structuresButton")
    ui.applyButton.collapsed = True
    panel.results.forget()


def _regions(studio: Studio) -> None:
    """Take the picture of the inputs with an excluded lesion and rigid bodies."""
    import numpy as np
    from DeepVsClassicRegLib.core.images.volume import LabelMap
    from DeepVsClassicRegLib.mrml.geometry import grid_of
    from DeepVsClassicRegLib.mrml.sample_data import add_labels

    ui, slicer = studio.ui, studio.slicer
    fixed = ui.fixedSelector.currentNode()
    grid = grid_of(fixed)
    for name, center, radius_mm, selector in (
        ("Lesion", (35.0, 10.0, 0.0), 14.0, ui.fixedExcludedSelector),
        ("Implants", (-30.0, -20.0, 0.0), 9.0, ui.fixedRigidSelector),
    ):
        inside = np.linalg.norm(grid.points() - np.array(center), axis=-1) < radius_mm
        node = add_labels(LabelMap(inside.astype(np.int32), grid), name, reference=fixed)
        selector.setCurrentNode(node)
    ui.inputsButton.collapsed = ui.moreInputsButton.collapsed = False
    studio.choose("instance")
    studio.shoot("regions", scroll="inputsButton")
    for selector in (ui.fixedExcludedSelector, ui.fixedRigidSelector):
        node = selector.currentNode()
        selector.setCurrentNode(None)
        slicer.mrmlScene.RemoveNode(node)
    ui.moreInputsButton.collapsed = True


def _repair(studio: Studio) -> None:
    """Take the picture of a pair of points with the preview, before the registration around them."""
    ui, panel, slicer = studio.ui, studio.panel, studio.slicer
    studio.choose("sitk-demons")
    studio.register()
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        node.JumpSliceByCentering(20.0, 30.0, 20.0)
    ui.repairButton.collapsed = False
    ui.repairAddButton.click()
    ui.repairPreviewButton.checked = True
    panel.repair.pairs.warped.SetNthControlPointPositionWorld(0, 27.0, 36.0, 20.0)
    studio.wait(lambda: not panel.busy)
    studio.shoot("repair", scroll="structuresButton")
    ui.repairButton.collapsed = True
    panel.results.forget()


def _motion(studio: Studio) -> None:
    """Take the picture of the corrected motion of a sequence."""
    from DeepVsClassicRegLib.core.phantom.breathing import make_breathing
    from DeepVsClassicRegLib.mrml.nodes import add_volume

    ui, slicer = studio.ui, studio.slicer
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Breathing")
    for number, frame in enumerate(make_breathing(4, size=32).frames):
        volume = add_volume(frame)
        sequence.SetDataNodeAtValue(volume, str(number))
        slicer.mrmlScene.RemoveNode(volume)
    studio.choose("sitk-demons")
    studio.wait(lambda: ui.motionButton.visible)
    ui.motionButton.collapsed = False
    ui.motionCyclicCheck.checked = True
    ui.motionNowButton.click()
    studio.wait(lambda: not studio.panel.busy)
    studio.shoot("motion", scroll="motionButton")
    ui.motionButton.collapsed = True
    for kind in ("vtkMRMLSequenceBrowserNode", "vtkMRMLSequenceNode"):
        for node in slicer.util.getNodesByClass(kind):
            slicer.mrmlScene.RemoveNode(node)


def _models(studio: Studio) -> None:
    """Take the picture of the page of models; DVCREG_MODELS may name more than those that ship."""
    from matplotlib.image import imsave
    from slicer_standin import screenshots

    page = studio.panel.models
    page.show()
    path = studio.folder / "models.png"
    imsave(path, screenshots.grab_widget(page.dialog, scale=1.0))
    shrink(path)
    page.close()


def _training(studio: Studio) -> None:
    """Take the pictures of the window for a training and of a running one, as wide as the panel, dark too."""
    from matplotlib.image import imsave
    from slicer_standin import screenshots

    with tempfile.TemporaryDirectory() as home:
        os.environ["XDG_DATA_HOME"] = home
        nodes = _training_cases()
        page = studio.panel.models
        page.show()
        page.train_dialog.show()
        dialog = page.train_dialog
        studio.wait(lambda: not dialog.waiting and dialog.ui.methodCombo.count)
        dialog.ui.nameEdit.text, dialog.ui.hoursSpin.value = "my-heads", 2.0
        volumes, segmentations = (list(side) for side in zip(*nodes, strict=True))
        options = {"method": "voxelmorph", "settings": {"encoder": [8, 8], "decoder": [8, 8]}, "size": "16"}
        options |= {"spacing_mm": 12.0, "linear": "", "validation": 1, "augmentation": {}}
        options["train"] = {"validate_every": 2, "log_every": 1, "learning_rate": 3e-3}
        logic = studio.slicer.modules.DeepVsClassicRegWidget.logic
        handle = logic.train(volumes, segmentations, name="heads", hours=0.5, options=options, threads=1, wait=False)
        task = studio.panel.runner.training
        studio.wait(lambda: handle.over or len(task.curves.dice) > 6)
        if handle.over:
            sys.exit(f"{task.message} {task.hint}")
        for ending in ("", "-dark"):
            lighten = studio.darken() if ending else lambda: None
            for name, window, height in (("train", dialog.dialog, 700), ("training", page.dialog, 900)):
                window.resize(PANEL_WIDTH, height)
                screenshots.settle()
                page.trainings.show()
                screenshots.settle()
                path = studio.folder / f"{name}{ending}.png"
                imsave(path, screenshots.grab_widget(window, scale=1.0))
                shrink(path)
                sys.stdout.write(f"{path}\n")
            lighten()
        handle.cancel()
        studio.wait(lambda: handle.over and not page.trainings.busy)
        page.close()
        for node in (*volumes, *segmentations):  # else they are drawn over the pair of the next pictures
            studio.slicer.mrmlScene.RemoveNode(node)
        del os.environ["XDG_DATA_HOME"]


def _training_cases() -> list[tuple[Any, Any]]:
    """Add six generated heads with their structures to the scene."""
    from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
    from DeepVsClassicRegLib.mrml.sample_data import add_labels, add_volume

    found = []
    for seed in range(3):
        pair = make_phantom("head", size=32, seed=seed).pair
        for volume, labels in ((pair.fixed, pair.fixed_labels), (pair.moving, pair.moving_labels)):
            node = add_volume(volume, f"Head {len(found) + 1}")
            found.append((node, add_labels(labels, f"Head {len(found) + 1} segmentation", reference=node)))
    return found


def _recommendation(studio: Studio) -> None:
    """Take the picture of the advice with its reasons and its plot."""
    ui, panel = studio.ui, studio.panel
    panel.advice.ask()
    studio.wait(lambda: not panel.advice.asking)
    if panel.advice.advice is None:
        sys.exit(ui.adviceLabel.text)
    ui.adviceButton.collapsed = ui.whyButton.collapsed = False
    layout = studio.slicer.app.layoutManager()
    before = layout.layout
    panel.advice.show_plot()
    studio.shoot("recommendation", screens=("", "-1280"), scroll="adviceButton")
    lighten = studio.darken()
    studio.shoot("recommendation-dark", scroll="adviceButton")
    lighten()
    layout.setLayout(before)
    ui.whyButton.collapsed = ui.adviceButton.collapsed = True


def _running(studio: Studio) -> None:
    """Take the picture while the deformable part runs and another engine waits."""
    ui, panel = studio.ui, studio.panel
    studio.choose("sitk-demons")
    ui.progressButton.collapsed = False
    ui.registerButton.click()
    studio.wait(lambda: panel.runner.busy)
    studio.choose("elastix", enabled="queueButton")
    ui.queueButton.click()
    studio.wait(lambda: not panel.runner.busy or (panel.runner.current.fraction > 0.5 and panel.run.plot.points > 15))
    with workers_suspended():
        studio.shoot("running", scroll="methodButton")
    ui.registerButton.click()  # Cancel
    studio.wait(lambda: not panel.busy)
    ui.progressButton.collapsed = True


def _compare(studio: Studio) -> None:
    """Take the pictures before and after a comparison of five engines."""
    ui, panel = studio.ui, studio.panel
    ui.methodButton.collapsed = False
    studio.choose("compare")
    for name, (check, _combo) in panel.engines.compare_list.rows.items():
        check.checked = name in COMPARED and check.enabled
    studio.wait(lambda: ui.registerButton.enabled and not panel.checking)
    studio.shoot("choosing", scroll="methodButton")
    studio.register()
    studio.look("contoursButton")
    ui.structuresButton.collapsed = False
    studio.shoot("compare", screens=("", "-1280"))
    ui.structuresButton.collapsed = True
    while panel.results.run is not None:
        panel.results.forget()


def _jacobian(studio: Studio) -> None:
    """Take the picture of a field that folds."""
    ui, panel = studio.ui, studio.panel
    ui.methodButton.collapsed = False
    studio.choose("sitk-demons")
    for name, value in FOLDING.items():
        panel.engines.form.fields[name].show(value)
    studio.wait(lambda: ui.registerButton.enabled and not panel.checking)
    studio.register()
    studio.look("jacobianButton")
    ui.opacitySlider.value = 0.75
    studio.shoot("jacobian")
    while panel.results.run is not None:
        panel.results.forget()


def _sections(studio: Studio) -> None:
    """Take the picture of two stained sections registered in their plane; the second one is bent and turned."""
    import numpy as np
    from DeepVsClassicRegLib.core.phantom.warp import random_warp
    from DeepVsClassicRegLib.core.transforms.transform import Affine
    from DeepVsClassicRegLib.mrml.inputs import Inputs

    ui, panel = studio.ui, studio.panel
    pair = panel.inputs.inputs()
    angle = np.deg2rad(7.0)
    turn = [[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]]
    affine = Affine(np.array(turn), np.array([5.0, -3.0, 0.0]))
    warp = random_warp(4, size_mm=150.0, amplitude_mm=10.0, affine=affine)
    nodes = [_section("Section 14", lambda points: points, seed=1), _section("Section 15", warp.inverse, seed=2)]
    panel.inputs.pick(Inputs(fixed=nodes[0], moving=nodes[1]))
    studio.lay_out(*nodes)
    studio.choose("instance")
    studio.register()
    studio.look("sideBySideButton")
    ui.inputsButton.collapsed = ui.methodButton.collapsed = False
    studio.shoot("sections", scroll="inputsButton")
    panel.qa.inspection.fit_new_views()  # to the size of the picture
    studio.shoot("sections", scroll="inputsButton")
    panel.results.forget()
    panel.inputs.pick(pair)
    for node in nodes:
        studio.slicer.mrmlScene.RemoveNode(node)
    studio.lay_out(pair.fixed, pair.moving)


def _section(name: str, pull: Callable[[Any], Any], *, seed: int) -> Any:
    """Add a color volume of one slice through the head; `pull` maps its points to those of the head."""
    grid = _section_grid(1, z_mm=8.0)
    return _colored(name, _stained(pull(grid.points()), seed=seed), grid)


def _stack(studio: Studio) -> None:
    """Take the picture of aligned sections: every section was turned and shifted by itself."""
    import numpy as np
    from DeepVsClassicRegLib.ui.panel import close_done

    ui, slicer = studio.ui, studio.slicer
    grid, rng = _section_grid(STACK_SECTIONS, z_mm=-10.0), np.random.default_rng(3)
    sections = []
    for plane in grid.points():
        angle, shift = np.deg2rad(rng.uniform(-7, 7)), rng.uniform(-6, 6, 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        moved = np.concatenate([plane[..., :2] @ turn.T + shift, plane[..., 2:]], axis=-1)
        sections.append(_stained(moved[None], seed=int(rng.integers(1000))))
    given = _colored("Sections", np.concatenate(sections), grid)
    close_done(ui)
    studio.wait(lambda: ui.stackButton.visible)
    ui.stackButton.collapsed = False
    ui.stackSelector.setCurrentNode(given)
    ui.stackNowButton.click()
    studio.wait(lambda: not studio.panel.busy)
    # Left and right below: the same cut before and after.
    yellow, green = (slicer.app.layoutManager().sliceWidget(name) for name in ("Yellow", "Green"))
    yellow.mrmlSliceCompositeNode().SetBackgroundVolumeID(given.GetID())
    green.mrmlSliceNode().SetOrientation("Sagittal")
    for view in (yellow, green):
        view.mrmlSliceNode().JumpSliceByCentering(12.0, 0.0, 40.0)
        view.sliceLogic().FitSliceToBackground()
    studio.shoot("stack", scroll="stackButton")
    ui.stackButton.collapsed = True
    green.mrmlSliceNode().SetOrientation("Coronal")
    for node in slicer.util.getNodesByClass("vtkMRMLVectorVolumeNode"):
        slicer.mrmlScene.RemoveNode(node)


def _section_grid(count: int, *, z_mm: float) -> Any:
    """Return the grid of sections through the head, the first one at `z_mm`."""
    from DeepVsClassicRegLib.core.images.grid import Grid

    first = [-(pixels - 1) / 2 * SECTION_MM for pixels in SECTION_PIXELS]
    return Grid((*SECTION_PIXELS, count), (SECTION_MM, SECTION_MM, STACK_MM), (first[0], first[1] - 4.0, z_mm))


def _stained(points: Any, *, seed: int) -> Any:
    """Return the colors (Z, Y, X, 3) of stained tissue at points of the head, (Z, Y, X, 3) mm."""
    import numpy as np
    from DeepVsClassicRegLib.core.phantom import head
    from scipy.ndimage import gaussian_filter

    labels, content = head.label_at(points)
    colors = np.where(content[..., None], np.array(STAIN["csf"], float), np.array(STAIN[""], float))
    for tissue, members in head.TISSUES.items():
        colors[np.isin(labels, members)] = STAIN[tissue]
    rng = np.random.default_rng(seed)
    cells = gaussian_filter(rng.normal(size=labels.shape), (0, 1.2, 1.2)) * 40 * (labels > 0)
    colors = gaussian_filter(colors, (0, 0.7, 0.7, 0)) + cells[..., None] * (0.6, 1.0, 0.5)
    return np.clip(colors, 0, 255).astype(np.uint8)


def _colored(name: str, colors: Any, grid: Any) -> Any:
    """Add a color volume."""
    import slicer
    from DeepVsClassicRegLib.mrml.geometry import image_of, place

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", name)
    node.SetAndObserveImageData(image_of(colors))
    node.SetVoxelVectorType(node.VoxelVectorTypeColorRGB)
    node.CreateDefaultDisplayNodes()
    place(node, grid)
    return node


def _presets(studio: Studio) -> None:
    """Take the picture of the settings of an engine with a preset of the user."""
    from slicer_standin import dialogs

    ui, panel = studio.ui, studio.panel
    with _own_folder():
        studio.choose("instance")
        ui.methodButton.collapsed = ui.settingsButton.collapsed = False
        for name, value in OWN_SETTINGS.items():
            panel.engines.form.fields[name].show(value)
        dialogs.answer("getText", OWN_PRESET)
        ui.savePresetButton.click()
        studio.wait(lambda: ui.presetCombo.currentText == OWN_PRESET and not panel.checking)
        studio.shoot("presets", scroll="methodButton")
        ui.presetCombo.currentIndex = 0
    ui.settingsButton.collapsed = True
    studio.choose("linear")
    studio.choose("instance")  # lists its presets again, without that of the folder that is gone


@contextmanager
def _own_folder() -> Iterator[None]:
    """Use an empty folder of the user."""
    before = os.environ.get("XDG_DATA_HOME")
    with tempfile.TemporaryDirectory() as home:
        os.environ["XDG_DATA_HOME"] = home
        try:
            yield
        finally:
            os.environ.pop("XDG_DATA_HOME")
            if before is not None:
                os.environ["XDG_DATA_HOME"] = before


def _consent(studio: Studio) -> None:
    """Take the picture of the question before greedy is installed; what pip would do is asked on this computer."""
    from DeepVsClassicRegLib.core.engines.base import Requirement
    from DeepVsClassicRegLib.ui import dependencies

    ui, slicer = studio.ui, studio.slicer
    found, resolve, confirm = Requirement.found, dependencies.packages_to_add, slicer.util.confirmOkCancelDisplay

    def ask(text: str) -> bool:
        with _message(studio, text):
            studio.shoot("consent", scroll="methodButton", size=SCREENS["-1280"])
        return False

    # As on a computer that has everything but greedy.
    Requirement.found = lambda self: self.name != "picsl_greedy" and found(self)
    dependencies.packages_to_add = lambda lines, alone: resolve(
        lines, alone, options=("--ignore-installed", "--no-deps")
    )
    slicer.util.confirmOkCancelDisplay = ask
    try:
        studio.panel.engines.refresh()
        studio.choose("greedy")
        ui.methodButton.collapsed = False
        ui.installButton.click()
    finally:
        Requirement.found, dependencies.packages_to_add, slicer.util.confirmOkCancelDisplay = found, resolve, confirm
        studio.panel.engines.refresh()
        studio.choose("instance")


@contextmanager
def _message(studio: Studio, text: str) -> Iterator[None]:
    """Show a question as `slicer.util.confirmOkCancelDisplay` does, in a frame with the title of its window."""
    import qt
    from slicer_standin.screenshots import settle

    window = studio.slicer.util.mainWindow()
    frame = qt.QFrame(window)
    frame.setStyleSheet(".QFrame{background:palette(window);border:1px solid #777;border-radius:6px}")
    title = qt.QLabel(f"{studio.slicer.app.applicationName} confirmation", frame)
    title.alignment = qt.Qt.AlignCenter
    title.setStyleSheet("padding:7px;background:#d8d8dc;border-bottom:1px solid #aaa;font-weight:bold")
    box = qt.QMessageBox(frame)
    box.setWindowFlags(qt.Qt.Widget)
    box.icon = qt.QMessageBox.Question
    box.text = text
    box.standardButtons = qt.QMessageBox.Ok | qt.QMessageBox.Cancel
    layout = qt.QVBoxLayout(frame)
    layout.setContentsMargins(1, 1, 1, 1)
    layout.addWidget(title)
    layout.addWidget(box)
    box.show()
    frame.show()
    settle()
    frame.resize(frame.minimumSizeHint)
    width, height = SCREENS["-1280"]
    frame.move((width - frame.width) // 2 + PANEL_WIDTH // 2, (height - frame.height) // 2)
    frame.raise_()
    try:
        yield
    finally:
        frame.hide()
        frame.deleteLater()


PICTURES: dict[str, Callable[[Studio], None]] = {
    "motion": _motion,
    "models": _models,
    "training": _training,
    "empty": _empty,
    "regions": _regions,
    "recommendation": _recommendation,
    "running": _running,
    "finished": _finished,
    "compare": _compare,
    "jacobian": _jacobian,
    "side-by-side": _side_by_side,
    "apply": _apply,
    "repair": _repair,
    "sections": _sections,
    "stack": _stack,
    "presets": _presets,
    "consent": _consent,
}


if __name__ == "__main__":
    main()

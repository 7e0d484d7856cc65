"""Opens a scripted module in a window without Slicer: the panel beside three slice views and a 3D view."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

TESTING = Path(__file__).resolve().parents[1]
MODULE = TESTING.parent / "DeepVsClassicReg" / "DeepVsClassicReg.py"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("volumes", nargs="*", type=Path, help="volumes to load (NRRD, NIfTI, MetaImage)")
    parser.add_argument("--module", type=Path, default=MODULE, help="scripted module to show")
    parser.add_argument("--sample", help="name of a registered sample; default: the first that needs no download")
    parser.add_argument("--empty", action="store_true", help="start with an empty scene")
    parser.add_argument("--close-after", type=float, metavar="SECONDS", help="close the window by itself")
    return parser.parse_args()


def choose_platform() -> None:
    """Use the screen that there is, or say that there is none."""
    if os.environ.get("QT_QPA_PLATFORM", "offscreen") != "offscreen":
        return  # chosen by the user, e.g. "vnc" to look at it from another machine
    if sys.platform.startswith("linux"):
        if os.environ.get("WAYLAND_DISPLAY") and not os.environ.get("DISPLAY"):
            os.environ["QT_QPA_PLATFORM"] = "wayland"
        elif os.environ.get("DISPLAY"):
            os.environ["QT_QPA_PLATFORM"] = "xcb"
        else:
            sys.exit("No screen: neither DISPLAY nor WAYLAND_DISPLAY is set. `make screenshots` needs none.")
    else:
        os.environ["QT_QPA_PLATFORM"] = "windows" if sys.platform == "win32" else "cocoa"


def add_menus(slicer: Any, qt: Any, window: Any) -> None:
    """Give the window what a user of Slicer looks for first: data, samples, scene, layouts."""

    def action(menu: Any, text: str, run: Any) -> None:
        menu.addAction(text).triggered.connect(lambda _checked=False: run())

    def add_data() -> None:
        path = qt.QFileDialog.getOpenFileName(window, "Add data")
        if path:
            slicer.util.loadNodeFromFile(path, None, {})

    def save_scene() -> None:
        path = qt.QFileDialog.getSaveFileName(window, "Save scene", "scene.mrb")
        if path:
            slicer.util.saveScene(path, {})

    file_menu = window.menuBar().addMenu("File")
    action(file_menu, "Add data...", add_data)
    action(file_menu, "Save scene...", save_scene)
    action(file_menu, "Close scene", lambda: slicer.mrmlScene.Clear(0))
    samples = window.menuBar().addMenu("Sample data")
    for group in slicer.modules.sampleDataSources.values():
        for source in group:
            action(samples, source.sampleName, lambda source=source: press_sample(source))
    view_menu = window.menuBar().addMenu("View")
    layouts = slicer.vtkMRMLLayoutNode
    for text, layout in (
        ("Four-up", layouts.SlicerLayoutFourUpView),
        ("Conventional", layouts.SlicerLayoutConventionalView),
        ("With plot", layouts.SlicerLayoutConventionalPlotView),
        ("Red slice only", layouts.SlicerLayoutOneUpRedSliceView),
    ):
        action(view_menu, text, lambda layout=layout: slicer.app.layoutManager().setLayout(layout))
    action(view_menu, "Fit slices", slicer.util.resetSliceViews)
    action(view_menu, "Center 3D", slicer.util.resetThreeDViews)


def press_sample(source: Any) -> None:
    """Load a sample as its button in the module Sample Data does."""
    from SampleData import SampleDataLogic

    if source.customDownloader is not None:
        source.customDownloader(source)
    else:
        SampleDataLogic().downloadFromSource(source)


def load_data(slicer: Any, options: argparse.Namespace) -> None:
    """Load the volumes or the sample that the command line asks for."""
    for path in options.volumes:
        slicer.util.loadVolume(str(path), {})
    sources = [source for group in slicer.modules.sampleDataSources.values() for source in group]
    if options.sample:
        press_sample(next(source for source in sources if source.sampleName == options.sample))
    elif not (options.volumes or options.empty):
        for source in [source for source in sources if source.customDownloader is not None][:1]:
            press_sample(source)


def main() -> int:
    """Show the window until it is closed."""
    options = arguments()
    choose_platform()
    sys.path.insert(0, str(TESTING))
    from slicer_standin import boot, dialogs, modules

    slicer = boot.boot()
    dialogs.interactive = True
    slicer.app.commandOptions().testingEnabled = False
    module = modules.load_module(options.module)
    window = boot.main_window()
    import qt

    add_menus(slicer, qt, window)
    window.setWindowIcon(modules.icon_or_default(module))
    window.show()
    slicer.util.selectModule(module.name)
    load_data(slicer, options)
    slicer.util.resetThreeDViews()
    if options.close_after is not None:
        qt.QTimer.singleShot(int(1000 * options.close_after), window.close)
    return int(slicer.app.exec())


if __name__ == "__main__":
    sys.exit(main())

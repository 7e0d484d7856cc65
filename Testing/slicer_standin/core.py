"""The part of Slicer that is real here: MRML scene, application logic, module logics, colors, data caches."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")  # no X server needed

import slicer
import vtk

# Module name in slicer.modules -> logic class. Colors must come first: the others ask for its default tables.
LOGICS = {
    "Colors": "vtkSlicerColorLogic", "Units": "vtkSlicerUnitsLogic", "Volumes": "vtkSlicerVolumesLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic", "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic", "Transforms": "vtkSlicerTransformLogic",
    "Tables": "vtkSlicerTablesLogic", "Plots": "vtkSlicerPlotsLogic", "Models": "vtkSlicerModelsLogic",
    "Markups": "vtkSlicerMarkupsLogic", "CropVolume": "vtkSlicerCropVolumeLogic", "Texts": "vtkSlicerTextsLogic",
    "Data": "vtkSlicerDataModuleLogic", "Cameras": "vtkSlicerCamerasModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "ViewControllers": "vtkSlicerViewControllersLogic",
}  # fmt: skip
# Anchor colors of the tables that Slicer reads from files which the wheel does not carry.
COLOR_TABLES = {
    "DivergingBlueRed": [(59, 76, 192), (221, 221, 221), (180, 4, 38)],
    "Viridis": [(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)],
    "Inferno": [(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)],
}
SEGMENT_COLORS = [(128, 174, 128), (241, 214, 145), (177, 122, 101), (111, 184, 210), (216, 101, 79), (221, 130, 101)]

home = Path(tempfile.mkdtemp(prefix="slicer_standin_"))
temporary_path = home / "tmp"
application_logic: Any = None
layout_logic: Any = None
logics: dict[str, Any] = {}
_keep: list[Any] = []


def _write_home() -> None:
    colors = home / "share" / "ColorFiles"
    colors.mkdir(parents=True)
    temporary_path.mkdir()
    (home / "cache").mkdir()
    (home / "cache" / ".slicer-cache").touch()
    for name, anchors in COLOR_TABLES.items():
        lookup = vtk.vtkColorTransferFunction()
        for index, (red, green, blue) in enumerate(anchors):
            lookup.AddRGBPoint(255.0 * index / (len(anchors) - 1), red / 255, green / 255, blue / 255)
        rows = [[round(255 * channel) for channel in lookup.GetColor(index)] for index in range(256)]
        _write_table(colors / f"{name}.txt", rows, "level")
    for name in ("GenericColors", "GenericAnatomyColors"):
        _write_table(colors / f"{name}.txt", [[0, 0, 0], *SEGMENT_COLORS], "label")
    atexit.register(shutil.rmtree, home, ignore_errors=True)


def _write_table(path: Path, rows: list[Any], prefix: str) -> None:
    lines = [f"{index} {prefix}_{index} {row[0]} {row[1]} {row[2]} 255" for index, row in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n")


def start() -> None:
    """Create the scene and every logic; `slicer.mrmlScene` is set when this returns."""
    global application_logic, layout_logic
    _write_home()
    scene = slicer.mrmlScene = slicer.vtkMRMLScene()
    logic = application_logic = slicer.vtkSlicerApplicationLogic()
    logic.SetHomeDirectory(str(home))
    logic.SetShareDirectory("share")  # must be relative to the home directory
    logic.SetTemporaryPath(str(temporary_path))
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    logic.SetMRMLScene(scene)
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)  # terminology files are not in the wheel
    for name, class_name in LOGICS.items():
        module_logic = logics[name] = getattr(slicer, class_name)()
        module_logic.SetMRMLApplicationLogic(logic)
        logic.SetModuleLogic(name, module_logic)
        module_logic.SetMRMLScene(scene)
        if name == "Colors":
            logic.SetColorLogic(module_logic)
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_WARNING)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    _start_data_cache(scene)
    layout_logic = slicer.vtkMRMLLayoutLogic()
    layout_logic.SetMRMLApplicationLogic(logic)
    layout_logic.SetMRMLScene(scene)


def _start_data_cache(scene: Any) -> None:
    # Without a remote cache directory scenes cannot be read from .mrb bundles.
    remote, data = slicer.vtkMRMLRemoteIOLogic(), slicer.vtkDataIOManagerLogic()
    for part in (remote, data):
        part.SetMRMLApplicationLogic(application_logic)
        part.SetMRMLScene(scene)
    remote.GetCacheManager().SetRemoteCacheDirectory(str(home / "cache"))
    data.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()
    _keep.extend((remote, data))

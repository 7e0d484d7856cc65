"""Stand-in for Slicer's IO manager: chooses the real logic or storage node that reads or writes a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

from slicer_standin import core, guards
from slicer_standin.pythonqt import QtCore
from slicer_standin.qtmodule import code_only

# Longest suffix first: ".seg.nrrd" is a segmentation although it is also a volume.
FILE_TYPES = (
    ((".seg.nrrd", ".seg.nhdr"), "SegmentationFile"), ((".mrk.json", ".fcsv"), "MarkupsFile"),
    ((".mrml", ".mrb"), "SceneFile"), ((".h5", ".tfm", ".mat"), "TransformFile"),
    ((".csv", ".tsv"), "TableFile"), ((".vtp", ".vtk", ".ply", ".stl", ".obj"), "ModelFile"),
    ((".ctbl",), "ColorTableFile"), ((".txt", ".json", ".xml"), "TextFile"),
    ((".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", ".hdr", ".tif", ".png"), "VolumeFile"),
)  # fmt: skip
NODE_CLASSES = {"SegmentationFile": "vtkMRMLSegmentationNode", "TableFile": "vtkMRMLTableNode",
                "TextFile": "vtkMRMLTextNode", "ColorTableFile": "vtkMRMLColorTableNode",
                "TransformFile": "vtkMRMLTransformNode", "ModelFile": "vtkMRMLModelNode"}  # fmt: skip


@code_only
class qSlicerCoreIOManager(QtCore.QObject):
    """Loads and saves nodes and scenes."""

    def fileType(self, filename: str) -> str:
        return next((kind for endings, kind in FILE_TYPES if str(filename).lower().endswith(endings)), "NoFile")

    def fileWriterFileType(self, node: Any, _extension: str = "") -> str:
        pairs = (("vtkMRMLSegmentationNode", "SegmentationFile"), ("vtkMRMLVolumeNode", "VolumeFile"),
                 ("vtkMRMLTransformNode", "TransformFile"), ("vtkMRMLTableNode", "TableFile"),
                 ("vtkMRMLMarkupsNode", "MarkupsFile"), ("vtkMRMLModelNode", "ModelFile"),
                 ("vtkMRMLTextNode", "TextFile"))  # fmt: skip
        return next((kind for name, kind in pairs if node.IsA(name)), "NoFile")

    def fileWriterExtensions(self, node: Any) -> list[str]:
        formats = _storage(node).GetSupportedWriteFileTypes()
        return [formats.GetValue(index) for index in range(formats.GetNumberOfValues())]

    def extractKnownExtension(self, filename: str, node: Any) -> str:
        known = (slicer.vtkDataFileFormatHelper.GetFileExtensionFromFormatString(text)
                 for text in self.fileWriterExtensions(node))  # fmt: skip
        return max((ending for ending in known if str(filename).lower().endswith(ending)), key=len, default="")

    def loadNodes(self, fileType: str, properties: dict[str, Any], nodes: Any = None, messages: Any = None) -> bool:
        path = str(properties["fileName"])
        if fileType == "SceneFile":
            return self.loadScene(path, properties.get("clear", False))
        node = _load(fileType, path, properties) if Path(path).exists() else None
        if node is None:
            if messages is not None:
                messages.AddMessage(slicer.vtkMRMLMessageCollection.ErrorEvent if False else 0, f"cannot read {path}")
            return False
        if properties.get("name"):
            node.SetName(properties["name"])
        if nodes is not None:
            nodes.AddItem(node)
        return True

    def loadScene(self, path: str, clear: bool = True) -> bool:
        scene = slicer.mrmlScene
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear))
        scene.SetURL(path)
        return bool(scene.Connect() if clear else scene.Import())

    def saveNodes(self, fileType: str, properties: dict[str, Any], messages: Any = None) -> bool:
        path = str(properties["fileName"])
        if fileType == "SceneFile":
            return self.saveScene(path)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        storage.SetUseCompression(properties.get("useCompression", 1))
        return bool(storage.WriteData(node))

    def saveScene(self, path: str, screenshot: Any = None) -> bool:
        scene = slicer.mrmlScene
        if path.endswith(".mrb"):
            done = bool(scene.WriteToMRB(path, None))
            if done:
                guards.check_bundle(path)
            return done
        if path.endswith(".mrml"):
            scene.SetURL(path)
            scene.SetRootDirectory(str(Path(path).parent))
            return bool(scene.Commit())
        return bool(scene.SaveSceneToSlicerDataBundleDirectory(path, None))

    def exportNodes(
        self, ids: list[str], paths: list[str], properties: Any, harden: bool, messages: Any = None
    ) -> bool:
        done = True
        for node_id, path in zip(ids, paths, strict=True):
            node = slicer.mrmlScene.GetNodeByID(node_id)
            if harden:
                original, node = node, slicer.mrmlScene.CreateNodeByClass(node.GetClassName())
                node.UnRegister(None)
                node.SetScene(slicer.mrmlScene)
                node.CopyContent(original)
                to_world = slicer.vtkMRMLTransformNode
                general = core.vtk.vtkGeneralTransform()
                to_world.GetTransformBetweenNodes(original.GetParentTransformNode(), None, general)
                node.ApplyTransform(general)
            storage = _storage(node)
            storage.SetFileName(str(path))
            done = bool(storage.WriteData(node)) and done
        return done


def _storage(node: Any) -> Any:
    name = node.GetDefaultStorageNodeClassName()
    storage = slicer.mrmlScene.CreateNodeByClass(name)
    storage.UnRegister(None)
    storage.SetScene(slicer.mrmlScene)  # outside a scene it reports no file types
    return storage


def _load(kind: str, path: str, properties: dict[str, Any]) -> Any:
    logic, name = core.application_logic, properties.get("name") or Path(path).name.split(".")[0]
    if kind == "VolumeFile":
        options = (1 if properties.get("labelmap") else 0) + (2 if properties.get("center") else 0)
        options += 8 if properties.get("autoWindowLevel", True) else 0
        node = core.logics["Volumes"].AddArchetypeVolume(path, name, options)
        if node is not None and properties.get("show", True):
            selection = logic.GetSelectionNode()
            if properties.get("labelmap"):
                selection.SetActiveLabelVolumeID(node.GetID())
            else:
                selection.SetActiveVolumeID(node.GetID())
            logic.PropagateVolumeSelection(1)
        return node
    if kind == "MarkupsFile":
        node_id = core.logics["Markups"].LoadMarkups(path, name)
        return slicer.mrmlScene.GetNodeByID(node_id) if node_id else None
    if kind not in NODE_CLASSES:
        return None
    scene = slicer.mrmlScene
    node = scene.AddNewNodeByClass(NODE_CLASSES[kind], scene.GenerateUniqueName(name))
    node.AddDefaultStorageNode(path)
    if not node.GetStorageNode().ReadData(node):
        scene.RemoveNode(node)
        return None
    if hasattr(node, "CreateDefaultDisplayNodes"):
        node.CreateDefaultDisplayNodes()
    return node

"""DICOM registration objects of volumes from Slicer's DICOM database, and transform files loaded as nodes."""

from __future__ import annotations

from types import SimpleNamespace

import dicom_samples
import mrml_helpers as helpers
import numpy as np
import pydicom
import pytest
import slicer
from DeepVsClassicRegLib.core.errors import RegistrationError
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform
from DeepVsClassicRegLib.mrml.dicom import load_transform, save_dicom


@pytest.fixture
def run(nodes, result):
    """A published run of the phantom."""
    return helpers.publish_truth(nodes, result)


@pytest.fixture
def database(nodes, tmp_path, monkeypatch):
    """Slicer's DICOM database with a series for each volume of the phantom."""
    known = {}
    for side in ("fixed", "moving"):
        folder = dicom_samples.series(
            tmp_path / side, FrameOfReferenceUID=f"1.2.{len(side)}", SeriesInstanceUID=f"1.{len(side)}"
        )
        files = {str(pydicom.dcmread(file).SOPInstanceUID): str(file) for file in folder.iterdir()}
        getattr(nodes, side).SetAttribute("DICOM.instanceUIDs", " ".join(files))
        known.update(files)
    monkeypatch.setattr(
        slicer, "dicomDatabase", SimpleNamespace(fileForInstance=lambda uid: known.get(uid, "")), raising=False
    )


def test_a_run_is_written_and_loaded_as_the_same_map(run, phantom, database, tmp_path):
    written = save_dicom(run.transform, tmp_path / "reg.dcm")
    assert written.kind == "Deformable Spatial Registration" and written.difference_mm < 0.01
    found = pydicom.dcmread(tmp_path / "reg.dcm")
    assert found.FrameOfReferenceUID == "1.2.5"
    assert found.DeformableRegistrationSequence[0].SourceFrameOfReferenceUID == "1.2.6"
    node = load_transform(tmp_path / "reg.dcm")
    points = phantom.pair.fixed_points
    read, made = (helpers.transform_of(node, phantom.pair.fixed.grid).apply(points) for node in (node, run.transform))
    assert np.abs(read - made).max() < 0.01 and node.GetName() == "reg"


def test_volumes_without_dicom_are_refused(run, nodes, database, tmp_path):
    nodes.moving.RemoveAttribute("DICOM.instanceUIDs")
    with pytest.raises(RegistrationError, match="was not loaded from Slicer's DICOM database"):
        save_dicom(run.transform, tmp_path / "reg.dcm")
    shift = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    helpers.set_transform(shift, Transform((Affine.shift([1, 2, 3]),)))
    nodes.fixed.SetAndObserveTransformNodeID(shift.GetID())
    with pytest.raises(RegistrationError, match="is under a transform"):
        save_dicom(run.transform, tmp_path / "reg.dcm")
    with pytest.raises(RegistrationError, match="fixed volume is not known"):
        save_dicom(shift, tmp_path / "reg.dcm")
    assert not (tmp_path / "reg.dcm").exists()

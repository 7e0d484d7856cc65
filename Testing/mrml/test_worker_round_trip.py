"""From nodes through the real worker process and back to nodes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mrml_helpers as helpers
import numpy as np
import slicer
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.images.resample import warp_volume
from DeepVsClassicRegLib.core.job import Job
from DeepVsClassicRegLib.mrml.geometry import array_of
from DeepVsClassicRegLib.mrml.outputs import load_result, publish
from DeepVsClassicRegLib.mrml.snapshot import snapshot

PACKAGES = Path(__file__).parents[2] / "DeepVsClassicReg"


def test_nodes_to_worker_to_nodes(nodes, phantom, tmp_path):
    inputs = helpers.inputs_of(nodes)
    shot = snapshot(inputs)
    files = shot.write(tmp_path)
    outputs = {"warped": "warped.nrrd", "warped_labels": "seg.nrrd", "transform": "t.h5", "jacobian": "j.nrrd",
               "report": "report.json"}  # fmt: skip
    Job(
        inputs=files,
        engine="sitk-demons",
        compute=Compute(device="cpu", threads=1),
        label_names=shot.label_names,
        outputs=outputs,
    ).write(tmp_path)
    # The worker takes the end of its input as the wish to cancel, so the pipe stays open until it is done.
    with subprocess.Popen(
        [sys.executable, "-m", "DeepVsClassicRegLib.worker", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(PACKAGES)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as worker:
        assert worker.wait(120) == 0
    loaded = load_result(tmp_path)
    run = publish(loaded, inputs, shot)
    assert run.engine == "sitk-demons"
    assert run.measures["dice_mean"] > run.measures_before["dice_mean"]
    # The warped volume is what Slicer shows when the published transform is applied to the moving volume.
    nodes.moving.SetAndObserveTransformNodeID(run.transform.GetID())
    shown = slicer.vtkSlicerVolumesLogic.ResampleVolumeToReferenceVolume(nodes.moving, nodes.fixed)
    expected = warp_volume(phantom.pair.moving, phantom.pair.fixed.grid, loaded.transform, fill=0).array
    low, high = phantom.pair.moving.value_range
    inner = (slice(2, -2),) * 3
    assert np.abs(array_of(shown) - array_of(run.warped))[inner].max() < 0.01 * (high - low)
    assert np.abs(array_of(run.warped) - expected)[inner].max() < 1e-4 * (high - low)
    names = [
        run.warped_labels.GetSegmentation().GetNthSegment(index).GetName()
        for index in range(run.warped_labels.GetSegmentation().GetNumberOfSegments())
    ]
    assert "Left thalamus" in names

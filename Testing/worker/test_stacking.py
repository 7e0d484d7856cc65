"""The alignment of serial sections in the worker."""

from __future__ import annotations

import numpy as np
import pytest
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.errors import SettingsError
from DeepVsClassicRegLib.core.files import read_json
from DeepVsClassicRegLib.core.images.channels import Channels
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import read_channels, write_channels
from DeepVsClassicRegLib.core.job import AXIS, OUTPUT_FOLDER, SECTIONS, STACK, Job
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.transforms.files import read_transform
from DeepVsClassicRegLib.worker.stacking import align_stack


def color_sections():
    """Return four sections along J, shifted along I by 0, 2, -1 and 1 voxels."""
    z, x = np.mgrid[:36, :40]
    planes = [255 * np.exp(-(((z - 17) / 7) ** 2 + ((x - 20 - shift) / 9) ** 2)) for shift in (0, 2, -1, 1)]
    color = np.stack(planes, axis=1)[..., None] * [1.0, 0.5, 0.25]
    return Channels(color.astype(np.uint8), Grid((40, 4, 36), (0.5, 2.0, 0.5)))


def test_the_results_are_those_of_the_axis_and_channel(tmp_path):
    write_channels(color_sections(), tmp_path / "in.nrrd")
    options = {SECTIONS: "in.nrrd#channel=1", AXIS: "j", STACK: {"reference": 0, "drift": 0.0}}
    job = Job(task="stack", inputs={}, engine="none", options=options, compute=Compute(threads=1))
    result = align_stack(job, tmp_path, Progress())
    out = tmp_path / OUTPUT_FOLDER
    aligned = read_channels(out / result["files"]["aligned"])
    assert aligned.array.shape == (4, 36, 40, 3) and aligned.array.dtype == np.uint8
    assert np.abs(aligned.array[1:].astype(float) - aligned.array[0])[:, 4:-4, 4:-4].max() < 12
    report = read_json(out / result["files"]["report"])
    assert report["settings"]["engine"] == "none" and report["similarity"]["after"]["lowest"] > 0.99
    moved = read_transform(out / result["files"]["transform"]).apply([[10.0, 2.0, 8.5]])[0]
    assert moved == pytest.approx([11.0, 2.0, 8.5], abs=0.15)
    assert any("straightened" in note for note in result["notes"])


def test_a_job_without_sections_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="no sections"):
        align_stack(Job(task="stack", inputs={}, engine="none"), tmp_path, Progress())

"""A motion correction in a real worker: what is finished outlives a cancel."""

from __future__ import annotations

from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.images.io import write_volume
from DeepVsClassicRegLib.core.job import FRAMES, MOTION, OUTPUT_FOLDER, WORKERS, Job
from DeepVsClassicRegLib.core.motion.settings import TRANSFORMS
from DeepVsClassicRegLib.core.phantom.breathing import make_breathing
from DeepVsClassicRegLib.core.transforms.files import read_transform
from DeepVsClassicRegLib.worker.client import WorkerClient
from DeepVsClassicRegLib.worker.protocol import GRACE_S, grace_s

LATEST_S = 300.0
COUNT = 16  # so many that a busy computer does not finish all before the cancel arrives


def finished(event) -> bool:
    """Whether a frame is registered: then the message names the next or the last one."""
    return event.kind == "progress" and "frame" in event.data["stage"] and event.data["fraction"] > 0.1


def test_a_cancel_keeps_the_frames_that_two_processes_have_finished(tmp_path):
    frames = make_breathing(COUNT, size=32).frames
    names = [write_volume(frame, tmp_path / f"{number}.nii.gz").name for number, frame in enumerate(frames)]
    options = {FRAMES: names, MOTION: {"engine": "sitk-demons"}, WORKERS: 2}
    Job(task="motion", inputs={}, options=options, compute=Compute(threads=1), ephemeral=False).write(tmp_path)
    with WorkerClient(tmp_path) as client:
        assert any(finished(event) for event in client.events()), client.outcome
        client.cancel(kill_after_s=LATEST_S)
        assert client.wait(LATEST_S).state == "cancelled"
    kept = list((tmp_path / OUTPUT_FOLDER / TRANSFORMS).glob("*.h5"))
    assert 1 <= len(kept) < COUNT - 1
    for path in kept:
        assert read_transform(path).parts


def test_only_tasks_with_something_to_keep_may_take_their_time():
    assert grace_s("register") == GRACE_S < 1 < grace_s("motion") < grace_s("train")

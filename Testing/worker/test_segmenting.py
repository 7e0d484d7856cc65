"""The worker's task 'segment': files of the requested sides, and what is refused."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.errors import SettingsError
from DeepVsClassicRegLib.core.images.io import read_labels, read_volume
from DeepVsClassicRegLib.core.images.volume import is_estimated
from DeepVsClassicRegLib.core.job import SEGMENTATION_MODEL, SIDES, Job
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom, write_phantom
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.worker.tasks import get_task
from testing_models import known_methods, write_bands


@pytest.fixture
def job(tmp_path):
    """Make the job of a phantom pair with these sides."""
    written = write_phantom(make_phantom("head", size=20), tmp_path / "phantom")
    inputs = {side: str(written[side]) for side in ("fixed", "moving")}
    with known_methods():
        write_bands(tmp_path / "bands", name="bands", anatomy="brain")

        def make(*sides):
            options = {SIDES: list(sides), SEGMENTATION_MODEL: str(tmp_path / "bands")}
            return Job(task="segment", inputs=inputs, compute=Compute(device="cpu", threads=1), options=options)

        yield make


def test_each_side_gets_a_file_on_the_grid_of_its_volume(job, tmp_path):
    steps = []
    progress = Progress(listener=lambda update: steps.append(update.fraction))
    wanted = job("fixed", "moving")
    result = get_task("segment")(wanted, tmp_path, progress)
    assert set(result["files"]) == {"fixed", "moving"} and len(result["notes"]) == 1
    for side, name in result["files"].items():
        labels = read_labels(tmp_path / "out" / name)
        assert is_estimated(labels) and labels.grid.same_as(read_volume(wanted.inputs[side]).grid)
        assert set(labels.labels) == {17, 53}
    assert steps == sorted(steps) and steps[-1] == pytest.approx(1.0)
    only = get_task("segment")(job("moving"), tmp_path, Progress())
    assert set(only["files"]) == {"moving"}


@pytest.mark.parametrize("sides", [(), ("fixed_labels",), ("initial",)])
def test_sides_without_a_volume_are_refused(job, tmp_path, sides):
    with pytest.raises(SettingsError, match="volumes of the sides"):
        get_task("segment")(job(*sides), tmp_path, Progress())

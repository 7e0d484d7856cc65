"""Registrations of one pair that share their linear alignment: found once, with the same outcome and credit."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.errors import SettingsError
from DeepVsClassicRegLib.core.images.io import write_volume
from DeepVsClassicRegLib.core.job import Job
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.transforms.files import read_transform
from DeepVsClassicRegLib.worker.registering import register

PHANTOM = make_phantom("head", size=16)
POINTS = np.array([[0.0, 0.0, 0.0], [9.0, -7.0, 5.0], [-11.0, 4.0, -8.0]])


def run(folder, engine="sitk-demons", settings=None, **options):
    """Do a job in this process; return its answer, the stages it told, its report and where it maps some points."""
    folder.mkdir(exist_ok=True)
    for name in ("fixed", "moving"):
        write_volume(getattr(PHANTOM.pair, name), folder / f"{name}.nrrd")
    job = Job(
        inputs={"fixed": "fixed.nrrd", "moving": "moving.nrrd"},
        engine=engine,
        settings={"iterations": [4, 4, 2]} if settings is None else settings,
        compute=Compute(threads=1),
        outputs={"transform": "t.h5", "report": "r.json"},
        options=options,
    )
    stages: list[str] = []
    fractions: list[float] = []

    def receive(update):
        stages.append(update.stage)
        fractions.append(update.fraction)

    answer = register(job, folder, Progress(listener=receive))
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1.0)
    report = json.loads((folder / "out" / "r.json").read_text(encoding="utf-8"))
    return answer, stages, report, read_transform(folder / "out" / "t.h5").apply(POINTS)


def searched(stages) -> bool:
    return any("starts" in stage or "searching" in stage for stage in stages)


def test_the_second_starts_from_what_the_first_found(tmp_path):
    alone = run(tmp_path / "alone")
    first = run(tmp_path / "first", share_start=True)
    entry = first[0]["start"]
    json.dumps(entry)
    (tmp_path / "second").mkdir()
    shutil.copy(tmp_path / "first" / "out" / entry["file"], tmp_path / "second")
    second = run(tmp_path / "second", start=entry)
    assert searched(alone[1]) and searched(first[1]) and not searched(second[1])
    np.testing.assert_allclose(first[3], alone[3], atol=1e-9)
    np.testing.assert_allclose(second[3], alone[3], atol=1e-6)
    for report in (first[2], second[2]):
        assert report["measures"]["start"] is not None
        assert set(report["seconds"]) == set(alone[2]["seconds"]), "the linear part counts in every run"
        assert report["confidence"] == pytest.approx(alone[2]["confidence"])
        assert report["trace"] == alone[2]["trace"]
        assert report["notes"] == alone[2]["notes"]
    assert second[2]["seconds"]["total"] > sum(entry["facts"]["seconds"].values())
    assert "start" not in alone[0] and "start" not in second[0]


def test_an_engine_that_aligns_linearly_itself_shares_nothing(tmp_path):
    answer, _stages, _report, _points = run(tmp_path / "job", "linear", {}, share_start=True)
    assert "start" not in answer


def test_wrong_settings_are_reported_before_the_alignment(tmp_path):
    with pytest.raises(SettingsError, match="iterations"):
        run(tmp_path / "job", settings={"iterations": "many"}, share_start=True)
    assert not (tmp_path / "job" / "out").exists()

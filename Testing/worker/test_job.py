"""job.json: round trip and refusal of what it must not hold."""

from __future__ import annotations

import json

import pytest
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.errors import FileError, RegistrationError, SettingsError
from DeepVsClassicRegLib.core.job import Job
from DeepVsClassicRegLib.worker.job_folder import clean_up, is_ephemeral, new_job_folder

FORMER = """{
 "format": 1,
 "inputs": {
  "fixed": "fixed.nii.gz",
  "moving": "moving.nii.gz",
  "fixed_labels": "fixed_seg.nii.gz",
  "moving_labels": "moving_seg.nii.gz"
 },
 "engine": "sitk-demons",
 "preset": "default",
 "settings": {"iterations": [20, 10]},
 "compute": {"device": "cpu", "threads": 1, "seed": 3},
 "outputs": {"transform": "transform.h5", "warped": "warped.nii.gz", "report": "report.json"},
 "label_names": {"2": "Left white matter"},
 "evaluate": true,
 "options": {},
 "ephemeral": false,
 "task": "register"
}
"""


def example(**changes):
    return Job(**{"inputs": {"fixed": "ä b.nrrd", "moving": "/m.nii"}, "engine": "elastix", **changes})


def test_round_trip(tmp_path):
    job = example(settings={"a": [1, 2]}, compute=Compute(device="cpu", threads=2, seed=5), label_names={"1": "Übel"})
    job.write(tmp_path)
    assert Job.read(tmp_path) == job
    assert job.input_paths(tmp_path)["fixed"] == tmp_path / "ä b.nrrd"
    assert str(job.input_paths(tmp_path)["moving"]) == "/m.nii"
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]


def test_a_job_folder_of_the_former_version_is_read(tmp_path):
    """The text is that of commit b29dc97."""
    (tmp_path / "job.json").write_text(FORMER, encoding="utf-8")
    assert Job.read(tmp_path) == Job(
        inputs={
            "fixed": "fixed.nii.gz",
            "moving": "moving.nii.gz",
            "fixed_labels": "fixed_seg.nii.gz",
            "moving_labels": "moving_seg.nii.gz",
        },
        engine="sitk-demons",
        settings={"iterations": [20, 10]},
        compute=Compute(device="cpu", threads=1, seed=3),
        outputs={"transform": "transform.h5", "warped": "warped.nii.gz", "report": "report.json"},
        label_names={"2": "Left white matter"},
    )


@pytest.mark.parametrize("changes", [{"inputs": {"fixt": "a"}}, {"outputs": {"warpd": "a"}}])
def test_unknown_names_are_corrected(changes):
    with pytest.raises(SettingsError, match="Did you mean"):
        example(**changes)


@pytest.mark.parametrize("name", ["../x.nii", "a/b.nii", "", "/etc/x"])
def test_outputs_stay_in_their_folder(name):
    with pytest.raises(SettingsError, match="plain file name"):
        example(outputs={"warped": name})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": 99}',
        '{"format": 1}',
        '{"format": 1, "inputs": {}, "compute": 3}',
        b"\xff\xfe".decode("latin"),
    ],
)
def test_broken_job_files_are_file_errors(tmp_path, text):
    (tmp_path / "job.json").write_text(text, encoding="latin-1")
    with pytest.raises(FileError):
        Job.read(tmp_path)


def test_missing_and_misspelled(tmp_path):
    with pytest.raises(FileError, match="Could not read the job"):
        Job.read(tmp_path)
    example().write(tmp_path)
    content = json.loads((tmp_path / "job.json").read_text(encoding="utf-8"))
    (tmp_path / "job.json").write_text(json.dumps({**content, "engin": 1}), encoding="utf-8")
    with pytest.raises(SettingsError, match="Did you mean 'engine'"):
        Job.read(tmp_path)


def test_clean_up_removes_only_what_is_allowed(tmp_path):
    example().write(tmp_path)
    (tmp_path / "tmp").mkdir()
    assert not is_ephemeral(tmp_path)
    clean_up(tmp_path, whole=is_ephemeral(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]
    folder = new_job_folder(tmp_path)
    example(ephemeral=True).write(folder)
    clean_up(folder)
    assert folder.is_dir()
    assert is_ephemeral(folder)
    clean_up(folder, whole=is_ephemeral(folder))
    assert not folder.exists()


def test_unwritable_parent(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RegistrationError, match="Could not create a folder"):
        new_job_folder(tmp_path / "file")

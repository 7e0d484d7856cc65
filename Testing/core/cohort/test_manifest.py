"""Manifests of every kind, and the check that lists all problems at once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from DeepVsClassicRegLib.core.cohort.folders import FolderOptions
from DeepVsClassicRegLib.core.cohort.manifest import chosen_pairs, read_cohort
from DeepVsClassicRegLib.core.cohort.manifest_check import check_manifest
from DeepVsClassicRegLib.core.errors import FileError, SettingsError
from DeepVsClassicRegLib.core.images.io import read_volume

nib = pytest.importorskip("nibabel")


def volume(path: Path, *, shape=(4, 5, 6), value: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + value
    nib.save(nib.Nifti1Image(array, np.diag([2.0, 2.0, 2.0, 1.0])), path)
    return path


def files_of(pairs) -> list[tuple[str, str]]:
    return [(Path(pair.inputs["moving"]).name, Path(pair.inputs["fixed"]).name) for pair in pairs]


def test_csv_with_all_columns(tmp_path):
    for name in ("a", "b"):
        volume(tmp_path / f"{name}.nii.gz")
        volume(tmp_path / f"{name}_seg.nii.gz")
        (tmp_path / f"{name}.csv").write_text("x,y,z\n1,2,3\n", encoding="utf-8")
    list_file = tmp_path / "pairs.csv"
    list_file.write_text(
        "# a comment\nid,fixed,moving,fixed_seg,moving_label,fixed_landmarks,moving_points,subject,group,age\n"
        "one,a.nii.gz,b.nii.gz,a_seg.nii.gz,b_seg.nii.gz,a.csv,b.csv,S1,old,71\n",
        encoding="utf-8",
    )
    manifest = read_cohort(list_file)
    (pair,) = manifest.pairs
    assert (pair.name, pair.subject, pair.group, pair.info, pair.place) == ("one", "S1", "old", {"age": "71"}, "line 3")
    assert set(pair.inputs) == {
        "fixed", "moving", "fixed_labels", "moving_labels", "fixed_points", "moving_points",
    }  # fmt: skip
    assert pair.inputs["fixed"] == str(tmp_path / "a.nii.gz")
    assert check_manifest(manifest) == ()
    assert chosen_pairs(manifest, ["one"]) == (pair,)
    with pytest.raises(SettingsError, match=r"no pair 'onne'.*Did you mean 'one'"):
        chosen_pairs(manifest, ["onne"])


def test_every_problem_of_a_csv_is_listed_with_line_and_remedy(tmp_path):
    volume(tmp_path / "a.nii.gz")
    volume(tmp_path / "moving 4D.nii.gz", shape=(3, 3, 3, 2))
    (tmp_path / "text.nii.gz").write_text("no volume at all", encoding="utf-8")
    (tmp_path / "points.csv").write_text("no,points\n", encoding="utf-8")
    list_file = tmp_path / "pairs.csv"
    list_file.write_text(
        "id,fixed,moving,fixed_sge,moving_points\n"
        "p,a.nii.gz,missing.nii.gz,,\n"
        "P,a.nii.gz,text.nii.gz,,\n"
        "q,a.nii.gz,moving 4D.nii.gz,,\n"
        "r,,a.nii.gz,,\n"
        "s,a.nii.gz,a.nii.gz,,points.csv\n"
        "t/u,a.nii.gz,missing.nii.gz,,\n",
        encoding="utf-8",
    )
    problems = check_manifest(read_cohort(list_file))
    found = {(problem.place, problem.message.split(".")[0]) for problem in problems}
    expected = [
        ("line 1", "The column 'fixed_sge' is not known"),
        ("line 2", f"moving: There is no file {tmp_path}/missing"),
        ("line 3", "The id 'P' is also that of line 2"),
        ("line 3", "moving: Could not read text"),
        ("line 4", "moving: moving 4D"),
        ("line 5", "The fixed volume is empty"),
        ("line 6", "Landmarks are given for the moving side only"),
        ("line 7", "The id 't/u' cannot be the name of a folder"),
        ("line 7", "The pair is the same as that of line 2"),
    ]
    assert set(expected) <= found
    assert all(problem.remedy for problem in problems)
    numbers = [int(problem.place.removeprefix("line ")) for problem in problems]
    assert numbers == sorted(numbers)
    assert "4 dimensions" in str(next(p for p in problems if p.place == "line 4"))


def test_learn2reg_with_labels_of_the_training_list(tmp_path):
    for name in ("a", "b"):
        volume(tmp_path / f"{name}.nii.gz")
        volume(tmp_path / f"{name}_l.nii.gz")
    content = {
        "training": [{"image": f"{name}.nii.gz", "label": f"{name}_l.nii.gz"} for name in "ab"],
        "registration_val": [{"fixed": "a.nii.gz", "moving": "b.nii.gz"}],
    }
    (tmp_path / "x_dataset.json").write_text(json.dumps(content), encoding="utf-8")
    manifest = read_cohort(tmp_path)
    assert files_of(manifest.pairs) == [("b.nii.gz", "a.nii.gz")]
    assert Path(manifest.pairs[0].inputs["moving_labels"]).name == "b_l.nii.gz"
    assert check_manifest(manifest) == ()


def test_bids_between_sessions_and_to_a_template(tmp_path):
    bids = tmp_path / "bids"
    for subject in ("01", "02"):
        for session in ("a", "b", "c")[: 3 if subject == "01" else 1]:
            folder = bids / f"sub-{subject}" / f"ses-{session}" / "anat"
            volume(folder / f"sub-{subject}_ses-{session}_T1w.nii.gz")
            volume(folder / f"sub-{subject}_ses-{session}_T2w.nii.gz")
    seg = bids / "derivatives" / "fs" / "sub-01" / "ses-b" / "anat" / "sub-01_ses-b_desc-aseg_dseg.nii.gz"
    volume(seg)
    template = volume(tmp_path / "mni.nii.gz")

    later = read_cohort(bids, FolderOptions(between="sessions")).pairs
    assert [(pair.subject, pair.session) for pair in later] == [("01", "b"), ("01", "c")]
    assert all(Path(pair.inputs["fixed"]).name == "sub-01_ses-a_T1w.nii.gz" for pair in later)
    assert later[0].inputs["moving_labels"] == str(seg) and "moving_labels" not in later[1].inputs

    to_template = read_cohort(bids, FolderOptions(fixed=template, suffix="T2w")).pairs
    assert len(to_template) == 4 and len({pair.name for pair in to_template}) == 4
    assert {pair.inputs["fixed"] for pair in to_template} == {str(template)}

    with pytest.raises(SettingsError, match=r"--fixed, or --between"):
        read_cohort(bids)
    with pytest.raises(FileError, match=r"no image of the kind 'FLAIR'.*T1w, T2w"):
        read_cohort(bids, FolderOptions(suffix="FLAIR", between="sessions"))


def test_folder_with_a_pattern(tmp_path):
    for subject, session in (("S1", "0"), ("S1", "1"), ("S2", "0")):
        volume(tmp_path / subject / f"{session}_t1_x.nii.gz")
        volume(tmp_path / subject / f"{session}_seg.nii.gz")
    options = FolderOptions(
        between="subjects", pattern="{subject}/{session}_t1_*.nii.gz", seg_pattern="{subject}/{session}_seg.nii.gz"
    )
    manifest = read_cohort(tmp_path, options)
    assert len(manifest.pairs) == 6
    assert {pair.name for pair in manifest.pairs} >= {"S1_0_to_S1_1", "S2_0_to_S1_0"}
    for pair in manifest.pairs:
        image = Path(pair.inputs["moving"])
        assert Path(pair.inputs["moving_labels"]) == image.with_name(f"{pair.session}_seg.nii.gz")
    with pytest.raises(SettingsError, match="placeholder 'person'"):
        read_cohort(tmp_path, FolderOptions(between="subjects", pattern="{person}.nii.gz"))
    with pytest.raises(FileError, match="No file in"):
        read_cohort(tmp_path, FolderOptions(between="subjects", pattern="{subject}.mha"))


def test_frames_of_a_4d_volume(tmp_path):
    path = volume(tmp_path / "scan.nii.gz", shape=(4, 5, 6, 3))
    manifest = read_cohort(path, FolderOptions(frame=1))
    assert [pair.name for pair in manifest.pairs] == ["frame_0", "frame_2"]
    assert check_manifest(manifest) == ()
    stored = np.asarray(nib.load(path).dataobj)
    for pair, number in zip(manifest.pairs, (0, 2), strict=True):
        read = read_volume(pair.inputs["moving"])
        assert read.name == f"scan_{number}"
        np.testing.assert_array_equal(read.array, stored[..., number].T)
    np.testing.assert_array_equal(read_volume(manifest.pairs[0].inputs["fixed"]).array, stored[..., 1].T)
    with pytest.raises(FileError, match=r"no frame '3'.*counted from 0 to 2"):
        read_volume(f"{path}#3")
    with pytest.raises(FileError, match="3 frames, no frame 3"):
        read_cohort(path, FolderOptions(frame=3))


def test_what_is_no_manifest(tmp_path):
    with pytest.raises(FileError, match="There is no manifest"):
        read_cohort(tmp_path / "missing.csv")
    (tmp_path / "list.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(FileError, match="no column fixed and moving; its columns are a, b"):
        read_cohort(tmp_path / "list.csv")
    (tmp_path / "empty.csv").write_text("fixed,moving\n", encoding="utf-8")
    with pytest.raises(FileError, match="contains no pair"):
        read_cohort(tmp_path / "empty.csv")
    with pytest.raises(SettingsError, match="exclude each other"):
        FolderOptions(fixed=Path("x"), between="sessions")

"""Finding labeled volumes: a manifest, a Learn2Reg JSON, files side by side; and the phantom population."""

from __future__ import annotations

import json

import numpy as np
import pytest
from DeepVsClassicRegLib.core.errors import FileError, SettingsError
from DeepVsClassicRegLib.core.experiments.dataset import Study, joined, read_study
from DeepVsClassicRegLib.core.images.io import write_volume
from DeepVsClassicRegLib.core.phantom.phantom import cube
from DeepVsClassicRegLib.core.phantom.population import FIELD_MM, PROTOCOLS, Cohort, make_subject, plane


@pytest.fixture
def touch(tmp_path):
    def make(*names: str):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        return tmp_path

    return make


def test_files_side_by_side(touch):
    names = [f"A/{n}_{kind}.nii.gz" for n in ("S1", "S2", "S3") for kind in ("t1", "lpba")]
    study = read_study(touch(*names, "A/S4_t1.nii.gz", "B/x1_seg.nrrd", "B/x1.nrrd", "notes.txt"))
    assert study.datasets == ("A", "B") and [s.name for s in study.subjects] == ["S1", "S2", "S3", "x1"]
    assert len(study.cases()) == 6 and len(study.cases(most=2)) == 2
    assert study.cases(most=2) == study.cases(most=2)
    assert {case.fixed.name for case in study.cases()} == {"S1", "S2", "S3"}


def test_images_and_labels_folders(touch):
    study = read_study(
        touch("D/imagesTr/a_0000.nii.gz", "D/labelsTr/a.nii.gz", "D/imagesTr/b.nii.gz", "D/labelsTr/b.nii.gz")
    )
    assert [s.name for s in study.subjects] == ["a", "b"] and study.datasets == ("D",)


def test_manifest_names_the_pairs(touch):
    folder = touch("v/a.nii.gz", "v/a_seg.nii.gz", "v/b.nii.gz", "v/b_seg.nii.gz")
    entry = {"id": "b->a", "kind": "multi-modal", "fixed": "v/a.nii.gz", "moving": "v/b.nii.gz", "labels": [1, 2],
             "fixed_label": "v/a_seg.nii.gz", "moving_label": "v/b_seg.nii.gz"}  # fmt: skip
    without = {**entry, "id": "points only", "fixed_label": None}
    (folder / "manifest.json").write_text(json.dumps([entry, without]))
    (case,) = read_study(folder).cases()
    assert case.name == "b->a" and case.multimodal and case.scored == (1, 2) and case.dataset == "v"
    (folder / "v/b_seg.nii.gz").unlink()
    with pytest.raises(FileError, match="does not exist"):
        read_study(folder)


def test_learn2reg(touch):
    names = [f"{kind}Tr/OASIS_000{n}_0000.nii.gz" for n in (1, 2, 3) for kind in ("images", "labels")]
    folder = touch(*names)
    training = [
        {"image": f"./imagesTr/OASIS_000{n}_0000.nii.gz", "label": f"./labelsTr/OASIS_000{n}_0000.nii.gz"}
        for n in (1, 2, 3)
    ]
    pairs = [{"fixed": training[0]["image"], "moving": training[1]["image"]}]
    (folder / "OASIS_dataset.json").write_text(
        json.dumps({"name": "OASIS", "training": training, "registration_val": pairs})
    )
    study = read_study(folder)
    assert len(study.subjects) == 3 and [case.dataset for case in study.cases()] == ["OASIS"]


def test_joined_studies_keep_listed_and_ordered_pairs(touch):
    names = [f"{place}/{n}_{kind}.nii.gz" for place in "AB" for n in ("S1", "S2") for kind in ("t1", "seg")]
    study = read_study(touch(*names))
    first = study.only(["A"]).cases()[0]
    listed = Study((first.fixed, first.moving), (first,))
    assert [case.dataset for case in joined([listed, study.only(["B"])]).cases()] == ["A", "B", "B"]
    assert len(joined([study.only(["A"]), study.only(["B"])]).cases()) == 4


def test_only_some_data_sets(touch):
    names = [f"{place}/{n}_{kind}.nii.gz" for place in "AB" for n in ("S1", "S2") for kind in ("t1", "seg")]
    study = read_study(touch(*names))
    assert study.only(["B"]).datasets == ("B",) and study.only([]) is study and len(study.only(["A"]).cases()) == 2
    drawn = [case for case in study.cases(most=1) if case.dataset == "B"]
    assert list(study.only(["B"]).cases(most=1)) == drawn
    with pytest.raises(SettingsError, match="data set 'C'"):
        study.only(["C"])


def test_nothing_found(tmp_path):
    with pytest.raises(FileError) as caught:
        read_study(tmp_path)
    assert "S1_seg" in caught.value.hint
    with pytest.raises(FileError):
        read_study(tmp_path / "nowhere")


def test_read_volumes(tmp_path):
    subject = make_subject(Cohort("A"), 0, cube(16, FIELD_MM))
    write_volume(subject.image, tmp_path / "p_t1.nii.gz")
    write_volume(subject.labels, tmp_path / "p_seg.nii.gz")
    image, labels = read_study(tmp_path).subjects[0].load()
    assert np.allclose(image.array, subject.image.array) and np.array_equal(labels.array, subject.labels.array)


def test_subjects_are_repeatable_and_differ():
    cohort = Cohort("A", seed=3)
    first, again, other = (make_subject(cohort, n, plane(48)) for n in (1, 1, 2))
    assert np.array_equal(first.image.array, again.image.array)
    assert not np.array_equal(first.labels.array, other.labels.array)
    assert not np.array_equal(first.labels.array, make_subject(Cohort("A", seed=4), 1, plane(48)).labels.array)


def test_a_plane_is_cut_through_one_plane_of_the_design():
    """The in-plane warp keeps all structures of the slice: every subject has the same labels."""
    found = [set(make_subject(Cohort("A"), n, plane(96)).labels.labels) for n in range(4)]
    assert all(labels == found[0] for labels in found) and len(found[0]) >= 10


def test_parcels_are_not_in_the_intensities():
    subject = make_subject(Cohort("A", noise=0.0), 0, plane(96), protocol="parcels")
    image, labels = subject.image.array, subject.labels.array
    means = [image[labels == label].mean() for label in subject.labels.labels if label < 150]
    assert len(means) == 8 and np.ptp(means) < 0.12 * np.mean(means)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_protocols_name_their_labels(protocol):
    labels = make_subject(Cohort("A"), 0, plane(64), protocol=protocol).labels
    assert labels.labels and set(labels.labels) <= set(labels.names)


def test_unknown_protocol():
    with pytest.raises(SettingsError, match="label protocol"):
        make_subject(Cohort("A"), 0, plane(32), protocol="parcel")

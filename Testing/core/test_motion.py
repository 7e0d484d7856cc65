"""Motion correction: known motion found, smooth over time, both ways, canceled and continued; series of frames."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
from DeepVsClassicRegLib.core.cohort import atlas_tasks
from DeepVsClassicRegLib.core.errors import Cancelled, FileError, GeometryError, SettingsError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import read_volume, write_volume
from DeepVsClassicRegLib.core.images.resample import warp_volume
from DeepVsClassicRegLib.core.images.series import open_series, write_series
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.motion.correct import chain, correct_motion, frame_number
from DeepVsClassicRegLib.core.motion.landmarks import read_frame_landmarks
from DeepVsClassicRegLib.core.motion.measures import rigid_parameters
from DeepVsClassicRegLib.core.motion.page import verdict_of, write_motion_page, write_motion_table
from DeepVsClassicRegLib.core.motion.settings import MotionSettings
from DeepVsClassicRegLib.core.motion.smoothing import smoothed, time_weights
from DeepVsClassicRegLib.core.phantom.breathing import make_breathing, write_breathing
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.transforms.files import read_transform
from DeepVsClassicRegLib.core.transforms.transform import Affine, DisplacementField, Transform

FAST = {"iterations": (40, 40), "shrink": (2, 1), "match_points": 0}
DEMONS = MotionSettings(engine="sitk-demons")
RIGID = MotionSettings(engine="linear:rigid")


@pytest.fixture(scope="module")
def breathing():
    return make_breathing(5, size=32, seed=1)


@pytest.fixture(scope="module")
def files(breathing, tmp_path_factory):
    return write_breathing(breathing, tmp_path_factory.mktemp("breathing"))


@pytest.fixture(scope="module")
def corrected(files, tmp_path_factory):
    settings = dataclasses.replace(DEMONS, both_ways=True)
    folder = tmp_path_factory.mktemp("corrected")
    return correct_motion([files["series"]], folder, settings, engine_settings=FAST, landmarks=files["landmarks"])


def blob(shift, *, turn_deg=0.0, size=24) -> Volume:
    """Return a body without symmetry that is shifted by some mm and turned about z."""
    grid = Grid((size,) * 3, (2.0,) * 3, (-(size - 1.0),) * 3)
    angle = np.deg2rad(turn_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    points = (grid.points() - np.asarray(shift)) @ turn
    outer = np.sqrt(((points / [16.0, 11.0, 13.0]) ** 2).sum(-1))
    inner = np.sqrt((((points - [5.0, 2.0, -3.0]) / [4.0, 5.0, 4.0]) ** 2).sum(-1))
    return Volume((600 / (1 + np.exp(9 * (outer - 1))) + 400 / (1 + np.exp(6 * (inner - 1)))).astype(np.float32), grid)


def test_breathing_is_exact(breathing):
    still, moved = breathing.landmarks[0], breathing.landmarks[2]
    assert len(breathing.frames) == 5 and breathing.step_s == 0.8
    assert np.allclose(breathing.warps[0].displacement(still), 0)
    assert np.linalg.norm(moved - still, axis=1).max() > 5
    assert np.allclose(breathing.warps[2].apply(still), moved)
    # The image moves with the landmarks: the frame pulled back by the warp is the first frame again.
    fine = make_breathing(2, size=64, seed=1, noise=0, amplitude_mm=25)
    first, last = fine.frames
    field = DisplacementField(fine.warps[1].displacement(first.grid.points()).astype(np.float32), first.grid)
    before, after = (
        np.abs(image.array - first.array)[12:-12, 12:-12, 12:-12].mean()
        for image in (last, warp_volume(last, first.grid, field))
    )
    assert after < 0.6 * before  # edges of the anatomy are sampled at points


def test_known_motion_is_found(corrected, files):
    first, *others = corrected.frames
    assert first.mean_mm == 0 and first.tre_after_mm is None and first.step_mm is None
    assert corrected.step_s == pytest.approx(0.8)
    for frame in others:
        assert frame.correlation_after > frame.correlation_before
        assert frame.folded_percent == 0 and frame.cpu_seconds > 0
    # Voxels have 10 mm: the frames that moved less than a third of one cannot become better.
    assert max(f.tre_before_mm for f in others) > 4
    assert all(f.tre_after_mm < 0.8 * f.tre_before_mm for f in others if f.tre_before_mm > 3)
    image = sitk.ReadImage(str(corrected.files["corrected"]))
    assert image.GetSize() == (32, 32, 32, 5) and image.GetSpacing()[3] == pytest.approx(0.8)
    given = sitk.GetArrayFromImage(sitk.ReadImage(str(files["series"])))
    moved = sitk.GetArrayFromImage(image)
    assert np.allclose(moved[0], given[0], atol=1e-3), "the reference frame was resampled"
    assert np.allclose(corrected.mean_before.array, given.mean(axis=0), atol=0.1)
    assert np.allclose(corrected.deviation_before.array, given.std(axis=0), atol=0.1)
    assert np.allclose(
        corrected.mean_after.array[10:22, 10:22, 10:22], moved.mean(axis=0)[10:22, 10:22, 10:22], atol=0.1
    )
    assert moved[:, 8:-8, 8:-8, 8:-8].std(axis=0).mean() < 0.85 * given[:, 8:-8, 8:-8, 8:-8].std(axis=0).mean()


def test_both_ways(corrected):
    there, back = (
        read_transform(corrected.folder / "transforms" / f"frame_003{end}.h5") for end in ("", "_to_reference")
    )
    points = corrected.reference.grid.points()[8:24:5, 8:24:5, 8:24:5].reshape(-1, 3)
    assert np.linalg.norm(there.apply(points) - points, axis=1).max() > 2
    assert np.linalg.norm(back.apply(there.apply(points)) - points, axis=1).max() < 0.3
    assert corrected.frames[3].inverse_error_mm < 0.05


def test_smoothness_over_time(files, corrected, monkeypatch):
    def never(*_args, **_options):
        raise AssertionError("finished registrations were repeated")

    monkeypatch.setattr(atlas_tasks, "register", never)
    settings = dataclasses.replace(DEMONS, smooth_frames=1.0, cyclic=True)
    smooth = correct_motion([files["series"]], corrected.folder, settings, engine_settings=FAST)
    raw = [frame.mean_mm for frame in corrected.frames]
    assert smooth.frames[0].mean_mm == 0, "the reference frame moved"
    assert smooth.frames[3].mean_mm < raw[3] and smooth.frames[4].mean_mm != pytest.approx(raw[4])
    cpu = [frame.cpu_seconds for frame in corrected.frames]
    assert [frame.cpu_seconds for frame in smooth.frames] == cpu


def test_weights_over_time():
    weights = time_weights(6, 0.8, cyclic=True)
    assert np.allclose(weights.sum(axis=1), 1) and np.allclose(weights[0], np.roll(weights[3], 3))
    assert time_weights(6, 0.8)[0, 5] == 0 and np.array_equal(time_weights(4, 0), np.eye(4))


def test_linear_motion_stays_rigid_when_smoothed():
    grid = Grid((8, 8, 8))
    turns = [Transform((Affine(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]), [d, 0, 0]),))
             for d, c, s in ((d, np.cos(d / 20), np.sin(d / 20)) for d in (0.0, 4.0, 8.0))]  # fmt: skip
    reads = [lambda t=t: t for t in turns]
    mean = smoothed(reads, np.full((3, 3), 1 / 3), grid)[1]().affine
    assert mean.is_rigid and mean.matrix[0, 0] == pytest.approx(np.cos(0.2), abs=1e-6)
    fields = [lambda d=d: Transform((DisplacementField(np.full((8, 8, 8, 3), d, np.float32), grid),)) for d in (0, 6)]
    half = smoothed(fields, np.full((2, 2), 0.5), grid, fixed_frame=0)
    assert half[0]().parts == () and np.allclose(half[1]().apply([[3.0, 3, 3]]), 6)


def test_rigid_motion_of_a_head(tmp_path):
    shifts, turn = [(0, 0, 0), (3.0, -2.0, 1.0), (0, 2.0, -2.0)], 4.0
    frames = [blob(shift, turn_deg=turn * (n == 1)) for n, shift in enumerate(shifts)]
    paths = [write_volume(frame, tmp_path / f"t{n}.nii.gz") for n, frame in enumerate(frames)]
    found = correct_motion(paths, tmp_path / "out", RIGID)
    assert found.frames[1].shift_mm == pytest.approx(shifts[1], abs=0.25)
    assert found.frames[1].turn_deg == pytest.approx((0, 0, turn), abs=0.8)
    table = write_motion_table(found).read_text(encoding="utf-8").splitlines()
    assert table[0].startswith("frame,mean_mm") and table[0].endswith("turn_z_deg") and len(table) == 4
    # The mean of the frames as reference: the mean of the positions, not that of one frame.
    mean = correct_motion(paths, tmp_path / "mean", dataclasses.replace(RIGID, reference="mean"))
    center = np.mean([frame.shift_mm for frame in mean.frames], axis=0)
    assert np.abs(center).max() < 0.4 and min(frame.correlation_after for frame in mean.frames) > 0.995
    assert mean.frames[0].cpu_seconds > 0 and np.allclose(mean.frames[1].step_mm, found.frames[1].step_mm, atol=0.5)


def test_start_from_the_neighbor(tmp_path):
    paths = [write_volume(blob((0, 0, 2.0 * n)), tmp_path / f"t{n}.nii.gz") for n in range(3)]
    settings = dataclasses.replace(DEMONS, start="neighbor", reference="2")
    found = correct_motion(paths, tmp_path / "out", settings, engine_settings=FAST)
    moved = read_transform(found.folder / "transforms" / "frame_000.h5").apply([[0, 0, 4.0]])[0]
    assert moved[2] == pytest.approx(0.0, abs=0.8)
    assert found.frames[0].correlation_after > 0.99 > found.frames[0].correlation_before
    assert chain(4, 2) == {2: None, 3: 2, 1: 2, 0: 1}


def test_cancel_keeps_the_finished_frames(tmp_path):
    paths = [write_volume(blob((n, 0, 0)), tmp_path / f"t{n}.nii.gz") for n in range(4)]
    done = []

    def listen(update):
        if update.stage.startswith("Motion: frame"):
            done.append(update.stage)

    progress = Progress(listen, cancelled=lambda: len(done) == 2)
    with pytest.raises(Cancelled):
        correct_motion(paths, tmp_path / "out", RIGID, progress=progress)
    kept = sorted(path.name for path in (tmp_path / "out" / "transforms").iterdir())
    assert kept == ["frame_001.h5", "frame_002.h5"] and not (tmp_path / "out" / "corrected.nii.gz").exists()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "work").rglob("*.h5")}
    found = correct_motion(paths, tmp_path / "out", RIGID)
    assert len(found.frames) == 4 and found.frames[3].shift_mm[0] == pytest.approx(3, abs=0.3)
    assert all(path.stat().st_mtime_ns == time for path, time in times.items()), "finished frames were repeated"


@pytest.mark.slow
def test_two_workers_give_the_same(files, corrected, tmp_path):
    both = correct_motion([files["series"]], tmp_path, DEMONS, engine_settings=FAST, workers=2)
    assert [f.mean_mm for f in both.frames] == pytest.approx([f.mean_mm for f in corrected.frames])


def test_page_and_verdict(corrected, tmp_path):
    written = write_motion_page(corrected)
    page = written["page"].read_text(encoding="utf-8")
    assert page.count("data:image") == 3 and "Landmark error" in page and written["plot"].stat().st_size > 10_000
    assert verdict_of(corrected)["level"] == "good"
    worse = dataclasses.replace(corrected.frames[2], correlation_after=0.1)
    bad = dataclasses.replace(corrected, frames=(*corrected.frames[:2], worse))
    assert verdict_of(bad)["level"] == "bad" and "Frame 2" in verdict_of(bad)["sentence"]


def test_series_of_all_kinds(tmp_path):
    frames = [blob((n, 0, 0), size=9) for n in range(12)]
    folder = tmp_path / "folder"
    folder.mkdir()
    for n, frame in enumerate(frames):
        write_volume(frame, folder / f"f{n}.nii.gz")
    nifti = write_series(frames, tmp_path / "a.nii.gz", step_s=2.5)
    nrrd = write_series(frames, tmp_path / "b.nrrd")
    slicer = tmp_path / "c.seq.nrrd"
    sitk.WriteImage(sitk.Compose([sitk.ReadImage(str(folder / f"f{n}.nii.gz")) for n in range(12)]), str(slicer))
    for source in (nifti, nrrd, slicer, folder):
        series = open_series([source])
        read = list(series.frames())
        assert series.count == len(read) == 12, source
        assert np.allclose(read[10].array, frames[10].array) and read[10].grid.same_as(frames[10].grid), source
        assert series.step_s == (2.5 if source == nifti else None)
    assert read_volume(f"{nifti}#3").grid.same_as(frames[3].grid)


def test_wrong_inputs(tmp_path, files):
    one = write_volume(blob((0, 0, 0), size=9), tmp_path / "one.nii.gz")
    with pytest.raises(GeometryError, match="expected 4"):
        open_series([one])
    with pytest.raises(FileError, match="no file"):
        open_series([tmp_path / "none.nii.gz"])
    with pytest.raises(SettingsError, match="from 0 to 4"):
        frame_number("5", 5)
    assert frame_number("mean", 5) is None and frame_number("first", 5) == 0
    with pytest.raises(FileError, match="frames"):
        read_frame_landmarks(files["landmarks"], 3)
    bad = tmp_path / "bad.csv"
    bad.write_text("frame,name,x,y,z\n0,A,1,2,3\n1,B,1,2,3\n", encoding="utf-8")
    with pytest.raises(FileError, match="not the landmarks of the others"):
        read_frame_landmarks(bad, 3)


def test_rotation_about_an_axis():
    turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0.0]])
    shift, angles = rigid_parameters(Affine.about(turn, [1.5] * 3, [1.0, 0, 0]), Grid((4, 4, 4)))
    assert shift == pytest.approx((1, 0, 0)) and angles == pytest.approx((90, 0, 0))

"""The report: stable JSON without NaN, one self-contained page, pictures turned as radiologists expect them."""

from __future__ import annotations

import base64
import builtins
import copy
import json
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
from DeepVsClassicRegLib.core.engines.base import Diagnostics, Result, TracePoint
from DeepVsClassicRegLib.core.errors import FileError, RegistrationError
from DeepVsClassicRegLib.core.evaluation import plotting
from DeepVsClassicRegLib.core.evaluation.comparison import (
    write_comparison_html,
)
from DeepVsClassicRegLib.core.evaluation.evaluate import completed, evaluate
from DeepVsClassicRegLib.core.evaluation.figures import Pictures, Slices
from DeepVsClassicRegLib.core.evaluation.make_report import judged, make_report, pictures_of, write_report_html
from DeepVsClassicRegLib.core.evaluation.measures import LATER, MEASURES
from DeepVsClassicRegLib.core.evaluation.plotting import png_bytes
from DeepVsClassicRegLib.core.evaluation.report import Report, read_report, write_report_json
from DeepVsClassicRegLib.core.evaluation.verdict import best_report, further_reasons, judge_report, tiles
from DeepVsClassicRegLib.core.files import write_bytes
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.resample import warp_labels, warp_volume
from DeepVsClassicRegLib.core.images.volume import LabelMap, Note, Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
CANVAS_DPI = 50
GRID = Grid((24, 26, 20), (1.0, 1.0, 1.5))


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    monkeypatch.setattr(plotting, "DPI", CANVAS_DPI)


@dataclass(frozen=True)
class Settings:
    metric: str = "<mi>"
    iterations: tuple[int, ...] = (100, 50)


@pytest.fixture(scope="module")
def pair() -> Pair:
    k, j, i = np.indices(GRID.shape)
    labels = ((k - 10) ** 2 * 2.25 + (j - 13) ** 2 + (i - 12) ** 2 < 64).astype(np.int32)
    labels[:, :, 12:] *= 2
    volume = labels * 1.0 + np.random.default_rng(0).normal(0, 0.05, GRID.shape)
    fixed = Volume(volume, GRID, "fixed <&> scan")
    shift = Affine.shift([-3.0, 0, 0])
    named = LabelMap(labels, GRID, {1: "right part", 2: "left part"})
    return Pair(
        fixed, Volume(warp_volume(fixed, GRID, shift).array, GRID, "moving"), named, warp_labels(named, GRID, shift)
    )


@pytest.fixture(scope="module")
def result() -> Result:
    trace = tuple(TracePoint("Affine", n, 1 / n) for n in range(1, 20))
    run = Diagnostics(
        trace=(*trace, TracePoint("Affine", 20, float("nan"))),
        stop_condition="converged",
        seconds={"Affine": 1.5, "Deformable": 2.5},
        cpu_seconds={"Affine": 1.0, "Deformable": 2.0},
        threads=1,
        versions={"numpy": "2"},
        peak_memory_mb=500.0,
        notes=("Note <one>.",),
    )
    half, full = (Transform((Affine.shift([n, 0, 0]),)) for n in (1.5, 3.0))
    return Result(full, run, engine="sitk-demons", preset="default", settings=Settings(), start=half)


@pytest.fixture(scope="module")
def evaluation(pair, result):
    return evaluate(pair, result, threads=1)


def test_report_has_the_stable_names_and_no_nan(tmp_path, pair, result, evaluation):
    report = make_report(pair, result, evaluation, inputs={"fixed": "a b/ü.nii.gz"}, citations=["Thirion 1998"])
    path = write_report_json(tmp_path / "report.json", report)
    assert "NaN" not in path.read_text(encoding="utf-8")
    read = json.loads(path.read_text(encoding="utf-8"))
    assert read == report.to_json()
    assert read_report(path) == report
    names = {"engine", "preset", "status", "seconds", "cpu_seconds", "peak_memory_mb", "measures", "settings", "notes"}
    names |= {"versions", "machine", "inputs"}
    assert names <= set(read)
    assert read["seconds"] == {"Affine": 1.5, "Deformable": 2.5, "total": 4.0}
    assert read["settings"] == {"metric": "<mi>", "iterations": [100, 50]}
    assert read["trace"][-1][2] is None
    assert read["inputs"]["fixed"]["path"] == "a b/ü.nii.gz"
    columns = read["measures"]
    assert list(columns) == ["before", "start", "after"]
    assert columns["before"]["dice_mean"] < columns["start"]["dice_mean"] < columns["after"]["dice_mean"]
    assert set(columns["after"]["dice_per_label"]) == {"1", "2"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_first_report_names_what_is_missing_and_has_the_final_verdict(tmp_path, pair, result, evaluation):
    """No measure that follows later has a part in the verdict, so that this cannot change."""
    first = evaluate(pair, result, in_steps=True)
    early, late = (make_report(pair, result, found) for found in (first, completed(first)))
    assert early.missing == ("surface",) and early.to_json()["missing"] == ["surface"]
    assert (
        "missing" not in late.to_json()
        and late.to_json().keys() == make_report(pair, result, evaluation).to_json().keys()
    )
    assert early.verdict == late.verdict and early.look_at == late.look_at
    assert further_reasons(early) == further_reasons(late)
    again = read_report(write_report_json(tmp_path / "report.json", early))
    assert again == early
    bad = {name: 1e6 for name, measure in MEASURES.items() if measure.family in LATER and not measure.per_item}
    worse = replace(late, measures=replace(late.measures, after={**late.measures.after, **bad}))
    assert judge_report(worse) == late.verdict


def test_unwritable_folder_is_a_readable_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match="Could not write"):
        write_report_json(tmp_path / "file" / "report.json", {})


def test_page_is_self_contained_and_escaped(tmp_path, pair, result, evaluation):
    path = write_report_html(tmp_path / "report.html", pair, result, evaluation, title="Demons")
    page = path.read_text(encoding="utf-8")
    assert len(page) < 3_000_000
    addresses = re.findall(r"(?:src|href)=\"([^\"]{0,60})", page)
    assert addresses
    assert all(address.startswith("data:image/") for address in addresses)
    assert "<script" not in page
    assert "@import" not in page
    assert "fixed &lt;&amp;&gt; scan" in page
    assert "Note &lt;one&gt;." in page
    assert "Dice rose from" in page
    assert "left part" in page
    assert page.count("<img") == 9  # seven pictures, the labels, the curves


def test_pictures_are_valid_and_cannot_be_empty(tmp_path, pair, result, evaluation):
    from matplotlib.image import imread

    written = [
        write_bytes(tmp_path / f"{view.name}.png", png_bytes(figure))
        for view, figure in pictures_of(Pictures(pair, result.transform, evaluation))
    ]
    assert {path.stem for path in written} >= {
        "side-by-side",
        "jacobian",
        "grid",
        "checkerboard",
        "difference",
        "contours",
    }
    for path in written:
        picture = imread(path)
        assert picture.shape[1] == 11 * CANVAS_DPI
        assert picture[..., :3].std() > 0.02


@pytest.mark.parametrize(
    "direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, -1, -1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, 0, 1, 0, 1, 0)]
)
def test_pictures_show_the_patient_the_right_way_round(direction):
    grid = Grid((30, 30, 30), direction=tuple(float(v) for v in direction))
    center = grid.center_mm
    offset = grid.points() - center
    body = np.linalg.norm(offset, axis=-1) < 13
    # Bright to the patient's left (+x), half bright in front (-y), a quarter above (+z).
    bright = body * 0.1 + (offset[..., 0] > 4) * 0.4 * body + (offset[..., 1] < -4) * 0.2 * body
    bright += (offset[..., 2] > 4) * 0.1 * body
    volume = Volume(bright, grid)
    slices = Slices(Pair(volume, volume))
    axial, coronal, sagittal = slices.fixed()
    assert [plane.name for plane in slices.planes] == ["Axial", "Coronal", "Sagittal"]

    def halves(picture):
        rows, columns = picture.shape
        return [
            part.mean()
            for part in (
                picture[:, : columns // 2],
                picture[:, columns // 2 :],
                picture[: rows // 2],
                picture[rows // 2 :],
            )
        ]

    left, right, top, bottom = halves(axial)
    assert right > left + 0.1  # patient left is on the picture's right
    assert top > bottom + 0.05  # front is up
    left, right, top, bottom = halves(coronal)
    assert right > left + 0.1
    assert top > bottom + 0.02  # head is up
    left, right, top, bottom = halves(sagittal)
    assert left > right + 0.05  # front is on the picture's left
    assert top > bottom + 0.02


def test_pictures_keep_physical_proportions():
    grid = Grid((20, 40, 10), (2.0, 0.5, 4.0))
    volume = Volume(np.random.default_rng(0).uniform(0.5, 1, grid.shape), grid)
    mask = LabelMap(np.ones(grid.shape, dtype=np.int32), grid)
    planes = Slices(Pair(volume, volume, fixed_mask=mask)).planes
    sizes = {plane.name: (plane.width_mm, plane.height_mm) for plane in planes}
    assert sizes["Axial"] == pytest.approx((40, 20), rel=0.03)
    assert sizes["Coronal"] == pytest.approx((40, 40), rel=0.03)
    assert sizes["Sagittal"] == pytest.approx((20, 40), rel=0.03)
    for plane in planes:
        assert plane.grid.spacing_mm[0] == plane.grid.spacing_mm[1]


def test_verdicts():
    def report(before, start, after, folding=0.0):
        columns = {"before": {"dice_mean": before}, "start": {"dice_mean": start}}
        columns["after"] = {"dice_mean": after, "folding_percent": folding}
        return Report.from_json({"measures": columns, "seconds": {"total": 200.0}, "peak_memory_mb": None})

    assert judge_report(report(0.2, 0.5, 0.7)).level == "good"
    assert judge_report(report(0.2, 0.5, 0.4)).level == "check"
    assert judge_report(report(0.2, 0.5, 0.1)).level == "bad"
    assert judge_report(report(0.2, 0.5, 0.7, 2.0)).level == "check"
    assert (
        judge_report(report(0.2, 0.5, 0.7, 2.0)).sentence
        == "Dice rose from 0.200 to 0.700. 2 % of the voxels are folded."
    )
    assert tiles(report(0.2, 0.5, 0.7))[-1].value == "3 min 20 s"
    assert judge_report(Report.from_json({"measures": {"before": {}, "after": {}}})).level == "check"


def test_intensities_structures_and_map_are_judged_apart():
    def levels(**after):
        columns = {"before": {"mi": 0.3, "dice_mean": 0.4}, "after": {"mi": 0.6, "folding_percent": 0.0, **after}}
        aspects = judge_report(Report.from_json({"measures": columns})).aspects
        assert [aspect.title for aspect in aspects] == ["Match of intensities", "Match of structures", "Plausible map"]
        return [aspect.level for aspect in aspects]

    assert levels() == ["good", "unknown", "good"]
    assert levels(dice_mean=0.7) == ["good", "good", "good"]
    assert levels(dice_mean=0.3) == ["good", "bad", "good"]  # fell, though the intensities match
    assert levels(dice_mean=0.7, sharpness=0.1) == ["bad", "good", "good"]
    assert levels(dice_mean=0.7, folding_percent=2.0) == ["good", "good", "check"]
    assert levels(mi=0.2, folding_percent=None) == ["check", "unknown", "unknown"]
    kept = Report.from_json({"measures": {"before": {}, "after": {"mi": 0.5}}})
    judged_again = Report.from_json(json.loads(json.dumps(judged(kept).to_json())))
    assert judged_again.verdict == judge_report(kept)


def test_structures_that_do_not_overlap_are_never_green_however_much_better_than_before():
    def level(after):
        columns = {"before": {"dice_mean": 0.01}, "start": {"dice_mean": 0.05}, "after": {"dice_mean": after}}
        return judge_report(Report.from_json({"measures": columns}))

    assert level(0.09).level == "bad"
    assert "swapped left and right" in level(0.09).reasons[0]
    assert level(0.3).level == "check"
    assert level(0.5).level == "good"


def test_estimated_structures_can_only_lower_the_level():
    def verdict(before, after, *, estimated, mi=0.6):
        columns = {"before": {"mi": 0.3, "dice_mean": before}, "after": {"mi": mi, "dice_mean": after}}
        inputs = {"moving_labels": {"estimated": True}} if estimated else {}
        return judge_report(Report.from_json({"measures": columns, "inputs": inputs}))

    assert verdict(0.3, 0.7, estimated=True).level == "good"
    assert verdict(0.3, 0.7, estimated=True, mi=0.2).level == "bad"  # the intensities decide
    assert verdict(0.3, 0.7, estimated=False, mi=0.2).level == "good"
    assert verdict(0.7, 0.6, estimated=True).level == "check" and verdict(0.7, 0.6, estimated=False).level == "bad"
    swapped = verdict(0.05, 0.08, estimated=True)
    assert swapped.level == "bad" and "a network estimated hardly overlap" in swapped.reasons[0]
    assert "estimated by a network" in verdict(0.3, 0.7, estimated=True).aspects[1].text
    assert verdict(0.3, 0.7, estimated=False).aspects[1].text == "Dice rose from 0.300 to 0.700."


def test_estimated_overlap_does_not_rank_results():
    def report(dice, mi, *, estimated):
        inputs = {"fixed_labels": {"estimated": True}} if estimated else {}
        columns = {"before": {"mi": 0.1, "dice_mean": 0.1}, "after": {"mi": mi, "dice_mean": dice}}
        return Report.from_json({"measures": columns, "inputs": inputs})

    for estimated, best in ((False, 1), (True, 0)):
        reports = [report(0.5, 0.8, estimated=estimated), report(0.6, 0.7, estimated=estimated)]
        assert best_report(reports) == best


def test_intensities_are_compared_with_the_start_where_the_volumes_hardly_met_before():
    def level(overlap):
        columns = {"before": {"mi": 1.2, "overlap_percent": overlap}, "start": {"mi": 0.3}, "after": {"mi": 1.0}}
        return judge_report(Report.from_json({"measures": columns})).level

    assert level(3.0) == "good"
    assert level(90.0) == "bad"


def test_a_match_of_volumes_that_did_not_meet_before_is_an_improvement():
    """The linear engine has no start before its result to compare with."""

    def level(before, seen=100.0):
        columns = {"before": before, "after": {"mi": 0.4, "overlap_percent": seen}}
        return judge_report(Report.from_json({"measures": columns})).level

    assert level({"mi": None, "overlap_percent": 0.0}) == "good"
    assert level({"mi": 1.2, "overlap_percent": 3.0}) == "good"
    assert level({"mi": 1.2, "overlap_percent": 90.0}) == "bad"
    assert level({"mi": None, "overlap_percent": 0.0}, seen=0.0) == "bad"


def test_an_input_that_may_be_wrong_is_never_green(pair, result, evaluation):
    doubt = copy.deepcopy(Note("Gap closed.", unsound=True).about("Fixed volume"))
    notes = ("Read as 3D.", Note("Axes rounded."), doubt)
    sound, unsound = (
        make_report(pair, replace(result, diagnostics=replace(result.diagnostics, notes=said)), evaluation)
        for said in (notes[:2], notes)
    )
    assert sound.to_json()["unsound"] == [] and judge_report(sound).level == "good"
    assert unsound.to_json()["unsound"] == ["Fixed volume: Gap closed."] and unsound.to_json()["notes"][:3] == list(
        notes
    )
    verdict = judge_report(Report.from_json(json.loads(json.dumps(unsound.to_json()))))
    assert (verdict.level, verdict.headline) == ("check", "Check the inputs")
    assert "Fixed volume: Gap closed." in verdict.sentence and "Fixed volume: Gap closed." in verdict.reasons


def test_comparison(tmp_path, pair, result, evaluation):
    worse = replace(result, transform=result.start, engine="linear", start=result.start)
    runs = {"sitk-demons": (result, evaluation), "linear": (worse, evaluate(pair, worse, threads=1))}
    page = write_comparison_html(
        tmp_path / "comparison.html",
        pair,
        runs,
        links={"linear": "linear/report.html"},
        failures={"ants": "needs <it>"},
    ).read_text(encoding="utf-8")
    assert 'href="linear/report.html"' in page
    assert "needs &lt;it&gt;" in page
    assert len(page) < 3_000_000


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_missing_package_gives_a_remedy(monkeypatch, tmp_path, pair, result, evaluation, package):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RegistrationError, match=f"pip install {package}"):
        write_report_html(tmp_path / "report.html", pair, result, evaluation)


def test_data_addresses_hold_pictures():
    for photo, start in ((True, b"\xff\xd8"), (False, b"\x89PNG")):
        address = plotting.data_uri(plotting.new_figure(2, 1), photo=photo)
        assert base64.b64decode(address.partition(",")[2]).startswith(start)


def test_the_best_report_is_decided_by_common_measures():
    def report(**after):
        before = {"tre_mm_mean": 9.0, "dice_mean": 0.2}
        return Report.from_json({"measures": {"before": before, "after": {"folding_percent": 0.0, **after}}})

    worse, better, useless = (
        report(tre_mm_mean=tre, dice_mean=dice) for tre, dice in ((3.0, 0.9), (2.0, 0.8), (9.5, 0.99))
    )
    assert best_report([worse, better, useless]) == 1  # landmarks judge before the Dice
    assert best_report([useless]) == 0
    assert best_report([report(dice_mean=0.5), report(tre_mm_mean=1.0, dice_mean=0.6), report(dice_mean=0.7)]) == 2
    assert best_report([better, better]) == 0


@pytest.mark.parametrize(
    "content", [{}, {"measures": 3}, {"measures": {"before": {}}}, {"measures": {"after": {}}, "look_at": [{}]}]
)
def test_what_is_no_report_is_refused(content):
    with pytest.raises(FileError, match="not valid"):
        Report.from_json(content)


def test_a_report_of_version_0_1_has_no_locations_and_no_verdict():
    report = Report.from_json({"measures": {"before": {}, "after": {"mi": 1.0}}, "trace": [["Affine", 1, None]]})
    assert report.locations is None and report.verdict is None and report.total_seconds is None
    assert np.isnan(report.diagnostics.trace[0].metric)
    assert not {"locations", "verdict"} & set(report.to_json())


def test_folds_are_stated_once_in_every_verdict():
    """With a decisive measure the sentence states them; without one the reason does."""
    for after in ({"dice_mean": 0.9}, {}):
        report = Report.from_json(
            {"measures": {"before": {"dice_mean": 0.5}, "after": {"folding_percent": 7.0, **after}}}
        )
        said = " ".join([judge_report(report).sentence, *further_reasons(report)])
        assert said.count("7 % of the voxels are folded") == 1, said

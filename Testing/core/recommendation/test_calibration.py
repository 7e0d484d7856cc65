"""The calibration: known coefficients come back, bands hold what they say, files are checked."""

from __future__ import annotations

import numpy as np
import pytest
from DeepVsClassicRegLib.core.errors import FileError, RegistrationError
from DeepVsClassicRegLib.core.recommendation.calibration import Calibration, LabelPoint, label_points, logit, sigmoid
from DeepVsClassicRegLib.core.recommendation.evidence import Evidence, read_evidence
from DeepVsClassicRegLib.core.recommendation.fitting import (
    Example,
    cross_validated,
    fit_calibration,
    weighted_quantile,
)
from DeepVsClassicRegLib.core.recommendation.runtime import expected_seconds, fit_seconds, machine_factor, probe_seconds
from DeepVsClassicRegLib.core.recommendation.strengths import (
    DIFFERENT_CONTRASTS,
    ONE_CONTRAST,
    expected_gain,
    measure_strengths,
    ranked,
)


def examples(datasets=6, pairs=4, noise=0.05, spread=0.0, seed=0):
    """Pairs that obey logit(Dice) = 1 + 0.8 ln(I/H) - 0.5 ln(S/V), 'weak' 0.4 below."""
    random = np.random.default_rng(seed)
    found = []
    for dataset in range(datasets):
        shift = spread * random.normal()
        for pair in range(pairs):
            points = [LabelPoint(str(n), random.uniform(-3, -0.2), random.uniform(-1, 1)) for n in range(8)]
            logits = [
                1 + 0.8 * p.ln_share - 0.5 * p.ln_surface_to_volume + shift + noise * random.normal() for p in points
            ]
            dice = [sigmoid(value) for value in logits]
            weak = float(np.mean([sigmoid(value - 0.4) for value in logits]))
            found.append(Example(f"d{dataset}", f"p{pair}", "good", float(np.mean(dice)), points, dice, 0.3))
            found.append(Example(f"d{dataset}", f"p{pair}", "weak", weak, points))
    return found


def test_known_coefficients_come_back():
    found = fit_calibration(examples())
    assert (found.intercept, found.share, found.surface_to_volume) == pytest.approx((1, 0.8, -0.5), abs=0.06)
    assert found.engines["weak"].offset - found.engines["good"].offset == pytest.approx(-0.4, abs=0.06)
    assert (
        found.engines["good"].error < 0.2 * found.engines["good"].baseline_error or found.engines["good"].error < 0.01
    )


def test_the_band_covers_what_it_promises_on_unseen_datasets():
    covered = [j.covered for seed in range(6) for j in cross_validated(examples(8, 2, 0.05, 0.5, seed), "good")]
    assert 0.68 <= np.mean(covered) <= 0.98


def test_left_out_datasets_do_not_leak():
    """A dataset that contradicts all others must be badly predicted; other protocols of its images are left out too."""
    odd = [
        Example(dataset, e.case, e.entry, 1 - e.dice, e.points, [1 - d for d in e.label_dice], e.nats)
        for e in examples(1, 3)
        for dataset in ("odd", "odd/fine")
    ]
    judged = cross_validated([*examples(), *odd], "good")
    apart = [abs(j.example.dice - j.predicted) for j in judged if j.example.dataset == "odd"]
    alone = cross_validated([*examples(), *(e for e in odd if e.dataset == "odd")], "good")
    expected = [abs(j.example.dice - j.predicted) for j in alone if j.example.dataset == "odd"]
    assert apart == pytest.approx(expected, abs=1e-9)


def test_too_few_datasets_are_refused():
    with pytest.raises(RegistrationError, match="4 datasets, found 3"):
        fit_calibration(examples(3))


def test_prediction_outside_the_fitted_range_is_reported():
    found = fit_calibration(examples())
    assert found.outside([LabelPoint("a", -1.0, 0.0)]) == ""
    assert "less information on the labels" in found.outside([LabelPoint("a", -5.0, 0.0)])
    assert "thinner" in found.outside([LabelPoint("a", -1.0, 3.0)])
    band = found.predict([LabelPoint("a", -1.0, 0.0)], "good")
    assert 0 < band.low < band.mean < band.high < 1
    assert band.mean == pytest.approx(sigmoid(0.2), abs=0.02)


def test_json_round_trip_and_plot(tmp_path):
    from DeepVsClassicRegLib.core.recommendation.figure import write_plot

    found = fit_calibration(examples())
    again = Calibration.from_json(found.to_json())
    points = [LabelPoint("a", -1.0, 0.0), LabelPoint("b", -2.0, 0.5)]
    assert again.predict(points, "weak").mean == pytest.approx(found.predict(points, "weak").mean, abs=1e-3)
    plot = again.plot(points, "good")
    means = [point.dice.mean for point in plot.curve]
    assert means == sorted(means) and plot.case is not None and [p.name for p in plot.labels] == ["a", "b"]
    assert write_plot(plot, tmp_path / "plot.png").stat().st_size > 1000
    with pytest.raises(FileError, match="Could not write"):
        write_plot(plot, tmp_path / "no" / "plot.png")


def test_broken_files_are_reported():
    with pytest.raises(FileError, match="format None"):
        Evidence.from_json({})
    with pytest.raises(FileError, match="cannot be read"):
        Calibration.from_json({"intercept": 1})


def test_the_shipped_evidence_is_sound():
    shipped = read_evidence()
    calibration = shipped.calibration
    assert calibration.share > 0 > calibration.surface_to_volume
    assert {"instance", "elastix", "greedy", "ants:quick", "linear"} <= set(calibration.engines)
    assert calibration.provenance["datasets"] and calibration.provenance["date"]
    assert Evidence.from_json(shipped.to_json()).to_json() == shipped.to_json()
    assert shipped.entries_of("ants") == ("ants:quick",) and shipped.entries_of("sitk-demons") == ("sitk-demons",)


def test_label_points_take_the_shared_labels():
    def side(*labels):
        return {
            "labels": [
                {"label": n, "name": str(n), "uncertainty_coefficient": u, "surface_mm2": 6.0, "volume_mm3": 1.0}
                for n, u in labels
            ]
        }

    points = label_points(side((1, 0.4), (2, 0.1)), side((1, 0.1), (3, 0.2)))
    assert [point.name for point in points] == ["1"]
    assert np.exp(points[0].ln_share) == pytest.approx(0.2) and np.exp(points[0].ln_surface_to_volume) == pytest.approx(
        6
    )
    assert len(label_points(side((1, 0.4), (2, 0.1)), labels=[2])) == 1


def test_quantiles_count_one_case_more_and_logit_is_bounded():
    assert weighted_quantile([3, 1, 2, 4], [1, 1, 1, 1], 0.8) == 4
    assert weighted_quantile([1, 2], [1, 1], 0.5) == 2
    assert logit(1.0) == logit(0.98) and sigmoid(logit(0.3)) == pytest.approx(0.3)


def test_run_times_are_a_line_that_outliers_do_not_move():
    measured = [(int(n * 1e6), 2 + 3.0 * n, 1.6 + 2.4 * n) for n in (1, 2, 4, 8)] + [(8_000_000, 400.0, 400.0)]
    cost = fit_seconds(measured)
    assert cost.base == pytest.approx(2, abs=0.5) and cost.per_megavoxel == pytest.approx(3, abs=0.3)
    assert cost.cpu_seconds(10_000_000, factor=2) == pytest.approx(64, rel=0.1)
    assert expected_seconds({"linear": cost, "a": cost}, "a", 10**6, factor=1, cores=1) == pytest.approx(10, rel=0.15)
    assert expected_seconds({"a": cost}, "b", 10**6, factor=1, cores=1) is None
    assert 0 < probe_seconds() < 3 and 0.2 <= machine_factor(1e-9) <= 5


def test_strengths_weight_datasets_equally_and_shrink_few():
    def run(case, group, engine, dice, kind="inter-subject", confidence=1.0):
        return {"case": case, "group": group, "engine": engine, "dice": dice, "kind": kind, "confidence": confidence}

    runs = [run("a", "A", "linear", 0.5), run("a", "A", "x", 0.75), run("a", "A", "y", 0.52)]
    runs += [run("b", "A", "linear", 0.5), run("b", "A", "x", 0.75), run("c", "B", "linear", 0.5)]
    runs += [
        run("c", "B", "x", 0.5),
        run("d", "C", "linear", 0.5, "multi-modal"),
        run("d", "C", "x", 0.4, "multi-modal"),
    ]
    runs += [
        run("d", "C", "y", 0.6, "multi-modal"),
        run("e", "D", "linear", 0.5, confidence=0.1),
        run("e", "D", "x", 0),
    ]
    found = measure_strengths(runs)
    assert found[ONE_CONTRAST]["x"].gain == pytest.approx(0.25) and found[ONE_CONTRAST]["x"].datasets == 2
    assert ranked(found, ONE_CONTRAST, ["new", "y", "x"]) == ("x", "y", "new")
    assert ranked(found, DIFFERENT_CONTRASTS, ["new", "y", "x"])[0] == "y"
    assert found[DIFFERENT_CONTRASTS]["x"].gain < expected_gain(found, DIFFERENT_CONTRASTS, "x") < 0.25
    assert expected_gain(found, ONE_CONTRAST, "new") is None

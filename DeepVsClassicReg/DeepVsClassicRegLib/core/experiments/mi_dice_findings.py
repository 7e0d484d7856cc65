"""Evaluates the relation of mutual information and Dice: correlations, claims of the paper, tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .base import ExperimentOptions
from .dataset import Study
from .findings import Claim, Drawing, Findings, Table, by_level, by_sign, flat_columns
from .mi_dice_figures import label_figure, scatter_figure, variants_figure
from .statistics import Estimate, correlation, line_fit, pearson, resampled

Array = npt.NDArray[np.float64]
Row = Mapping[str, Any]
PAPER_LINEAR, PAPER_LOG = 0.886, 0.933
LEAST = 0.7
HEADLINE = "whole_pair"
VARIANTS = {
    "whole_pair": "whole image, mean of fixed and moving",
    "whole_fixed": "whole image, fixed",
    "foreground_pair": "inside the labels, mean of fixed and moving",
    "foreground_fixed": "inside the labels, fixed",
    "whole_share_pair": "share of the label entropy, whole image",
    "foreground_share_pair": "share of the label entropy, inside the labels",
}
LEAST_POINTS = 4


def make_findings(
    images: Mapping[str, Row], points: Sequence[Row], engines: Sequence[str], study: Study, options: ExperimentOptions
) -> Findings:
    """Return the findings.

    Parameters
    ----------
    images : mapping
        Image -> its measures.
    points : sequence of mappings
        One row per pair and engine.
    engines : sequence of str
        Engines; claims use the first one with points.
    """
    engine = next((name for name in engines if any(row["engine"] == name for row in points)), "")
    own = [row for row in points if row["engine"] == engine]
    same = [row for row in own if not row["multimodal"]]
    per_image = image_means(same, images)
    per_label = label_means(same, images)
    drawn = []
    if len(same) >= LEAST_POINTS:
        drawn.append(_scatter(same, [row for row in own if row["multimodal"]], per_image, engine))
        drawn.append(_variants(points, engines))
    if len(per_label) >= LEAST_POINTS:
        drawn.append(_labels(per_label))
    return Findings(
        title="Does mutual information predict Dice?",
        figure_of_paper="Figure 1",
        summary=f"{len(same)} pairs of {len({row['dataset'] for row in same})} data sets, {len(per_image)} fixed "
        f"images, registered by '{engine}'. {study.source}.",
        claims=_claims(same, per_image, per_label),
        tables=[
            variants_table(points, engines),
            dataset_table(same),
            left_out_table(same),
            Table("images", "Every image", "Information in nats; Dice is the mean over the pairs it is the "
            "fixed image of.",
                  *_plain(per_image), folded=True),
            Table("labels", "Every label", "Means over images (information) and pairs (Dice).", *_plain(per_label),
                  folded=True),
        ],
        drawings=drawn,
        notes=_notes(points, options),
        numbers=_numbers(same, per_image),
    )  # fmt: skip


def image_means(points: Sequence[Row], images: Mapping[str, Row]) -> list[dict[str, Any]]:
    """Return one row per fixed image: its information and the mean Dice of its pairs."""
    rows = []
    for key in dict.fromkeys(row["fixed"] for row in points):
        dice = [row["dice"] for row in points if row["fixed"] == key]
        plain = {name: value for name, value in images[key].items() if not isinstance(value, dict)}
        rows.append({"image": key, **plain, "pairs": len(dice), "dice": float(np.mean(dice))})
    return rows


def label_means(points: Sequence[Row], images: Mapping[str, Row]) -> list[dict[str, Any]]:
    """Return one row per data set and label: mean information over the fixed images, mean Dice over the pairs."""
    found: dict[tuple[str, str], list[tuple[float, Row]]] = {}
    for row in points:
        for label, dice in row["labels"].items():
            about = images[row["fixed"]]["labels"].get(label)
            if about is not None:
                found.setdefault((row["dataset"], label), []).append((dice, about))
    return [
        {
            "dataset": dataset,
            "label": label,
            "pairs": len(entries),
            "dice": float(np.mean([dice for dice, _ in entries])),
            **{name: float(np.mean([about[name] for _, about in entries])) for name in entries[0][1]},
        }
        for (dataset, label), entries in found.items()
    ]


def pair_correlation(rows: Sequence[Row], name: str, *, log: bool) -> Estimate:
    """Return the correlation of information and Dice over pairs; images are the units of resampling."""
    x, y = _information(rows, name, log=log), _dice(rows)
    return correlation(x, y, _images(rows))


def variants_table(points: Sequence[Row], engines: Sequence[str]) -> Table:
    """Return r for every definition of the information and every engine."""
    rows: list[list[Any]] = []
    for engine in engines:
        for multimodal in (False, True):
            own = [row for row in points if row["engine"] == engine and (multimodal or not row["multimodal"])]
            if len(own) < LEAST_POINTS or (multimodal and not any(row["multimodal"] for row in own)):
                continue
            scope = "all, also multi-modal" if multimodal else "one contrast"
            for name, title in VARIANTS.items():
                linear, log = (pair_correlation(own, name, log=log) for log in (False, True))
                rows.append([engine, scope, title, len(own), linear.text(), log.text()])
    return Table(
        "correlations",
        "Correlations by definition and engine",
        "Pearson's r of Dice per pair with the information and with its logarithm, and its 95 % interval (images "
        f"resampled). The claims use the first line. The paper: {PAPER_LINEAR} and {PAPER_LOG}; it does not say which "
        "definition or which image of the pair it took.",
        ["Engine", "Pairs of", "Information", "Pairs", "r, linear", "r, logarithm"],
        rows,
    )


def dataset_table(points: Sequence[Row]) -> Table:
    """Return means and correlation of each data set."""
    rows: list[list[Any]] = []
    for dataset in dict.fromkeys(row["dataset"] for row in points):
        own = [row for row in points if row["dataset"] == dataset]
        inside = pair_correlation(own, HEADLINE, log=False)
        rows.append(
            [dataset, len(own), _mean_sd(own, HEADLINE), _mean_sd(own, "foreground_pair"), _mean_sd(own, "dice"),
             inside.text()]
        )  # fmt: skip
    return Table(
        "datasets",
        "Results per data set",
        "Mean ± standard deviation over pairs; r is that of the pairs within the data set.",
        ["Data set", "Pairs", "Information, nats", "Inside the labels, nats", "Dice", "r within"],
        rows,
    )


def left_out_table(points: Sequence[Row]) -> Table:
    """Return r for each left-out data set, which shows its dependence on single data sets."""
    rows: list[list[Any]] = []
    for dataset in dict.fromkeys(row["dataset"] for row in points):
        rest = [row for row in points if row["dataset"] != dataset]
        if len(rest) >= LEAST_POINTS and len({row["dataset"] for row in rest}) > 1:
            linear, log = (pair_correlation(rest, HEADLINE, log=log) for log in (False, True))
            rows.append([dataset, len(rest), linear.text(), log.text()])
    return Table(
        "left_out",
        "Leave-one-data-set-out",
        "A correlation over few data sets can depend on one of them.",
        ["Left out", "Pairs", "r, linear", "r, logarithm"],
        rows,
    )


def _claims(points: Sequence[Row], per_image: Sequence[Row], per_label: Sequence[Row]) -> list[Claim]:
    if len(points) < LEAST_POINTS:
        return []
    linear, log = (pair_correlation(points, HEADLINE, log=log) for log in (False, True))
    images = [correlation(_information(per_image, "whole", log=log), _dice(per_image)) for log in (False, True)]
    level = (
        "holds when the 95 % interval (images resampled) reaches {0} and lies above 0.7; fails when it ends below {0}"
    )
    claims = [
        Claim(
            "The more information the intensity carries on the label, the higher the overlap after registration.",
            f"Pearson r = {PAPER_LINEAR} over the pairs of four brain data sets (Fig. 1).",
            f"r = {linear.text()} over {linear.count} pairs; r = {images[0].text()} over {images[0].count} "
            "fixed images.",
            "holds when the 95 % interval of r over pairs is above 0; fails when it is below 0",
            by_sign(linear),
        ),
        Claim(
            f"The linear correlation is as strong as the paper's {PAPER_LINEAR}.",
            f"r = {PAPER_LINEAR}; no interval is given.",
            f"r = {linear.text()} per pair.",
            level.format(PAPER_LINEAR),
            by_level(linear, PAPER_LINEAR, least=LEAST),
        ),
        Claim(
            f"With the logarithm of the information it is as strong as the paper's {PAPER_LOG}.",
            f"r = {PAPER_LOG}; no interval is given.",
            f"r = {log.text()} per pair, r = {images[1].text()} per fixed image.",
            level.format(PAPER_LOG),
            by_level(log, PAPER_LOG, least=LEAST),
        ),
        _log_claim(points),
    ]
    return claims + _own_claims(points, per_label)


def _log_claim(points: Sequence[Row]) -> Claim:
    x, logs, y = (_information(points, HEADLINE, log=False), _information(points, HEADLINE, log=True), _dice(points))
    gain = resampled(
        pearson(logs, y) - pearson(x, y), len(y), _images(points), lambda w: pearson(logs, y, w) - pearson(x, y, w)
    )
    return Claim(
        "Dice grows with the logarithm of the information rather than linearly.",
        f"r rises from {PAPER_LINEAR} to {PAPER_LOG} with the logarithm.",
        f"r changes by {gain.text()}.",
        "holds when the 95 % interval of the change is above 0; fails when it is below 0",
        by_sign(gain),
    )


def _own_claims(points: Sequence[Row], per_label: Sequence[Row]) -> list[Claim]:
    claims = []
    if len({row["dataset"] for row in points}) > 1:
        x, y = _centered(points, HEADLINE), _centered(points, "dice")
        inside = correlation(x, y, _images(points))
        claims.append(
            Claim(
                "It also holds within data sets, not only between them.",
                "Not tested: all pairs of the four data sets are in one plot.",
                f"r = {inside.text()} after subtracting the mean of each data set from both.",
                "holds when the 95 % interval of r is above 0; fails when it is below 0",
                by_sign(inside),
                ours_alone=True,
            )
        )
    if len(per_label) >= LEAST_POINTS:
        share = correlation([row["share"] for row in per_label], _dice(per_label))
        size = correlation(np.log([row["volume_mm3"] for row in per_label]), _dice(per_label))
        claims.append(
            Claim(
                "It holds for individual labels: labels with high information overlap better.",
                "Not tested: the information is that of all labels together.",
                f"r = {share.text()} between the share of a label's entropy that the intensity explains and its Dice, "
                f"over {share.count} labels; with the logarithm of its volume instead, r = {size.text()}.",
                "holds when the 95 % interval (Fisher) of the first r is above 0; fails when it is below 0",
                by_sign(share),
                ours_alone=True,
            )
        )
    return claims


def _scatter(same: Sequence[Row], other: Sequence[Row], per_image: Sequence[Row], engine: str) -> Drawing:
    linear, log = (pair_correlation(same, HEADLINE, log=log) for log in (False, True))
    image_log = correlation(_information(per_image, "whole", log=True), _dice(per_image))
    image_linear = correlation(_information(per_image, "whole", log=False), _dice(per_image))
    figure = scatter_figure(same, other, per_image, HEADLINE, (linear, log), (image_linear, image_log))
    more = " Hollow marks are multi-modal pairs, left out of fits and r." if other else ""
    return Drawing(
        "mi_dice",
        "Information and Dice",
        f"Left: one point per pair, as in the paper's Figure 1, registered by '{engine}'; right: one per fixed image. "
        f"Grey: linear fit, black: logarithmic fit.{more}",
        figure,
    )


def _variants(points: Sequence[Row], engines: Sequence[str]) -> Drawing:
    found = []
    for engine in engines:
        own = [row for row in points if row["engine"] == engine and not row["multimodal"]]
        if len(own) >= LEAST_POINTS:
            for name in ("whole_pair", "foreground_pair", "foreground_share_pair"):
                pair = tuple(pair_correlation(own, name, log=log) for log in (False, True))
                found.append((f"{engine}: {VARIANTS[name]} ({len(own)})", pair[0], pair[1]))
    return Drawing(
        "correlations",
        "Correlation by definition and engine",
        "Pearson's r with its 95 % interval; dashed: the paper's values. In brackets the number of pairs.",
        variants_figure(found, PAPER_LINEAR, PAPER_LOG),
    )


def _labels(per_label: Sequence[Row]) -> Drawing:
    share = correlation([row["share"] for row in per_label], _dice(per_label))
    size = correlation(np.log([row["volume_mm3"] for row in per_label]), _dice(per_label))
    return Drawing(
        "per_label",
        "Results per label",
        "One point per label of a data set. Left: the share of its entropy that the intensity explains; right: its "
        "volume, because thin and small labels lose more at their border whatever the intensity shows.",
        label_figure(per_label, share, size),
    )


def _notes(points: Sequence[Row], options: ExperimentOptions) -> list[str]:
    notes = [
        "The paper registers all pairs of four brain data sets with ANTs; it gives neither bins nor range nor whether "
        "the background counts. Here: 64 bins between the 0.1 and 99.9 percentile, natural logarithm, Miller-Madow "
        "corrected.",
        "Pairs share images and images share a data set. The intervals resample images; with so few data sets, each "
        "with its own label protocol, the relation between data sets rests on as many independent points as there are "
        "data sets. See 'Leave-one-data-set-out'.",
        "A finer protocol can only raise the information of the same image while it lowers the Dice, so number and "
        "size of the labels confound the relation.",
    ]
    if options.phantom:
        notes.append(
            "On the phantom contrast, noise and label protocol were varied together between the data sets, so part of "
            "the correlation is built in: this tests the measurement, not the claim for patients."
        )
    reused = {run.get("engine") for run in options.runs} & {row["engine"] for row in points}
    if reused:
        notes.append(
            f"Dice of stored runs was used where there was one ({', '.join(sorted(map(str, reused)))}); stored runs "
            "without Dice per label are missing in the plot of labels."
        )
    return notes


def _numbers(points: Sequence[Row], per_image: Sequence[Row]) -> dict[str, Any]:
    if len(points) < LEAST_POINTS:
        return {}
    x, y = _information(points, HEADLINE, log=False), _dice(points)
    fits = {"linear": line_fit(x, y), "log": line_fit(np.log(x), y)}
    found: dict[str, Any] = {
        f"r_{'log' if log else 'linear'}_per_pair": _estimate_json(pair_correlation(points, HEADLINE, log=log))
        for log in (False, True)
    }
    for log in (False, True):
        estimate = correlation(_information(per_image, "whole", log=log), _dice(per_image))
        found[f"r_{'log' if log else 'linear'}_per_image"] = _estimate_json(estimate)
    return {**found, "fits": {name: {"slope": a, "intercept": b} for name, (a, b) in fits.items()}}


def _estimate_json(estimate: Estimate) -> dict[str, float | int | None]:
    values = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {**{name: None if np.isnan(v) else round(v, 4) for name, v in values.items()}, "count": estimate.count}


def _information(rows: Sequence[Row], name: str, *, log: bool) -> Array:
    values = np.array([row[name] for row in rows], dtype=float)
    # An image with 0 nats has no logarithm; 1/10000 nat is below the measurable information.
    return np.log(np.maximum(values, 1e-4)) if log else values


def _dice(rows: Sequence[Row]) -> Array:
    return np.array([row["dice"] for row in rows], dtype=float)


def _images(rows: Sequence[Row]) -> list[list[str]]:
    return [[row["fixed"] for row in rows], [row["moving"] for row in rows]]


def _centered(rows: Sequence[Row], name: str) -> Array:
    values, datasets = np.array([row[name] for row in rows], dtype=float), np.array([row["dataset"] for row in rows])
    for dataset in set(datasets.tolist()):
        values[datasets == dataset] -= values[datasets == dataset].mean()
    return values


def _mean_sd(rows: Sequence[Row], name: str) -> str:
    values = np.array([row[name] for row in rows], dtype=float)
    return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}" if len(values) > 1 else f"{values.mean():.3f}"


def _plain(rows: Sequence[Row]) -> tuple[list[str], list[list[Any]]]:
    columns = flat_columns(rows)
    cut = [[round(v, 4) if isinstance(v := row.get(name), float) else v for name in columns] for row in rows]
    return columns, cut

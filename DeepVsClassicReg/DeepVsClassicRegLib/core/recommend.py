"""Advice for a pair: collects facts from engines, networks and images, and applies the rules of the recommendation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .device import Compute, available_cores, sitk_threads, torch_device
from .engines.catalogue import engine_infos
from .engines.engine_input import engine_view
from .engines.instance.similarity_selection import similarity_for
from .engines.registration import align_linearly
from .errors import GeometryError
from .images.grid import is_single_slice
from .images.intensity import foreground
from .images.volume import Volume
from .networks.card import Card
from .networks.model_store import find_models
from .pair import Pair, check_pair
from .progress import Progress
from .recommendation.advice import Advice, Band
from .recommendation.calibration import LabelPoint, label_points
from .recommendation.domain import DomainReport, DomainStatistics, domain_distance, one_subject
from .recommendation.evidence import Evidence, read_evidence
from .recommendation.facts import EngineFacts, Facts, ModelFacts
from .recommendation.limits import limits_of
from .recommendation.mutual_information import mutual_information
from .recommendation.rules import apply_rules
from .recommendation.runtime import expected_seconds, machine_factor
from .recommendation.tissue import rough_information
from .result import DOUBTFUL_CONFIDENCE
from .settings import Choice
from .transforms.transform import Transform

WORKING = 2.0  # in units of the fixed grid, mm for a head
MEMORY_GIB = 2.0
OVERLAP_POINTS = 20000
ANY = "any"
NORMAL_80 = 1.28  # standard deviations around the mean with 80 % of a normal distribution


def recommend(
    pair: Pair,
    *,
    time_budget_s: float | None = None,
    training_labels: int = 0,
    representative: bool | None = None,
    labels: Sequence[int] | None = None,
    align: bool = True,
    device: str = "auto",
    threads: int = 0,
    models: Sequence[Path] = (),
    calibration: Path | None = None,
    progress: Progress | None = None,
) -> Advice:
    """Recommend an engine for a pair, with the expected Dice and the reasons.

    Parameters
    ----------
    pair : Pair
        The pair to register. With segmentations (at least of the fixed volume) the Dice can be predicted.
    time_budget_s : float, optional
        Maximum time of one registration.
    training_labels : int
        Number of segmented cases available for training a network.
    representative : bool, optional
        Whether these have the same scanner, imaging protocol and labeling as the pair.
    labels : sequence of int, optional
        The labels of interest; default: all.
    align : bool, default True
        Compute the linear alignment (a few seconds) to check its confidence and whether the contrasts agree. When
        False, `pair.initial` or the headers are used.
    device, threads
        As for `register`.
    models : sequence of Path
        Additional folders with models.
    calibration : Path, optional
        A calibration to use instead of the bundled one.
    progress : Progress, optional
        Receives progress updates and can cancel.

    Returns
    -------
    Advice
        Engine, preset, runner-up, reasons, predicted Dice and run times.

    Raises
    ------
    RegistrationError
        When the pair cannot be registered at all, consists of single slices, or a file cannot be read.

    Examples
    --------
    >>> from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
    >>> advice = recommend(make_phantom("head", size=32).pair, threads=1)
    >>> advice.engine in advice.to_json()["engine"] and len(advice.reasons) > 2
    True
    """
    listener = progress or Progress()
    compute = Compute(device=device, threads=threads)
    if is_single_slice(pair.fixed.grid.size):
        raise GeometryError(
            "There is no recommendation for single slices: its evidence comes from volumes.",
            hint="Select an engine, for example 'instance'.",
        )
    check_pair(pair)
    evidence = read_evidence(calibration)
    with sitk_threads(compute.thread_count):
        listener.report(0.0, "Aligning linearly")
        start, confidence = _aligned(pair, compute, listener) if align else (pair.initial or Transform(), None)
        listener.report(0.6, "Measuring contrast and mutual information")
        information, points = _information(pair, labels)
        contrast = _contrast(pair, start)
        placed = pair.replace(initial=start)
        found_models = tuple(_model_facts(placed, model.card, labels) for model in find_models(models))
    listener.report(0.9, "Applying the rules")
    beyond = _beyond(evidence, points, contrast[0], confidence)
    engines = _engines(evidence)
    usable = tuple(entry for engine in engines if engine.available for entry in engine.entries)
    predicted = _predicted(evidence, points, usable) if points and not beyond else {}
    facts = Facts(
        engines=engines,
        models=found_models,
        strengths=evidence.strengths,
        same_contrast=contrast[0],
        contrast_words=contrast[1],
        confidence=confidence,
        overlap=_overlap(pair, start),
        training_labels=training_labels,
        representative=representative,
        information=information,
        label_share=float(np.exp(np.mean([point.ln_share for point in points]))) if points else None,
        predicted=predicted,
        beyond=beyond if points else "",
        seconds=_seconds(evidence, usable, pair.fixed.grid.voxel_count),
        time_budget_s=time_budget_s,
        device=_device(device, usable),
        voxel_mm=float(np.prod(pair.fixed.grid.spacing_mm) ** (1 / 3)) / pair.fixed.grid.unit_mm,
        landmarks=len(pair.fixed_points) if pair.fixed_points is not None else 0,
    )
    fitting = facts.fitting_model()
    if fitting is not None and fitting.expected is not None:
        # The calibration knows networks in general; this one was measured on pairs like this.
        facts = dataclasses.replace(facts, predicted={**predicted, "network": fitting.expected})
    listener.report(1.0, "Done")
    return compose(facts, evidence, points)


def compose(facts: Facts, evidence: Evidence, points: Sequence[LabelPoint] = ()) -> Advice:
    """Return the advice that follows from the facts."""
    plan = apply_rules(facts)
    first, *others = plan.ranking
    choice = Choice.parse(first)
    plotted = next((entry for entry in plan.ranking if entry in evidence.calibration.engines), None)
    return Advice(
        engine=choice.engine,
        preset=choice.preset,
        runner_up=others[0] if others else "",
        sure=plan.sure,
        headline=_headline(first, facts, sure=plan.sure),
        reasons=plan.reasons,
        mutual_information=facts.information,
        predicted_dice={entry: facts.predicted[entry] for entry in plan.ranking if entry in facts.predicted},
        seconds={entry: facts.seconds[entry] for entry in plan.ranking if entry in facts.seconds},
        domain={model.name: model.domain for model in facts.models if model.domain is not None},
        limits=limits_of(facts),
        plot=evidence.calibration.plot(list(points) if facts.predicted else [], plotted) if plotted else None,
    )


def _headline(entry: str, facts: Facts, *, sure: bool) -> str:
    band = facts.predicted.get(entry)
    dice = f" Expected Dice {band.mean:.2f} ({band.low:.2f} to {band.high:.2f})." if band else ""
    seconds = f" About {facts.seconds[entry]:.0f} s." if entry in facts.seconds else ""
    if not sure:
        return (
            "No clear recommendation: the evidence is not sufficient. "
            f"To register anyway, start with {entry} and check the result."
        )
    return f"Use {entry}.{dice}{seconds}"


def _aligned(pair: Pair, compute: Compute, progress: Progress) -> tuple[Transform, float | None]:
    if pair.initial is not None:
        return pair.initial, None
    result = align_linearly(pair, compute, progress.part(0.0, 0.6))
    return result.transform, result.diagnostics.confidence


def _information(pair: Pair, labels: Sequence[int] | None) -> tuple[Mapping[str, Any], list[LabelPoint]]:
    sides = [
        mutual_information(volume, segmentation).to_json()
        for volume, segmentation in ((pair.fixed, pair.fixed_labels), (pair.moving, pair.moving_labels))
        if segmentation is not None
    ]
    if not sides:
        return rough_information(pair.fixed).to_json(), []
    return sides[0], label_points(*sides, labels=labels)


def _contrast(pair: Pair, start: Transform) -> tuple[bool | None, str]:
    aligned = engine_view(pair)[0].without_annotations().replace(initial=start)
    resolution = WORKING * pair.fixed.grid.unit_mm
    selected = similarity_for(aligned, resolution_mm=resolution, memory_gib=MEMORY_GIB)
    return (selected.name == "lncc" if selected.comparable else None), selected.reason


def _overlap(pair: Pair, start: Transform) -> float:
    """Return the fraction of the fixed foreground mapped into the moving field of view, or the reverse if larger."""
    inside = _points(pair.fixed)
    forward = float(pair.moving.grid.contains(start.apply(inside)).mean())
    affine = start.affine
    if affine is None:
        return forward
    backward = float(pair.fixed.grid.contains(affine.inverse().apply(_points(pair.moving))).mean())
    return max(forward, backward)


def _points(volume: Volume) -> Any:
    shown = np.flatnonzero(foreground(volume))
    if not len(shown):
        shown = np.arange(volume.array.size)
    shown = shown[:: max(1, len(shown) // OVERLAP_POINTS)]
    k, j, i = np.unravel_index(shown, volume.array.shape)
    return volume.grid.index_to_point(np.stack([i, j, k], axis=-1))


def _model_facts(pair: Pair, card: Card, labels: Sequence[int] | None) -> ModelFacts:
    report: DomainReport | None = None
    if card.domain and card.anatomy != ANY:
        statistics = DomainStatistics.from_json(card.domain)
        reports = [domain_distance(volume, statistics) for volume in (pair.fixed, pair.moving)]
        report = max(reports, key=lambda found: found.score)
        if report.inside and card.supervised_labels and (doubt := one_subject(pair, statistics)):
            report = dataclasses.replace(report, inside=False, reasons=(doubt,))
    covered = None
    if pair.fixed_labels is not None and card.supervised_labels:
        wanted = labels if labels is not None else pair.fixed_labels.labels
        names = {name.lower() for name in card.supervised_labels.values()}
        covered = all(
            str(label) in card.supervised_labels or pair.fixed_labels.names.get(label, "").lower() in names
            for label in wanted
        )
    return ModelFacts(card.name, bool(card.supervised_labels), card.contrasts == ANY, covered, report, _validated(card))


def _validated(card: Card) -> Band | None:
    """Return the Dice of a model's own validation pairs of real images, None when its card does not have the spread."""
    dice, spread = card.validation.get("dice"), card.validation.get("dice_sd")
    if not isinstance(dice, (int, float)) or not isinstance(spread, (int, float)):
        return None
    half = NORMAL_80 * spread
    return Band(max(dice - half, 0.0), float(dice), min(dice + half, 1.0))


def _beyond(
    evidence: Evidence, points: Sequence[LabelPoint], same_contrast: bool | None, confidence: float | None
) -> str:
    if not points:
        return ""
    if same_contrast is False:
        return "the calibration is valid only for volumes of the same contrast"
    if confidence is not None and confidence < DOUBTFUL_CONFIDENCE:
        return "the calibration is valid only for pairs with a reliable linear alignment"
    return evidence.calibration.outside(points)


def _engines(evidence: Evidence) -> tuple[EngineFacts, ...]:
    return tuple(
        EngineFacts(
            info.name, info.family, info.multimodal, not info.missing() and _ready(info), evidence.entries_of(info.name)
        )
        for info in engine_infos()
    )


def _ready(info: Any) -> bool:
    """Return whether an engine can run: a deep engine needs a model."""
    return info.family != "deep" or any(model.card.kind == "field" for model in find_models())


def _predicted(evidence: Evidence, points: Sequence[LabelPoint], entries: Sequence[str]) -> dict[str, Band]:
    known = evidence.calibration.engines
    return {entry: evidence.calibration.predict(points, entry) for entry in entries if entry in known}


def _seconds(evidence: Evidence, entries: Sequence[str], voxels: int) -> dict[str, float]:
    factor, cores = machine_factor(evidence.probe_seconds), available_cores()
    found = {entry: expected_seconds(evidence.seconds, entry, voxels, factor=factor, cores=cores) for entry in entries}
    return {entry: value for entry, value in found.items() if value is not None}


def _device(wanted: str, entries: Sequence[str]) -> str:
    # Loading torch takes seconds, and only engines that can use a GPU need to know the device.
    return torch_device(wanted) if "fireants" in entries else "cpu"

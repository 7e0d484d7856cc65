"""Selects the model for a pair: by name, or the one whose training images resemble the volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...errors import FileError, RegistrationError
from ...images.grid import is_single_slice
from ...networks.card import Card, Model
from ...networks.model_store import find_models, get_model, user_models_folder
from ...pair import Pair
from ...recommendation.domain import DomainReport, DomainStatistics, domain_distance, one_subject
from ...recommendation.profile import anatomy_of

AUTO = "auto"
ANY = "any"


@dataclass(frozen=True)
class ModelChoice:
    """A model with notes for the user.

    Attributes
    ----------
    model : Model
        The model.
    notes : tuple of str
        Reasons for the choice, and warnings.
    unit_mm : float
        Length in the headers of the pair that corresponds to 1 mm of the training images, a power of ten: 1 unless the
        body part is about ten times (or more) smaller or larger than in the training images.
    in_domain : bool
        Whether both volumes are inside the domain of a model for one anatomy.
    """

    model: Model
    notes: tuple[str, ...]
    unit_mm: float = 1.0
    in_domain: bool = False


def choose_model(pair: Pair, name: str, folder: str = "") -> ModelChoice:
    """Return the model of this name (or folder), or for 'auto' the best one for the pair.

    A model for one anatomy is selected when both volumes are inside its domain, the closest of several; otherwise a
    model for any anatomy; otherwise the closest one, with a warning.

    Raises
    ------
    FileError
        When there is no such model, or none at all.
    RegistrationError
        When a 2D model is used for a fixed volume with several slices, or the model is of another kind.
    """
    dimensions = 2 if is_single_slice(pair.fixed.grid.size) else 3
    extra = (Path(folder).expanduser(),) if folder else ()
    if extra and not extra[0].is_dir():
        raise FileError(f"There is no folder {extra[0]}.", hint="Correct the folder of more models, or leave it empty.")
    if name == AUTO:
        usable = [model for model in find_models(extra) if fits(model, dimensions)]
        models = [model for model in usable if model.card.dimensions == dimensions] or usable
        if not models:
            hint = f"Copy a model folder to {user_models_folder()} (`dvcreg models add`), or choose another engine."
            raise FileError("No registration model is installed.", hint=hint)
        return _best(pair, models)
    model = get_model(name, extra)
    if model.card.kind != "field":
        raise RegistrationError(
            f"Model '{model.card.name}' is of kind '{model.card.kind}'; this engine needs one that predicts a field.",
            hint="Choose another model.",
        )
    if not fits(model, dimensions):
        raise RegistrationError(
            f"Model '{model.card.name}' registers 2D images, not volumes.",
            hint="Choose another model, or volumes of one slice.",
        )
    reports = _reports(pair, model)
    inside = _is_inside(reports)
    same = _same_subject(pair, model) if inside else ""
    reasons = (
        f"Model: {model.card.title}.",
        *_warnings(model, reports),
        *([f"{same} Check the result."] if same else []),
    )
    return _in_units(ModelChoice(model, reasons, in_domain=inside and not same), pair)


def fits(model: Model, dimensions: int) -> bool:
    """Return whether a model registers images of these dimensions; a 3D model also accepts a single slice."""
    return model.card.kind == "field" and model.card.dimensions >= dimensions


def _best(pair: Pair, models: Sequence[Model]) -> ModelChoice:
    special = [model for model in models if model.card.anatomy != ANY and model.card.domain]
    general = [model for model in models if model.card.anatomy == ANY]
    # With a general model at hand, the first volume outside a domain decides.
    reports = {model.card.name: _reports(pair, model, brief=bool(general)) for model in special}
    scores = {name: max(report.score for report in found.values()) for name, found in reports.items()}
    special.sort(key=lambda model: scores[model.card.name])
    inside = [model for model in special if _is_inside(reports[model.card.name])]
    doubts = {model.card.name: _same_subject(pair, model) for model in inside}
    fitting = [model for model in inside if not doubts[model.card.name]]
    refused = tuple(f"{doubt} It is not used." for doubt in doubts.values() if doubt)
    if fitting:
        card = fitting[0].card
        limit = max(report.threshold for report in reports[card.name].values())
        reason = f"both volumes resemble its training images (distance {scores[card.name]:.1f}, limit {limit:g})"
        return _in_units(ModelChoice(fitting[0], (f"Model: {card.title}, because {reason}.",), in_domain=True), pair)
    if general:
        others = f", because no special model ({', '.join(reports)}) fits the volumes" if special else ""
        return _in_units(
            ModelChoice(general[0], (*refused, f"Model: {general[0].card.title}, trained for any anatomy{others}.")),
            pair,
        )
    model = special[0] if special else models[0]
    found = reports.get(model.card.name, {})
    reasons = *refused, f"Model: {model.card.title}; no model fits the volumes better.", *_warnings(model, found)
    return _in_units(ModelChoice(model, reasons), pair)


def training_unit_mm(pair: Pair, card: Card) -> float:
    """Return the power of ten that scales the pair closest to the size of the training images.

    A header in centimeters or micrometers, or an animal, differs by powers of ten; patients differ by much less.
    """
    if not card.domain:
        return 1.0
    size = DomainStatistics.from_json(card.domain).center["anatomy"]
    return float(10.0 ** np.rint((np.mean(anatomy_of(pair.fixed)) - np.mean(size)) / np.log(10)))


def _in_units(choice: ModelChoice, pair: Pair) -> ModelChoice:
    """Return the choice with the unit of length of the pair for its model, and a note when it is not 1 mm."""
    unit = training_unit_mm(pair, choice.model.card)
    if unit == 1 or choice.model.card.anatomy == ANY:
        return replace(choice, unit_mm=unit)
    how = f"{1 / unit:g} times smaller" if unit < 1 else f"{unit:g} times larger"
    note = f"The volumes are about {how} than the training images of {choice.model.card.title}; lengths were scaled."
    return replace(choice, unit_mm=unit, notes=(*choice.notes, note))


def _reports(pair: Pair, model: Model, *, brief: bool = False) -> dict[str, DomainReport]:
    """Return the distance of both volumes from the model's domain; empty for models for any anatomy.

    With `brief`, the moving volume is left out when the fixed one is outside.
    """
    if not model.card.domain or model.card.anatomy == ANY:
        return {}
    statistics = DomainStatistics.from_json(model.card.domain)
    unit = training_unit_mm(pair, model.card)
    found: dict[str, DomainReport] = {}
    for side, volume in (("fixed", pair.fixed), ("moving", pair.moving)):
        found[side] = domain_distance(volume.scaled(1 / unit), statistics)
        if brief and not found[side].inside:
            break
    return found


def _same_subject(pair: Pair, model: Model) -> str:
    """Return a sentence when a model that learned from labels of different subjects gets two scans of one."""
    if not model.card.supervised_labels or not model.card.domain:
        return ""
    doubt = one_subject(pair, DomainStatistics.from_json(model.card.domain))
    return doubt and f"{model.card.title} learned to match different subjects, but {doubt}."


def _is_inside(reports: dict[str, DomainReport]) -> bool:
    return bool(reports) and all(report.inside for report in reports.values())


def _warnings(model: Model, reports: dict[str, DomainReport]) -> list[str]:
    return [
        f"The {side} volume differs from the training images of {model.card.title}: {'; '.join(report.reasons)}."
        for side, report in reports.items()
        if not report.inside
    ]

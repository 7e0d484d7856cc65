"""What a user chooses for a training run, and its conversion to a config: absolute paths, grid, checked settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import SettingsError, did_you_mean
from ..networks.catalogue import get_method
from ..networks.model_store import get_model
from ..settings import from_json, to_json
from .config import (
    APPEARANCE,
    FIRST,
    FOLDER_GENERATORS,
    SHAPES,
    DataSettings,
    TrainingConfig,
    TrainSettings,
    is_generated,
    parts_of,
)

OWN, AUTO = "own", "auto"
USUAL_AUGMENTATION = "usual"
CARD_TEXTS = {
    "name": "Name of the model in commands; default: name of the folder.",
    "title": "Name shown.",
    "summary": "Description of the model in one sentence.",
    "contrasts": "Contrasts for which the model is intended: 'any', 'T1', 'CT', ...",
    "anatomy": "Anatomy for which the model is intended: 'any', 'brain', ...",
    "licence": "License of the weights.",
}


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The choices for a training run, as plain values: those of `dvcreg train`, of the panel and of the console.

    Attributes
    ----------
    method : str
        Name in the catalogue of methods.
    data : str
        'shapes', 'labels:FOLDER', ..., or a dataset; see `dvcreg train --help`.
    supervision : str
        One of those of the method; its default when empty.
    size : str
        Grid in voxels, 'N' or 'X,Y,Z' (2D: 'X,Y'); 'own' for that of the volumes, 'auto' for that of the volumes, or a
        coarser one that fits into the memory of a training.
    spacing_mm : float
        Voxel size of the grid; ignored with 'own' and 'auto'.
    batch, validation, labels_per_step, linear, teacher, teacher_pairs
        As in `DataSettings`.
    patch : str
        As `size`; empty for whole images.
    settings, synthesis, misalignment : mapping
        Settings of the method, of the generator and of known errors that differ from the defaults.
    augmentation : mapping
        Settings of the augmentation that differ from the defaults; the key 'usual' selects a moderate one.
    train : mapping
        Entries of `TrainSettings` that differ from the defaults.
    texts : mapping
        Texts of the card, names as in `CARD_TEXTS`.
    """

    method: str
    data: str
    supervision: str = ""
    size: str = "96"
    spacing_mm: float = 2.0
    batch: int = 1
    validation: int = 20
    linear: str = ""
    labels_per_step: int = 0
    teacher: str = ""
    teacher_pairs: int = 100
    patch: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    synthesis: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Mapping[str, Any] = field(default_factory=dict)
    misalignment: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TrainingOptions:
        """Return options from plain values; `SettingsError` for an unknown name or without method or data."""
        known = [entry.name for entry in dataclasses.fields(cls)]
        for name in content:
            if name not in known:
                raise SettingsError(f"A training has no option '{name}'.", hint=did_you_mean(name, known))
        for name in ("method", "data"):
            if not content.get(name):
                raise SettingsError(f"A training needs the option '{name}'.")
        return cls(**content)


def config_of(options: TrainingOptions, *, start: Mapping[str, str] | None = None, command: str = "") -> TrainingConfig:
    """Return the config of a new training run.

    Parameters
    ----------
    options : TrainingOptions
        The choices.
    start : mapping, optional
        Model with the initial weights (name, sha256, folder), see `start_of`.
    command : str
        How it was started, for the card.

    Raises
    ------
    SettingsError
        When the method does not support the supervision, or a setting does not exist or is out of range.
    FileError
        When the size depends on data that do not exist.
    """
    info = get_method(options.method).info
    supervision = options.supervision or info.supervision[0]
    if supervision not in info.supervision:
        raise SettingsError(
            f"Method '{info.name}' cannot be trained with supervision '{supervision}'.",
            hint=f"Supported: {' or '.join(info.supervision)}.",
        )
    settings: Any = from_json(info.settings, options.settings)
    train_settings = from_json(TrainSettings, options.train)
    data = _data_settings(options)
    return TrainingConfig(
        method=info.name,
        method_settings=to_json(settings),
        supervision=supervision,
        data={**dataclasses.asdict(data), "size": list(data.size), "patch": list(data.patch)},
        train=train_settings,
        card={**_usual_texts(data), **{name: text for name, text in options.texts.items() if text}},
        start=dict(start or {}),
        command=command,
    )


def data_settings(config: TrainingConfig) -> DataSettings:
    """Return the data settings of a config."""
    known = {entry.name for entry in dataclasses.fields(DataSettings)}
    return DataSettings(**{name: value for name, value in config.data.items() if name in known})


def start_of(model: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the options that fine-tuning takes from a model, and the entry `start` of its config.

    Parameters
    ----------
    model : str
        Name or folder of the model.

    Raises
    ------
    FileError
        When there is none.
    """
    found = get_model(model)
    card = found.card
    options = {
        "method": card.method,
        "settings": dict(card.settings),
        "size": ",".join(str(entry) for entry in card.size[: card.dimensions]),
        "spacing_mm": card.spacing_mm,
        "supervision": "labels" if "labels" in get_method(card.method).info.supervision else "",
    }
    return options, {"name": card.name, "sha256": card.sha256, "folder": str(found.folder.resolve())}


def _data_settings(options: TrainingOptions) -> DataSettings:
    spec, size, spacing_mm = _absolute(options.data), options.size, options.spacing_mm
    if size in (OWN, AUTO):
        from .manifest import read_manifest
        from .preprocessing import auto_grid, own_grid

        if all(is_generated(part) for part in parts_of(spec)):
            raise SettingsError("Generated pairs have no native size.", hint="Give --size in voxels.")
        find = own_grid if size == OWN else auto_grid
        own, spacing_mm = find(read_manifest(Path(spec), validation=options.validation))
        size = ",".join(str(entry) for entry in own)
    return DataSettings(
        spec=spec,
        size=_size(size),
        spacing_mm=spacing_mm,
        batch=options.batch,
        synthesis=_synthesis(spec, options.synthesis),
        linear=_absolute(options.linear, words=("", FIRST)),
        labels_per_step=options.labels_per_step,
        validation=options.validation,
        teacher=options.teacher,
        teacher_pairs=options.teacher_pairs,
        patch=_size(options.patch, "--patch", len(_size(size))) if options.patch else (),
        augmentation=_augmentation(options.augmentation),
        misalignment=_misalignment(options.misalignment),
    )


def _synthesis(spec: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the generator that were given, checked."""
    if not given:
        return {}
    from .appearance import AppearanceSettings
    from .synthesis.settings import SynthesisSettings

    appearance = any(part.startswith(f"{APPEARANCE}:") for part in parts_of(spec))
    from_json(AppearanceSettings if appearance else SynthesisSettings, given)
    return dict(given)


def _augmentation(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the complete settings of the augmentation, checked; empty without one."""
    if not given:
        return {}
    from .augmentation import USUAL, AugmentationSettings

    base = to_json(USUAL) if USUAL_AUGMENTATION in given else {}
    changes = {name: value for name, value in given.items() if name != USUAL_AUGMENTATION}
    return to_json(from_json(AugmentationSettings, {**base, **changes}))


def _misalignment(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of known errors that were given, checked."""
    if not given:
        return {}
    from .misalignment import MisalignmentSettings

    complete = to_json(from_json(MisalignmentSettings, given))
    return {name: complete[name] for name in given}


def _usual_texts(data: DataSettings) -> dict[str, str]:
    if data.has_own_images:
        return {}
    anywhere = {"anatomy": "any"} if data.spec == SHAPES else {}
    return {"contrasts": "any", "licence": "Apache-2.0", **anywhere}


def _absolute(spec: str, words: Sequence[str] = (SHAPES,)) -> str:
    if spec in words:
        return spec
    parts = parts_of(spec)
    if len(parts) > 1:
        return "+".join(_absolute(part, words) for part in parts)
    name, colon, folder = spec.partition(":")
    if colon and name in FOLDER_GENERATORS:
        return f"{name}:{Path(folder).expanduser().resolve()}"
    return str(Path(spec).expanduser().resolve())


def _size(text: str, option: str = "--size", dimensions: int = 3) -> tuple[int, ...]:
    try:
        entries = tuple(int(entry) for entry in str(text).split(","))
    except ValueError:
        entries = ()
    if len(entries) not in (1, 2, 3):
        raise SettingsError(f"{option} needs N, X,Y or X,Y,Z, got '{text}'.")
    return entries * dimensions if len(entries) == 1 else entries

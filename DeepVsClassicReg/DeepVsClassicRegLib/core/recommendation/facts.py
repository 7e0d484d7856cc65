"""The facts about a case that rules can use, collected by `core.recommend`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..settings import Choice
from .advice import Band
from .domain import DomainReport
from .strengths import DIFFERENT_CONTRASTS, ONE_CONTRAST, Strengths


@dataclass(frozen=True)
class EngineFacts:
    """An engine of the catalogue.

    Attributes
    ----------
    name, family : str
        Its name; 'linear', 'classical' or 'deep'.
    multimodal : bool
        Whether it can match different contrasts.
    available : bool
        Whether all its requirements are installed.
    entries : tuple of str
        Entries that may be recommended: 'engine' and measured 'engine:preset'.
    """

    name: str
    family: str
    multimodal: bool
    available: bool = True
    entries: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelFacts:
    """An installed network.

    Attributes
    ----------
    name : str
        Name of the model.
    supervised : bool
        Whether it was trained with labels.
    randomized : bool
        Whether it was trained on synthetic contrasts (SynthMorph) instead of images of one kind.
    covers_labels : bool or None
        Whether it was trained with the requested labels; None when unknown.
    domain : DomainReport or None
        Distance of the more distant volume from its training images; None when its card has no statistics.
    expected : Band or None
        Dice of its own validation pairs with labels, of which 80 % are in the band; None when it is not on the card.
    """

    name: str
    supervised: bool
    randomized: bool
    covers_labels: bool | None
    domain: DomainReport | None
    expected: Band | None = None

    @property
    def in_domain(self) -> bool:
        """Whether both volumes resemble its training images."""
        return self.domain is not None and self.domain.inside


@dataclass(frozen=True)
class Facts:
    """The facts about a case.

    Attributes
    ----------
    engines : tuple of EngineFacts
        All engines of the catalogue, in its order.
    models : tuple of ModelFacts
        Installed models.
    strengths : mapping
        Gains of the engines on measured pairs.
    same_contrast : bool or None
        Whether both volumes have the same contrast; None when not measured.
    contrast_words : str
        Description of the contrasts, with numbers.
    confidence, overlap : float or None
        Confidence of the linear alignment, 0 to 1; fraction of the smaller object in both fields of view.
    training_labels : int
        Number of segmented cases of the user for training.
    representative : bool or None
        Whether these resemble the pair (same scanner, protocol and labels); None when the user did not say.
    information : mapping
        `MutualInformation.to_json()` of the fixed image; may be empty.
    label_share : float or None
        Geometric mean over labels of I/H.
    predicted : mapping of str to Band
        Entry -> predicted Dice.
    beyond : str
        How the case is outside the calibration; '' when it is inside.
    seconds : mapping of str to float
        Entry -> expected seconds.
    time_budget_s : float or None
        Maximum time of one registration.
    device : str
        'cpu', 'cuda' or 'mps'.
    voxel_mm : float or None
        Edge of a cube of the volume of a fixed voxel, relative to the size of the object (mm for a head).
    landmarks : int
        Number of corresponding landmarks.
    """

    engines: tuple[EngineFacts, ...]
    models: tuple[ModelFacts, ...] = ()
    strengths: Strengths = field(default_factory=dict)
    same_contrast: bool | None = None
    contrast_words: str = ""
    confidence: float | None = None
    overlap: float | None = None
    training_labels: int = 0
    representative: bool | None = None
    information: Mapping[str, Any] = field(default_factory=dict)
    label_share: float | None = None
    predicted: Mapping[str, Band] = field(default_factory=dict)
    beyond: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    time_budget_s: float | None = None
    device: str = "cpu"
    voxel_mm: float | None = None
    landmarks: int = 0

    @property
    def kind(self) -> str:
        """Kind of pair for the measured strengths."""
        return DIFFERENT_CONTRASTS if self.same_contrast is False else ONE_CONTRAST

    def entries(self, family: str) -> tuple[str, ...]:
        """Return the available entries of a family."""
        engines = (engine for engine in self.engines if engine.family == family and engine.available)
        return tuple(entry for engine in engines for entry in engine.entries or (engine.name,))

    def engine(self, entry: str) -> EngineFacts:
        """Return the engine of an entry."""
        name = Choice.parse(entry).engine
        return next(engine for engine in self.engines if engine.name == name)

    def fitting_model(self) -> ModelFacts | None:
        """Return a model that was trained with the requested labels on images like these."""
        fitting = (
            model
            for model in self.models
            if model.supervised and not model.randomized and model.in_domain and model.covers_labels
        )
        return next(fitting, None)

"""What the rules may know of a case: plain facts, gathered by `core.recommend`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..choice import Choice
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
        Whether everything it needs is installed.
    entries : tuple of str
        What may be recommended of it: 'engine' and measured 'engine:preset'.
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
        Whether its training aligned labels.
    randomized : bool
        Whether it was trained on generated contrasts (SynthMorph) rather than on images of one kind.
    covers_labels : bool or None
        Whether the requested labels are among those its training aligned; None when unknown.
    domain : DomainReport or None
        The worse of both volumes against its training images; None when its card says nothing.
    """

    name: str
    supervised: bool
    randomized: bool
    covers_labels: bool | None
    domain: DomainReport | None

    @property
    def in_domain(self) -> bool:
        """Whether both volumes look like its training images."""
        return self.domain is not None and self.domain.inside


@dataclass(frozen=True)
class Facts:
    """What is known of a case.

    Attributes
    ----------
    engines : tuple of EngineFacts
        All engines of the catalogue, in its order.
    models : tuple of ModelFacts
        Installed networks.
    strengths : mapping
        What the engines achieved on measured pairs.
    same_contrast : bool or None
        Whether both volumes show tissue in one contrast; None when it was not looked at.
    contrast_words : str
        What was seen, with numbers.
    confidence, overlap : float or None
        Of the linear alignment, 0 to 1; share of the smaller object that both views hold.
    training_labels : int
        Segmented cases the user has for training.
    representative : bool or None
        Whether these are like the pair (same scanner, protocol and labels), as the user says; None when not said.
    information : mapping
        `MutualInformation.to_json()` of the fixed image; empty when there is nothing.
    label_share : float or None
        Geometric mean over labels of I/H.
    predicted : mapping of str to Band
        Entry -> predicted Dice.
    beyond : str
        How the case lies beyond the calibration; '' when it does not.
    seconds : mapping of str to float
        Entry -> expected seconds.
    time_budget_s : float or None
        What the user grants one registration.
    device : str
        'cpu', 'cuda' or 'mps'.
    landmarks : int
        Corresponding landmarks given.
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
    landmarks: int = 0

    @property
    def kind(self) -> str:
        """Kind of pair for the measured strengths."""
        return DIFFERENT_CONTRASTS if self.same_contrast is False else ONE_CONTRAST

    def entries(self, family: str) -> tuple[str, ...]:
        """Return what can be run of a family here."""
        engines = (engine for engine in self.engines if engine.family == family and engine.available)
        return tuple(entry for engine in engines for entry in engine.entries or (engine.name,))

    def engine(self, entry: str) -> EngineFacts:
        """Return the engine of an entry."""
        name = Choice.parse(entry).engine
        return next(engine for engine in self.engines if engine.name == name)

    def fitting_model(self) -> ModelFacts | None:
        """Return a network whose training was supervised with the wanted labels on images like these."""
        fitting = (
            model
            for model in self.models
            if model.supervised and not model.randomized and model.in_domain and model.covers_labels
        )
        return next(fitting, None)

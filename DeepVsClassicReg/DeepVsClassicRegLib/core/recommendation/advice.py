"""The recommendation for a pair with its reasons, as returned by `core.recommend` and stored as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..files import digits, jsonable
from ..settings import Choice
from .domain import DomainReport


@dataclass(frozen=True)
class Band:
    """A predicted number with its uncertainty.

    Attributes
    ----------
    low, mean, high : float
        The band covers the true value in the fraction of cases given by the calibration (80 %).
    """

    low: float = field(metadata=digits(4))
    mean: float = field(metadata=digits(4))
    high: float = field(metadata=digits(4))


@dataclass(frozen=True)
class Reason:
    """One step of the argument.

    Attributes
    ----------
    rule : str
        Name of the rule.
    text : str
        The reason in plain words.
    source : str
        A section of the paper, or a benchmark of this project.
    """

    rule: str
    text: str
    source: str


@dataclass(frozen=True)
class PlotPoint:
    """A point of the MI-Dice plot.

    Attributes
    ----------
    name : str
        A label's name, or the case.
    share : float
        I(intensity; label) / H(label), 0 to 1; of a case the geometric mean over its labels.
    dice : Band
        Predicted Dice.
    """

    name: str
    share: float = field(metadata=digits(5))
    dice: Band


@dataclass(frozen=True)
class Plot:
    """The MI-Dice plot: the calibration curve with its band, this case and its labels.

    Attributes
    ----------
    engine : str
        Engine of the predicted Dice.
    curve : tuple of PlotPoint
        The curve and its band, with ascending share.
    measured : tuple of (float, float, str)
        Share, Dice and dataset of the pairs the curve was fitted on.
    case : PlotPoint or None
        This pair; None without a segmentation.
    labels : tuple of PlotPoint
        Its labels.
    x_title, y_title : str
        Titles of the axes.
    """

    engine: str
    curve: tuple[PlotPoint, ...]
    measured: tuple[tuple[float, float, str], ...] = ()
    case: PlotPoint | None = None
    labels: tuple[PlotPoint, ...] = ()
    x_title: str = "I(intensity; label) / H(label)"
    y_title: str = "Dice"


@dataclass(frozen=True)
class Advice:
    """The recommendation for a pair.

    Attributes
    ----------
    engine, preset : str
        The recommended engine and its preset.
    runner_up : str
        The next best as 'engine' or 'engine:preset'; '' when nothing else is installed.
    sure : bool
        Whether the evidence is sufficient; otherwise the headline says so.
    headline : str
        One sentence.
    reasons : tuple of Reason
        The reasons, in order.
    mutual_information : mapping
        `MutualInformation.to_json()` of the fixed (and moving) image, {} when it cannot be measured.
    predicted_dice : mapping of str to Band
        Entry ('engine' or 'engine:preset') -> predicted mean Dice; only engines with a calibration.
    seconds : mapping of str to float
        Entry -> expected wall time in seconds on this computer; only engines with a measurement.
    domain : mapping of str to DomainReport
        Model -> distance of the pair's more distant volume from its training images.
    limits : tuple of str
        Limits of the recommendation, from the paper and from the measurements.
    plot : Plot or None
        The plot for the advice box; None without a calibration.
    """

    engine: str
    preset: str
    runner_up: str
    sure: bool
    headline: str
    reasons: tuple[Reason, ...]
    mutual_information: Mapping[str, Any] = field(default_factory=dict)
    predicted_dice: Mapping[str, Band] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict, metadata=digits(1))
    domain: Mapping[str, DomainReport] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    plot: Plot | None = None

    @property
    def entry(self) -> str:
        """The recommendation in the form of commands: 'engine' or 'engine:preset'."""
        return str(Choice(self.engine, self.preset))

    def to_json(self) -> dict[str, Any]:
        """Return the advice as plain JSON values; the keys are stable."""
        return jsonable(self)

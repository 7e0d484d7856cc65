"""How far a volume is from the images a model was trained on: statistics for its card, and the distance to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import FileError, RegistrationError
from ..images.volume import Volume
from .profile import PARTS, Profile, profile_of

# A volume counts as outside when its worst part is so many times further from the training mean than
# training images themselves are (measured: Testing/bench/domain_roc.py).
THRESHOLD = 2.0
REACH_QUANTILE = 0.95


@dataclass(frozen=True)
class DomainStatistics:
    """What the training images of a model have in common.

    Attributes
    ----------
    name : str
        Which images these are, for people.
    count : int
        How many were looked at.
    spacing_mm : (3,) tuple
        Median voxel size along the patient's axes (left, posterior, superior).
    center : mapping of str to tuple of float
        Part -> mean of its numbers (see `recommendation.profile`).
    reach : mapping of str to float
        Part -> distance from the mean of the others that 95 % of the training images stay within.
    """

    name: str
    count: int
    spacing_mm: tuple[float, float, float]
    center: Mapping[str, tuple[float, ...]]
    reach: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the statistics as plain JSON values."""
        plain = dataclasses.asdict(self)
        return {
            **plain,
            "spacing_mm": list(self.spacing_mm),
            "center": {part: [round(value, 5) for value in values] for part, values in self.center.items()},
            "reach": {part: round(value, 5) for part, value in self.reach.items()},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> DomainStatistics:
        """Return the statistics stored on a card.

        Raises
        ------
        FileError
            When the content is no such statistics.
        """
        try:
            x, y, z = (float(value) for value in content["spacing_mm"])
            center = {part: tuple(float(v) for v in content["center"][part]) for part in PARTS}
            reach = {part: float(content["reach"][part]) for part in PARTS}
            return cls(str(content["name"]), int(content["count"]), (x, y, z), center, reach)
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(
                f"The card's description of the training images cannot be read ({error!r}).",
                hint="Train or export the model again with this version.",
            ) from error


@dataclass(frozen=True)
class DomainReport:
    """How a volume relates to a domain.

    Attributes
    ----------
    score : float
        Distance of the worst part in units of its reach; 1 is the edge of what training images do themselves.
    threshold : float
        Above it the volume counts as foreign.
    inside : bool
        Whether the score stays below the threshold.
    parts : mapping of str to float
        Part -> its distance in units of its reach.
    reasons : tuple of str
        What differs, in plain words; empty when inside.
    """

    score: float
    threshold: float
    inside: bool
    parts: Mapping[str, float]
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {
            "score": round(self.score, 3),
            "threshold": self.threshold,
            "inside": self.inside,
            "parts": {part: round(value, 3) for part, value in self.parts.items()},
            "reasons": list(self.reasons),
        }


def domain_statistics(volumes: Iterable[Volume], *, name: str) -> DomainStatistics:
    """Return what the given training images have in common.

    Parameters
    ----------
    volumes : iterable of Volume
        Training images, one at a time in memory; 10 to 100 typical ones are enough.
    name : str
        Which images these are, for people.

    Raises
    ------
    RegistrationError
        When there is no volume.

    Examples
    --------
    >>> from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
    >>> heads = [make_phantom("head", size=24, seed=seed).pair.fixed for seed in range(3)]
    >>> statistics = domain_statistics(heads, name="three phantoms")
    >>> domain_distance(heads[0], statistics).inside
    True
    """
    profiles = [profile_of(volume) for volume in volumes]
    if not profiles:
        raise RegistrationError("The domain of a model needs at least one training image.")
    return statistics_of(profiles, name=name)


def statistics_of(profiles: list[Profile], *, name: str) -> DomainStatistics:
    """Return what volumes with these profiles have in common; `domain_statistics` on measured ones."""
    center, reach = {}, {}
    for part, about in PARTS.items():
        rows = np.array([profile.parts[part] for profile in profiles])
        mean = rows.mean(axis=0)
        center[part] = tuple(float(value) for value in mean)
        # Each image against the mean of the others; dividing by n - 1 takes its own share out of the mean.
        others = mean + (mean - rows) / max(len(rows) - 1, 1)
        apart = [about.distance(row, other) for row, other in zip(rows, others, strict=True)]
        reach[part] = max(float(np.quantile(apart, REACH_QUANTILE)), about.floor)
    x, y, z = np.median([profile.spacing_mm for profile in profiles], axis=0)
    return DomainStatistics(name, len(profiles), (float(x), float(y), float(z)), center, reach)


def domain_distance(volume: Volume, statistics: DomainStatistics) -> DomainReport:
    """Return how far a volume is from a domain, and in what.

    Parameters
    ----------
    volume : Volume
        Any volume; one with finer voxels is brought to the domain's voxel size first.
    statistics : DomainStatistics
        Of the training images.
    """
    return distance_of(profile_of(volume, spacing_mm=statistics.spacing_mm), statistics)


def distance_of(profile: Profile, statistics: DomainStatistics) -> DomainReport:
    """Return how far a profile is from a domain, and in what."""
    parts = {
        part: about.distance(profile.parts[part], np.array(statistics.center[part])) / statistics.reach[part]
        for part, about in PARTS.items()
    }
    foreign = sorted((part for part in parts if parts[part] > THRESHOLD), key=lambda part: -parts[part])
    reasons = tuple(f"{PARTS[part].words} ({parts[part]:.1f} times the usual spread)" for part in foreign)
    score = max(parts.values())
    return DomainReport(score, THRESHOLD, score <= THRESHOLD, parts, reasons)

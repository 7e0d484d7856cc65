"""The domain of a model: statistics of its training images for the card, and the distance of a volume from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import FileError, RegistrationError
from ..files import digits, from_plain, jsonable
from ..images.volume import Volume
from ..pair import Pair
from .likeness import likeness
from .profile import PARTS, Profile, profile_of

# A volume is outside the domain when the distance of its worst part from the training mean exceeds this multiple of the
# distances of the training images (measured: Testing/bench/domain_roc.py).
THRESHOLD = 2.0
REACH_QUANTILE = 0.95


@dataclass(frozen=True)
class DomainStatistics:
    """Statistics of the training images of a model.

    Attributes
    ----------
    name : str
        Description of the images.
    count : int
        Number of images used.
    spacing_mm : (3,) tuple
        Median voxel size along the patient axes (left, posterior, superior).
    center : mapping of str to tuple of float
        Part -> mean of its features (see `recommendation.profile`).
    reach : mapping of str to float
        Part -> 95th percentile of the distances of training images from the mean of the others.
    most_alike : float
        Highest `likeness` of two training images of different subjects; 0 when it was not measured.
    """

    name: str
    count: int
    spacing_mm: tuple[float, float, float]
    center: Mapping[str, tuple[float, ...]] = field(metadata=digits(5))
    reach: Mapping[str, float] = field(metadata=digits(5))
    most_alike: float = field(default=0.0, metadata=digits(4))

    @property
    def likeness_limit(self) -> float:
        """Likeness above which two volumes show one subject: half way from the most alike subjects to equality."""
        return (1 + self.most_alike) / 2 if self.most_alike else 1.0

    def to_json(self) -> dict[str, Any]:
        """Return the statistics as plain JSON values."""
        return jsonable(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> DomainStatistics:
        """Return the statistics stored on a card.

        Raises
        ------
        FileError
            When the content is not valid.
        """
        try:
            found = from_plain(cls, content)
            center = {part: found.center[part] for part in PARTS}
            reach = {part: found.reach[part] for part in PARTS}
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(
                f"The card's description of the training images cannot be read ({error!r}).",
                hint="Train or export the model again with this version.",
            ) from error
        return dataclasses.replace(found, center=center, reach=reach)


@dataclass(frozen=True)
class DomainReport:
    """The distance of a volume from a domain.

    Attributes
    ----------
    score : float
        Distance of the worst part in units of its reach; training images are up to about 1.
    threshold : float
        Score above which the volume is outside the domain.
    inside : bool
        Whether the score is below the threshold.
    parts : mapping of str to float
        Part -> distance in units of its reach.
    reasons : tuple of str
        Descriptions of the differences; empty when inside.
    """

    score: float = field(metadata=digits(3))
    threshold: float
    inside: bool
    parts: Mapping[str, float] = field(metadata=digits(3))
    reasons: tuple[str, ...]


def domain_statistics(volumes: Iterable[Volume], *, name: str) -> DomainStatistics:
    """Return the statistics of training images.

    Parameters
    ----------
    volumes : iterable of Volume
        Training images, loaded one at a time; 10 to 100 typical ones suffice.
    name : str
        Description of the images.

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
    """Return the statistics of volumes from their profiles, as `domain_statistics` does for images."""
    center, reach = {}, {}
    for part, about in PARTS.items():
        rows = np.array([profile.parts[part] for profile in profiles])
        mean = rows.mean(axis=0)
        center[part] = tuple(float(value) for value in mean)
        # Each image against the mean of the others: dividing by n - 1 removes its own contribution to the mean.
        others = mean + (mean - rows) / max(len(rows) - 1, 1)
        apart = [about.distance(row, other) for row, other in zip(rows, others, strict=True)]
        reach[part] = max(float(np.quantile(apart, REACH_QUANTILE)), about.floor)
    x, y, z = np.median([profile.spacing_mm for profile in profiles], axis=0)
    return DomainStatistics(name, len(profiles), (float(x), float(y), float(z)), center, reach)


def domain_distance(volume: Volume, statistics: DomainStatistics) -> DomainReport:
    """Return the distance of a volume from a domain and its reasons.

    Parameters
    ----------
    volume : Volume
        Any volume; finer voxels are first averaged to the voxel size of the domain.
    statistics : DomainStatistics
        Statistics of the training images.
    """
    return distance_of(profile_of(volume, spacing_mm=statistics.spacing_mm), statistics)


def one_subject(pair: Pair, statistics: DomainStatistics) -> str:
    """Return why a pair is outside the domain of a model that learned from labels of different subjects; '' if inside.

    Such a model moves structures toward the mean shape of its labels: also those of two scans of one subject, which
    differ by much less.

    Parameters
    ----------
    pair : Pair
        Compared from the affine part of `pair.initial`, or from the headers.
    statistics : DomainStatistics
        Statistics of the training images.
    """
    limit = statistics.likeness_limit
    if limit >= 1 or (found := likeness(pair)) <= limit:
        return ""
    return f"the volumes seem to show one subject (correlation {found:.3f}, of two subjects at most {limit:.3f})"


def distance_of(profile: Profile, statistics: DomainStatistics) -> DomainReport:
    """Return the distance of a profile from a domain and its reasons."""
    parts = {
        part: about.distance(profile.parts[part], np.array(statistics.center[part])) / statistics.reach[part]
        for part, about in PARTS.items()
    }
    foreign = sorted((part for part in parts if parts[part] > THRESHOLD), key=lambda part: -parts[part])
    reasons = tuple(f"{PARTS[part].words} ({parts[part]:.1f} times the usual spread)" for part in foreign)
    score = max(parts.values())
    return DomainReport(score, THRESHOLD, score <= THRESHOLD, parts, reasons)

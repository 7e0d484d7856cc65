"""Several generators that alternate as one source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ...images.volume import Volume
from ...networks.base import Batch
from ...pair import Pair
from ..sources import Source


class MixedSource:
    """Generators on one grid that alternate from step to step; labels and validation are those of the first one.

    A network trained on few subjects overfits them; random shapes improve its generalization (Hoffmann et al., IEEE TMI
    41(3), 2022, train on either).

    Parameters
    ----------
    sources : sequence of Source
        At least one; a source that occurs twice is used twice as often.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)
        self.first = self.sources[0]
        self.size, self.spacing_mm = self.first.size, self.first.spacing_mm
        self.labels: Mapping[int, str] = self.first.labels
        self.licence = "; ".join(dict.fromkeys(source.licence for source in self.sources))

    def sample(self, step: int) -> Batch:
        """Return the batch of the source of this step."""
        return self.sources[step % len(self.sources)].sample(step)

    def validation(self) -> Sequence[Batch]:
        """Return the fixed pairs of the first source."""
        return self.first.validation()

    def validation_pairs(self) -> Sequence[Pair]:
        """Return nothing: the generated pairs have no originals."""
        return ()

    def domain_examples(self) -> Sequence[Volume]:
        """Return the examples of the first source, which defines the domain of the network."""
        return self.first.domain_examples()

    def describe(self) -> dict[str, Any]:
        """Return the description for the card: the first source, the frequency of each source, all settings."""
        found = [source.describe() for source in self.sources]
        turns = Counter(about["kind"] for about in found)
        kind = " and ".join(f"{kind} ({times} of {len(found)} steps)" for kind, times in turns.items())
        return {**found[0], "kind": kind, "settings": {about["kind"]: about["settings"] for about in found}}

"""The measurements behind the recommendation, in one versioned JSON file (Resources/Calibration)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FileError
from ..files import from_plain, jsonable, read_json, resource_folder
from ..settings import Choice
from .calibration import Calibration
from .runtime import EngineSeconds
from .strengths import Strength, Strengths

FORMAT = 1
# Entries measured on fewer datasets are not recommended by name.
FEWEST_DATASETS = 3


@dataclass(frozen=True)
class Evidence:
    """The measurements.

    Attributes
    ----------
    calibration : Calibration
        Predicts the Dice.
    strengths : mapping
        Kind of pair -> entry -> measured gain.
    seconds : mapping of str to EngineSeconds
        Entry -> its run time.
    probe_seconds : float
        Value of `runtime.probe_seconds` on the computer of the measurement.
    """

    calibration: Calibration
    strengths: Strengths
    seconds: Mapping[str, EngineSeconds]
    probe_seconds: float

    def entries_of(self, engine: str) -> tuple[str, ...]:
        """Return the entries of an engine that may be recommended: those with enough measurements, else its default."""
        datasets: dict[str, int] = {}
        for table in self.strengths.values():
            for entry, strength in table.items():
                datasets[entry] = datasets.get(entry, 0) + strength.datasets
        known = [e for e, n in datasets.items() if Choice.parse(e).engine == engine and n >= FEWEST_DATASETS]
        return tuple(known) or (engine,)

    def to_json(self) -> dict[str, Any]:
        """Return the evidence as plain JSON values."""
        return {
            "format": FORMAT,
            "calibration": self.calibration.to_json(),
            "strengths": jsonable(self.strengths, places=4),
            "seconds": jsonable(self.seconds, places=4),
            "probe_seconds": round(self.probe_seconds, 5),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Evidence:
        """Return stored evidence.

        Raises
        ------
        FileError
            When the content is not valid or of another format.
        """
        if content.get("format") != FORMAT:
            raise FileError(
                f"The calibration file has format {content.get('format')!r}, expected {FORMAT}.",
                hint="Create it again with `dvcreg calibrate`.",
            )
        try:
            return cls(
                Calibration.from_json(content["calibration"]),
                {
                    kind: {entry: from_plain(Strength, strength) for entry, strength in table.items()}
                    for kind, table in content["strengths"].items()
                },
                {entry: from_plain(EngineSeconds, cost) for entry, cost in content["seconds"].items()},
                float(content["probe_seconds"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileError(f"The calibration file cannot be read ({error!r}).", hint="Create it again.") from error


def read_evidence(path: Path | None = None) -> Evidence:
    """Return stored evidence; default: the bundled file."""
    return Evidence.from_json(read_json(path or resource_folder() / "Calibration" / "default.json"))

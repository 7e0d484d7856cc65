"""Result of a registration: a transform with diagnostics, never an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .images.volume import LabelMap, Note, Volume, is_unsound
from .transforms.transform import Transform

TOTAL = "total"
# Confidence of a linear alignment: below the first value it has failed, below the second it must be checked.
FAILED_CONFIDENCE = 0.2
DOUBTFUL_CONFIDENCE = 0.6


@dataclass(frozen=True)
class TracePoint:
    """The objective at one iteration (lower is better)."""

    stage: str
    iteration: int
    metric: float


@dataclass(frozen=True)
class Diagnostics:
    """Diagnostics of a run.

    Attributes
    ----------
    trace : tuple of TracePoint
        The objective over the iterations, if the back end reports it.
    stop_condition : str
        Reason for the end of the optimization.
    seconds, cpu_seconds : mapping of str to float
        Wall and CPU seconds per stage.
    device, threads, seed
        Device, threads and seed of the run.
    versions : mapping of str to str
        Versions of the packages used.
    peak_memory_mb : float or None
        Peak resident memory of the process so far.
    confidence : float or None
        0 to 1, for engines that estimate their own success, such as the linear alignment.
    notes : tuple of str
        Sentences for the user (corrections, repetitions, failed starts).
    """

    trace: tuple[TracePoint, ...] = ()
    stop_condition: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    device: str = "cpu"
    threads: int = 0
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    peak_memory_mb: float | None = None
    confidence: float | None = None
    notes: tuple[str, ...] = ()

    def after(self, start: Diagnostics) -> Diagnostics:
        """Return these diagnostics preceded by those of the linear alignment: its time, trace and confidence."""
        return dataclasses.replace(
            self,
            trace=(*start.trace, *self.trace),
            seconds={**start.seconds, **self.seconds},
            cpu_seconds={**start.cpu_seconds, **self.cpu_seconds},
            confidence=start.confidence,
            notes=tuple(dict.fromkeys((*start.notes, *self.notes))),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, as in report.json; `unsound` repeats the notes on inputs that may be wrong."""
        plain = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        return {
            **plain,
            "seconds": {**self.seconds, TOTAL: sum(self.seconds.values())},
            "cpu_seconds": {**self.cpu_seconds, TOTAL: sum(self.cpu_seconds.values())},
            "trace": [[point.stage, point.iteration, point.metric] for point in self.trace],
            "versions": dict(self.versions),
            "notes": [str(note) for note in self.notes],
            "unsound": [str(note) for note in self.notes if is_unsound(note)],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Diagnostics:
        """Return diagnostics from the output of `to_json`; other entries, such as the rest of a report, are ignored."""
        known = {entry.name for entry in dataclasses.fields(cls)}
        own = {name: value for name, value in content.items() if name in known}
        unsound = set(content.get("unsound", ()))
        own["trace"] = tuple(
            TracePoint(str(s), int(i), float("nan" if m is None else m)) for s, i, m in content.get("trace", ())
        )
        own["notes"] = tuple(Note(note, unsound=note in unsound) for note in content.get("notes", ()))
        for name in ("seconds", "cpu_seconds"):
            own[name] = {stage: value for stage, value in content.get(name, {}).items() if stage != TOTAL}
        return cls(**own)


@dataclass(frozen=True, eq=False)
class Extra:
    """A further output of an engine; files and panel handle it by its kind alone.

    Attributes
    ----------
    name : str
        Lower-case word, used in file names.
    title : str
        Title shown to users.
    value : Volume, LabelMap or Transform
        The output, on its own grid.
    kind : str
        'map' (numbers with a unit), 'image' (intensities), 'labels' or 'transform'.
    unit : str
        Unit of a map.
    """

    name: str
    title: str
    value: Volume | LabelMap | Transform
    kind: str = "map"
    unit: str = ""


@dataclass(frozen=True, eq=False)
class Result:
    """What an engine returns: a transform, never an image.

    Attributes
    ----------
    transform : Transform
        The complete fixed-to-moving transform, including the pair's initial transform.
    diagnostics : Diagnostics
        Diagnostics of the run.
    engine, preset : str
        The engine and preset that produced it.
    settings : object
        The engine's settings dataclass.
    start : Transform or None
        Start of the deformable part (the linear alignment or the given initial transform).
    uncertainty : Volume or None
        Standard deviation of the displacement in mm (root mean square of sampled fields), on its own grid; only
        engines that predict a distribution have it.
    extras : tuple of Extra
        Further outputs of the engine.
    by_structures : bool
        Whether the transform follows known structures: landmarks of the pair, or a model that was trained with labels
        on images like both volumes. Structures then decide, not intensities: the check of partial views by the
        agreement of intensities does not apply.
    """

    transform: Transform
    diagnostics: Diagnostics
    engine: str = ""
    preset: str = ""
    settings: Any = None
    start: Transform | None = None
    uncertainty: Volume | None = None
    extras: tuple[Extra, ...] = ()
    by_structures: bool = False

"""Result: what a registration gives, a transform and how the run went, never an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .images.notes import Note, is_unsound
from .images.volume import LabelMap, Volume
from .transforms.transform import Transform

TOTAL = "total"
# Confidence of a linear alignment: below the first it failed, below the second it must be checked.
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
    """How a run went.

    Attributes
    ----------
    trace : tuple of TracePoint
        The objective over the iterations, as far as the back end reports it.
    stop_condition : str
        Why it ended.
    seconds, cpu_seconds : mapping of str to float
        Wall and CPU seconds per stage.
    device, threads, seed
        What it ran with.
    versions : mapping of str to str
        Versions of the packages that did the work.
    peak_memory_mb : float or None
        Peak resident memory of the process so far.
    confidence : float or None
        0 to 1, for engines that estimate their own success (the linear alignment does).
    notes : tuple of str
        What the user should know (repairs, repeats, failed starts).
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
        """Return these diagnostics with those of the linear alignment in front: its time, trace and confidence."""
        return dataclasses.replace(
            self,
            trace=(*start.trace, *self.trace),
            seconds={**start.seconds, **self.seconds},
            cpu_seconds={**start.cpu_seconds, **self.cpu_seconds},
            confidence=start.confidence,
            notes=tuple(dict.fromkeys((*start.notes, *self.notes))),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, as in report.json; `unsound` repeats the notes that put an input in doubt."""
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
        """Return what `to_json` gave; entries of other kinds, such as the rest of a report, are passed over."""
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
    """Something an engine found beside the transform; files and panel show it without knowing what it is.

    Attributes
    ----------
    name : str
        Lower-case word, part of file names.
    title : str
        Name shown.
    value : Volume, LabelMap or Transform
        On a grid of its own.
    kind : str
        'map' (numbers with a unit), 'image' (intensities), 'labels' or 'transform'.
    unit : str
        Of a map.
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
        The complete fixed-to-moving map, the pair's initial transform included.
    diagnostics : Diagnostics
        How it went.
    engine, preset : str
        Who made it.
    settings : object
        The engine's settings dataclass.
    start : Transform or None
        Where the deformable part began (the linear alignment or the given initial transform).
    uncertainty : Volume or None
        How far the displacement may be off, mm (root mean square of drawn fields), on a grid of its own;
        only engines that predict a distribution have it.
    extras : tuple of Extra
        What else the engine found.
    """

    transform: Transform
    diagnostics: Diagnostics
    engine: str = ""
    preset: str = ""
    settings: Any = None
    start: Transform | None = None
    uncertainty: Volume | None = None
    extras: tuple[Extra, ...] = ()

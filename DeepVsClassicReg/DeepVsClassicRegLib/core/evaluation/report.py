"""Report of a registration: settings, time and quality, with conversion to and from JSON (report.json)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import FileError
from ..files import from_plain, jsonable, read_json, write_json
from ..result import TOTAL, Diagnostics
from .locations import Location, Locations

FORMAT = 1


@dataclass(frozen=True)
class Aspect:
    """What one kind of evidence says about a result.

    Attributes
    ----------
    name : {'intensities', 'structures', 'map'}
        Kind of evidence.
    level : {'good', 'check', 'bad', 'unknown'}
        'unknown' when nothing of this kind was measured.
    title, text : str
        Title shown to users, one sentence.
    """

    name: str
    level: str
    title: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """The conclusion from all quality checks.

    Attributes
    ----------
    level : {'good', 'check', 'bad'}
        How good the result is.
    headline, sentence : str
        A short heading, and one or two sentences.
    reasons : tuple of str
        Sentences of all failed checks, the most severe first.
    aspects : tuple of Aspect
        Match of intensities, match of structures, plausible map, each judged alone; empty in reports of older versions.
    """

    level: str
    headline: str
    sentence: str
    reasons: tuple[str, ...] = ()
    aspects: tuple[Aspect, ...] = ()


@dataclass(frozen=True)
class Measured:
    """The columns of measures: before registration, at the start of the deformable part, and after.

    Attributes
    ----------
    before, after : mapping
        Name in `measures.MEASURES` -> number, None, or a mapping per label or a list per landmark.
    start : mapping or None
        The same after the linear alignment, when that is known.
    """

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    start: Mapping[str, Any] | None = None

    @property
    def columns(self) -> dict[str, Mapping[str, Any]]:
        """The columns that were measured, in the order 'before', 'start', 'after'."""
        found = {"before": self.before, "start": self.start, "after": self.after}
        return {name: column for name, column in found.items() if column is not None}


@dataclass(frozen=True, kw_only=True)
class Report:
    """The report of one registration as plain values; field names are the keys of report.json.

    Attributes
    ----------
    engine, preset, status : str
        Engine and preset; 'done', or the reason why the result is not complete.
    seconds, cpu_seconds : mapping of str to float
        Stage -> seconds, and 'total', including the linear alignment.
    peak_memory_mb, evaluation_seconds, confidence : float or None
        Memory of the process; time of the evaluation; confidence of the linear alignment, 0 to 1.
    measures : Measured
        Measures before, at the start and after; numbers that are not defined are None, labels are strings.
    labels_scored, region
        Evaluated labels; description of the region in which intensities and Jacobian are evaluated.
    look_at : tuple of Location
        Locations to check, the most severe first.
    locations : Locations or None
        Locations of each kind; None in reports of version 0.1 and earlier.
    notes, unsound : tuple of str
        Notes for the user; the subset of notes on inputs that may be wrong.
    settings, citations, device, threads, seed, versions, machine, inputs, stop_condition, trace
        Details of the run; trace is (stage, iteration, metric or None) per iteration.
    verdict : Verdict or None
        None until `make_report.judged` adds it.
    missing : tuple of str
        Families of measures that were not computed (yet); the verdict does not depend on them.
    """

    format: int = FORMAT
    engine: str = ""
    preset: str = ""
    status: str = "done"
    seconds: Mapping[str, float] = field(default_factory=dict)
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    peak_memory_mb: float | None = None
    evaluation_seconds: float | None = None
    measures: Measured
    labels_scored: tuple[int, ...] = ()
    region: str = ""
    look_at: tuple[Location, ...] = ()
    locations: Locations | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    stop_condition: str = ""
    confidence: float | None = None
    notes: tuple[str, ...] = ()
    unsound: tuple[str, ...] = ()
    citations: tuple[str, ...] = ()
    device: str = ""
    threads: int = 0
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    trace: tuple[tuple[str, int, float | None], ...] = ()
    verdict: Verdict | None = None
    missing: tuple[str, ...] = ()

    @property
    def estimated(self) -> bool:
        """Whether a network estimated one of the segmentations, which then cannot decide about the result."""
        roles = ("fixed_labels", "moving_labels")
        return any(bool((self.inputs.get(role) or {}).get("estimated")) for role in roles)

    @property
    def total_seconds(self) -> float | None:
        """Wall time of the registration in seconds, including the linear alignment; None when unknown."""
        return self.seconds.get(TOTAL, sum(self.seconds.values())) if self.seconds else None

    @property
    def diagnostics(self) -> Diagnostics:
        """The diagnostics returned by the engine."""
        return Diagnostics.from_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the content of report.json: plain values, keys in a fixed order."""
        plain = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        plain["measures"] = self.measures.columns
        plain["look_at"] = [place.to_json() for place in self.look_at]
        plain["locations"] = None if self.locations is None else self.locations.to_json()
        plain["verdict"] = self.verdict
        absent = {name for name in ("locations", "verdict", "missing") if plain[name] in (None, ())}
        content: dict[str, Any] = jsonable({name: value for name, value in plain.items() if name not in absent})
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Report:
        """Return the report from the output of `to_json`, also of an earlier version with fewer entries.

        Raises
        ------
        FileError
            When it has no measures, or an entry has the wrong form.
        """
        try:
            columns = {"before": {}, **content["measures"]}
            report = from_plain(cls, {**content, "measures": columns})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileError(f"The report is not valid: {type(error).__name__} {error}.") from error
        places = report.locations
        located = None if places is None else dataclasses.replace(places, look_at=report.look_at)
        return dataclasses.replace(report, locations=located)


def read_report(path: str | os.PathLike[str]) -> Report:
    """Return the report in a report.json; `FileError` when it is missing, invalid or not a report."""
    return Report.from_json(read_json(Path(path), what="the report"))


def write_report_json(path: str | os.PathLike[str], report: Report | Mapping[str, Any]) -> Path:
    """Write a report, or plain values of a report, atomically.

    Raises
    ------
    FileError
        When the file cannot be written.
    """
    return write_json(Path(path), report.to_json() if isinstance(report, Report) else report, indent=2)

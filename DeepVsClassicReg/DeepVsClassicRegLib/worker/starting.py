"""The linear alignment that registrations of one pair start from: computed by the first, handed to the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import api
from ..core.engines.catalogue import get_engine
from ..core.images.volume import Pair
from ..core.progress import Progress
from ..core.result import Diagnostics, Result, TracePoint
from ..core.settings import make_settings
from ..core.transforms.files import read_transform, write_transform
from ..core.transforms.transform import Transform
from .job import SHARE_START, START, START_FILE, Job


@dataclass(frozen=True)
class Start:
    """A linear alignment and how it went.

    Attributes
    ----------
    transform : Transform
        Fixed-to-moving map.
    diagnostics : Diagnostics
        Of the linear engine.
    """

    transform: Transform
    diagnostics: Diagnostics

    @classmethod
    def read(cls, entry: Mapping[str, Any], folder: Path) -> Start:
        """Read what `write` returned and wrote into a folder."""
        facts = dict(entry["facts"])
        trace = tuple(TracePoint(stage, int(number), float(metric)) for stage, number, metric in facts.pop("trace"))
        notes = tuple(facts.pop("notes"))
        return cls(read_transform(folder / entry["file"]), Diagnostics(trace=trace, notes=notes, **facts))

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the transform into a folder and return the entry of result.json."""
        write_transform(self.transform, folder / START_FILE)
        own = self.diagnostics
        facts = {
            "trace": [[point.stage, point.iteration, point.metric] for point in own.trace],
            "seconds": dict(own.seconds),
            "cpu_seconds": dict(own.cpu_seconds),
            "confidence": own.confidence,
            "notes": list(own.notes),
        }
        return {"file": START_FILE, "facts": facts}

    def credited(self, result: Result) -> Result:
        """Return the result as if its engine had been run with its own linear alignment: with its time and trace."""
        linear, own = self.diagnostics, result.diagnostics
        return dataclasses.replace(
            result,
            diagnostics=dataclasses.replace(
                own,
                trace=(*linear.trace, *own.trace),
                seconds={**linear.seconds, **own.seconds},
                cpu_seconds={**linear.cpu_seconds, **own.cpu_seconds},
                confidence=linear.confidence,
                notes=tuple(dict.fromkeys((*linear.notes, *own.notes))),
            ),
        )


def find_start(job: Job, folder: Path, pair: Pair, progress: Progress) -> Start | None:
    """Return the alignment that the job was handed or shall share; None when its engine sees to that alone."""
    info = get_engine(job.engine).info
    if pair.initial is not None or not info.starts_linear:
        return None
    if START in job.options:
        return Start.read(job.options[START], folder)
    if not job.options.get(SHARE_START):
        return None
    make_settings(info.settings, job.engine, job.preset, job.settings)  # wrong settings are told before any work
    info.require()
    compute = job.compute
    result = api.register(
        pair, api.LINEAR, device=compute.device, threads=compute.threads, seed=compute.seed, progress=progress
    )
    return Start(result.transform, result.diagnostics)

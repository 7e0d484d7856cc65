"""The linear start of registrations, computed in the same way by all callers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..device import Compute, sitk_threads
from ..job import START_FILE
from ..pair import Pair
from ..progress import Progress
from ..result import TOTAL, Diagnostics, Result
from ..settings import make_settings
from ..transforms.files import read_transform, write_transform
from .catalogue import get_engine
from .engine_input import engine_view

LINEAR = "linear"


def align_linearly(pair: Pair, compute: Compute, progress: Progress) -> Result:
    """Align a pair with the default settings of the engine `linear`, from `pair.initial` if there is one.

    Segmentations and landmarks are not used: they evaluate the result.

    Returns
    -------
    Result
        An affine fixed-to-moving transform; its diagnostics hold the confidence.
    """
    engine = get_engine(LINEAR)
    settings: Any = make_settings(engine.info.settings, LINEAR)
    with sitk_threads(compute.thread_count):
        result = engine.run(engine_view(pair)[0].without_annotations(), settings, progress, compute)
    return dataclasses.replace(result, engine=LINEAR, settings=settings)


def with_start(result: Result, start: Result) -> Result:
    """Return the result of an engine with time, trace and confidence of its linear start.

    The time of a run includes the linear alignment, whether the run computed it or reused that of another run.
    """
    return dataclasses.replace(result, diagnostics=result.diagnostics.after(start.diagnostics))


def write_start(start: Result, folder: Path) -> dict[str, Any]:
    """Write the alignment to a folder for other jobs and return the entry for `read_start`."""
    write_transform(start.transform, folder / START_FILE)
    return start_entry(START_FILE, start.diagnostics.to_json())


def start_entry(file: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of an alignment with its transform in `file`; `facts` are its diagnostics or report as JSON."""
    kept = {name: facts[name] for name in ("trace", "confidence", "notes", "unsound") if name in facts}
    for name in ("seconds", "cpu_seconds"):
        kept[name] = {stage: value for stage, value in facts[name].items() if stage != TOTAL}
    return {"file": file, "facts": kept}


def read_start(entry: Mapping[str, Any], folder: Path) -> Result:
    """Return the alignment of an entry; its file may be relative to `folder`."""
    diagnostics = Diagnostics.from_json(entry["facts"])
    return Result(read_transform(folder / entry["file"]), diagnostics, engine=LINEAR)

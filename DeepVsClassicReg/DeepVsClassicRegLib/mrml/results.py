"""A worker's result folder read into memory, ready to be published; safe in any thread."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.images.volume import LabelMap, Volume
from ..core.transforms.transform import Transform


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """One result: transform, volumes and report.

    Attributes
    ----------
    transform : Transform
        Fixed-to-moving map.
    warped, jacobian : Volume or None
        On the fixed grid.
    warped_labels : LabelMap or None
        On the fixed grid.
    report : mapping
        Content of report.json (measures before and after, engine, preset, seconds, notes, trace).
    """

    transform: Transform
    warped: Volume | None = None
    warped_labels: LabelMap | None = None
    jacobian: Volume | None = None
    report: Mapping[str, Any]


def load_result(folder: str | os.PathLike[str]) -> Loaded:
    """Read the job folder of a worker that succeeded.

    Raises
    ------
    FileError
        When result.json or a file it names is missing or broken.
    """
    raise NotImplementedError


def result_of(pair: Any, result: Any, evaluation: Any) -> Loaded:
    """Return what `core.api.register` and `evaluate` gave in this process (console, tests)."""
    raise NotImplementedError

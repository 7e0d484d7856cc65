"""The interface of the files in this folder: how the slice views show one of `core/evaluation/views`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..runs import Run
from ..slice_display import SliceDisplay


def no_sources(_run: Run, _upper: str) -> tuple[str, ...]:
    """Return no sources, for views that show nodes as they are."""
    return ()


@dataclass(frozen=True)
class SliceView:
    """How the slice views show a run in one view mode.

    Attributes
    ----------
    show : callable
        `show(slices, run)` sets layers and overlays.
    sources : callable
        `sources(run, upper)` returns the names of the required `prepared.SOURCES`; `upper` is 'warped', or 'moving'
        before registration.
    prepare : callable or None
        `prepare(run, upper)` takes from the nodes what is needed beyond the sources, in the main thread, and returns
        what computes the value that `show` asks the slices for: called with the sources in any thread. It returns None
        when there is nothing to compute.
    remark : callable or None
        `remark(run, before)` describes what cannot be shown because its node was deleted.
    """

    show: Callable[[SliceDisplay, Run], None]
    sources: Callable[[Run, str], Sequence[str]] = no_sources
    prepare: Callable[[Run, str], Callable[[Mapping[str, Any]], Any] | None] | None = None
    remark: Callable[..., str] | None = None

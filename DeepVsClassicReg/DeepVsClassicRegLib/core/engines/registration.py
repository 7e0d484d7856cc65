"""Runs an engine on a pair: checks, the linear alignment first, the choice of start or result, compact storage."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..device import Compute, sitk_threads
from ..images.grid import is_single_slice
from ..job import START_FILE
from ..pair import Pair, check_pair, marked_pair
from ..progress import Progress
from ..result import TOTAL, Diagnostics, Result
from ..settings import DEFAULT, make_settings
from ..transforms.files import read_transform, write_transform
from ..transforms.transform import TOLERANCE, DisplacementField, Transform, compacted, rounded
from .catalogue import get_engine
from .engine_input import engine_view
from .in_plane import InPlane, run_in_plane
from .initial_direction import inverse_note
from .missing_tissue import missing_tissue
from .partial_views import never_worse

LINEAR = "linear"
LINEAR_SHARE = 0.2
# Stored displacements are rounded to less than this part of a millimeter (for a head); their error is half of it.
ROUNDING = 0.002


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
    run = partial(run_in_plane, engine) if is_single_slice(pair.fixed.grid.size) else engine.run
    with sitk_threads(compute.thread_count):
        result = run(engine_view(pair)[0].without_annotations(), settings, progress, compute)
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


def register(
    pair: Pair,
    engine: str = "elastix",
    *,
    preset: str = DEFAULT,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    threads: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Result:
    """Register the moving volume of a pair to the fixed volume.

    Parameters
    ----------
    pair : Pair
        The pair to register. Without `pair.initial` a robust linear alignment is computed first.
    engine, preset : str
        See `engine_names()` and `dvcreg engines`.
    settings : mapping, optional
        Settings changed from the preset.
    device : {'auto', 'cpu', 'cuda', 'mps'}
        Device of the computation.
    threads : int
        Maximum number of CPU threads, 0 for all cores.
    seed : int
        Seed of the random number generators.
    progress : Progress, optional
        Receives progress updates and can cancel.

    Returns
    -------
    Result
        The complete fixed-to-moving transform with diagnostics of the run.

    Raises
    ------
    RegistrationError
        When the pair or a setting is invalid, or a package is missing.

    Examples
    --------
    >>> import DeepVsClassicRegLib as dvc
    >>> from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
    >>> phantom = make_phantom("head", size=32)
    >>> result = dvc.register(phantom.pair, engine="sitk-demons", threads=1)
    >>> measures = dvc.evaluate(phantom.pair, result)
    >>> measures.after["dice_mean"] > measures.before["dice_mean"]
    True
    """
    listener = progress or Progress()
    chosen = get_engine(engine)
    wanted: Any = make_settings(chosen.info.settings, engine, preset, settings)
    chosen.info.require()
    compute = Compute(device=device, threads=threads, seed=seed)
    pair = marked_pair(pair)
    flat = is_single_slice(pair.fixed.grid.size)
    remarks = check_pair(pair, single_slices=chosen.info.single_slices or chosen.info.slabs)
    remarks += InPlane(pair).notes() if flat else []
    if (pair.fixed_rigid or pair.moving_rigid) and not chosen.info.keeps_bodies:
        remarks.append(f"{chosen.info.title} deforms the rigid bodies like everything else; 'instance' keeps them.")
    view, differences = engine_view(pair)
    remarks += differences
    if not flat and (doubt := inverse_note(view)):
        remarks.append(doubt)
    with sitk_threads(compute.thread_count):
        needs_linear = pair.initial is None and chosen.info.starts_linear
        aligned = align_linearly(view, compute, listener.part(0.0, LINEAR_SHARE)) if needs_linear else None
        start = aligned.transform if aligned else pair.initial
        examined = start if chosen.info.starts_linear and not flat else None
        lost, notes = missing_tissue(view, examined) if examined is not None else ({}, [])
        if lost:
            view, remarks = engine_view(pair.replace(**lost))[0], [*remarks, *notes]
            if aligned:
                aligned = repeated(aligned, align_linearly(view, compute, listener.part(0.0, LINEAR_SHARE)))
                start = aligned.transform
        seen = view if chosen.info.uses_annotations else view.without_annotations()
        part = listener.part(LINEAR_SHARE if aligned else 0.0, 1.0)
        run = partial(run_in_plane, chosen) if flat else chosen.run
        result = run(seen.replace(initial=start), wanted, part, compute)
        if start is not None and chosen.info.starts_linear and not result.by_structures:
            kept, reason = never_worse(view, start, result.transform, cut=bool(lost))
            result = dataclasses.replace(result, transform=kept)
            remarks += [reason] if reason else []
    listener.report(1.0, "Done")
    result = with_start(result, aligned) if aligned else result
    diagnostics = result.diagnostics
    return dataclasses.replace(
        result,
        transform=stored(result.transform, unit_mm=pair.fixed.grid.unit_mm, given=start),
        diagnostics=dataclasses.replace(diagnostics, notes=(*remarks, *diagnostics.notes)),
        engine=engine,
        preset=preset,
        settings=wanted,
        start=start,
    )


def repeated(first: Result, again: Result) -> Result:
    """Return the second linear alignment of a run, with the time of both."""
    old, new = first.diagnostics, again.diagnostics
    seconds, cpu_seconds = (
        {stage: before.get(stage, 0.0) + after.get(stage, 0.0) for stage in {**before, **after}}
        for before, after in ((old.seconds, new.seconds), (old.cpu_seconds, new.cpu_seconds))
    )
    return dataclasses.replace(again, diagnostics=dataclasses.replace(new, seconds=seconds, cpu_seconds=cpu_seconds))


def stored(transform: Transform, *, unit_mm: float, given: Transform | None = None) -> Transform:
    """Return the transform with each displacement field on the coarsest grid that represents it, rounded.

    `unit_mm` is the fixed grid's unit of length (`Grid.unit_mm`). Parts of the transform `given` do not change.
    """
    tolerance = TOLERANCE * unit_mm
    same = {id(part) for part in given.parts} if given else set()
    return Transform(
        tuple(
            rounded(compacted(part, tolerance_mm=tolerance), step_mm=ROUNDING * unit_mm)
            if isinstance(part, DisplacementField) and id(part) not in same
            else part
            for part in transform.parts
        )
    )

"""The public Python interface: load a pair, register it, compare engines, evaluate."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from .choice import Choice
from .device import Compute, sitk_threads
from .engines.catalogue import engine_names, get_engine
from .engines.engine_input import engine_view
from .engines.error_map import estimate_error
from .engines.partial_views import never_worse
from .engines.start import align_linearly, with_start
from .errors import RegistrationError
from .evaluation.evaluate import Evaluation, evaluate
from .images.io import read_volume
from .images.pairing import Paired, paired_landmarks
from .images.points import read_landmarks
from .images.segmentations import matched_labels, read_labels
from .pair import Pair, check_pair, is_single_slice, marked_pair
from .progress import Progress
from .recommend import recommend
from .result import Result
from .settings import DEFAULT, make_settings
from .transforms.compact import TOLERANCE, compacted
from .transforms.field import DisplacementField
from .transforms.files import read_transform
from .transforms.transform import Transform

__all__ = ["compare", "engine_names", "estimate_error", "evaluate", "load_pair", "recommend", "register"]

LINEAR_SHARE = 0.2


def load_pair(
    fixed: str | os.PathLike[str],
    moving: str | os.PathLike[str],
    *,
    fixed_labels: str | os.PathLike[str] | None = None,
    moving_labels: str | os.PathLike[str] | None = None,
    fixed_mask: str | os.PathLike[str] | None = None,
    moving_mask: str | os.PathLike[str] | None = None,
    fixed_points: str | os.PathLike[str] | None = None,
    moving_points: str | os.PathLike[str] | None = None,
    initial: str | os.PathLike[str] | None = None,
) -> Pair:
    """Read a pair of volumes, with their segmentations, masks and landmarks, from files.

    Parameters
    ----------
    fixed, moving : path
        3D volumes (NIfTI, NRRD, MHA or a DICOM folder).
    fixed_labels, moving_labels, fixed_mask, moving_mask : path, optional
        Label maps and masks in the same patient coordinates. The segments of Slicer segmentations (.seg.nrrd) are
        matched by name, see `images.matching`.
    fixed_points, moving_points : path, optional
        Landmarks (.csv in LPS mm, .fcsv or .mrk.json), matched by name, see `images.pairing`. If both are the same
        .csv, it contains the columns fixed_x..z and moving_x..z.
    initial : path, optional
        A fixed-to-moving transform to start from.

    Raises
    ------
    RegistrationError
        When a file is missing, unreadable or not usable.

    Examples
    --------
    >>> import tempfile, DeepVsClassicRegLib as dvc
    >>> from DeepVsClassicRegLib.core.phantom.phantom import make_phantom, write_phantom
    >>> folder = tempfile.mkdtemp()
    >>> files = write_phantom(make_phantom("head", size=24), folder)
    >>> pair = dvc.load_pair(files["fixed"], files["moving"])
    >>> pair.fixed.grid.size
    (24, 24, 24)
    """
    labels = matched_labels(_maybe(read_labels, fixed_labels), _maybe(read_labels, moving_labels))
    points = _landmarks(fixed_points, moving_points)
    return Pair(
        read_volume(fixed),
        read_volume(moving),
        fixed_labels=labels[0],
        moving_labels=labels[1],
        fixed_mask=_maybe(read_labels, fixed_mask),
        moving_mask=_maybe(read_labels, moving_mask),
        fixed_points=points.fixed_mm if points else None,
        moving_points=points.moving_mm if points else None,
        initial=_maybe(partial(read_transform, fixed=fixed, moving=moving), initial),
        notes=points.notes if points else (),
    )


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
    remarks = check_pair(pair, single_slices=chosen.info.single_slices)
    if pair.initial is None and is_single_slice(pair.fixed):
        remarks.append("Single slices get no linear alignment: registration starts from the positions in the headers.")
        pair = pair.replace(initial=Transform())
    view, differences = engine_view(pair)
    remarks += differences
    with sitk_threads(compute.thread_count):
        needs_linear = pair.initial is None and chosen.info.starts_linear
        aligned = align_linearly(view, compute, listener.part(0.0, LINEAR_SHARE)) if needs_linear else None
        start = aligned.transform if aligned else pair.initial
        seen = view if chosen.info.uses_annotations else view.without_annotations()
        part = listener.part(LINEAR_SHARE if aligned else 0.0, 1.0)
        result = chosen.run(seen.replace(initial=start), wanted, part, compute)
        if start is not None and chosen.info.starts_linear and not result.in_domain:
            kept, reason = never_worse(view, start, result.transform)
            result = dataclasses.replace(result, transform=kept)
            remarks += [reason] if reason else []
    listener.report(1.0, "Done")
    result = with_start(result, aligned) if aligned else result
    diagnostics = result.diagnostics
    return dataclasses.replace(
        result,
        transform=stored(result.transform, unit_mm=pair.fixed.grid.unit_mm),
        diagnostics=dataclasses.replace(diagnostics, notes=(*remarks, *diagnostics.notes)),
        engine=engine,
        preset=preset,
        settings=wanted,
        start=start,
    )


def compare(pair: Pair, engines: Sequence[str], **options: Any) -> dict[str, tuple[Result, Evaluation]]:
    """Run several engines from the same linear alignment and evaluate them with the same measures.

    Parameters
    ----------
    pair : Pair
        The pair to register.
    engines : sequence of str
        Engine names, each optionally with a preset: 'ants', 'ants:quick'.
    **options
        As for `register`.

    Returns
    -------
    dict
        Entry of `engines` -> (result, evaluation).

    Raises
    ------
    RegistrationError
        As for `register`; the pair is checked before anything is computed.
    """
    listener = options.pop("progress", None) or Progress()
    compute = Compute(**{key: options[key] for key in ("device", "threads", "seed") if key in options})
    check_pair(pair)
    start = align_linearly(pair, compute, listener.part(0.0, LINEAR_SHARE)) if pair.initial is None else None
    aligned = pair if start is None else pair.replace(initial=start.transform)
    found = {}
    for number, entry in enumerate(engines):
        choice = Choice.parse(entry)
        part = listener.part(
            LINEAR_SHARE + (1 - LINEAR_SHARE) * number / len(engines),
            LINEAR_SHARE + (1 - LINEAR_SHARE) * (number + 1) / len(engines),
        )
        result = register(aligned, choice.engine, preset=choice.preset, progress=part, **options)
        result = with_start(result, start) if start else result
        found[entry] = (result, evaluate(pair, result, threads=compute.threads))
    return found


def stored(transform: Transform, *, unit_mm: float) -> Transform:
    """Return the transform with each displacement field on the coarsest grid that represents it.

    `unit_mm` is the fixed grid's unit of length (`Grid.unit_mm`).
    """
    tolerance = TOLERANCE * unit_mm
    return Transform(
        tuple(
            compacted(part, tolerance_mm=tolerance) if isinstance(part, DisplacementField) else part
            for part in transform.parts
        )
    )


def _landmarks(fixed: Any, moving: Any) -> Paired | None:
    """Read and match the landmarks of both sides; one .csv for both has columns fixed_x..z and moving_x..z."""
    if fixed is None and moving is None:
        return None
    if fixed is None or moving is None:
        raise RegistrationError("Landmarks are given on one side only.", hint="Give both lists or none.")
    prefixes = ("fixed_", "moving_") if fixed == moving and str(fixed).lower().endswith(".csv") else ("", "")
    sides = [read_landmarks(path, prefix=prefix) for path, prefix in zip((fixed, moving), prefixes, strict=True)]
    return paired_landmarks(*sides)


def _maybe(read: Callable[[Any], Any], path: Any) -> Any:
    return None if path is None else read(path)

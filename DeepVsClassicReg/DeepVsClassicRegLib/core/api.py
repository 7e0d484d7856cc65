"""The public Python interface: load a pair, register it, compare engines, evaluate."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .device import Compute
from .engines.catalogue import engine_names
from .engines.registration import LINEAR_SHARE, align_linearly, register, with_start
from .errors import RegistrationError
from .evaluation.evaluate import Evaluation, evaluate
from .images.io import matched_labels, read_labels, read_volume
from .images.points import Paired, paired_landmarks, read_landmarks
from .images.volume import with_marked_names
from .pair import Pair, check_pair
from .progress import Progress
from .result import Result
from .settings import Choice
from .transforms.files import read_transform

if TYPE_CHECKING:
    from .cohort.atlas_build import Atlas, AtlasSettings
    from .cohort.atlas_label import Labeling, LabelSettings
    from .cohort.monitor import Monitored, MonitorSettings
    from .engines.error_map import estimate_error
    from .engines.segmentation import segment
    from .motion.correct import CorrectedMotion
    from .motion.settings import MotionSettings
    from .recommend import recommend
    from .stacks.stack import stack
    from .train import finetune, resume_training, train

__all__ = [
    "build_atlas",
    "compare",
    "correct_motion",
    "engine_names",
    "estimate_error",
    "evaluate",
    "finetune",
    "label_by_atlases",
    "load_pair",
    "monitor",
    "recommend",
    "register",
    "resume_training",
    "segment",
    "stack",
    "train",
]
# Functions that are imported on first use, because a registration does not need their modules.
_LATER = {
    "estimate_error": ".engines.error_map",
    "finetune": ".train",
    "recommend": ".recommend",
    "resume_training": ".train",
    "segment": ".engines.segmentation",
    "stack": ".stacks.stack",
    "train": ".train",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name], __package__), name)


def load_pair(
    fixed: str | os.PathLike[str],
    moving: str | os.PathLike[str],
    *,
    fixed_labels: str | os.PathLike[str] | None = None,
    moving_labels: str | os.PathLike[str] | None = None,
    fixed_mask: str | os.PathLike[str] | None = None,
    moving_mask: str | os.PathLike[str] | None = None,
    fixed_excluded: str | os.PathLike[str] | None = None,
    moving_excluded: str | os.PathLike[str] | None = None,
    fixed_rigid: str | os.PathLike[str] | None = None,
    moving_rigid: str | os.PathLike[str] | None = None,
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
    fixed_excluded, moving_excluded, fixed_rigid, moving_rigid : path, optional
        Regions without a counterpart (lesions, implants), and bodies that move rigidly, one per label; see `Pair`.
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
    labels = with_marked_names(*matched_labels(_maybe(read_labels, fixed_labels), _maybe(read_labels, moving_labels)))
    points = _landmarks(fixed_points, moving_points)
    return Pair(
        read_volume(fixed),
        read_volume(moving),
        fixed_labels=labels[0],
        moving_labels=labels[1],
        fixed_mask=_maybe(read_labels, fixed_mask),
        moving_mask=_maybe(read_labels, moving_mask),
        fixed_excluded=_maybe(read_labels, fixed_excluded),
        moving_excluded=_maybe(read_labels, moving_excluded),
        fixed_rigid=_maybe(read_labels, fixed_rigid),
        moving_rigid=_maybe(read_labels, moving_rigid),
        fixed_points=points.fixed_mm if points else None,
        moving_points=points.moving_mm if points else None,
        initial=_maybe(partial(read_transform, fixed=fixed, moving=moving), initial),
        notes=points.notes if points else (),
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
    check_pair(pair, single_slices=True)
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


def build_atlas(
    volumes: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    labels: Sequence[str | os.PathLike[str]] = (),
    settings: AtlasSettings | None = None,
    **options: Any,
) -> Atlas:
    """Build an unbiased atlas of several subjects in a folder; see `cohort.atlas_build.build_atlas`.

    Parameters
    ----------
    volumes : sequence of path
        Volumes, or one folder or list of volumes with label maps.
    out : path
        Folder of the atlas; a construction that was stopped is continued.
    labels : sequence of path
        Label maps of the volumes, in the same order.
    settings : AtlasSettings, optional
        Engine, voxel size, rounds.
    **options
        `engine_settings`, `workers`, `threads`, `seed`, `progress`.

    Raises
    ------
    RegistrationError
        When a file is missing, a registration fails, or the folder holds another atlas.
    """
    from .cohort.atlas_build import build_atlas as build
    from .cohort.atlas_subjects import gather_subjects

    subjects = gather_subjects([Path(path) for path in volumes], [Path(path) for path in labels])
    return build(subjects, Path(out), settings, **options)


def label_by_atlases(
    target: str | os.PathLike[str],
    atlases: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    truth: str | os.PathLike[str] | None = None,
    settings: LabelSettings | None = None,
    **options: Any,
) -> Labeling:
    """Segment a volume by the most similar of several labeled volumes; see `cohort.atlas_label.label_by_atlases`.

    Parameters
    ----------
    target : path
        The volume.
    atlases : path
        Folder or list of labeled volumes.
    out : path
        Folder of the results.
    truth : path, optional
        Segmentation of the target for the Dice.
    settings : LabelSettings, optional
        Engine, number of atlases, fusion.
    **options
        `engine_settings`, `workers`, `threads`, `seed`, `progress`.

    Raises
    ------
    RegistrationError
        When a file is missing, a registration fails, or the target is one of the atlases.
    """
    from .cohort.atlas_label import label_by_atlases as label
    from .cohort.atlas_label import target_of
    from .cohort.atlas_subjects import gather_subjects

    listed = gather_subjects([Path(atlases)], fewest=1, need_labels=True)
    subject = target_of(Path(target), Path(truth) if truth else None)
    return label(subject, listed, Path(out), settings, **options)


def monitor(
    scans: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    segmentations: Mapping[int, str | os.PathLike[str]] | None = None,
    settings: MonitorSettings | None = None,
    **options: Any,
) -> Monitored:
    """Measure the change of structures over the scans of one subject; see `cohort.monitor.monitor`.

    Parameters
    ----------
    scans : sequence of path
        Time points in their order.
    out : path
        Folder of the results.
    segmentations : mapping of int to path, optional
        Number of a time point, 1 for the first -> its segmentation; without any the whole object is measured.
    settings : MonitorSettings, optional
        Engine, voxel size, no-change estimate.
    **options
        `days`, `engine_settings`, `workers`, `threads`, `seed`, `progress`.

    Raises
    ------
    RegistrationError
        When a file is missing, there are fewer than two different scans, or a registration fails.
    """
    from .cohort.atlas_label import target_of
    from .cohort.monitor import monitor as measure_change

    labels = {number: Path(path) for number, path in (segmentations or {}).items()}
    subjects = [target_of(Path(path), labels.get(number)) for number, path in enumerate(scans, 1)]
    return measure_change(subjects, Path(out), settings, **options)


def correct_motion(
    series: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    settings: MotionSettings | None = None,
    mask: str | os.PathLike[str] | None = None,
    landmarks: str | os.PathLike[str] | None = None,
    **options: Any,
) -> CorrectedMotion:
    """Register all frames of a 4D volume to one of them, or to their mean; see `motion.correct.correct_motion`.

    Parameters
    ----------
    series : path or sequence of path
        One 4D volume, a folder of 3D volumes, or the 3D volumes in the order of time.
    out : path
        Folder of the results: corrected.nii.gz, transforms, table, plot and page.
    settings : MotionSettings, optional
        Engine, reference, start, smoothness over time.
    mask : path, optional
        Region of the reference where similarity and motion are measured.
    landmarks : path, optional
        CSV of landmarks in several frames, for the landmark error.
    **options
        `engine_settings`, `workers`, `threads`, `seed`, `progress`.

    Raises
    ------
    RegistrationError
        When a file is missing, the series is not 4D, or a registration fails.

    Examples
    --------
    >>> import tempfile, DeepVsClassicRegLib as dvc
    >>> from DeepVsClassicRegLib.core.motion.settings import MotionSettings
    >>> from DeepVsClassicRegLib.core.phantom.breathing import make_breathing, write_breathing
    >>> folder = tempfile.mkdtemp()
    >>> files = write_breathing(make_breathing(3, size=16), folder)
    >>> wanted = MotionSettings(engine="linear:rigid", reference="1")
    >>> found = dvc.correct_motion(files["series"], f"{folder}/out", settings=wanted)
    >>> [frame.mean_mm > 0 for frame in found.frames]
    [True, False, True]
    """
    from .motion.correct import correct_motion as correct
    from .motion.page import write_motion_page, write_motion_table

    sources = [Path(series)] if isinstance(series, (str, os.PathLike)) else [Path(path) for path in series]
    files = {"mask": _maybe(Path, mask), "landmarks": _maybe(Path, landmarks)}
    found = correct(sources, Path(out), settings, **files, **options)
    write_motion_table(found)
    write_motion_page(found)
    return found


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

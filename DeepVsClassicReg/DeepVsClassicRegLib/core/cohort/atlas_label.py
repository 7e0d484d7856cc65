"""Multi-atlas segmentation: choose the most similar atlases, register them to the target, fuse their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import SettingsError, did_you_mean
from ..evaluation.region import fixed_region
from ..files import content_digest, json_digest, jsonable, write_json
from ..histogram import bin_numbers, joint_histogram, normalized_mutual_information
from ..images.intensity import normalized
from ..images.io import read_labels, read_volume, stem, write_volume
from ..images.resample import warp_labels, warp_volume
from ..images.volume import LabelMap, Volume
from ..pair import Pair
from ..progress import Progress
from ..settings import option
from ..transforms.transform import Transform
from .atlas_average import Votes
from .atlas_build import WORK, write_probabilities
from .atlas_fusion import METHODS, WarpedAtlas, dice_of, fuse
from .atlas_subjects import AtlasSubject
from .atlas_tasks import FileRegistration, matrix_of, register_all

BINS = 32
SEGMENTATION = "segmentation.nii.gz"


@dataclass(frozen=True)
class LabelSettings:
    """How a target is labeled."""

    engine: str = option("instance", "Engine", tooltip="Deformable engine, optionally with a preset: 'ants:quick'.")
    atlases: int = option(
        10, "Atlases", minimum=0, tooltip="Number of the most similar atlases that are used; 0 for all."
    )
    fusion: str = option("joint", "Fusion", choices=tuple(METHODS), tooltip="How the labels are combined.")


@dataclass(frozen=True, eq=False)
class Labeling:
    """The result of multi-atlas segmentation.

    Attributes
    ----------
    votes : Votes
        Label probabilities on the grid of the target.
    segmentation : LabelMap
        The most probable labels.
    similarity : mapping of str to float
        Normalized mutual information of every atlas with the target after the linear alignment, the best first.
    used : tuple of str
        The atlases that were registered.
    dice : mapping of int to float
        Dice of every label, when the truth is given.
    cpu_seconds : float
        CPU seconds of the registrations.
    files : mapping of str to Path
        Written files.
    """

    votes: Votes
    segmentation: LabelMap
    similarity: dict[str, float]
    used: tuple[str, ...]
    dice: dict[int, float]
    cpu_seconds: float
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def mean_dice(self) -> float:
        """Mean Dice; NaN without truth."""
        return float(np.mean(list(self.dice.values()))) if self.dice else float("nan")


@dataclass(frozen=True)
class _Ranked:
    """An atlas with its linear alignment to the target."""

    atlas: AtlasSubject
    linear: Transform
    similarity: float


class LabelRun:
    """Registrations of atlases to one target; results of several numbers of atlases and fusions share them.

    Parameters
    ----------
    target : AtlasSubject
        The volume to label; its label map, if it has one, evaluates the result.
    atlases : sequence of AtlasSubject
        Labeled volumes; the target must not be among them.
    folder : Path
        Finished registrations are kept in its folder `work` and not repeated.
    engine : str
        'engine' or 'engine:preset'.
    engine_settings : dict
        Settings changed from the preset.
    workers, threads, seed : int
        Processes, threads of each, seed.
    progress : Progress, optional
        Receives progress updates and can cancel.

    Raises
    ------
    SettingsError
        When the target is one of the atlases.
    """

    def __init__(
        self,
        target: AtlasSubject,
        atlases: Sequence[AtlasSubject],
        folder: Path,
        engine: str,
        *,
        engine_settings: dict[str, Any] | None = None,
        workers: int = 1,
        threads: int = 1,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        if any(atlas.digest == target.digest for atlas in atlases):
            raise SettingsError(
                f"The target '{target.name}' is also an atlas.", hint="Remove it, or use --leave-one-out."
            )
        self.target, self.atlases, self.work = target, tuple(atlases), folder / WORK
        self.engine, self.engine_settings = engine, engine_settings or {}
        self.workers, self.threads, self.seed = workers, threads, seed
        self.progress = progress or Progress()
        self.cpu_seconds = 0.0
        self.volume = read_volume(target.image)
        self._warped: dict[str, WarpedAtlas] = {}
        self._labels: dict[str, LabelMap] = {}
        self.ranked = self._ranked()

    def label(self, count: int, fusion: str) -> Labeling:
        """Return the labels from the `count` most similar atlases (0: all)."""
        if fusion not in METHODS:
            raise SettingsError(f"There is no label fusion '{fusion}'.", hint=did_you_mean(fusion, METHODS))
        chosen = self.ranked[: count or None]
        self._register(chosen)
        names: dict[int, str] = {}
        for one in chosen:
            names |= dict(self._labels[one.atlas.digest].names)
        warped = [self._warped[one.atlas.digest] for one in chosen]
        votes = fuse(fusion, normalized(self.volume), warped, self.volume.grid, names)
        segmentation = votes.majority(f"{self.target.name} segmentation")
        truth = read_labels(self.target.labels) if self.target.labels else None
        if truth is not None and not truth.grid.same_as(self.volume.grid):
            truth = warp_labels(truth, self.volume.grid)
        return Labeling(
            votes,
            segmentation,
            {one.atlas.name: one.similarity for one in self.ranked},
            tuple(one.atlas.name for one in chosen),
            dice_of(truth, segmentation) if truth is not None else {},
            self.cpu_seconds,
        )

    def _task(self, atlas: AtlasSubject, engine: str, settings: dict[str, Any], start: Transform | None) -> Any:
        affine = start.affine if start is not None else None
        initial = matrix_of(affine) if affine is not None else None
        facts = [self.target.digest, atlas.digest, engine, jsonable(settings), self.seed, initial]
        return FileRegistration(
            atlas.name,
            self.target.image,
            atlas.image,
            self.work / f"{json_digest(facts)[:16]}.h5",
            engine,
            settings,
            initial=initial,
            threads=self.threads,
            seed=self.seed,
        )

    def _run(self, tasks: list[FileRegistration], title: str, share: tuple[float, float]) -> None:
        found = register_all(tasks, workers=self.workers, progress=self.progress.part(*share), title=title)
        self.cpu_seconds += sum(one["cpu_seconds"] for one in found)

    def _ranked(self) -> list[_Ranked]:
        tasks = [self._task(atlas, "linear", {}, None) for atlas in self.atlases]
        self._run(tasks, "Linear alignment", (0.0, 0.3))
        inside, _ = fixed_region(Pair(self.volume, self.volume))
        fixed = bin_numbers(normalized(self.volume)[inside], (0, 1), bins=BINS)
        ranked = []
        for atlas, task in zip(self.atlases, tasks, strict=True):
            transform = task.transform()
            warped = warp_volume(read_volume(atlas.image), self.volume.grid, transform)
            ranked.append(_Ranked(atlas, transform, _similarity(fixed, warped, inside)))
        return sorted(ranked, key=lambda one: (-one.similarity, one.atlas.digest))

    def _register(self, chosen: Sequence[_Ranked]) -> None:
        missing = [one for one in chosen if one.atlas.digest not in self._warped]
        tasks = [self._task(one.atlas, self.engine, self.engine_settings, one.linear) for one in missing]
        self._run(tasks, "Registering", (0.3, 0.95))
        for one, task in zip(missing, tasks, strict=True):
            transform = task.transform()
            image = warp_volume(read_volume(one.atlas.image), self.volume.grid, transform)
            assert one.atlas.labels is not None
            labels = read_labels(one.atlas.labels)
            self._labels[one.atlas.digest] = labels
            self._warped[one.atlas.digest] = WarpedAtlas(
                normalized(image), warp_labels(labels, self.volume.grid, transform).array
            )


def label_by_atlases(
    target: AtlasSubject,
    atlases: Sequence[AtlasSubject],
    folder: Path,
    settings: LabelSettings | None = None,
    **options: Any,
) -> Labeling:
    """Label a volume by the most similar of several labeled volumes, and write the result to a folder.

    Parameters
    ----------
    target : AtlasSubject
        The volume; with a label map the Dice is computed.
    atlases : sequence of AtlasSubject
        Labeled volumes, from `gather_subjects`.
    folder : Path
        Receives segmentation.nii.gz, probabilities/, labeling.json and work/.
    settings : LabelSettings, optional
        Engine, number of atlases, fusion.
    **options
        `engine_settings`, `workers`, `threads`, `seed`, `progress`, as for `LabelRun`.

    Raises
    ------
    RegistrationError
        When a registration fails or the target is one of the atlases.
    """
    chosen = settings or LabelSettings()
    run = LabelRun(target, atlases, folder, chosen.engine, **options)
    found = run.label(chosen.atlases, chosen.fusion)
    folder.mkdir(parents=True, exist_ok=True)
    found.files["segmentation"] = write_volume(found.segmentation, folder / SEGMENTATION)
    write_probabilities(found.votes, folder / "probabilities")
    found.files["probabilities"] = folder / "probabilities"
    found.files["facts"] = write_json(folder / "labeling.json", labeling_json(found, target, chosen))
    run.progress.report(1.0, "Labels done")
    return found


def leave_one_out(
    atlases: Sequence[AtlasSubject],
    folder: Path,
    engine: str,
    *,
    counts: Sequence[int] = (0,),
    fusions: Sequence[str] = tuple(METHODS),
    progress: Progress | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Label every atlas by the others, and return one row per target, number of atlases and fusion.

    Parameters
    ----------
    counts : sequence of int
        Numbers of atlases; 0 for all.
    fusions : sequence of str
        Methods of the fusion.
    **options
        As for `LabelRun`.
    """
    listener = progress or Progress()
    rows = []
    for number, target in enumerate(atlases):
        others = [atlas for atlas in atlases if atlas is not target]
        part = listener.part(number / len(atlases), (number + 1) / len(atlases))
        run = LabelRun(target, others, folder, engine, progress=part, **options)
        for count in counts:
            for fusion in fusions:
                found = run.label(count, fusion)
                rows.append(
                    {"target": target.name, "atlases": len(found.used), "fusion": fusion, "dice": found.mean_dice}
                )
    listener.report(1.0, "Evaluation done")
    return rows


def labeling_json(found: Labeling, target: AtlasSubject, settings: LabelSettings) -> dict[str, Any]:
    """Return the content of labeling.json."""
    return jsonable(
        {
            "target": target.image,
            "settings": settings,
            "similarity": found.similarity,
            "used": found.used,
            "volumes_mm3": volumes_of(found),
            "dice": found.dice,
            "dice_mean": found.mean_dice,
            "cpu_seconds": found.cpu_seconds,
        }
    )


def volumes_of(found: Labeling) -> dict[int, float]:
    """Return the volume of every label in cubic millimeters."""
    edge = found.segmentation.grid.voxel_volume_mm3
    counts = dict(zip(*np.unique(found.segmentation.array, return_counts=True), strict=True))
    return {label: float(counts.get(label, 0) * edge) for label in found.votes.labels if label != 0}


def target_of(image: Path, labels: Path | None = None) -> AtlasSubject:
    """Return a volume as the target of a labeling."""
    return AtlasSubject(stem(image), image.resolve(), labels.resolve() if labels else None, content_digest(image))


def _similarity(fixed: npt.NDArray[np.int32], warped: Volume, inside: npt.NDArray[np.bool_]) -> float:
    other = bin_numbers(normalized(warped)[inside], (0, 1), bins=BINS)
    return normalized_mutual_information(joint_histogram(fixed, other, (BINS, BINS)))

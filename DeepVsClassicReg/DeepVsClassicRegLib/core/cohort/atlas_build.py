"""An unbiased atlas: the mean shape and intensity of several subjects, none of which is the reference.

All subjects are registered to the present atlas, averaged, and the mean transform is removed, until the atlas is still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..engines.catalogue import get_engine
from ..errors import FileError, SettingsError
from ..files import from_plain, json_digest, jsonable, read_json, write_json
from ..images.grid import Grid
from ..images.intensity import foreground
from ..images.io import read_labels, read_volume, write_volume
from ..images.volume import LabelMap, Volume
from ..progress import Progress
from ..settings import Choice, make_settings, option
from ..transforms.files import read_transform
from ..transforms.invert import Inverse, invert
from ..transforms.jacobian import field_jacobian
from ..transforms.mean import mean_affine
from ..transforms.transform import TOLERANCE, Affine, DisplacementField, Transform, compacted
from .atlas_average import (
    Mean,
    SubjectFacts,
    Votes,
    count_votes,
    facts_of,
    grid_around,
    relative_change,
    sharpness,
    warped_evenly,
)
from .atlas_subjects import AtlasSubject
from .atlas_tasks import FileRegistration, matrix_of, register_all, write_whole

WORK, STATE = "work", "state.json"
TEMPLATE, SEGMENTATION, DEVIATION = "template.nii.gz", "template_seg.nii.gz", "deviation.nii.gz"
SUBJECTS, PROBABILITIES = "subjects", "probabilities"
FORMAT = 1
AFFINE_SHARE = 0.25
# Largest error of a step of an inversion at which it ends.
INVERSE_VOX, INVERSE_STEPS = 0.01, 25


@dataclass(frozen=True)
class AtlasSettings:
    """How an atlas is built; lengths in mm."""

    engine: str = option("instance", "Engine", tooltip="Deformable engine, optionally with a preset: 'ants:quick'.")
    linear: str = option(
        "affine", "Linear alignment", choices=("rigid", "similarity", "affine"), tooltip="Of the first rounds."
    )
    spacing_mm: float = option(
        0.0, "Voxel size", unit="mm", minimum=0, special="automatic", tooltip="0: the median of the volumes."
    )
    linear_rounds: int = option(2, "Linear rounds", minimum=1, maximum=20)
    rounds: int = option(4, "Deformable rounds", minimum=0, maximum=50, tooltip="Most of them; 0: linear atlas only.")
    still: float = option(
        0.05,
        "Still at",
        unit="voxels",
        minimum=0,
        maximum=1,
        tooltip="Ends when the mean transform of a round moves the atlas by less; 0: all rounds.",
    )


@dataclass(frozen=True)
class Round:
    """One round of the construction.

    Attributes
    ----------
    stage : str
        'linear' or 'deformable'.
    number : int
        Number within the stage, from 1.
    shift_mm : float
        Mean length of the mean transform that was removed, inside the object.
    change : float
        Root mean square change of the intensities of the atlas, relative to the brightest tissue; NaN in round 1.
    sharpness : float
        Mean gradient of the atlas relative to that of the subjects on the same grid.
    cpu_seconds : float
        CPU seconds of the registrations.
    """

    stage: str
    number: int
    shift_mm: float
    change: float
    sharpness: float
    cpu_seconds: float


@dataclass(frozen=True)
class Member:
    """The result of one subject.

    Attributes
    ----------
    name : str
        Its name.
    image : str
        Its file.
    displacement_mm : float
        Mean length of its deformation beyond the affine part, inside the object.
    correlation : float
        Correlation of its warped intensities with the atlas, inside the object.
    folded_percent : float
        Folded voxels of its transform.
    inverse_error_mm : float
        Mean error of its inverse transform.
    """

    name: str
    image: str
    displacement_mm: float
    correlation: float
    folded_percent: float
    inverse_error_mm: float


@dataclass(frozen=True, eq=False)
class Atlas:
    """A finished atlas.

    Attributes
    ----------
    folder : Path
        Folder of its files.
    template : Volume
        Mean intensities.
    deviation : Volume
        Standard deviation of the intensities over the subjects.
    segmentation : LabelMap or None
        The most probable labels, when the subjects have label maps.
    rounds : tuple of Round
        The construction.
    members : tuple of Member
        The subjects, the least similar first.
    centering_mm : float
        Mean length of the mean transform of all subjects, which is zero for an unbiased atlas.
    settings : AtlasSettings
        How it was built.
    """

    folder: Path
    template: Volume
    deviation: Volume
    segmentation: LabelMap | None
    rounds: tuple[Round, ...]
    members: tuple[Member, ...]
    centering_mm: float
    settings: AtlasSettings

    def transform_to(self, name: str) -> Transform:
        """Return the map from points of the atlas to points of a subject, which warps the subject to the atlas."""
        return read_transform(self.folder / SUBJECTS / name / "atlas_to_subject.h5")

    def transform_from(self, name: str) -> Transform:
        """Return the map from points of a subject to points of the atlas, which warps the atlas to the subject."""
        return read_transform(self.folder / SUBJECTS / name / "subject_to_atlas.h5")


@dataclass
class _State:
    """The progress of a construction, in state.json; every entry is replaced as a whole after a round."""

    fingerprint: str
    facts: dict[str, SubjectFacts] = field(default_factory=dict)
    affines: dict[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)
    grid: Grid | None = None
    rounds: list[Round] = field(default_factory=list)
    subject_sharpness: float = 0.0


def build_atlas(
    subjects: Sequence[AtlasSubject],
    folder: Path,
    settings: AtlasSettings | None = None,
    *,
    engine_settings: dict[str, Any] | None = None,
    workers: int = 1,
    threads: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Atlas:
    """Build an unbiased atlas in a folder; a construction that was stopped is continued.

    First all subjects are aligned linearly to one of them, whose shape and position are then removed with the mean of
    all alignments. In every deformable round all subjects are registered to the present atlas; the mean of their
    displacements is inverted and applied, so that the mean transform is the identity, and the intensities are averaged.

    Parameters
    ----------
    subjects : sequence of AtlasSubject
        From `gather_subjects`; their order has no effect.
    folder : Path
        Folder of the atlas.
    settings : AtlasSettings, optional
        How it is built.
    engine_settings : dict, optional
        Settings changed from the preset of the engine.
    workers, threads : int
        Processes, and threads of each.
    seed : int
        Seed of the registrations.
    progress : Progress, optional
        Receives progress updates and can cancel; the same call continues.

    Raises
    ------
    RegistrationError
        When a registration fails, or the folder holds the atlas of other volumes or settings.

    References
    ----------
    Joshi et al., NeuroImage 23:S151-S160, 2004, doi 10.1016/j.neuroimage.2004.07.068; Avants et al., NeuroImage
    49:2457-2466, 2010, doi 10.1016/j.neuroimage.2009.09.062; Guimond et al., Comput. Vis. Image Underst. 77:192-210,
    2000, doi 10.1006/cviu.1999.0815 (removal of the mean displacement).
    """
    chosen = settings or AtlasSettings()
    _check_engine(chosen, engine_settings or {})
    ordered = tuple(sorted(subjects, key=lambda subject: subject.digest))
    if len(ordered) < 2:
        raise SettingsError(f"An atlas needs at least 2 subjects, got {len(ordered)}.")
    build = _Build(ordered, folder, chosen, engine_settings or {}, workers, threads, seed, progress or Progress())
    return build.run()


def _check_engine(settings: AtlasSettings, changes: dict[str, Any]) -> None:
    choice = Choice.parse(settings.engine)
    info = get_engine(choice.engine).info
    make_settings(info.settings, choice.engine, choice.preset, changes)
    info.require()


class _Build:
    """The construction of one atlas."""

    def __init__(
        self,
        subjects: tuple[AtlasSubject, ...],
        folder: Path,
        settings: AtlasSettings,
        engine_settings: dict[str, Any],
        workers: int,
        threads: int,
        seed: int,
        progress: Progress,
    ) -> None:
        self.subjects, self.folder, self.settings = subjects, folder, settings
        self.engine_settings, self.workers, self.threads, self.seed = engine_settings, workers, threads, seed
        self.progress = progress
        self.work = folder / WORK
        self.work.mkdir(parents=True, exist_ok=True)
        self.state = self._opened()

    def run(self) -> Atlas:
        """Run the missing rounds and write the results."""
        self._measure()
        for number in range(1, self.settings.linear_rounds + 1):
            if not self._is_done("linear", number):
                self._linear_round(number)
        for number in range(1, self.settings.rounds + 1):
            if self._is_still():
                break
            if not self._is_done("deformable", number):
                self._deformable_round(number)
        return self._finish()

    # State

    def _fingerprint(self) -> str:
        """Return a digest of all that must not change when a construction continues; more rounds may be added."""
        kept = {k: v for k, v in jsonable(self.settings).items() if k not in ("rounds", "still")}
        return json_digest([FORMAT, [s.digest for s in self.subjects], kept, jsonable(self.engine_settings), self.seed])

    def _opened(self) -> _State:
        wanted = self._fingerprint()
        path = self.work / STATE
        if not path.is_file():
            return _State(wanted)
        content = read_json(path)
        if content.get("fingerprint") != wanted:
            raise FileError(
                f"{self.folder} contains the atlas of other volumes or settings.", hint="Choose another --out."
            )
        return _State(
            fingerprint=wanted,
            facts={name: from_plain(SubjectFacts, entry) for name, entry in content["facts"].items()},
            affines={name: tuple(map(tuple, matrix)) for name, matrix in content["affines"].items()},
            grid=from_plain(Grid, content["grid"]) if content["grid"] else None,
            rounds=[_round_of(entry) for entry in content["rounds"]],
            subject_sharpness=content["subject_sharpness"],
        )

    def _save(self) -> None:
        write_json(self.work / STATE, jsonable(self.state))

    def _is_done(self, stage: str, number: int) -> bool:
        return any(one.stage == stage and one.number >= number for one in self.state.rounds)

    def _is_still(self) -> bool:
        last = self.state.rounds[-1]
        # The first round always has the large step from the linear to the deformable atlas before it.
        return last.stage == "deformable" and last.number > 1 and last.shift_mm < self.settings.still * self._spacing()

    # Parts of a round

    def _measure(self) -> None:
        for number, subject in enumerate(self.subjects):
            if subject.digest not in self.state.facts:
                self.progress.report(0.02 * number / len(self.subjects), f"Reading {subject.name}")
                self.state.facts[subject.digest] = facts_of(read_volume(subject.image))
        self._save()

    def _spacing(self) -> float:
        return self.settings.spacing_mm or float(np.median([f.spacing_mm for f in self.state.facts.values()]))

    def _reference(self) -> AtlasSubject:
        """Return the subject of median size, the first target of the linear alignment."""
        by_size = sorted(self.subjects, key=lambda s: (self.state.facts[s.digest].volume_mm3, s.digest))
        return by_size[(len(by_size) - 1) // 2]

    def _linear_round(self, number: int) -> None:
        share = AFFINE_SHARE / self.settings.linear_rounds
        part = self.progress.part(0.02 + share * (number - 1), 0.02 + share * number)
        reference = self._reference() if number == 1 else None
        fixed = reference.image if reference else self._template_file("linear", number - 1)
        moving = [subject for subject in self.subjects if subject is not reference]
        tasks = [
            FileRegistration(
                subject.name,
                fixed,
                subject.image,
                self.work / f"linear_{number}" / f"{subject.name}.h5",
                "linear",
                {"kind": self.settings.linear},
                initial=self.state.affines.get(subject.digest),
                threads=self.threads,
                seed=self.seed,
            )
            for subject in moving
        ]
        facts = register_all(tasks, workers=self.workers, progress=part, title=f"Linear round {number}")
        found = {subject.digest: task.affine() for subject, task in zip(moving, tasks, strict=True)}
        if reference:
            found[reference.digest] = Affine.identity()
        mean = mean_affine([found[subject.digest] for subject in self.subjects])
        away = mean.inverse()
        self.state.affines = {digest: matrix_of(away.then(affine)) for digest, affine in found.items()}
        if number == 1:
            self.state.grid = self._common_grid()
        maps = {s.digest: Transform((self._affine(s),)) for s in self.subjects}
        before = None if number == 1 else self._template("linear", number - 1)
        template, inside, _ = self._averaged(maps, measure_subjects=True)
        points = self._grid().points()[inside]
        shift = float("nan") if number == 1 else float(np.linalg.norm(mean.apply(points) - points, axis=-1).mean())
        self._keep("linear", number, template, inside, before, shift, facts)

    def _deformable_round(self, number: int) -> None:
        share = (0.93 - AFFINE_SHARE) / max(1, self.settings.rounds)
        start = 0.02 + AFFINE_SHARE + share * (number - 1)
        part = self.progress.part(start, start + 0.8 * share)
        last = self.state.rounds[-1]
        fixed = self._template_file(last.stage, last.number)
        tasks = [
            FileRegistration(
                subject.name,
                fixed,
                subject.image,
                self._file(number, subject, "registered"),
                self.settings.engine,
                self.engine_settings,
                initial=self.state.affines[subject.digest],
                threads=self.threads,
                seed=self.seed,
            )
            for subject in self.subjects
        ]
        facts = register_all(tasks, workers=self.workers, progress=part, title=f"Round {number}")
        self.progress.report(start + 0.8 * share, f"Round {number}: removing the mean transform")
        grid, before = self._grid(), self._template(last.stage, last.number)
        residuals = [self._residual(s, task.transform()) for s, task in zip(self.subjects, tasks, strict=True)]
        mean = np.zeros((*grid.shape, 3))
        for residual in residuals:
            mean += residual.displacement_on(grid).array_mm
        mean /= len(self.subjects)
        shift = float(np.linalg.norm(mean, axis=-1)[foreground(before)].mean())
        removed = Transform((DisplacementField(mean.astype(np.float32), grid),))
        back = self._inverse(removed, grid).transform
        maps = {}
        for subject, residual in zip(self.subjects, residuals, strict=True):
            centered = Transform.of([back, residual]).displacement_on(grid)
            field_of = compacted(centered, tolerance_mm=TOLERANCE * grid.unit_mm)
            maps[subject.digest] = Transform.of([field_of, self._affine(subject)])
            write_whole(maps[subject.digest], self._file(number, subject, "centered"))
        template, inside, _ = self._averaged(maps)
        self._keep("deformable", number, template, inside, before, shift, facts)
        for subject in self.subjects:
            for kind in ("registered", "centered") if number > 1 else ():
                self._file(number - 1, subject, kind).unlink(missing_ok=True)

    def _residual(self, subject: AtlasSubject, transform: Transform) -> Transform:
        """Return the transform without the affine map of the subject: its deformation in the space of the atlas."""
        chain = Transform.of([transform, self._affine(subject).inverse()])
        last = chain.parts[-1]
        if isinstance(last, Affine) and len(chain.parts) > 1 and np.allclose(last.homogeneous, np.eye(4), atol=1e-9):
            return Transform(chain.parts[:-1])
        return chain

    def _averaged(
        self, maps: dict[str, Transform], *, measure_subjects: bool = False
    ) -> tuple[Volume, npt.NDArray[np.bool_], Mean]:
        """Return the mean image of the subjects with these transforms, its object, and the sums."""
        grid = self._grid()
        mean = Mean(grid)
        sharp = []
        for subject in self.subjects:
            self.progress.check()
            facts = self.state.facts[subject.digest]
            image, weight = warped_evenly(read_volume(subject.image), facts, grid, maps[subject.digest])
            mean.add(image, weight)
            if measure_subjects:
                sharp.append(sharpness(image, grid, foreground(Volume(image, grid))))
        template = mean.mean("template")
        if measure_subjects:
            self.state.subject_sharpness = float(np.mean(sharp))
        return template, foreground(template), mean

    def _keep(
        self,
        stage: str,
        number: int,
        template: Volume,
        inside: npt.NDArray[np.bool_],
        before: Volume | None,
        shift_mm: float,
        facts: Sequence[dict[str, Any]],
    ) -> None:
        """Write the template of a round, then the state, which marks the round as done."""
        change = float("nan") if before is None else relative_change(before, template, inside)
        sharp = sharpness(template.array, template.grid, inside) / max(self.state.subject_sharpness, 1e-12)
        cpu = sum(one["cpu_seconds"] for one in facts)
        write_volume(template, self._template_file(stage, number))
        self.state.rounds.append(Round(stage, number, shift_mm, change, sharp, cpu))
        self._save()

    def _common_grid(self) -> Grid:
        corners = [self._affine(s).inverse().apply(self.state.facts[s.digest].corners_mm) for s in self.subjects]
        return grid_around(corners, self._spacing())

    def _grid(self) -> Grid:
        assert self.state.grid is not None
        return self.state.grid

    def _affine(self, subject: AtlasSubject) -> Affine:
        return Affine.from_homogeneous(self.state.affines[subject.digest])

    def _template_file(self, stage: str, number: int) -> Path:
        return self.work / f"{stage}_{number}.nii.gz"

    def _template(self, stage: str, number: int) -> Volume:
        return read_volume(self._template_file(stage, number), name="template")

    def _file(self, number: int, subject: AtlasSubject, kind: str) -> Path:
        return self.work / f"deformable_{number}" / f"{subject.name}_{kind}.h5"

    # Results

    def _maps(self) -> dict[str, Transform]:
        last = self.state.rounds[-1]
        if last.stage == "linear":
            return {s.digest: Transform((self._affine(s),)) for s in self.subjects}
        return {s.digest: read_transform(self._file(last.number, s, "centered")) for s in self.subjects}

    def _finish(self) -> Atlas:
        self.progress.report(0.95, "Writing the atlas")
        maps = self._maps()
        template, inside, mean = self._averaged(maps)
        deviation = mean.deviation("deviation")
        members = tuple(
            sorted(
                (self._member(s, maps[s.digest], template, inside) for s in self.subjects),
                key=lambda member: member.correlation,
            )
        )
        centering = self._centering(maps, inside)
        write_volume(template, self.folder / TEMPLATE)
        write_volume(deviation, self.folder / DEVIATION)
        segmentation = None
        if self.subjects[0].labels is not None:
            votes = count_votes(
                [(read_labels(s.labels), maps[s.digest]) for s in self.subjects if s.labels], self._grid()
            )
            segmentation = votes.majority("template segmentation")
            write_volume(segmentation, self.folder / SEGMENTATION)
            write_probabilities(votes, self.folder / PROBABILITIES)
        atlas = Atlas(
            self.folder,
            template,
            deviation,
            segmentation,
            tuple(self.state.rounds),
            members,
            centering,
            self.settings,
        )
        write_json(self.folder / "atlas.json", facts_json(atlas))
        self.progress.report(1.0, "Atlas done")
        return atlas

    def _member(
        self, subject: AtlasSubject, transform: Transform, template: Volume, inside: npt.NDArray[np.bool_]
    ) -> Member:
        """Write the transforms and the warped image of a subject, and describe it."""
        self.progress.check()
        target = self.folder / SUBJECTS / subject.name
        volume = read_volume(subject.image)
        write_whole(transform, target / "atlas_to_subject.h5")
        inverse = self._inverse(transform, volume.grid)
        write_whole(inverse.transform, target / "subject_to_atlas.h5")
        image, weight = warped_evenly(volume, self.state.facts[subject.digest], template.grid, transform)
        write_volume(Volume(image, template.grid, subject.name), target / "warped.nii.gz")
        both = inside & (weight > 0)
        residual = self._residual(subject, transform).displacement_on(template.grid)
        folded = field_jacobian(residual).array[inside] <= 0
        return Member(
            subject.name,
            str(subject.image),
            float(np.linalg.norm(residual.array_mm, axis=-1)[inside].mean()),
            float(np.corrcoef(image[both], template.array[both])[0, 1]),
            float(100 * folded.mean()),
            inverse.residual_mean_mm,
        )

    def _inverse(self, transform: Transform, grid: Grid) -> Inverse:
        tolerance = INVERSE_VOX * min(self._grid().spacing_mm)
        return invert(transform, grid, iterations=INVERSE_STEPS, tolerance_mm=tolerance)

    def _centering(self, maps: dict[str, Transform], inside: npt.NDArray[np.bool_]) -> float:
        grid = self._grid()
        mean = np.zeros((*grid.shape, 3))
        for subject in self.subjects:
            mean += self._residual(subject, maps[subject.digest]).displacement_on(grid).array_mm
        return float(np.linalg.norm(mean / len(self.subjects), axis=-1)[inside].mean())


def write_probabilities(votes: Votes, folder: Path) -> list[Path]:
    """Write the probability of every label except the background, one volume each, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    return [write_volume(votes.probability(n), folder / f"label_{n:03d}.nii.gz") for n in votes.labels if n != 0]


def facts_json(atlas: Atlas) -> dict[str, Any]:
    """Return the content of atlas.json."""
    return jsonable(
        {
            "format": FORMAT,
            "settings": atlas.settings,
            "rounds": atlas.rounds,
            "members": atlas.members,
            "centering_mm": atlas.centering_mm,
            "sharpness": atlas.rounds[-1].sharpness,
            "cpu_seconds": sum(one.cpu_seconds for one in atlas.rounds),
            "grid": atlas.template.grid,
        }
    )


def _round_of(entry: dict[str, Any]) -> Round:
    numbers: dict[str, Any] = {key: float("nan") if value is None else value for key, value in entry.items()}
    return Round(**numbers)

"""Motion correction: all frames of a series registered to one frame or to their mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..cohort.atlas_tasks import FileRegistration, matrix_of, register_all, write_whole
from ..errors import Cancelled, SettingsError
from ..files import atomic, content_digest, json_digest, jsonable, split_series, write_json
from ..images.io import read_volume, write_volume
from ..images.resample import warp_volume
from ..images.series import FrameSeries, open_series, write_frame, write_series
from ..images.volume import Volume
from ..progress import Progress
from ..transforms.invert import invert
from ..transforms.transform import Affine, DisplacementField, Transform
from .landmarks import frame_errors, read_frame_landmarks
from .measures import FrameMotion, Judge
from .settings import (
    CORRECTED,
    FACTS,
    FIRST,
    LINEAR,
    MEAN,
    NEIGHBOR,
    REFERENCE,
    TRANSFORMS,
    MotionSettings,
)
from .smoothing import smoothed, time_weights

WORK = "work"
Read = Callable[[], Transform]


@dataclass(frozen=True, eq=False)
class CorrectedMotion:
    """The result of a motion correction.

    Attributes
    ----------
    folder : Path
        Folder of its files.
    name : str
        Name of the series.
    settings : MotionSettings
        How it was corrected.
    frames : tuple of FrameMotion
        Motion and measures of the frames.
    step_s : float or None
        Time between frames, seconds.
    reference, mean_before, mean_after, deviation_before, deviation_after : Volume
        The reference; mean and standard deviation over time before and after the correction.
    files : mapping of str to Path
        Its files by role.
    """

    folder: Path
    name: str
    settings: MotionSettings
    frames: tuple[FrameMotion, ...]
    step_s: float | None
    reference: Volume
    mean_before: Volume
    mean_after: Volume
    deviation_before: Volume
    deviation_after: Volume
    files: Mapping[str, Path]

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of all registrations."""
        return sum(frame.cpu_seconds for frame in self.frames)


def correct_motion(
    sources: Sequence[Path],
    folder: Path,
    settings: MotionSettings | None = None,
    *,
    engine_settings: Mapping[str, Any] | None = None,
    mask: Path | None = None,
    landmarks: Path | None = None,
    workers: int = 1,
    threads: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> CorrectedMotion:
    """Register all frames of a series to one of them or to their mean, and resample them there.

    The transform of a frame maps points of the reference to points of the frame. The mean is sharpened in rounds and
    kept in the mean position of all frames: the mean displacement of a round is removed before the next one.

    Parameters
    ----------
    sources : sequence of Path
        One 4D volume, a folder of 3D volumes, or the 3D volumes in the order of time.
    folder : Path
        Folder of the results. A run that was canceled or stopped has the transforms of the finished frames there, as
        registered; the same call continues it.
    settings : MotionSettings, optional
        Engine, reference, start, smoothness over time.
    engine_settings : mapping, optional
        Settings changed from the preset of the engine.
    mask : Path, optional
        Region of the reference where similarity and motion are measured.
    landmarks : Path, optional
        CSV of landmarks in several frames, for the landmark error; it has no effect on the registration.
    workers, threads, seed
        Parallel processes, threads of each, seed.
    progress : Progress, optional
        Receives one update per frame and can cancel.

    Raises
    ------
    RegistrationError
        When a file or setting is not valid, or a registration fails.
    Cancelled
        When the user canceled.

    References
    ----------
    Jenkinson et al., NeuroImage 17:825-841, 2002, doi 10.1006/nimg.2002.1132 (correction to a frame or the mean);
    Metz et al., Med. Image Anal. 15:238-249, 2011, doi 10.1016/j.media.2010.10.003 (smooth motion over time).
    """
    series = open_series(sources)
    run = _Run(series, folder, settings or MotionSettings(), dict(engine_settings or {}), mask, workers, threads, seed)
    points = None if landmarks is None else read_frame_landmarks(landmarks, series.count)
    return run.result(points, progress or Progress())


class _Run:
    """The registrations of one call and the files they leave."""

    def __init__(
        self,
        series: FrameSeries,
        folder: Path,
        settings: MotionSettings,
        engine_settings: dict[str, Any],
        mask: Path | None,
        workers: int,
        threads: int,
        seed: int,
    ) -> None:
        self.series, self.folder, self.settings = series, folder, settings
        self.engine_settings, self.mask = engine_settings, mask
        self.workers, self.threads, self.seed = workers, threads, seed
        self.reference = frame_number(settings.reference, series.count)
        content = [content_digest(split_series(file)[0]) for file in series.files]
        names = [split_series(file)[1] for file in series.files]
        key = {
            "series": [content, names],
            "mask": mask and content_digest(mask),
            "settings": [settings.engine, settings.start, settings.cyclic and settings.start == NEIGHBOR],
            "reference": [self.reference, settings.rounds if self.reference is None else 0],
            "engine_settings": jsonable(engine_settings),
            "seed": seed,
        }
        self.frames_folder = folder / WORK / f"frames_{json_digest(content)[:12]}"
        self.work = folder / WORK / json_digest(key)[:12]
        self.files: list[Path] = []

    def result(self, landmarks: Mapping[int, npt.NDArray[np.float64]] | None, progress: Progress) -> CorrectedMotion:
        """Run everything that is missing, write the files and return the result."""
        self._split(progress.part(0, 0.03))
        if self.reference is None:
            tasks, facts = self._registered_to_mean(progress.part(0.03, 0.85))
        else:
            tasks, facts = self._registered(self.files[self.reference], self.work / "frames", progress.part(0.03, 0.85))
        read = [_reader(task) for task in tasks]
        if self.settings.smooth_frames > 0:
            weights = time_weights(len(read), self.settings.smooth_frames, cyclic=self.settings.cyclic)
            read = smoothed(read, weights, read_volume(self._fixed(tasks)).grid, fixed_frame=self.reference)
        return self._written(self._fixed(tasks), read, facts, landmarks, progress.part(0.85, 1.0))

    def _split(self, progress: Progress) -> None:
        """Write the frames of a 4D volume as files, once."""
        if len(self.series.files) > 1:
            self.files = list(self.series.files)
            return
        self.frames_folder.mkdir(parents=True, exist_ok=True)
        self.files = [self.frames_folder / f"{self._name(n)}.nii.gz" for n in range(self.series.count)]
        if all(file.is_file() for file in self.files):
            return
        for number, (frame, file) in enumerate(zip(self.series.frames(), self.files, strict=True)):
            progress.report(number / self.series.count, "Reading the frames")
            with atomic(file, same_ending=True) as draft:
                write_frame(frame, draft)

    def _registered(
        self, fixed: Path, work: Path, progress: Progress, *, title: str = "Motion"
    ) -> tuple[list[FileRegistration | None], list[dict[str, Any]]]:
        """Register all frames to a volume; the reference frame has no task."""
        count, base = self.series.count, self.reference
        parents = chain(count, count // 2 if base is None else base, cyclic=self.settings.cyclic)
        order = [number for number in parents if number != base]
        outs = [work / f"{self._name(n)}.h5" for n in range(count)]

        def task(number: int) -> FileRegistration:
            parent = parents[number] if self.settings.start == NEIGHBOR else None
            warm = parent is not None and parent != base
            still = None if warm or self.settings.start == LINEAR else matrix_of(Affine.identity())
            return FileRegistration(
                f"frame {number}",
                fixed,
                self.files[number],
                outs[number],
                self.settings.engine,
                self.engine_settings,
                initial=still,
                start_file=outs[parent] if warm and parent is not None else None,
                fixed_mask=self.mask,
                threads=self.threads,
                seed=self.seed,
            )

        found = {number: task(number) for number in order}
        tasks = [found.get(number) for number in range(count)]
        try:
            facts = register_all(list(found.values()), workers=self.workers, progress=progress, title=title)
        except (Cancelled, KeyboardInterrupt):
            self._keep([task for task in tasks if task is not None and task.is_done])
            raise
        by_frame = dict(zip(order, facts, strict=True))
        return tasks, [by_frame.get(number, {}) for number in range(count)]

    def _registered_to_mean(self, progress: Progress) -> tuple[list[FileRegistration | None], list[dict[str, Any]]]:
        rounds = self.settings.rounds
        total: list[dict[str, Any]] = [{} for _ in self.files]
        tasks: list[FileRegistration | None] = []
        for number in range(rounds):
            part = progress.part(number / rounds, (number + 1) / rounds)
            fixed = self.work / f"mean_{number}.nii.gz"
            if not fixed.is_file():
                self.work.mkdir(parents=True, exist_ok=True)
                with atomic(fixed, same_ending=True) as draft:
                    write_volume(self._mean(tasks, part), draft)
            title = f"Round {number + 1} of {rounds}"
            tasks, facts = self._registered(fixed, self.work / f"round_{number + 1}", part, title=title)
            for own, fact in zip(total, facts, strict=True):
                for name in ("seconds", "cpu_seconds"):
                    own[name] = own.get(name, 0.0) + fact[name]
        return tasks, total

    def _mean(self, tasks: Sequence[FileRegistration | None], progress: Progress) -> Volume:
        """Return the mean of the frames: as they are, or registered, in their mean position."""
        first = read_volume(self.files[0])
        grid, total = first.grid, np.zeros(first.grid.shape)
        read = [_reader(task) for task in tasks] or [Transform] * len(self.files)
        home = Transform()
        if tasks:
            shift = np.zeros((*grid.shape, 3), np.float32)
            for transform in read:
                progress.check()
                shift += transform().displacement_on(grid).array_mm / np.float32(len(read))
            home = invert(Transform((DisplacementField(shift, grid),)), grid).transform
        for file, transform in zip(self.files, read, strict=True):
            progress.check()
            total += warp_volume(read_volume(file), grid, Transform.of([home, transform()])).array
        return Volume((total / len(self.files)).astype(np.float32), grid, f"{self.series.name} mean")

    def _keep(self, tasks: Sequence[FileRegistration]) -> None:
        """Write the transforms of finished frames of a run that ends before its end."""
        for task in tasks:
            write_whole(task.transform(), self.folder / TRANSFORMS / task.out.name)

    def _written(
        self,
        fixed: Path,
        read: Sequence[Read],
        facts: Sequence[Mapping[str, Any]],
        landmarks: Mapping[int, npt.NDArray[np.float64]] | None,
        progress: Progress,
    ) -> CorrectedMotion:
        reference = read_volume(fixed, name="reference")
        judge = Judge(reference, self.mask)
        frames, moved = [], []
        for number, transform in enumerate(read):
            progress.report(0.9 * number / len(read), f"Resampling frame {number}")
            found, volume = transform(), read_volume(self.files[number])
            write_whole(found, self.folder / TRANSFORMS / f"{self._name(number)}.h5")
            error = self._write_inverse(number, found, volume) if self.settings.both_ways else None
            warped = warp_volume(volume, reference.grid, found, name=self._name(number))
            frames.append(judge.frame(number, found, volume, warped, facts[number], inverse_error_mm=error))
            moved.append(warped)
        if landmarks:
            errors = frame_errors(landmarks, [transform() for transform in read], self.reference)
            frames = [frame.with_landmark_errors(*errors.get(frame.number, (None, None))) for frame in frames]
        files = {
            "corrected": write_series(moved, self.folder / CORRECTED, step_s=self.series.step_s),
            "reference": write_volume(reference, self.folder / REFERENCE),
            "transforms": self.folder / TRANSFORMS,
        }
        result = CorrectedMotion(
            self.folder,
            self.series.name,
            self.settings,
            tuple(frames),
            self.series.step_s,
            reference,
            mean_before=judge.before.mean(),
            mean_after=judge.after.mean(),
            deviation_before=judge.before.deviation(),
            deviation_after=judge.after.deviation(),
            files=files,
        )
        write_json(self.folder / FACTS, motion_json(result))
        progress.report(1.0, "Motion corrected")
        return result

    def _write_inverse(self, number: int, transform: Transform, frame: Volume) -> float:
        """Write the transform from a frame to the reference and return its mean error in mm."""
        inverse = invert(transform, frame.grid)
        write_whole(inverse.transform, self.folder / TRANSFORMS / f"{self._name(number)}_to_reference.h5")
        return inverse.residual_mean_mm

    def _fixed(self, tasks: Sequence[FileRegistration | None]) -> Path:
        return next(task.fixed for task in tasks if task is not None)

    def _name(self, number: int) -> str:
        return f"frame_{number:0{max(3, len(str(self.series.count - 1)))}d}"


def frame_number(reference: str, count: int) -> int | None:
    """Return the number of the reference frame, None for the mean.

    Raises
    ------
    SettingsError
        When there is no such frame.
    """
    if reference == MEAN:
        return None
    text = "0" if reference == FIRST else reference
    if not text.isdigit() or int(text) >= count:
        raise SettingsError(
            f"The reference is '{reference}', expected first, mean, or a frame from 0 to {count - 1}.",
            hint="Frames are counted from 0.",
        )
    return int(text)


def chain(count: int, base: int, *, cyclic: bool = False) -> dict[int, int | None]:
    """Return for every frame the neighbor on the way to the base, whose motion it can start from; None for the base.

    Examples
    --------
    >>> chain(5, 1)
    {1: None, 2: 1, 0: 1, 3: 2, 4: 3}
    >>> chain(5, 0, cyclic=True)
    {0: None, 1: 0, 4: 0, 2: 1, 3: 4}
    """
    found: dict[int, int | None] = {base: None}
    for distance in range(1, count):
        for step in (1, -1):
            number, parent = base + step * distance, base + step * (distance - 1)
            if cyclic:
                number, parent = number % count, parent % count
            if 0 <= number < count and number not in found:
                found[number] = parent
    return found


def motion_json(found: CorrectedMotion) -> dict[str, Any]:
    """Return the content of motion.json."""
    return jsonable(
        {
            "series": found.name,
            "settings": found.settings,
            "step_s": found.step_s,
            "cpu_seconds": found.cpu_seconds,
            "frames": found.frames,
        }
    )


def _reader(task: FileRegistration | None) -> Read:
    return Transform if task is None else partial(FileRegistration.transform, task)

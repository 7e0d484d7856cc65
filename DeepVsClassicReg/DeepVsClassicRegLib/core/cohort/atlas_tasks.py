"""Registrations of an atlas as files: each is done once, in this process or in several, and resumed after a stop."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..device import cpu_seconds, kept_memory
from ..engines.registration import register
from ..errors import RegistrationError
from ..files import atomic, read_json, write_json
from ..images.grid import Grid
from ..images.io import read_labels, read_volume
from ..pair import Pair
from ..process_pool import process_pool
from ..progress import Progress
from ..settings import Choice
from ..transforms.files import read_transform, write_transform
from ..transforms.transform import Affine, Transform

WAIT_SECONDS = 0.2
Finished = Generator["FileRegistration", None, None]


@dataclass(frozen=True)
class FileRegistration:
    """A registration of two files whose transform is written to a file.

    Attributes
    ----------
    name : str
        Name in progress messages and errors.
    fixed, moving : Path
        The volumes.
    out : Path
        File of the transform (.h5); the facts of the run are beside it (.json), written last.
    engine : str
        'engine' or 'engine:preset'.
    settings : mapping
        Settings changed from the preset.
    initial : (4, 4) nested tuple or None
        Homogeneous matrix of the start, fixed to moving.
    start_file : Path or None
        Transform to start from: a file, or the `out` of another registration with the same fixed volume.
    fixed_mask : Path or None
        Region of the fixed volume where the similarity is measured.
    threads, seed : int
        As in `Compute`.
    """

    name: str
    fixed: Path
    moving: Path
    out: Path
    engine: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    initial: tuple[tuple[float, ...], ...] | None = None
    start_file: Path | None = None
    fixed_mask: Path | None = None
    threads: int = 1
    seed: int = 0

    @property
    def facts_file(self) -> Path:
        """File of the facts of the run."""
        return self.out.with_suffix(".json")

    @property
    def is_done(self) -> bool:
        """Whether it is finished."""
        return self.facts_file.is_file()

    def transform(self) -> Transform:
        """Return the transform of the finished registration."""
        return read_transform(self.out)

    def affine(self) -> Affine:
        """Return the transform of a finished linear registration as one affine map."""
        found = self.transform().affine
        assert found is not None
        return found

    def start(self, grid: Grid) -> Transform | None:
        """Return the transform to start from; one that is not linear as one field on the fixed grid."""
        if self.start_file is not None:
            found = read_transform(self.start_file)
            return found if found.affine is not None else Transform((found.displacement_on(grid),))
        return None if self.initial is None else Transform((Affine.from_homogeneous(self.initial),))


def matrix_of(affine: Affine) -> tuple[tuple[float, ...], ...]:
    """Return the homogeneous matrix as nested tuples, for `FileRegistration.initial` and JSON."""
    return tuple(tuple(float(value) for value in row) for row in affine.homogeneous)


def register_all(
    tasks: Sequence[FileRegistration], *, workers: int = 1, progress: Progress | None = None, title: str = ""
) -> list[dict[str, Any]]:
    """Run the registrations whose files are missing, and return the facts of all of them in order.

    Parameters
    ----------
    tasks : sequence of FileRegistration
        Finished ones are not repeated; those that start from another one come after it.
    workers : int
        Number of parallel processes; 1 runs everything in this process.
    progress : Progress, optional
        Receives one update per registration and can cancel; finished registrations are kept, others end at once.
    title : str
        Prefix of the progress messages.

    Raises
    ------
    RegistrationError
        When a registration fails; its message names the task.
    Cancelled
        When the user canceled.
    """
    listener = progress or Progress()
    missing = [task for task in tasks if not task.is_done]
    done = len(tasks) - len(missing)
    run = _in_processes if workers > 1 and len(missing) > 1 else _here
    listener.report(done / max(1, len(tasks)), title or "Registering")
    with closing(run(missing, min(workers, len(missing)), listener)) as finished:
        for task in finished:
            done += 1
            listener.report(done / len(tasks), f"{title}: {task.name}" if title else task.name)
    return [read_json(task.facts_file) for task in tasks]


def register_files(task: FileRegistration, progress: Progress | None = None) -> None:
    """Run one registration and write its transform and facts, each atomically."""
    begin, clock = cpu_seconds(), time.perf_counter()
    choice = Choice.parse(task.engine)
    try:
        fixed = read_volume(task.fixed)
        mask = None if task.fixed_mask is None else read_labels(task.fixed_mask)
        pair = Pair(fixed, read_volume(task.moving), fixed_mask=mask, initial=task.start(fixed.grid))
        result = register(
            pair,
            choice.engine,
            preset=choice.preset,
            settings=task.settings,
            threads=task.threads,
            seed=task.seed,
            progress=progress,
        )
    except RegistrationError as error:
        raise type(error)(f"{task.name}: {error.message}", hint=error.hint) from error
    write_whole(result.transform, task.out)
    facts = {
        "name": task.name,
        "seconds": time.perf_counter() - clock,
        "cpu_seconds": cpu_seconds() - begin,
        "confidence": result.diagnostics.confidence,
        "notes": [str(note) for note in result.diagnostics.notes],
    }
    write_json(task.facts_file, facts)


def write_whole(transform: Transform, path: Path) -> Path:
    """Write a transform file that is either complete or absent; its folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path, same_ending=True) as draft:
        write_transform(transform, draft)
    return path


def _here(tasks: Sequence[FileRegistration], _workers: int, listener: Progress) -> Finished:
    for task in tasks:
        listener.check()
        register_files(task, Progress(cancelled=listener.cancelled))
        yield task


def _in_processes(tasks: Sequence[FileRegistration], workers: int, listener: Progress) -> Finished:
    running: dict[Future[None], FileRegistration] = {}
    waiting = list(tasks)
    try:
        with process_pool(workers, tasks[0].threads) as pool:
            while running or waiting:
                ready = [task for task in waiting if task.start_file is None or task.start_file.is_file()]
                waiting = [task for task in waiting if task not in ready]
                running |= {pool.submit(_alone, task): task for task in ready}
                for future in wait(running, timeout=WAIT_SECONDS, return_when=FIRST_COMPLETED).done:
                    task = running.pop(future)
                    future.result()
                    yield task
                listener.check()
    finally:
        _remove_drafts(running.values())


def _remove_drafts(tasks: Iterable[FileRegistration]) -> None:
    """Remove what processes that were killed while writing have left."""
    for task in tasks:
        for file in (task.out, task.facts_file):
            for draft in file.parent.glob(f".*{file.name}*"):
                draft.unlink(missing_ok=True)


def _alone(task: FileRegistration) -> None:
    with kept_memory():
        register_files(task)

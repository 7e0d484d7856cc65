"""Cohorts from Python: `dvc.cohort.run`, `check` and `page`."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core.cohort.cluster import ClusterOptions, require_dask
from ..core.cohort.folders import FolderOptions
from ..core.cohort.manifest import CohortManifest, CohortPair, ManifestProblem, chosen_pairs, read_cohort
from ..core.cohort.manifest_check import check_manifest
from ..core.cohort.records import (
    CONTENT,
    PAIRS_FOLDER,
    QUICK,
    PairRecord,
    PairTask,
    task_folder,
    write_run,
)
from ..core.cohort.run import WINDOW, Counts, Execute, run_tasks_of_cohort
from ..core.cohort.table import write_tables
from ..core.device import Compute, available_cores
from ..core.engines.catalogue import parse_choices
from ..core.errors import Cancelled, FileError, SettingsError, did_you_mean
from ..core.files import ANOTHER_OUT
from ..core.job import FURTHER_OUTPUTS, OUTPUTS
from ..core.progress import Progress
from ..core.settings import Choice
from .cohort_pair import run_pair

__all__ = ["CohortRun", "RunOptions", "check", "page", "run"]

STOP_FILE = ".stop-"
MOST_SHOWN = 20
# Sets of outputs by name; a report is always written.
OUTPUT_SETS: Mapping[str, tuple[str, ...]] = {
    "all": (*OUTPUTS, *FURTHER_OUTPUTS),
    "transform": ("transform", "report", "html", "thumbnail"),
    "report": ("report", "thumbnail"),
}
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*(MB|GB|M|G)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How the pairs of a cohort are registered.

    Attributes
    ----------
    settings : mapping
        Settings changed from the preset; with one engine only.
    device, seed
        As for `dvc.register`.
    timeout_s : float
        Wall time after which a pair is stopped and counts as failed; 0 for no limit.
    memory : str
        Memory after which a pair is stopped, such as '4GB'; '' for no limit. A batch system gets the same value.
    outputs : str
        'all', 'transform' (transform, report, page) or 'report'.
    pages : bool
        Whether every pair gets a report.html.
    content : bool
        Recognize changed inputs by their whole content instead of size and time of the last change.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    seed: int = 0
    timeout_s: float = 0.0
    memory: str = ""
    outputs: str = "all"
    pages: bool = True
    content: bool = False

    def __post_init__(self) -> None:
        if self.outputs not in OUTPUT_SETS:
            raise SettingsError(f"outputs is '{self.outputs}'.", hint=did_you_mean(self.outputs, OUTPUT_SETS))
        if self.timeout_s < 0:
            raise SettingsError(f"timeout is {self.timeout_s:g} s, expected 0 (no limit) or more.")
        memory_mb(self.memory)

    def files(self) -> dict[str, str]:
        """Return the outputs of every pair, as in `Job`."""
        names = {**OUTPUTS, **FURTHER_OUTPUTS}
        roles = OUTPUT_SETS[self.outputs]
        return {role: names[role] for role in roles if self.pages or role != "html"}


@dataclass(frozen=True)
class CohortRun:
    """What `run` has done.

    Attributes
    ----------
    out : Path
        Folder of the cohort.
    total, reused, done, failed : int
        Registrations in all, kept from an earlier run, finished now, and failed.
    failures : tuple of PairRecord
        The failed ones, with message and hint.
    files : mapping of str to Path
        cohort.csv, cohort.parquet and cohort.html.
    """

    out: Path
    total: int
    reused: int
    done: int
    failed: int
    failures: tuple[PairRecord, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)


def check(
    manifest: str | os.PathLike[str], *, options: FolderOptions | None = None, progress: Progress | None = None
) -> tuple[CohortManifest, tuple[ManifestProblem, ...]]:
    """Read a manifest and return it with all its problems: missing files, doubled ids, unreadable headers.

    Parameters
    ----------
    manifest : path
        CSV, JSON, BIDS folder, folder or 4D NIfTI; see `read_cohort`.
    options : FolderOptions, optional
        How the pairs of a folder or 4D volume are formed.
    progress : Progress, optional
        Receives progress updates and can cancel.

    Raises
    ------
    FileError
        When there is no manifest, or no pair in it.
    """
    found = read_cohort(Path(manifest), options)
    return found, check_manifest(found, progress=progress)


def run(
    manifest: str | os.PathLike[str] | CohortManifest,
    engines: str | Sequence[str],
    out: str | os.PathLike[str],
    *,
    folder: FolderOptions | None = None,
    options: RunOptions | None = None,
    scheduler: str = "local",
    workers: int = 1,
    threads: int = 0,
    cluster: ClusterOptions | None = None,
    pairs: Sequence[str] = (),
    progress: Progress | None = None,
    on_dashboard: Callable[[str], None] | None = None,
    execute: Execute = run_pair,
    window: int = WINDOW,
) -> CohortRun:
    """Register all pairs of a manifest with one or several engines; what is done already is kept.

    Every pair is a job in its own process. A pair that fails stops nothing. The same call continues a run that was
    canceled or interrupted, and repeats failed pairs.

    Parameters
    ----------
    manifest : path or CohortManifest
        CSV, JSON, BIDS folder, folder or 4D NIfTI; it is checked before anything is computed.
    engines : str or sequence of str
        Engines with optional presets: 'instance,ants:quick'.
    out : path
        Folder of the cohort: one folder per pair and engine, cohort.csv, cohort.parquet and cohort.html.
    folder : FolderOptions, optional
        How the pairs of a folder or 4D volume are formed.
    options : RunOptions, optional
        Settings, limits and outputs.
    scheduler : str
        'local', 'slurm' (or another batch system) or the address of a dask scheduler.
    workers, threads : int
        Number of pairs at a time, and CPU threads of each; 0 threads: all cores divided by the workers.
    cluster : ClusterOptions, optional
        All options of the cluster, instead of scheduler, workers and threads.
    pairs : sequence of str
        Register only the pairs of these names.
    progress : Progress, optional
        Receives progress updates and can cancel.
    on_dashboard : callable, optional
        Receives the address of dask's dashboard.
    execute : callable
        Computes one task; tests and benchmarks replace it.
    window : int
        Largest number of tasks at the scheduler at a time.

    Returns
    -------
    CohortRun
        Counts, failures and files.

    Raises
    ------
    RegistrationError
        When the manifest has problems, an engine does not exist, dask is missing, or the disk is full.
    Cancelled
        When the user canceled; the folder can be continued.

    Examples
    --------
    >>> import DeepVsClassicRegLib as dvc
    >>> def compare(manifest):
    ...     run = dvc.cohort.run(manifest, "sitk-demons,linear", "results", workers=2, threads=1)
    ...     return run.done, [record.message for record in run.failures]
    """
    wanted, listener = options or RunOptions(), progress or Progress()
    place = cluster or ClusterOptions(scheduler=scheduler, workers=workers, threads=threads)
    require_dask()
    choices = parse_choices(engines if isinstance(engines, str) else ",".join(engines), settings=wanted.settings)
    found = manifest if isinstance(manifest, CohortManifest) else read_cohort(Path(manifest), folder)
    raise_problems(found, check_manifest(found, progress=listener.part(0.0, 0.0)))
    chosen = chosen_pairs(found, pairs)
    target = _prepared(Path(out), found.pairs)
    write_run(target, found.source, found.pairs, choices)
    stop_file = target / f"{STOP_FILE}{uuid.uuid4().hex[:8]}"
    compute = Compute(device=wanted.device, threads=_threads(place), seed=wanted.seed)
    tasks = _tasks(chosen, choices, target, wanted, compute, stop_file)
    failures: list[PairRecord] = []
    counts = Counts(len(chosen) * len(choices))
    try:
        counts = run_tasks_of_cohort(
            tasks,
            execute,
            replace(place, memory=wanted.memory or place.memory),
            total=counts.total,
            out=target,
            stop_file=stop_file,
            on_record=lambda record: None if record.ok else failures.append(record),
            on_dashboard=on_dashboard or (lambda _link: None),
            progress=listener,
            window=window,
        )
    except (Cancelled, KeyboardInterrupt):
        write_tables(target)
        raise
    files = write_tables(target)
    return CohortRun(target, counts.total, counts.reused, counts.done, counts.failed, tuple(failures), files)


def page(out: str | os.PathLike[str]) -> dict[str, Path]:
    """Write cohort.csv, cohort.parquet and cohort.html of a cohort again, from what is in its folder.

    Raises
    ------
    FileError
        When it is not the folder of a cohort.
    """
    return write_tables(Path(out))


def raise_problems(manifest: CohortManifest, problems: Sequence[ManifestProblem]) -> None:
    """Raise `FileError` with the first problems of a manifest, if it has any."""
    if not problems:
        return
    shown = [f"  {problem}" for problem in problems[:MOST_SHOWN]]
    more = [f"  ... and {len(problems) - MOST_SHOWN} more"] if len(problems) > MOST_SHOWN else []
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    raise FileError(
        "\n".join([f"{manifest.source} has {count}; nothing was computed.", *shown, *more]),
        hint="Correct all of them; `dvcreg cohort check` lists them all.",
    )


def memory_mb(text: str) -> float:
    """Return a memory such as '4GB' or '500MB' in MB; 0 for ''.

    Raises
    ------
    SettingsError
        When it is not a number with a unit.
    """
    if not text:
        return 0.0
    found = _MEMORY.fullmatch(text.strip())
    if found is None:
        raise SettingsError(f"The memory '{text}' is not valid.", hint="Give a number with a unit: 4GB or 500MB.")
    return float(found[1]) * (1000 if found[2].upper().startswith("G") else 1)


def _threads(place: ClusterOptions) -> int:
    """Return the threads of a pair: on this computer the cores are divided between the workers."""
    if place.threads or place.scheduler != "local":
        return place.threads
    return max(1, available_cores() // place.workers)


def _tasks(
    pairs: Sequence[CohortPair],
    choices: Sequence[Choice],
    out: Path,
    options: RunOptions,
    compute: Compute,
    stop_file: Path,
) -> Iterator[PairTask]:
    for pair in pairs:
        for choice in choices:
            yield PairTask(
                pair=pair,
                choice=choice,
                folder=str(task_folder(out, pair.name, choice)),
                settings=options.settings,
                compute=compute,
                outputs=options.files(),
                timeout_s=options.timeout_s,
                memory_mb=memory_mb(options.memory),
                inputs_by=CONTENT if options.content else QUICK,
                stop_file=str(stop_file),
            )


def _prepared(out: Path, pairs: Sequence[CohortPair]) -> Path:
    """Create the folder; no input may be inside its results, and stop files of earlier runs are removed."""
    target = out.absolute()
    results = target / PAIRS_FOLDER
    for pair in pairs:
        for path in pair.inputs.values():
            if Path(path).is_relative_to(results):
                raise FileError(f"The input {path} is inside the results {results}.", hint=ANOTHER_OUT)
    try:
        results.mkdir(parents=True, exist_ok=True)
        for left in target.glob(f"{STOP_FILE}*"):
            left.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(
            f"Could not create the folder {results}: {error.strerror or error}.", hint=ANOTHER_OUT
        ) from error
    return target

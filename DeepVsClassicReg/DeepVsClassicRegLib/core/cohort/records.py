"""What a cohort keeps on the disk: one folder per pair and engine, with a record beside its report.

OUT/pairs/NAME/ENGINE[-PRESET]/ contains the files of `dvcreg register` and `record.json`. The report is moved there
last: a pair is done when the report exists and the record has the fingerprint of its inputs and settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..device import Compute
from ..errors import FileError
from ..evaluation.measures import scalars
from ..evaluation.report import Report
from ..files import content_digest, json_digest, jsonable, read_json, split_series, write_json
from ..job import OUTPUTS
from ..settings import DEFAULT, Choice
from ..version import VERSION
from .manifest import CohortPair

FORMAT = 1
PAIRS_FOLDER = "pairs"
RECORD_FILE = "record.json"
RUN_FILE = "cohort.json"
DONE, FAILED = "done", "failed"
# How inputs are recognized again: by size and time of the last change, or by their whole content.
QUICK, CONTENT = "quick", "content"


@dataclass(frozen=True)
class PairTask:
    """One pair with one engine: the unit of work of a cohort.

    Attributes
    ----------
    pair : CohortPair
        The pair.
    choice : Choice
        Engine and preset.
    folder : str
        Folder of its results.
    settings : mapping
        Settings changed from the preset.
    compute : Compute
        Device, threads and seed.
    outputs : mapping
        Outputs, as in `Job`.
    timeout_s, memory_mb : float
        Limits of the pair; 0 for none.
    inputs_by : {'quick', 'content'}
        How changed inputs are recognized.
    stop_file : str
        The pair ends as canceled when this file exists.
    """

    pair: CohortPair
    choice: Choice
    folder: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    compute: Compute = field(default_factory=Compute)
    outputs: Mapping[str, str] = field(default_factory=lambda: dict(OUTPUTS))
    timeout_s: float = 0.0
    memory_mb: float = 0.0
    inputs_by: str = QUICK
    stop_file: str = ""

    @property
    def key(self) -> str:
        """Its name within the cohort."""
        return f"{self.pair.name}/{self.choice}"

    def fingerprint(self) -> str:
        """Return the hash of inputs, engine, settings, seed and device; threads and limits do not change a result.

        Raises
        ------
        FileError
            When an input is missing.
        """
        content = {
            "inputs": {role: [path, _identity(path, self.inputs_by)] for role, path in self.pair.inputs.items()},
            "engine": [self.choice.engine, self.choice.preset],
            "settings": jsonable(self.settings),
            "seed": self.compute.seed,
            "device": self.compute.device,
            "outputs": sorted(self.outputs),
            "version": VERSION,
        }
        return json_digest(content)


@dataclass(frozen=True, kw_only=True)
class PairRecord:
    """The result of one pair and engine in short: record.json, and a row of the table.

    Attributes
    ----------
    pair, engine, preset, subject, session, group : str
        What was registered, and with which engine.
    status : {'done', 'failed'}
        Whether there is a report.
    fingerprint : str
        See `PairTask.fingerprint`.
    message, hint : str
        Why it failed, and what to do.
    verdict, sentence : str
        Level and sentence of the verdict.
    seconds, cpu_seconds, wall_seconds, peak_memory_mb : float or None
        Time and memory of the registration; wall time of the whole job, with reading, evaluation and pages.
    before, after : mapping
        The scalar measures.
    info : mapping
        Further columns of the manifest.
    files : tuple of str
        Names of the files of the result.
    """

    pair: str
    engine: str
    preset: str = DEFAULT
    subject: str = ""
    session: str = ""
    group: str = ""
    status: str = DONE
    fingerprint: str = ""
    message: str = ""
    hint: str = ""
    verdict: str = ""
    sentence: str = ""
    seconds: float | None = None
    cpu_seconds: float | None = None
    wall_seconds: float | None = None
    peak_memory_mb: float | None = None
    before: Mapping[str, float | None] = field(default_factory=dict)
    after: Mapping[str, float | None] = field(default_factory=dict)
    info: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is a report."""
        return self.status == DONE

    def write(self, folder: Path) -> Path:
        """Write record.json atomically."""
        return write_json(folder / RECORD_FILE, {"format": FORMAT, **jsonable(self)})

    @classmethod
    def read(cls, folder: Path) -> PairRecord:
        """Read the record of a folder; `FileError` when it is missing, damaged or of another version."""
        path = folder / RECORD_FILE
        content = read_json(path)
        if content.pop("format", None) != FORMAT:
            raise FileError(f"{path} is not a record of format {FORMAT}.", hint="Use one version of the program.")
        try:
            return cls(**{**content, "files": tuple(content.get("files", ()))})
        except TypeError as error:
            raise FileError(f"{path} is not valid: {error}.") from error


def described(task: PairTask) -> dict[str, Any]:
    """Return the entries of a record that are known before the pair is computed."""
    pair = task.pair
    return {
        "pair": pair.name,
        "engine": task.choice.engine,
        "preset": task.choice.preset,
        "subject": pair.subject,
        "session": pair.session,
        "group": pair.group,
        "info": dict(pair.info),
    }


def record_of_report(
    task: PairTask, report: Report, *, fingerprint: str, wall_seconds: float, files: Iterable[str]
) -> PairRecord:
    """Return the record of a finished pair."""
    verdict = report.verdict
    return PairRecord(
        **described(task),
        fingerprint=fingerprint,
        verdict=verdict.level if verdict else "",
        sentence=verdict.sentence if verdict else "",
        seconds=report.total_seconds,
        cpu_seconds=report.cpu_seconds.get("total"),
        wall_seconds=round(wall_seconds, 3),
        peak_memory_mb=report.peak_memory_mb,
        before=scalars(report.measures.before),
        after=scalars(report.measures.after),
        files=tuple(sorted(files)),
    )


def failed_record(task: PairTask, message: str, hint: str = "", *, wall_seconds: float | None = None) -> PairRecord:
    """Return the record of a pair that failed."""
    seconds = None if wall_seconds is None else round(wall_seconds, 3)
    return PairRecord(**described(task), status=FAILED, message=message, hint=hint, wall_seconds=seconds)


def finished_record(task: PairTask) -> PairRecord | None:
    """Return the record of a pair that is done with these inputs and settings; otherwise None."""
    folder = Path(task.folder)
    if not (folder / OUTPUTS["report"]).is_file():
        return None
    try:
        record = PairRecord.read(folder)
        return record if record.ok and record.fingerprint == task.fingerprint() else None
    except FileError:
        return None


def task_folder(out: Path, pair: str, choice: Choice) -> Path:
    """Return the folder of the results of a pair and engine."""
    name = choice.engine if choice.preset == DEFAULT else f"{choice.engine}-{choice.preset}"
    return out / PAIRS_FOLDER / pair / name


def read_records(out: Path, tasks: Iterable[tuple[str, Choice]]) -> Iterator[PairRecord]:
    """Return the records of tasks, given as (name of the pair, engine); those without a record are left out."""
    for pair, choice in tasks:
        folder = task_folder(out, pair, choice)
        try:
            yield PairRecord.read(folder)
        except FileError:
            continue


def write_run(out: Path, manifest: Path, pairs: Sequence[CohortPair], choices: Sequence[Choice]) -> Path:
    """Write cohort.json, the list of pairs and engines, from which table and page are made again."""
    content = {
        "format": FORMAT,
        "manifest": str(manifest),
        "engines": [str(choice) for choice in choices],
        "pairs": [pair.name for pair in pairs],
    }
    return write_json(out / RUN_FILE, content)


def read_run(out: Path) -> tuple[str, list[tuple[str, Choice]]]:
    """Return the manifest of a cohort and its tasks as (name of the pair, engine).

    Raises
    ------
    FileError
        When the folder has no cohort.json.
    """
    content = read_json(out / RUN_FILE, what="the cohort", hint="Give the --out of `dvcreg cohort run`.")
    choices = [Choice.parse(text) for text in content["engines"]]
    return str(content["manifest"]), [(pair, choice) for pair in content["pairs"] for choice in choices]


def _identity(text: str, by: str) -> Any:
    """Return what tells whether a file or folder has changed."""
    path, _part = split_series(Path(text))
    try:
        if path.is_dir():
            return [[file.name, _identity(str(file), by)] for file in sorted(path.iterdir()) if file.is_file()]
        if by == CONTENT:
            return content_digest(path)
        about = path.stat()
        return [about.st_size, about.st_mtime_ns]
    except OSError as error:
        raise FileError(f"Could not read {path}: {error.strerror or error}.", hint="Check the path.") from error

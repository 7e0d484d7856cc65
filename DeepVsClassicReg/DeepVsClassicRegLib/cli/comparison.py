"""A comparison on the command line: one worker per run, and the files that compare the runs."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.device import Compute, machine
from ..core.engines.registration import LINEAR, start_entry
from ..core.errors import RegistrationError
from ..core.evaluation.measures import MEASURES, scalars
from ..core.evaluation.report import Report, read_report, write_report_json
from ..core.files import protect_inputs, write_text
from ..core.job import FILE_NAMES, OUTPUTS, START, WARPED_SEGMENTATION, Job
from ..core.result import TOTAL
from ..core.settings import DEFAULT, Choice
from ..worker.job_folder import publish
from .folders import job_folder
from .output import show_note
from .running import Listener, run_job

if TYPE_CHECKING:
    from ..core.evaluation.evaluate import Evaluation
    from ..core.result import Result

FORMAT = 1
COMPARISON_FILES = ("comparison.json", "comparison.csv", "comparison.html")


@dataclass(frozen=True)
class ComparedRun:
    """One engine of a comparison.

    Attributes
    ----------
    choice : Choice
        Engine and preset.
    folder : path
        Folder of its files.
    report : Report or None
        Its report; None when it failed.
    reason, hint : str
        Why it failed.
    code : int
        Exit code of its worker.
    """

    choice: Choice
    folder: Path
    report: Report | None = None
    reason: str = ""
    hint: str = ""
    code: int = 0

    @property
    def ok(self) -> bool:
        """Whether it has a result."""
        return self.report is not None

    @property
    def name(self) -> str:
        """Engine, with its preset unless that is the default."""
        return str(self.choice)

    @property
    def seconds(self) -> float | None:
        """Wall time of the registration in seconds, including the common linear alignment."""
        return None if self.report is None else self.report.total_seconds


class Comparison:
    """Runs engines on one pair from the same linear start.

    Parameters
    ----------
    inputs : mapping
        Entry of `job.INPUTS` -> file.
    compute : Compute
        Device, threads and seed of every run.
    out : path
        Folder that gets one folder per run.
    outputs : mapping
        Outputs of every run, as in `Job`.
    quiet, verbose : bool
        How much is printed during the runs.
    """

    def __init__(
        self,
        *,
        inputs: Mapping[str, str],
        compute: Compute,
        out: Path,
        outputs: Mapping[str, str] = OUTPUTS,
        quiet: bool = False,
        verbose: bool = False,
    ) -> None:
        self.inputs = dict(inputs)
        self.outputs = dict(outputs)
        self._options: dict[str, Any] = {}
        self.compute, self.out, self.quiet, self.verbose = compute, out, quiet, verbose

    def protect_inputs(self, choices: Sequence[Choice]) -> None:
        """Raise before any computation when a file of the comparison or of a run would overwrite an input."""
        folders = [self._folder(choice) for choice in (Choice(LINEAR), *choices)]
        written = [self.out / name for name in COMPARISON_FILES] + [
            folder / name for folder in folders for name in FILE_NAMES
        ]
        protect_inputs(map(Path, self.inputs.values()), written)

    def start_linear(self) -> ComparedRun:
        """Compute the linear alignment from which all runs start; their time includes it."""
        run = self.run(Choice(LINEAR))
        if run.report is not None:
            file = str((run.folder / OUTPUTS["transform"]).resolve())
            self._options[START] = start_entry(file, run.report.to_json())
        return run

    def run(self, choice: Choice) -> ComparedRun:
        """Run one engine and return its result or failure; only a cancel is raised."""
        run = ComparedRun(choice, self._folder(choice))
        job = Job(
            inputs=self.inputs,
            engine=choice.engine,
            preset=choice.preset,
            compute=self.compute,
            outputs=self.outputs,
            options=self._options,
            ephemeral=True,
        )
        with job_folder(run.folder) as folder:
            outcome = run_job(job, folder, Listener(run.name, quiet=self.quiet, verbose=self.verbose))
            if not outcome.ok:
                return ComparedRun(choice, run.folder, reason=outcome.message, hint=outcome.hint, code=outcome.code)
            files = publish(outcome.files, run.folder)
        return ComparedRun(choice, run.folder, report=read_report(files["report"]))

    def _folder(self, choice: Choice) -> Path:
        name = choice.engine if choice.preset == DEFAULT else f"{choice.engine}-{choice.preset}"
        return self.out / (f"{name}-again" if choice.engine == LINEAR and self._options else name)


def write_comparison(
    out: Path, inputs: Mapping[str, str], linear: ComparedRun | None, runs: Sequence[ComparedRun], *, page: bool = True
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Write comparison.json, .csv and, with `page`, .html; return the content and the files.

    When packages for the page are missing, a note is shown and the page is skipped.
    """
    content = comparison_content(out, inputs, linear, runs)
    files = {
        "comparison.json": write_report_json(out / "comparison.json", content),
        "comparison.csv": write_text(out / "comparison.csv", comparison_csv(linear, runs)),
    }
    if page and any(run.ok for run in runs):
        try:
            files["comparison.html"] = _write_page(out / "comparison.html", inputs, runs)
        except RegistrationError as error:
            show_note(f"comparison.html was not written: {error}")
    return content, files


def _write_page(path: Path, inputs: Mapping[str, str], runs: Sequence[ComparedRun]) -> Path:
    """Write comparison.html from the inputs and the folders of the runs."""
    from ..core.api import load_pair
    from ..core.evaluation.comparison import write_comparison_html

    files: dict[str, Any] = dict(inputs)
    pair = load_pair(files.pop("fixed"), files.pop("moving"), **files)
    finished = {run.name: _outcome(run.report, run.folder) for run in runs if run.report}
    pages = {run.name: run.folder / OUTPUTS["html"] for run in runs if run.ok}
    links = {name: f"{page.parent.name}/{page.name}" for name, page in pages.items() if page.exists()}
    failures = {run.name: f"{run.reason} {run.hint}".strip() for run in runs if not run.ok}
    return write_comparison_html(path, pair, finished, links=links, failures=failures)


def _outcome(report: Report, folder: Path) -> tuple[Result, Evaluation]:
    """Return result and evaluation of a run, read from its files."""
    from ..core.evaluation.evaluate import Evaluation
    from ..core.images.io import read_labels, read_volume
    from ..core.result import Result
    from ..core.transforms.files import read_transform

    names = (OUTPUTS["warped_labels"], WARPED_SEGMENTATION)
    labels = next((folder / name for name in names if (folder / name).exists()), None)
    result = Result(
        read_transform(folder / OUTPUTS["transform"]),
        report.diagnostics,
        engine=report.engine,
        preset=report.preset,
        settings=report.settings,
    )
    evaluation = Evaluation(
        before=report.measures.before,
        after=report.measures.after,
        start=report.measures.start,
        warped=read_volume(folder / OUTPUTS["warped"]),
        warped_labels=read_labels(labels) if labels else None,
        jacobian=read_volume(folder / OUTPUTS["jacobian"]),
        labels=report.labels_scored,
        region=report.region,
        seconds=report.evaluation_seconds or 0.0,
    )
    return result, evaluation


def comparison_content(
    out: Path, inputs: Mapping[str, str], linear: ComparedRun | None, runs: Sequence[ComparedRun]
) -> dict[str, Any]:
    """Return all runs of a comparison as plain values; the time of every run includes that of `linear`."""
    return {
        "format": FORMAT,
        "inputs": dict(inputs),
        "linear": None if linear is None else _described(linear, out),
        "runs": [_described(run, out) for run in runs],
        "machine": machine(),
    }


def comparison_csv(linear: ComparedRun | None, runs: Sequence[ComparedRun]) -> str:
    """Return one line per run: engine, status, seconds, then all scalar measures after registration."""
    everybody = [run for run in (linear, *runs) if run is not None]
    columns = {run.name: scalars(run.report.measures.after) for run in everybody if run.report}
    names = [name for name in MEASURES if any(name in values for values in columns.values())]
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["engine", "preset", "status", "reason", "seconds", "cpu_seconds", "peak_memory_mb", *names])
    first = next((run.report for run in everybody if run.report), None)
    if first is not None:
        before = first.measures.before
        writer.writerow(["(before)", "", "", "", "", "", "", *(_cell(before.get(name)) for name in names)])
    for run in everybody:
        values = columns.get(run.name, {})
        cost = [run.seconds, run.report.cpu_seconds.get(TOTAL), run.report.peak_memory_mb] if run.report else [None] * 3
        status = "done" if run.ok else "failed"
        writer.writerow(
            [
                run.choice.engine,
                run.choice.preset,
                status,
                run.reason,
                *map(_cell, cost),
                *(_cell(values.get(n)) for n in names),
            ]
        )
    return text.getvalue()


def _described(run: ComparedRun, out: Path) -> dict[str, Any]:
    about: dict[str, Any] = {
        "name": run.name,
        "engine": run.choice.engine,
        "preset": run.choice.preset,
        "status": run.report.status if run.report else "failed",
    }
    if run.report is None:
        return {**about, "reason": run.reason, "hint": run.hint, "exit_code": run.code}
    kept = (
        "seconds",
        "cpu_seconds",
        "peak_memory_mb",
        "measures",
        "confidence",
        "notes",
        "unsound",
        "verdict",
        "versions",
    )
    content = run.report.to_json()
    return {**about, "folder": run.folder.relative_to(out).as_posix(), **{key: content.get(key) for key in kept}}


def _cell(value: Any) -> Any:
    return "" if value is None else value

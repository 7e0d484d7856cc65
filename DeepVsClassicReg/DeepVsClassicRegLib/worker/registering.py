"""The main task of the worker: register a pair, evaluate the result, write the requested files."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..core import api
from ..core.device import available_memory_mb
from ..core.engines.catalogue import get_engine
from ..core.engines.error_map import error_model, estimate_error, require
from ..core.engines.registration import align_linearly, read_start, with_start, write_start
from ..core.engines.segmentation import with_estimated_labels
from ..core.errors import FileError, SettingsError
from ..core.evaluation.evaluate import LATER_STAGE, Evaluation, completed, evaluate
from ..core.evaluation.make_report import make_report, write_report_html
from ..core.evaluation.plotting import new_figure
from ..core.evaluation.report import Report, write_report_json
from ..core.files import NO_SPACE, protect_inputs, write_json
from ..core.images.channels import Channels
from ..core.images.io import (
    NRRD,
    Segmentation,
    read_channels,
    read_segmentation,
    write_channels,
    write_labels,
    write_volume,
)
from ..core.images.volume import LabelMap
from ..core.job import (
    ERROR_MODEL,
    ESTIMATED_SEGMENTATIONS,
    FIRST,
    FIRST_FILE,
    OUTPUT_FOLDER,
    SHARE_START,
    START,
    Job,
)
from ..core.pair import Pair
from ..core.progress import Progress
from ..core.result import Extra, Result
from ..core.settings import make_settings
from ..core.transforms.files import write_transform
from ..core.transforms.sides import SideChange
from ..core.transforms.transform import Transform

log = logging.getLogger(__name__)
EXTRA, TRANSFORM_ENDING = "extra:", ".h5"  # role of an extra: EXTRA + its name
PAGE_PACKAGES = ("matplotlib", "jinja2")
# Memory of a run with the engine `instance` and its evaluation, measured with 60 thousand and 5.5 million voxels.
BASE_MB, MB_PER_MILLION = 450.0, 150.0
READ, ALIGNED, REGISTERED, ESTIMATED, MEASURED, WRITTEN = 0.02, 0.19, 0.85, 0.88, 0.93, 0.98


def register(job: Job, folder: Path, progress: Progress) -> dict[str, Any]:
    """Run a job of the kind 'register' and return the content of result.json.

    Raises
    ------
    RegistrationError
        When an input or a setting is invalid, or a file cannot be written.
    Cancelled
        When the user canceled.
    """
    progress.report(0.0, "Reading the images")
    job = _possible(job)
    if ERROR_MODEL in job.options:
        require()  # a long run must not end at that
        error_model(job.options[ERROR_MODEL])
    protect_inputs(job.input_paths(folder).values(), [folder / OUTPUT_FOLDER / name for name in job.outputs.values()])
    if "html" in job.outputs:  # matplotlib is loaded while the linear alignment leaves a core free
        threading.Thread(target=new_figure, args=(1.0, 1.0), daemon=True).start()
    pair = read_pair(job, folder)
    if note := memory_note(pair, available_memory_mb()):
        log.warning(note)
    start = find_start(job, folder, pair, progress.part(READ, ALIGNED))
    result = api.register(
        pair if start is None else pair.replace(initial=start.transform),
        job.engine,
        preset=job.preset,
        settings=job.settings,
        device=job.compute.device,
        threads=job.compute.threads,
        seed=job.compute.seed,
        progress=progress.part(READ if start is None or START in job.options else ALIGNED, REGISTERED),
    )
    result = result if start is None else with_start(result, start)
    estimate = None
    if ERROR_MODEL in job.options:
        estimate = estimate_error(
            pair,
            result,
            model=job.options[ERROR_MODEL],
            device=job.compute.device,
            threads=job.compute.threads,
            progress=progress.part(REGISTERED, ESTIMATED),
        )
    evaluation = evaluate(
        pair,
        result,
        error_map=estimate,
        measures=None if job.evaluate else () if estimate is None else ("estimate",),
        in_steps=bool(job.options.get(FIRST)),
        threads=job.compute.threads,
        progress=progress.part(ESTIMATED, MEASURED),
    )
    writer = _Writer(job, folder, progress.part(MEASURED, WRITTEN))
    files = writer.write(pair, result, evaluation)
    wanted = result.extras if "extras" in job.outputs else ()
    shared = {START: write_start(start, folder / OUTPUT_FOLDER)} if start and job.options.get(SHARE_START) else {}
    content = {
        **shared,
        "engine": result.engine,
        "preset": result.preset,
        "files": files,
        "extras": [{"name": e.name, "title": e.title, "kind": e.kind, "unit": e.unit} for e in wanted],
        "seconds": dict(result.diagnostics.seconds),
        "confidence": result.diagnostics.confidence,
        "notes": [*result.diagnostics.notes, *evaluation.notes],
    }
    if evaluation.missing:
        write_json(folder / FIRST_FILE, {"task": job.task, **content})
        rest = progress.part(WRITTEN, 1.0)
        rest.report(0.0, LATER_STAGE, result=FIRST_FILE)
        # One thread: the parent reads the first result meanwhile.
        evaluation = completed(evaluation, threads=1, progress=rest)
        content["files"] = files | writer.write_report(pair, result, evaluation)
    progress.report(1.0, "Done")
    return content


def memory_note(pair: Pair, available_mb: float | None) -> str:
    """Return a note when a run needs more memory than there is, an empty text when it fits or nothing is known."""
    voxels = max(pair.fixed.grid.voxel_count, pair.moving.grid.voxel_count)
    needed_mb = BASE_MB + MB_PER_MILLION * voxels / 1e6
    if available_mb is None or needed_mb <= available_mb:
        return ""
    return (
        f"This run needs about {needed_mb / 1e3:.1f} GB of memory, {available_mb / 1e3:.1f} GB are available. "
        "Close other programs, or crop or resample the volumes, if it becomes slow or ends without a result."
    )


def _given_start(job: Job, folder: Path) -> dict[str, Path]:
    """Return role -> file of the linear alignment given with the job."""
    return {"initial": folder / job.options[START]["file"]} if START in job.options else {}


def find_start(job: Job, folder: Path, pair: Pair, progress: Progress) -> Result | None:
    """Return the linear alignment that the job shares with others; None when the engine computes its own."""
    info = get_engine(job.engine).info
    if pair.initial is not None or not info.starts_linear:
        return None
    if START in job.options:
        return read_start(job.options[START], folder)
    if not job.options.get(SHARE_START):
        return None
    make_settings(info.settings, job.engine, job.preset, job.settings)  # reports invalid settings before computing
    info.require()
    return align_linearly(pair, job.compute, progress)


def _possible(job: Job) -> Job:
    """Return the job without the HTML page when its packages are missing, so that a long run does not fail."""
    missing = [name for name in PAGE_PACKAGES if importlib.util.find_spec(name) is None]
    if "html" not in job.outputs or not missing:
        return job
    log.warning("%s is skipped: it needs %s, which is not installed.", job.outputs["html"], " and ".join(missing))
    return dataclasses.replace(job, outputs={role: name for role, name in job.outputs.items() if role != "html"})


def read_pair(job: Job, folder: Path) -> Pair:
    """Read the pair of a job.

    Raises
    ------
    SettingsError
        When a volume is missing in the job.
    RegistrationError
        When a file is missing, unreadable or not usable.
    """
    paths: dict[str, Any] = job.input_paths(folder)
    for side in ("fixed", "moving"):
        if side not in paths:
            raise SettingsError(f"The job has no {side} volume.")
    pair = api.load_pair(paths.pop("fixed"), paths.pop("moving"), **paths)
    if ESTIMATED_SEGMENTATIONS in job.options:
        return with_estimated_labels(
            pair,
            model=job.options[ESTIMATED_SEGMENTATIONS],
            device=job.compute.device,
            threads=job.compute.threads,
        )
    if not job.label_names:
        return pair
    return pair.replace(fixed_labels=_named(pair.fixed_labels, job), moving_labels=_named(pair.moving_labels, job))


def _named(labels: LabelMap | None, job: Job) -> LabelMap | None:
    if labels is None:
        return None
    return dataclasses.replace(labels, names={int(number): name for number, name in job.label_names.items()})


class _Writer:
    """Writes the outputs of a job and checks that each file is complete."""

    def __init__(self, job: Job, folder: Path, progress: Progress) -> None:
        self.job, self.folder, self.out = job, folder, folder / OUTPUT_FOLDER
        self.progress = progress

    def write(self, pair: Pair, result: Result, evaluation: Evaluation) -> dict[str, str]:
        """Write the requested outputs and return role -> file name."""
        try:
            self.out.mkdir(exist_ok=True)
        except OSError as error:
            raise FileError(f"Could not create {self.out}: {error.strerror or error}.", hint=NO_SPACE) from error
        report = self._report(pair, result, evaluation)
        # The verdict is known a few seconds before the files are complete.
        verdict = report.verdict if self.job.evaluate else None
        found = f"{verdict.headline} ({verdict.level}): writing" if verdict else "Writing"
        self.progress.report(0.05, f"{found} the files")
        # Compressing releases Python's lock, drawing does not: both run at once.
        with ThreadPoolExecutor(1) as pool:
            volumes = pool.submit(self._write_volumes, pair, result, evaluation)
            pages = self._write_report(pair, result, evaluation, report)
            return {**volumes.result(), **pages}

    def write_report(self, pair: Pair, result: Result, evaluation: Evaluation) -> dict[str, str]:
        """Write the report, and its page of a complete evaluation, and return role -> file name."""
        return self._write_report(pair, result, evaluation, self._report(pair, result, evaluation))

    def _report(self, pair: Pair, result: Result, evaluation: Evaluation) -> Report:
        return make_report(
            pair,
            result,
            evaluation,
            citations=[get_engine(result.engine).info.citation],
            inputs=self.job.input_paths(self.folder) | _given_start(self.job, self.folder),
        )

    def _write_volumes(self, pair: Pair, result: Result, evaluation: Evaluation) -> dict[str, str]:
        files: dict[str, str] = {}
        compress = self.job.compress
        if path := self._wanted(files, "transform"):
            write_transform(result.transform, path, grid=pair.fixed.grid, compress=compress)
        if path := self._wanted(files, "warped"):
            self._write_warped(pair, result, evaluation, path)
        if evaluation.warped_labels is not None and (path := self._wanted(files, "warped_labels")):
            write_labels(self._all_layers(pair, result) or evaluation.warped_labels, path)
        if path := self._wanted(files, "jacobian"):
            write_volume(evaluation.jacobian, path, compress=compress)
        if result.uncertainty is not None and (path := self._wanted(files, "uncertainty")):
            write_volume(result.uncertainty, path, compress=compress)
        if evaluation.error_map is not None and (path := self._wanted(files, "error")):
            write_volume(evaluation.error_map.volume, path, compress=compress)
        for extra in result.extras if "extras" in self.job.outputs else ():
            files |= self._write_extra(extra)
        return files

    def _write_warped(self, pair: Pair, result: Result, evaluation: Evaluation, path: Path) -> None:
        """Write the warped moving volume; of a color or vector image all channels."""
        image = read_channels(self.job.input_paths(self.folder)["moving"])
        if image is None:
            write_volume(evaluation.warped, path, compress=self.job.compress)
            return
        change = SideChange(result.transform, "fixed", pair.fixed.grid)
        write_channels(Channels(change.channels(image.array, image.grid), pair.fixed.grid), path)

    def _all_layers(self, pair: Pair, result: Result) -> Segmentation | None:
        """Return the warped moving segmentation with all layers if they overlap and the file format supports it."""
        source = self.job.input_paths(self.folder).get("moving_labels")
        if source is None or not self.job.outputs["warped_labels"].endswith(NRRD):
            return None
        segmentation = read_segmentation(source)
        overlaps = len(segmentation.layers) > 1
        return segmentation.warped(pair.fixed.grid, result.transform) if overlaps else None

    def _wanted(self, files: dict[str, str], role: str) -> Path | None:
        """Return the path of an output and add it to the files; None when the job does not want it."""
        name = self.job.outputs.get(role)
        if name is None:
            return None
        files[role] = name
        return self.out / name

    def _write_extra(self, extra: Extra) -> dict[str, str]:
        first, dot, endings = self.job.outputs["extras"].partition(".")
        name = f"{first}_{extra.name}{TRANSFORM_ENDING if isinstance(extra.value, Transform) else dot + endings}"
        if isinstance(extra.value, Transform):
            write_transform(extra.value, self.out / name)
        else:
            write_volume(extra.value, self.out / name)
        return {EXTRA + extra.name: name}

    def _write_report(self, pair: Pair, result: Result, evaluation: Evaluation, report: Report) -> dict[str, str]:
        files: dict[str, str] = {}
        if path := self._wanted(files, "report"):
            write_report_json(path, report)
        if evaluation.missing:  # pictures and page are made once, of all measures
            return files
        if path := self._wanted(files, "thumbnail"):
            from ..core.evaluation.figures import write_thumbnail

            write_thumbnail(path, pair, result.transform)
        if path := self._wanted(files, "html"):
            title = get_engine(result.engine).info.title
            write_report_html(path, pair, result, evaluation, report=report, title=title)
        return files

"""The runs of a comparison: the common linear alignment, then each engine in a worker of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.device import Compute
from ..core.engines.start import LINEAR, start_entry
from ..core.errors import SettingsError
from ..core.files import protect_inputs, read_json
from ..core.job import FILE_NAMES, OUTPUTS, START, Job
from .folders import job_folder, publish
from .running import Listener, run_job

DEFAULT = "default"
JOINT = ("comparison.json", "comparison.csv", "comparison.html")


@dataclass(frozen=True)
class Run:
    """One engine of a comparison.

    Attributes
    ----------
    engine, preset : str
        Who ran.
    folder : path
        Where its files are.
    report : mapping
        Its report.json; empty when it failed.
    reason, hint : str
        Why it failed.
    code : int
        Exit code of its worker.
    """

    engine: str
    preset: str
    folder: Path
    report: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    hint: str = ""
    code: int = 0

    @property
    def ok(self) -> bool:
        """Whether it came to a result."""
        return bool(self.report)

    @property
    def name(self) -> str:
        """Engine, with its preset unless that is the default."""
        return self.engine if self.preset == DEFAULT else f"{self.engine}:{self.preset}"

    @property
    def seconds(self) -> float | None:
        """Wall seconds of the registration, the common linear alignment included."""
        total = self.report.get("seconds", {}).get("total")
        return None if total is None else float(total)


def parse_entries(text: str) -> list[tuple[str, str]]:
    """Return (engine, preset) of 'a,b:preset', checked against the catalogue.

    Raises
    ------
    SettingsError
        When an engine or preset does not exist, or one is named twice.
    """
    from ..core.engines.catalogue import get_engine
    from ..core.settings import make_settings

    entries: list[tuple[str, str]] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        engine, _, preset = part.partition(":")
        entry = engine, preset or DEFAULT
        if entry in entries:
            raise SettingsError(f"'{part}' is named twice.", hint="Name each engine and preset once.")
        make_settings(get_engine(engine).info.settings, engine, entry[1])
        entries.append(entry)
    if not entries:
        raise SettingsError("No engine is named.", hint="For example --engines elastix,sitk-demons.")
    return entries


class Comparison:
    """Runs engines on one pair from one start.

    Parameters
    ----------
    inputs : mapping
        Entry of `job.INPUTS` -> file.
    compute : Compute
        Device, threads and seed of every run.
    out : path
        Folder that gets one folder per run.
    outputs : mapping
        What every run writes, as in `Job`.
    quiet, verbose : bool
        How much is shown meanwhile.
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

    def protect_inputs(self, entries: Sequence[tuple[str, str]]) -> None:
        """Refuse before anything is computed when a file of the comparison or of a run would overwrite an input."""
        folders = [self._folder(engine, preset) for engine, preset in [(LINEAR, DEFAULT), *entries]]
        written = [self.out / name for name in JOINT] + [folder / name for folder in folders for name in FILE_NAMES]
        protect_inputs(map(Path, self.inputs.values()), written)

    def start_linear(self) -> Run:
        """Do the linear alignment, which all later runs start from; their seconds contain it."""
        run = self.run(LINEAR, DEFAULT)
        if run.ok:
            self._options[START] = start_entry(str((run.folder / OUTPUTS["transform"]).resolve()), run.report)
        return run

    def run(self, engine: str, preset: str) -> Run:
        """Run one engine and return how it went; only a cancel is raised."""
        run = Run(engine, preset, self._folder(engine, preset))
        job = Job(
            inputs=self.inputs,
            engine=engine,
            preset=preset,
            compute=self.compute,
            outputs=self.outputs,
            options=self._options,
            ephemeral=True,
        )
        with job_folder(run.folder) as folder:
            outcome = run_job(job, folder, Listener(run.name, quiet=self.quiet, verbose=self.verbose))
            if not outcome.ok:
                return Run(engine, preset, run.folder, reason=outcome.message, hint=outcome.hint, code=outcome.code)
            files = publish(outcome.files, run.folder)
        return Run(engine, preset, run.folder, report=read_json(files["report"]))

    def _folder(self, engine: str, preset: str) -> Path:
        name = engine if preset == DEFAULT else f"{engine}-{preset}"
        return self.out / (f"{name}-again" if engine == LINEAR and self._options else name)

"""Jobs: the roles of inputs and outputs, the names of their files, and the work of a worker."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .device import Compute
from .errors import FileError, SettingsError, did_you_mean
from .files import jsonable, read_json, write_json

FORMAT = 1
JOB_FILE = "job.json"
RESULT_FILE = "result.json"
OUTPUT_FOLDER = "out"
SCRATCH_FOLDER = "tmp"
# Tasks of the worker; settings of a motion correction or an alignment of sections are an option named like the task.
REGISTER, RECOMMEND, EVALUATE, SEGMENT = "register", "recommend", "evaluate", "segment"
MOTION, STACK, TRAIN, METHODS = "motion", "stack", "train", "methods"
# Options of 'register': return the linear alignment in result.json; start from such an alignment.
SHARE_START, START = "share_start", "start"
START_FILE = "start.h5"
# Option of 'register': estimate the error of the result with this model ('auto' for the one that ships).
ERROR_MODEL = "error_model"
# Option of 'register': write the files with a report of the measures of the verdict first, and list them in FIRST_FILE
# as in result.json; report.json with all measures and result.json follow.
FIRST, FIRST_FILE = "first", "first.json"
# Option of every task: estimate segmentations that are missing with this model ('auto' for the one that ships).
ESTIMATED_SEGMENTATIONS = "estimated_segmentations"
# Options of 'segment': the sides to segment, and the model.
SIDES, SEGMENTATION_MODEL = "sides", "segmentation_model"
SEGMENTED = {"fixed": "fixed_seg.seg.nrrd", "moving": "moving_seg.seg.nrrd"}
# Further options of 'motion': files of the frames in the job folder, parallel processes.
FRAMES, WORKERS = "frames", "workers"
# Further options of 'stack': file of the sections in the job folder, axis across them.
SECTIONS, AXIS = "sections", "axis"
INPUTS = (
    "fixed",
    "moving",
    "fixed_labels",
    "moving_labels",
    "fixed_mask",
    "moving_mask",
    "fixed_excluded",
    "moving_excluded",
    "fixed_rigid",
    "moving_rigid",
    "fixed_points",
    "moving_points",
    "initial",
)
OUTPUTS: Mapping[str, str] = {
    "warped": "warped.nii.gz",
    "warped_labels": "warped_seg.nii.gz",
    "transform": "transform.h5",
    "jacobian": "jacobian.nii.gz",
    "uncertainty": "uncertainty.nii.gz",
    "error": "estimated_error.nii.gz",
    "extras": "extra.nii.gz",
    "report": "report.json",
    "html": "report.html",
}
# File of the warped segmentation when the moving one is a Slicer segmentation: keeps names, colors, terminology.
WARPED_SEGMENTATION = "warped_seg.seg.nrrd"
SEGMENTATION_ENDING = ".seg.nrrd"
# Outputs that are written only on request: before and after in one small picture, for the pages of cohorts.
FURTHER_OUTPUTS: Mapping[str, str] = {"thumbnail": "thumbnail.jpg"}
FILE_NAMES = (*OUTPUTS.values(), *FURTHER_OUTPUTS.values(), WARPED_SEGMENTATION)


@dataclass(frozen=True, kw_only=True)
class Job:
    """The task of a worker: job.json in the job folder.

    Attributes
    ----------
    task : str
        'register', 'recommend', 'evaluate', 'segment', 'motion', 'stack', 'train' or 'methods'.
    inputs : mapping of str to str
        Entry of `INPUTS` -> file, absolute or relative to the job folder. A registration needs 'fixed' and 'moving'.
    engine, preset : str
        The engine of a registration and its preset.
    settings : mapping
        Settings changed from the preset, plain JSON values.
    compute : Compute
        Device, threads, seed.
    outputs : mapping of str to str
        Requested outputs, entry of `OUTPUTS` or `FURTHER_OUTPUTS` -> file name in the job's `out` folder; the ending
        selects the format. 'warped_labels' is skipped when there is no moving segmentation, 'uncertainty' when the
        engine has none, 'error' without the option `ERROR_MODEL`. 'extras' gives the names of further outputs of an
        engine: extra_NAME.nii.gz for volumes and label maps, extra_NAME.h5 for transforms.
    label_names : mapping of str to str
        Names of label numbers for the report.
    evaluate : bool
        Whether the measures before and after are computed (the report needs them).
    options : mapping
        Further options of the task, such as `SHARE_START`, `START` and `ERROR_MODEL`.
    ephemeral : bool
        Whether the worker removes the whole job folder when its parent process ends.
    compress : bool
        Whether transforms and volumes are compressed; that takes longer than to write files that are read only once.
    """

    inputs: Mapping[str, str]
    engine: str = ""
    preset: str = "default"
    settings: Mapping[str, Any] = field(default_factory=dict)
    compute: Compute = field(default_factory=Compute)
    outputs: Mapping[str, str] = field(default_factory=lambda: dict(OUTPUTS))
    label_names: Mapping[str, str] = field(default_factory=dict)
    evaluate: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    ephemeral: bool = False
    compress: bool = True
    task: str = REGISTER

    def __post_init__(self) -> None:
        outputs = (*OUTPUTS, *FURTHER_OUTPUTS)
        for given, known, what in ((self.inputs, INPUTS, "input"), (self.outputs, outputs, "output")):
            for name in given:
                if name not in known:
                    raise SettingsError(f"A job has no {what} '{name}'.", hint=did_you_mean(name, known))
        for name in self.outputs.values():
            if not name or Path(name).name != name:
                raise SettingsError(f"An output must be a plain file name, got '{name}'.")

    def write(self, folder: Path) -> Path:
        """Write job.json into the folder and return its path."""
        return write_json(folder / JOB_FILE, {"format": FORMAT, **jsonable(self)})

    @classmethod
    def read(cls, folder: Path) -> Job:
        """Read the job of a folder.

        Raises
        ------
        FileError
            When job.json is missing, invalid or of another version.
        SettingsError
            When an entry is unknown.
        """
        path = folder / JOB_FILE
        content = read_json(path, what="the job")
        if content.pop("format", None) != FORMAT:
            raise FileError(f"{path} is not a job of format {FORMAT}.", hint="Use one version of the program.")
        known = {entry.name for entry in dataclasses.fields(cls)}
        for name in content:
            if name not in known:
                raise SettingsError(f"A job has no entry '{name}'.", hint=did_you_mean(name, known))
        try:
            return cls(**{**content, "compute": Compute(**content.get("compute", {}))})
        except (TypeError, AttributeError) as error:
            raise FileError(f"{path} is not valid: {error}.") from error

    def input_paths(self, folder: Path) -> dict[str, Path]:
        """Return the input files as absolute paths."""
        return {name: folder / path for name, path in self.inputs.items()}

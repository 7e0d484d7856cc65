"""Outputs of an earlier run are replaced as a whole, those of a failed one stay away; files of others are kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from DeepVsClassicRegLib.core.errors import FileError, RegistrationError
from DeepVsClassicRegLib.core.files import protect_inputs
from DeepVsClassicRegLib.core.images.io import read_volume
from DeepVsClassicRegLib.core.job import Job
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.worker.registering import register

from . import Call, Case, Gives, Refused, Run
from .making import Change, arguments, files, moved, stored, text
from .outputs import EVALUATE, KEPT, REGISTER, TRANSFORM

SIDES = ("fixed", "moving")
QUICK = "-e sitk-demons --set iterations=2,2,2 --threads 1 --initial truth.h5 --no-html "


def listing(run: Run, name: str) -> list[str]:
    """Return the files of a folder, without those that depend on the engine."""
    return sorted(path.name for path in (run.folder / name).iterdir() if path.name != "uncertainty.nii.gz")


def _worker(folder: Path) -> Call:
    """Build a job whose input lies where its output goes; return the work."""
    files(folder)
    moved("moving.nii.gz", "out/warped.nii.gz")(folder)
    job = Job(inputs={"fixed": "fixed.nii.gz", "moving": "out/warped.nii.gz"}, engine="linear")
    return partial(register, job, folder, Progress())


def _protect(folder: Path, inputs: Sequence[str], outputs: Sequence[str], *changes: Change) -> Call:
    files(folder)
    for change in changes:
        change(folder)
    return partial(protect_inputs, [folder / name for name in inputs], [folder / name for name in outputs])


def _later_file(folder: Path) -> Call:
    """An output name that lies in a folder not made yet harms nothing."""
    return _protect(folder, ["fixed.nii.gz", "missing.nii.gz"], ["new/fixed.nii.gz", "missing.nii.gz"])


CASES = [
    Case(
        "F",
        "register into a folder with an earlier result replaces all of it",
        arguments(
            REGISTER + "moving.nii.gz " + QUICK + "--out out",
            text("out/report.json", {"engine": "old", "measures": {}}),
            text("out/report.html", "old"),
            text("out/warped_seg.nii.gz", "old"),
            text("out/mine.txt", "mine"),
        ),
        Gives(
            ["jacobian.nii.gz", "mine.txt", "report.json", "transform.h5", "warped.nii.gz"],
            read=lambda run: listing(run, "out"),
        ),
        rewrites=("out/report.json", "out/report.html", "out/warped_seg.nii.gz"),
    ),
    Case(
        "F",
        "register beside its inputs under other names",
        arguments(REGISTER + "moving.nii.gz " + QUICK + "--out ."),
        Gives(True, read=lambda run: {"warped.nii.gz", "report.json", "fixed.nii.gz"} <= set(listing(run, "."))),
    ),
    Case(
        "F",
        "register that fails keeps the earlier result",
        arguments(
            "register --fixed fixed.nii.gz --moving missing.nii.gz --out out",
            text("out/report.json", {"engine": "old", "measures": {}}),
            text("out/warped.nii.gz", "old"),
        ),
        Refused(FileError, "missing.nii.gz"),
    ),
    Case(
        "F",
        "register that fails leaves no new folder",
        arguments("register --fixed fixed.nii.gz --moving missing.nii.gz --out a/b"),
        Refused(FileError, "missing.nii.gz"),
    ),
    Case(
        "F",
        "register --out is a file",
        arguments(REGISTER + "moving.nii.gz --out truth.h5"),
        Refused(FileError, "--out"),
    ),
    Case(
        "F",
        "transform replaces an earlier file",
        arguments(TRANSFORM + "old.nii.gz -q", text("old.nii.gz", "old")),
        Gives((16, 16, 16), read=lambda run: read_volume(run.folder / "old.nii.gz").grid.size),
        rewrites=("old.nii.gz",),
    ),
    Case(
        "F",
        "transform that fails keeps the earlier file",
        arguments(
            "transform -t truth.h5 --image missing.nii.gz --reference fixed.nii.gz --out old.nii.gz",
            text("old.nii.gz", "old"),
        ),
        Refused(FileError, "missing.nii.gz"),
    ),
    Case(
        "F",
        "transform to an unknown ending keeps the earlier file",
        arguments(TRANSFORM + "old.xyz", text("old.xyz", "old")),
        Refused(FileError, "old.xyz"),
    ),
    Case(
        "F",
        "transform --out is a folder",
        arguments(TRANSFORM + "out", text("out/x", "")),
        Refused(FileError, "is a folder"),
    ),
    Case(
        "F",
        "transform writes both files of a .mhd",
        arguments(TRANSFORM + "new/w.mhd -q"),
        Gives(["w.mhd", "w.zraw"], read=lambda run: listing(run, "new")),
    ),
    Case(
        "F",
        "transform to a name that differs from its image in case only, where that is another file",
        arguments(TRANSFORM + "Moving.nii.gz -q"),
        Gives(True, read=lambda run: {"Moving.nii.gz", "moving.nii.gz"} <= set(listing(run, "."))),
    ),
    Case(
        "F",
        "evaluate -o replaces an earlier file",
        arguments(EVALUATE + "old.json --json", text("old.json", "old")),
        Gives(True, read=lambda run: "measures" in run.json("old.json")),
        rewrites=("old.json",),
    ),
    Case(
        "F",
        "phantom into a folder with volumes that are no phantom's",
        arguments("phantom --size 16 --out .", lambda folder: (folder / "truth.h5").unlink()),
        Refused(FileError, "fixed.nii.gz", "not written by this command"),
    ),
    Case(
        "F",
        "phantom replaces an earlier phantom",
        arguments("phantom --size 24 --out . --json"),
        Gives((24, 24, 24), read=lambda run: read_volume(run.folder / "fixed.nii.gz").grid.size),
        rewrites=("truth.h5", *(side + part for side in SIDES for part in (".nii.gz", "_seg.nii.gz", "_points.csv"))),
    ),
    Case("F", "worker job whose input lies in its output folder", _worker, KEPT),
    Case("F", "outputs in folders that are not there, inputs that are missing", _later_file, Gives(None)),
    Case(
        "F",
        "library: the voxels of a header are inputs",
        lambda folder: _protect(folder, ["f.mhd"], ["f.raw"], stored("fixed.nii.gz", "f.mhd")),
        Refused(RegistrationError, "would be overwritten"),
    ),
]

"""What the user must see: the verdict and what speaks against it, the linear confidence, the notes of the readers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from DeepVsClassicRegLib.core import api
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.errors import FileError, SettingsError
from DeepVsClassicRegLib.core.evaluation.make_report import make_report
from DeepVsClassicRegLib.core.evaluation.report import Report
from DeepVsClassicRegLib.core.evaluation.verdict import judge_report
from DeepVsClassicRegLib.core.images.volume import Note
from DeepVsClassicRegLib.core.job import Job
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.worker.advising import evaluate as worker_evaluate
from DeepVsClassicRegLib.worker.registering import register as worker_register

from . import Call, Case, Gives, Refused, Run
from .making import arguments, linked, text

REGISTER = "register --fixed fixed.nii.gz --moving moving.nii.gz --threads 1 --out out "
QUICK = "-e sitk-demons --set iterations=2,2,2 --initial truth.h5 --no-html "
EVALUATE = "evaluate --fixed fixed.nii.gz --moving moving.nii.gz --threads 1 "
LABELS = "--fixed-seg fixed_seg.nii.gz --moving-seg moving_seg.nii.gz "
COMPARE = "compare --fixed fixed.nii.gz --moving moving.nii.gz --threads 1 --no-html --out out "
NAN_NOTE = "1 voxels (0.024 %) are NaN or Inf"
SEEN = ("Verdict: Better aligned (good)", "No voxel is folded")


def with_hole(side: str, words: str) -> Callable[[Path], Call]:
    """Return a `build`: a command on the phantom, one voxel of the fixed or moving volume without a value."""

    def change(folder: Path) -> None:
        image = sitk.ReadImage(str(folder / f"{side}.nii.gz"), sitk.sitkFloat32)
        image[3, 3, 3] = float("nan")
        sitk.WriteImage(image, str(folder / f"{side}.nrrd"))

    return arguments(words.replace(f"{side}.nii.gz", f"{side}.nrrd"), change)


def mirrored(name: str) -> Callable[[Path], None]:
    """Return a change that exchanges left and right of a volume, and not its header."""

    def change(folder: Path) -> None:
        image = sitk.ReadImage(str(folder / name))
        array = sitk.GetArrayFromImage(image)[:, :, ::-1]
        turned = sitk.GetImageFromArray(array)
        turned.CopyInformation(image)
        sitk.WriteImage(turned, str(folder / name))

    return change


def noise(name: str) -> Callable[[Path], None]:
    """Return a change that puts noise in place of a volume."""

    def change(folder: Path) -> None:
        image = sitk.ReadImage(str(folder / name))
        array = np.random.default_rng(1).normal(100, 20, sitk.GetArrayFromImage(image).shape)
        other = sitk.GetImageFromArray(array.astype(np.float32))
        other.CopyInformation(image)
        sitk.WriteImage(other, str(folder / name))

    return change


def shifted(name: str, *shift_mm: float) -> Callable[[Path], None]:
    """Return a change that writes a translation."""

    def change(folder: Path) -> None:
        sitk.WriteTransform(sitk.TranslationTransform(3, shift_mm), str(folder / name))

    return change


def folded(folder: Path) -> None:
    """Write a displacement that folds space: a strong wave along x."""
    image = sitk.ReadImage(str(folder / "fixed.nii.gz"))
    k, j, i = np.indices(sitk.GetArrayFromImage(image).shape)
    field = np.zeros((*i.shape, 3))
    field[..., 0] = 40 * np.sin(i * np.pi / 2) * np.cos(j) * np.cos(k)
    wave = sitk.GetImageFromArray(field, isVector=True)
    wave.CopyInformation(image)
    sitk.WriteImage(wave, str(folder / "wave.nrrd"))


def relabeled(folder: Path) -> None:
    """Write the moving segmentation with numbers that the fixed one does not have."""
    image = sitk.Cast(sitk.ReadImage(str(folder / "moving_seg.nii.gz")), sitk.sitkUInt16)
    sitk.WriteImage(image + 1000 * sitk.Cast(image > 0, sitk.sitkUInt16), str(folder / "other.nii.gz"))


def level(run: Run) -> str:
    """Return the verdict's level in the report."""
    return str(run.json("out/report.json")["verdict"]["level"])


def shows_its_level(run: Run) -> bool:
    """Return whether the level shown is that of the report."""
    return f"({level(run)})" in run.text


def said_in(name: str, *words: str) -> Callable[[Run], bool]:
    """Return a reader that says whether a file has these words."""

    def read(run: Run) -> bool:
        content = (run.folder / name).read_text(encoding="utf-8").replace("&#39;", "'")
        return all(word in content for word in words)

    return read


def _reported(folder: Path, note: str) -> Call:
    """Register in this process a pair whose fixed volume has a note; the value is level, notes, unsound ones."""

    def run() -> tuple[str, bool, int]:
        phantom = make_phantom("head", size=16)
        fixed = replace(phantom.pair.fixed, notes=(note,))
        pair = phantom.pair.replace(fixed=fixed, initial=phantom.truth, fixed_points=None, moving_points=None)
        result = api.register(pair, "sitk-demons", settings={"iterations": "2,2,2"}, threads=1)
        report = make_report(pair, result, api.evaluate(pair, result, threads=1)).to_json()
        verdict = judge_report(Report.from_json(json.loads(json.dumps(report))))
        return verdict.level, any(note in said for said in report["notes"]), len(report["unsound"])

    return run


def _worker_says(folder: Path, task: Callable[..., Any]) -> Call:
    with_hole("fixed", "")(folder)
    inputs = {"fixed": "fixed.nrrd", "moving": "moving.nii.gz", "initial": "truth.h5"}
    quick = {"engine": "sitk-demons", "settings": {"iterations": "2,2,2"}, "outputs": {"report": "report.json"}}
    job = Job(inputs=inputs, compute=Compute(threads=1), **quick)
    return lambda: any(NAN_NOTE in note for note in task(job, folder, Progress())["notes"])


REGISTERED = [
    Case("J", "register", arguments(REGISTER + QUICK + LABELS), Gives("good", read=level, notes=[*SEEN, "Dice rose"])),
    Case(
        "J",
        "register with its own linear alignment",
        arguments(REGISTER + "-e linear --no-html " + LABELS),
        Gives(True, read=shows_its_level, notes=["Linear alignment:", "% confident"]),
    ),
    Case(
        "J",
        "register with a page",
        arguments(REGISTER + QUICK.replace("--no-html", "") + LABELS),
        Gives(True, read=said_in("out/report.html", "Better aligned", "Dice rose"), notes=SEEN),
    ),
    Case(
        "J",
        "register --json",
        arguments(REGISTER + QUICK + LABELS + "--json"),
        Gives("Better aligned", read=lambda run: json.loads(run.value)["verdict"]["headline"], notes=SEEN),
    ),
    Case(
        "J",
        "register -q, a good result",
        arguments(REGISTER + QUICK + LABELS + "-q"),
        Gives("", read=lambda run: run.text.strip()),
    ),
    Case(
        "J",
        "register -q, a bad result",
        arguments(REGISTER + QUICK + LABELS + "-q", mirrored("moving_seg.nii.gz"), noise("moving.nii.gz")),
        Gives(["Verdict:", 1], read=lambda run: [run.text.strip()[:8], len(run.text.strip().splitlines())]),
    ),
    Case(
        "J",
        "register a volume of noise",
        arguments(REGISTER + QUICK, noise("moving.nii.gz")),
        Gives(True, read=lambda run: level(run) != "good", notes=["Verdict:"], silent=["(good)"]),
    ),
    Case(
        "J",
        "register with a segmentation whose left is right",
        arguments(REGISTER + QUICK + LABELS, mirrored("moving_seg.nii.gz")),
        Gives(True, read=lambda run: level(run) != "good", notes=["Verdict:"], silent=["(good)"]),
    ),
    Case(
        "J",
        "register a volume with NaN",
        with_hole("moving", REGISTER + QUICK),
        Gives(True, read=said_in("out/report.json", NAN_NOTE), notes=[NAN_NOTE, "Moving volume 'moving'"]),
    ),
    Case(
        "J",
        "register a volume with NaN, with a page",
        with_hole("fixed", REGISTER + QUICK.replace("--no-html", "")),
        Gives(True, read=said_in("out/report.html", NAN_NOTE), notes=["Fixed volume 'fixed'"]),
    ),
    Case(
        "J",
        "register a volume with NaN says so once",
        with_hole("fixed", REGISTER + QUICK),
        Gives(1, read=lambda run: " ".join(run.text.split()).count(NAN_NOTE)),
    ),
    Case(
        "J",
        "register where segmentations share no label",
        arguments(
            REGISTER + QUICK + LABELS.replace("moving_seg", "other"),
            relabeled,
        ),
        Gives(True, read=said_in("out/report.json", "no label number in common"), notes=["no label number in common"]),
    ),
]
EVALUATED = [
    Case(
        "J",
        "evaluate a true transform",
        arguments(EVALUATE + LABELS + "-t truth.h5"),
        Gives(0, read=lambda run: run.code, notes=SEEN),
    ),
    Case(
        "J",
        "evaluate a transform that makes it worse",
        arguments(EVALUATE + LABELS + "-t away.tfm", shifted("away.tfm", 60.0, 0.0, 0.0)),
        Gives(0, read=lambda run: run.code, notes=["Verdict: Not improved (bad)", "Dice fell"]),
    ),
    Case(
        "J",
        "evaluate a transform that folds",
        arguments(EVALUATE + "-t wave.nrrd", folded),
        Gives(0, read=lambda run: run.code, notes=["(bad)", "folded"]),
    ),
    Case(
        "J",
        "evaluate a transform out of view",
        arguments(EVALUATE + "-t away.tfm", shifted("away.tfm", 130.0, 0.0, 0.0)),
        Gives(0, read=lambda run: run.code, notes=["is outside the moving volume"], silent=["(good)"]),
    ),
    Case(
        "J",
        "evaluate without a transform judges nothing",
        arguments(EVALUATE + LABELS),
        Gives(0, read=lambda run: run.code, silent=["Verdict"]),
    ),
    Case(
        "J",
        "evaluate --json",
        arguments(EVALUATE + LABELS + "-t truth.h5 --json"),
        Gives("good", read=lambda run: json.loads(run.value)["verdict"]["level"], notes=SEEN),
    ),
    Case(
        "J",
        "evaluate -o",
        arguments(EVALUATE + LABELS + "-t truth.h5 -o m.json"),
        Gives("good", read=lambda run: run.json("m.json")["verdict"]["level"], notes=SEEN),
    ),
    Case(
        "J",
        "evaluate a volume with NaN",
        with_hole("fixed", EVALUATE + "-t truth.h5 -o m.json"),
        Gives(True, read=said_in("m.json", NAN_NOTE), notes=[NAN_NOTE]),
    ),
    Case(
        "J",
        "evaluate a segmentation whose left is right",
        arguments(EVALUATE + LABELS + "-t truth.h5", mirrored("moving_seg.nii.gz")),
        Gives(0, read=lambda run: run.code, notes=["Verdict:"], silent=["(good)"]),
    ),
]
COMPARED = [
    Case(
        "J",
        "compare two engines",
        arguments(COMPARE + LABELS + "--initial truth.h5 -e sitk-demons,instance"),
        Gives(
            ["sitk-demons", "instance"],
            read=lambda run: [entry["name"] for entry in run.json("out/comparison.json")["runs"] if entry["verdict"]],
            notes=["Verdict: sitk-demons: ", "Verdict: instance: "],
        ),
    ),
    Case(
        "J",
        "compare --json",
        arguments(COMPARE + LABELS + "--initial truth.h5 -e sitk-demons --json"),
        Gives(
            True,
            read=lambda run: f"({json.loads(run.value)['runs'][0]['verdict']['level']})" in run.text,
            notes=["Verdict: sitk-demons: "],
        ),
    ),
    Case(
        "J",
        "compare -q, bad results",
        arguments(COMPARE + "--initial truth.h5 -e sitk-demons -q", noise("moving.nii.gz")),
        Gives(["Verdict:", 1], read=lambda run: [run.text.strip()[:8], len(run.text.strip().splitlines())]),
    ),
    Case(
        "J",
        "compare a volume with NaN says so once",
        with_hole("fixed", COMPARE + "--initial truth.h5 -e sitk-demons,instance"),
        Gives(1, read=lambda run: " ".join(run.text.split()).count(NAN_NOTE)),
    ),
    Case(
        "J",
        "compare with its linear alignment",
        arguments(COMPARE + LABELS + "-e sitk-demons"),
        Gives(1, read=lambda run: run.text.count("% confident"), notes=["Verdict: linear: ", "Verdict: sitk-demons: "]),
    ),
]
REPORTED = [
    Case(
        "J",
        "transform of a volume with NaN",
        with_hole("moving", "transform -t truth.h5 --image moving.nii.gz --reference fixed.nii.gz --out w.nii.gz"),
        Gives(0, read=lambda run: run.code, notes=[NAN_NOTE]),
    ),
    Case(
        "J",
        "info on a volume with NaN",
        with_hole("fixed", "info fixed.nii.gz"),
        Gives(0, read=lambda run: run.code, notes=[NAN_NOTE]),
    ),
    Case(
        "J",
        "recommend for a volume with NaN",
        with_hole("fixed", "recommend --fixed fixed.nii.gz --moving moving.nii.gz --no-align --threads 1"),
        Gives(0, read=lambda run: run.code, notes=[NAN_NOTE]),
    ),
    Case("J", "worker: register a volume with NaN", partial(_worker_says, task=worker_register), Gives(True)),
    Case("J", "worker: evaluate a volume with NaN", partial(_worker_says, task=worker_evaluate), Gives(True)),
    Case(
        "J",
        "library: a note that leaves the input sound",
        partial(_reported, note=Note("Read as 3D.")),
        Gives(["good", True, 0], read=lambda run: list(run.value)),
    ),
    Case(
        "J",
        "library: a note that an input may be wrong",
        partial(_reported, note=Note("Orientation guessed.", unsound=True)),
        Gives(["check", True, 1], read=lambda run: list(run.value)),
    ),
    Case(
        "J",
        "ITK prints nothing of its own: a file with no reader",
        arguments("info x.nii.gz", text("x.nii.gz", "words")),
        Refused(FileError, "x.nii.gz"),
    ),
    Case(
        "J",
        "an engine that does not exist",
        arguments(REGISTER + "-e elastx"),
        Refused(SettingsError, "elastx", "Did you mean 'elastix'"),
    ),
    Case(
        "J",
        "a link to nothing",
        arguments("info gone.nii.gz", linked("nowhere", "gone.nii.gz")),
        Refused(FileError, "gone.nii.gz"),
    ),
]


CASES = [*REGISTERED, *EVALUATED, *COMPARED, *REPORTED]

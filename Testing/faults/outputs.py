"""Outputs: no command overwrites an input, by whatever name or link."""

from __future__ import annotations

from collections.abc import Sequence

from DeepVsClassicRegLib.core.errors import FileError

from . import Case, Refused
from .making import MHD, Change, arguments, dicom, header, linked, moved, raw, stored, text

KEPT = Refused(FileError, "would be overwritten")
FOLDER_KEPT = Refused(FileError, "into the input folder")


TRANSFORM = "transform -t truth.h5 --image moving.nii.gz --reference fixed.nii.gz --out "
EVALUATE = "evaluate --fixed fixed.nii.gz --moving moving.nii.gz --threads 1 -o "
REGISTER = "register --fixed fixed.nii.gz --moving "
COMPARE = "compare --fixed fixed.nii.gz --moving moving.nii.gz -e sitk-demons "
TRAIN = "train --method voxelmorph --size 16 --steps 1 "

REGISTERING = [
    (
        "--out . with warped.nii.gz as moving volume",
        REGISTER + "warped.nii.gz --out .",
        [moved("moving.nii.gz", "warped.nii.gz")],
    ),
    (
        "--out . with jacobian.nii.gz as moving volume",
        REGISTER + "jacobian.nii.gz --out .",
        [moved("moving.nii.gz", "jacobian.nii.gz")],
    ),
    (
        "--out . with uncertainty.nii.gz as moving volume, an engine without uncertainty",
        REGISTER + "uncertainty.nii.gz -e linear --out .",
        [moved("moving.nii.gz", "uncertainty.nii.gz")],
    ),
    (
        "moving segmentation called warped_seg.nii.gz",
        REGISTER + "moving.nii.gz --moving-seg warped_seg.nii.gz --out .",
        [moved("moving_seg.nii.gz", "warped_seg.nii.gz")],
    ),
    (
        "fixed segmentation from an earlier run, no moving one",
        REGISTER + "moving.nii.gz --fixed-seg out/warped_seg.nii.gz --out out",
        [
            moved("moving_seg.nii.gz", "out/warped_seg.nii.gz"),
            text("out/report.json", {"engine": "linear", "measures": {}}),
        ],
    ),
    (
        "mask called warped_seg.nii.gz",
        REGISTER + "moving.nii.gz --fixed-mask out/warped_seg.nii.gz --out out",
        [moved("fixed_seg.nii.gz", "out/warped_seg.nii.gz")],
    ),
    (
        "--initial from the same output folder",
        REGISTER + "moving.nii.gz --initial out/transform.h5 --out out",
        [moved("truth.h5", "out/transform.h5")],
    ),
    (
        "landmarks called report.json",
        REGISTER + "moving.nii.gz --fixed-points report.json --moving-points moving_points.csv --out .",
        [text("report.json", [[0, 0, 0]])],
    ),
    (
        "moving volume by a path with ..",
        REGISTER + "out/../out/warped.nii.gz --out ./out/.",
        [moved("moving.nii.gz", "out/warped.nii.gz")],
    ),
    (
        "moving volume is a symbolic link to an earlier result",
        REGISTER + "link.nii.gz --out out",
        [moved("moving.nii.gz", "out/warped.nii.gz"), linked("out/warped.nii.gz", "link.nii.gz")],
    ),
    (
        "earlier result is a symbolic link to the moving volume",
        REGISTER + "moving.nii.gz --out out",
        [linked("moving.nii.gz", "out/warped.nii.gz")],
    ),
    (
        "earlier result is a hard link to the moving volume",
        REGISTER + "moving.nii.gz --out out",
        [linked("moving.nii.gz", "out/warped.nii.gz", hard=True)],
    ),
    (
        "--out is a symbolic link to the input's folder",
        REGISTER + "data/warped.nii.gz --out link",
        [moved("moving.nii.gz", "data/warped.nii.gz"), linked("data", "link")],
    ),
    (
        "fixed volume called warped.nii.gz, --no-html",
        "register --fixed warped.nii.gz --moving moving.nii.gz --no-html --out .",
        [moved("fixed.nii.gz", "warped.nii.gz")],
    ),
]
TRANSFORMING = [
    ("onto its image", TRANSFORM + "moving.nii.gz", []),
    ("onto its reference", TRANSFORM + "fixed.nii.gz", []),
    ("onto its transform", "transform -t truth.h5 --points fixed_points.csv --out truth.h5", []),
    (
        "onto its labels",
        "transform -t truth.h5 --labels moving_seg.nii.gz --reference fixed.nii.gz --out moving_seg.nii.gz",
        [],
    ),
    ("onto its points", "transform -t truth.h5 --points fixed_points.csv --out fixed_points.csv", []),
    (
        "onto its points, --inverse",
        "transform -t truth.h5 --inverse --points moving_points.csv --out ./moving_points.csv",
        [],
    ),
    ("onto a symbolic link to its image", TRANSFORM + "link.nii.gz", [linked("moving.nii.gz", "link.nii.gz")]),
    ("onto a hard link to its image", TRANSFORM + "link.nii.gz", [linked("moving.nii.gz", "link.nii.gz", hard=True)]),
    (
        "onto its image under another spelling, as where case is ignored",
        TRANSFORM + "MOVING.nii.gz",
        [linked("moving.nii.gz", "MOVING.nii.gz", hard=True)],
    ),
    (
        "onto the header of its .mhd image",
        "transform -t truth.h5 --image m.mhd --reference fixed.nii.gz --out m.mhd",
        [stored("moving.nii.gz", "m.mhd")],
    ),
    (
        ".nhdr whose voxels would be those of a .mhd image",
        "transform -t truth.h5 --image m.mhd --reference fixed.nii.gz --out m.nhdr",
        [stored("moving.nii.gz", "m.mhd")],
    ),
    (
        ".mhd whose voxels would be those of a .nhdr reference",
        "transform -t truth.h5 --image moving.nii.gz --reference f.nhdr --out f.mhd",
        [stored("fixed.nii.gz", "f.nhdr")],
    ),
    (
        ".mhd whose voxels are those of another header",
        "transform -t truth.h5 --image head.mhd --reference fixed.nii.gz --out voxels.mhd",
        [raw("voxels.raw"), header("head.mhd", [*MHD, "ElementDataFile = voxels.raw"])],
    ),
    (
        ".mhd whose voxels are those of a header in another folder",
        "transform -t truth.h5 --image head.mhd --reference fixed.nii.gz --out data/voxels.mhd",
        [raw("data/voxels.raw"), header("head.mhd", [*MHD, "ElementDataFile = data/voxels.raw"])],
    ),
    (
        "onto the voxels of an .img/.hdr image",
        "transform -t truth.h5 --image m.hdr --reference fixed.nii.gz --out m.img",
        [stored("moving.nii.gz", "m.img")],
    ),
    (
        "onto the header of an .img/.hdr image",
        "transform -t truth.h5 --image m.img --reference fixed.nii.gz --out m.hdr",
        [stored("moving.nii.gz", "m.img")],
    ),
]
EVALUATING = [
    ("-o onto its moving volume", EVALUATE + "moving.nii.gz", []),
    ("-o onto its fixed volume", EVALUATE + "./fixed.nii.gz", []),
    (
        "-o onto its segmentation",
        EVALUATE + "fixed_seg.nii.gz --fixed-seg fixed_seg.nii.gz --moving-seg moving_seg.nii.gz",
        [],
    ),
    ("-o onto its transform", EVALUATE + "truth.h5 -t truth.h5", []),
    (
        "-o onto its landmarks",
        EVALUATE + "p.json --fixed-points p.json --moving-points p.json",
        [text("p.json", [[0, 0, 0]])],
    ),
    (
        "-o onto a symbolic link to its moving volume",
        EVALUATE + "measures.json",
        [linked("moving.nii.gz", "measures.json")],
    ),
]
COMPARING = [
    (
        "moving volume in the folder of the linear run",
        "compare --fixed fixed.nii.gz --moving out/linear/warped.nii.gz -e sitk-demons --out out",
        [moved("moving.nii.gz", "out/linear/warped.nii.gz")],
    ),
    (
        "moving volume in the folder of the last engine",
        "compare --fixed fixed.nii.gz --moving out/sitk-bspline/warped.nii.gz -e sitk-demons,sitk-bspline --out out",
        [moved("moving.nii.gz", "out/sitk-bspline/warped.nii.gz")],
    ),
    (
        "landmarks called comparison.csv",
        COMPARE + "--fixed-points comparison.csv --moving-points moving_points.csv --out .",
        [moved("fixed_points.csv", "comparison.csv")],
    ),
    (
        "landmarks called comparison.json",
        COMPARE + "--fixed-points comparison.json --moving-points comparison.json --out .",
        [text("comparison.json", [[0, 0, 0]])],
    ),
    (
        "earlier run's folder is a symbolic link to the data",
        "compare --fixed fixed.nii.gz --moving data/warped.nii.gz -e sitk-demons --out out",
        [
            moved("moving.nii.gz", "data/warped.nii.gz"),
            lambda folder: (folder / "out").mkdir(),
            linked("data", "out/sitk-demons"),
        ],
    ),
]
OTHERS = [
    (
        "recommend --plot onto the moving volume",
        "recommend --fixed fixed.nii.gz --moving moving.nii.gz --plot moving.nii.gz",
        [],
    ),
    (
        "recommend --plot onto a symbolic link to the calibration",
        "recommend --fixed fixed.nii.gz --moving moving.nii.gz --calibration c.json --plot p.png",
        [text("c.json", {}), linked("c.json", "p.png")],
    ),
    (
        "calibrate --out onto its runs",
        "calibrate --runs runs.jsonl --data . --out runs.jsonl",
        [text("runs.jsonl", "{}\n"), text("manifest.json", {})],
    ),
    (
        "calibrate --out onto the manifest",
        "calibrate --runs runs.jsonl --data data --out data/manifest.json",
        [text("runs.jsonl", "{}\n"), text("data/manifest.json", {})],
    ),
    (
        "calibrate --out onto a volume of its data",
        "calibrate --runs runs.jsonl --data data --out data/a/fixed.nii.gz",
        [text("runs.jsonl", "{}\n"), text("data/manifest.json", {}), moved("fixed.nii.gz", "data/a/fixed.nii.gz")],
    ),
    (
        "reproduce --runs is the log it would append to",
        "reproduce mi-dice --phantom --runs out/units.jsonl --out out",
        [text("out/units.jsonl", '{"case": "a", "engine": "b", "dice": 0.5}\n')],
    ),
    (
        "reproduce --data is the summary it would write",
        "reproduce mi-dice --data out/mi-dice.json --out out",
        [text("out/mi-dice.json", {"training": []})],
    ),
    (
        "train on pairs listed in curves.csv of --out",
        TRAIN + "--data out/curves.csv --out out",
        [moved("fixed_points.csv", "out/curves.csv")],
    ),
    (
        "train on a dataset called training.json in --out",
        TRAIN + "--data ./out/training.json --out out",
        [text("out/training.json", {"training": []})],
    ),
    (
        "train --linear to a volume that is the checkpoint's name",
        TRAIN + "--data pairs.csv --linear out/curves.png --out out",
        [text("pairs.csv", "image\n"), moved("fixed.nii.gz", "out/curves.png")],
    ),
]
FOLDERS = [
    ("register --out is the DICOM folder", "register --fixed scan --moving moving.nii.gz --out scan", [dicom("scan")]),
    (
        "register --out is a symbolic link to the DICOM folder",
        "register --fixed fixed.nii.gz --moving scan --out link",
        [dicom("scan"), linked("scan", "link")],
    ),
    (
        "compare --out is the DICOM folder",
        "compare --fixed scan --moving moving.nii.gz -e sitk-demons --out scan",
        [dicom("scan")],
    ),
    (
        "transform writes into the DICOM folder of its image",
        "transform -t truth.h5 --image scan --reference fixed.nii.gz --out scan/warped.nii.gz",
        [dicom("scan")],
    ),
    (
        "evaluate writes into the DICOM folder",
        "evaluate --fixed scan --moving moving.nii.gz -o scan/measures.json",
        [dicom("scan")],
    ),
    (
        "train --out is the folder of its images",
        TRAIN + "--data data --out data",
        [moved("fixed.nii.gz", "data/a.nii.gz"), moved("moving.nii.gz", "data/b.nii.gz")],
    ),
    (
        "train --out is the folder of its label maps",
        TRAIN + "--data labels:data --out data",
        [moved("fixed_seg.nii.gz", "data/a.nii.gz")],
    ),
    (
        "train whose data are the prepared volumes of --out",
        TRAIN + "--data out/prepared --out out",
        [moved("fixed.nii.gz", "out/prepared/a.nii.gz")],
    ),
    (
        "reproduce --out is its data folder",
        "reproduce mi-dice --data data --out data",
        [moved("fixed.nii.gz", "data/a_t1.nii.gz"), moved("fixed_seg.nii.gz", "data/a_seg.nii.gz")],
    ),
]


def _named(command: str, table: Sequence[tuple[str, str, Sequence[Change]]], expect: Refused) -> list[Case]:
    return [
        Case("F", f"{command} {name}".strip(), arguments(words, *changes), expect) for name, words, changes in table
    ]


CASES = [
    *_named("register", REGISTERING, KEPT),
    *_named("transform", TRANSFORMING, KEPT),
    *_named("evaluate", EVALUATING, KEPT),
    *_named("compare", COMPARING, KEPT),
    *_named("", OTHERS, KEPT),
    *_named("", FOLDERS, FOLDER_KEPT),
]

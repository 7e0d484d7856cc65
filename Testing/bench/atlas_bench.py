"""Benchmarks of atlases, label fusion and longitudinal change; every part is resumed and writes OUT/PART.json.

Usage: OMP_NUM_THREADS=1 python Testing/bench/atlas_bench.py PART --data DATA --out OUT [--subjects N] ...
Parts: atlas, ants, hippocampus, lpba, growth, rescan; `page` writes COHORT_ATLAS.md from all of them.
"""

# ruff: noqa: E402 - thread limits must be set before numpy is imported

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DeepVsClassicReg"))

from DeepVsClassicRegLib.core.cohort.atlas_build import AtlasSettings, build_atlas, facts_json
from DeepVsClassicRegLib.core.cohort.atlas_fusion import dice_of
from DeepVsClassicRegLib.core.cohort.atlas_label import LabelRun, target_of
from DeepVsClassicRegLib.core.cohort.atlas_page import write_atlas_page
from DeepVsClassicRegLib.core.cohort.atlas_subjects import gather_subjects
from DeepVsClassicRegLib.core.cohort.monitor import MonitorSettings, monitor
from DeepVsClassicRegLib.core.cohort.monitor_page import write_monitor_page
from DeepVsClassicRegLib.core.device import cpu_seconds
from DeepVsClassicRegLib.core.engines.registration import register
from DeepVsClassicRegLib.core.images.io import read_labels, read_volume, write_volume
from DeepVsClassicRegLib.core.images.resample import warp_labels
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.phantom.growth import make_time_point, true_changes
from DeepVsClassicRegLib.core.phantom.head import SIZE_MM
from DeepVsClassicRegLib.core.transforms.files import read_transform, write_transform
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform

PAGE = Path(__file__).with_name("COHORT_ATLAS.md")
ENGINE = "instance"
PERCENTS = (0, 1, 2, 5, 10)


def lpba(data: Path, number: int) -> tuple[Path, Path]:
    """Return image and labels of an LPBA40 subject at 2 mm."""
    folder = data / "training/indomain_2mm/lpba40"
    return folder / f"S{number}_t1.nii.gz", folder / f"S{number}_lpba.nii.gz"


def mean_dice(fixed_labels: Path, moving_labels, transform: Transform, grid) -> float:
    """Return the mean Dice of labels warped to a fixed subject."""
    truth = read_labels(fixed_labels)
    warped = warp_labels(moving_labels, grid, transform)
    return float(np.mean(list(dice_of(truth, warped).values())))


def pairwise(fixed: Path, moving: Path, cache: Path) -> tuple[Transform, float]:
    """Return the transform of a registration and its CPU seconds, from a file when it is there."""
    facts = cache.with_suffix(".json")
    if not facts.is_file():
        cache.parent.mkdir(parents=True, exist_ok=True)
        begin = cpu_seconds()
        result = register(Pair(read_volume(fixed), read_volume(moving)), ENGINE, threads=1)
        write_transform(result.transform, cache)
        facts.write_text(json.dumps(cpu_seconds() - begin), encoding="utf-8")
    return read_transform(cache), json.loads(facts.read_text(encoding="utf-8"))


def others_of(options) -> list[int]:
    """Return the numbers of the subjects that are not in the atlas."""
    return list(range(40 - options.others + 1, 41))


def score_atlas(template: Path, labels, options, name: str) -> dict:
    """Return the Dice of other subjects with the atlas labels, and of pairs of them through the atlas."""
    maps = {}
    for number in others_of(options):
        cache = options.out / "work" / f"{name}_{number}.h5"
        maps[number] = pairwise(lpba(options.data, number)[0], template, cache)[0]
    backs = {}
    for number in others_of(options):
        cache = options.out / "work" / f"{name}_{number}_back.h5"
        backs[number] = pairwise(template, lpba(options.data, number)[0], cache)[0]
    to_atlas = []
    for number, transform in maps.items():
        image, own = lpba(options.data, number)
        to_atlas.append(mean_dice(own, labels, transform, read_volume(image).grid))
    through = []
    for fixed, moving in itertools.permutations(maps, 2):
        chain = Transform.of([maps[fixed], backs[moving]])
        image, own = lpba(options.data, fixed)
        through.append(mean_dice(own, read_labels(lpba(options.data, moving)[1]), chain, read_volume(image).grid))
    return {"to": to_atlas, "through": through}


def atlas(options) -> dict:
    """Build an atlas and compare it with single subjects as the reference."""
    numbers = list(range(11, 11 + options.subjects))
    files = [lpba(options.data, number) for number in numbers]
    subjects = gather_subjects([image for image, _ in files], [own for _, own in files])
    begin = cpu_seconds()
    folder = options.out / f"atlas{options.subjects}"
    settings = AtlasSettings(engine=ENGINE, rounds=options.rounds, still=0.0)
    found = build_atlas(subjects, folder, settings)
    total = cpu_seconds() - begin
    write_atlas_page(found)
    facts = facts_json(found)
    scores = score_atlas(folder / "template.nii.gz", found.segmentation, options, f"atlas{options.subjects}")
    single = {}
    for number in numbers[: options.single]:
        image, own = lpba(options.data, number)
        single[number] = score_atlas(image, read_labels(own), options, f"single{number}")
    direct = []
    for fixed, moving in itertools.permutations(others_of(options), 2):
        cache = options.out / "work" / f"direct_{fixed}_{moving}.h5"
        transform, _ = pairwise(lpba(options.data, fixed)[0], lpba(options.data, moving)[0], cache)
        image, own = lpba(options.data, fixed)
        direct.append(mean_dice(own, read_labels(lpba(options.data, moving)[1]), transform, read_volume(image).grid))
    facts |= {"subjects": options.subjects, "others": others_of(options), "cpu_total": total}
    return {"facts": facts, "atlas": scores, "single": single, "direct": direct}


def ants(options) -> dict:
    """Build a template of the same subjects with antspyx in as many rounds, and score it in the same way."""
    import ants as antspy

    numbers = list(range(11, 11 + options.subjects))
    folder = options.out / f"ants{options.subjects}"
    folder.mkdir(parents=True, exist_ok=True)
    template = folder / "template.nii.gz"
    facts = folder / "facts.json"
    images = [antspy.image_read(str(lpba(options.data, number)[0])) for number in numbers]
    spent = json.loads(facts.read_text(encoding="utf-8")) if facts.is_file() else []
    # Round by round, which is the same computation, so that it can be continued.
    for _ in range(len(spent), options.rounds):
        begin = cpu_seconds()
        before = antspy.image_read(str(template)) if template.is_file() else None
        built = antspy.build_template(initial_template=before, image_list=images, iterations=1, type_of_transform="SyN")
        antspy.image_write(built, str(template))
        spent.append(cpu_seconds() - begin)
        facts.write_text(json.dumps(spent), encoding="utf-8")
        print(f"round {len(spent)}: {spent[-1]:.0f} CPU s", flush=True)
    from DeepVsClassicRegLib.core.cohort.atlas_average import count_votes

    votes = []
    for number in numbers:
        cache = options.out / "work" / f"ants{options.subjects}_member_{number}.h5"
        transform, _ = pairwise(template, lpba(options.data, number)[0], cache)
        votes.append((read_labels(lpba(options.data, number)[1]), transform))
    grid = read_volume(template).grid
    labels = count_votes(votes, grid).majority()
    scores = score_atlas(template, labels, options, f"ants{options.subjects}")
    return {
        "cpu": json.loads(facts.read_text(encoding="utf-8")),
        "scores": scores,
        "rounds": options.rounds,
        "subjects": options.subjects,
    }


def label_rows(targets, atlases, counts, options, name: str) -> list[dict]:
    """Label every target with several numbers of atlases and fusions."""
    rows = []
    for image, own in targets:
        target = target_of(image, own)
        run = LabelRun(target, [one for one in atlases if one.digest != target.digest], options.out / name, ENGINE)
        for count in counts:
            for fusion in ("majority", "staple", "joint") if count > 1 else ("majority",):
                found = run.label(count, fusion)
                rows.append({"target": target.name, "count": count, "fusion": fusion, "dice": found.mean_dice})
        rows[-1]["cpu"] = run.cpu_seconds
        print(target.name, rows[-1], flush=True)
    return rows


def hippocampus(options) -> dict:
    """Multi-atlas segmentation of the visible hippocampi by those of the training set."""
    training = sorted((options.data / "training/indomain_1mm/hippocampus_msd").glob("*_t1.nii.gz"))
    chosen = training[:: max(1, len(training) // options.atlases)][: options.atlases]
    atlases = gather_subjects(chosen, [Path(str(path).replace("_t1", "_label")) for path in chosen], need_labels=True)
    visible = sorted((options.data / "visible/hippocampus_msd").glob("*_t1.nii.gz"))[: options.targets]
    targets = [(path, Path(str(path).replace("_t1", "_label"))) for path in visible]
    rows = label_rows(targets, atlases, [n for n in (1, 5, 15) if n <= len(atlases)], options, "hippocampus")
    return {"rows": rows, "atlases": len(atlases), "targets": len(targets)}


def lpba_labels(options) -> dict:
    """Multi-atlas segmentation of LPBA40 subjects."""
    files = [lpba(options.data, number) for number in range(11, 11 + options.atlases)]
    atlases = gather_subjects([image for image, _ in files], [own for _, own in files], need_labels=True)
    targets = [lpba(options.data, number) for number in range(40 - options.targets + 1, 41)]
    rows = label_rows(targets, atlases, [n for n in (1, 5, 10, 15) if n <= len(atlases)], options, "lpba")
    return {"rows": rows, "atlases": len(atlases), "targets": len(targets)}


def pose(degrees: float, shift) -> Affine:
    """Return a turn about the axis of the head, and a shift in mm."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return Affine(turn, np.array(shift))


def changes_of(percent: float) -> dict[int, float]:
    """Return the changes of one follow-up: three structures shrink, three grow."""
    return {17: -percent, 53: percent, 51: -percent, 12: percent, 8: -percent, 43: percent} if percent else {}


def growth(options) -> dict:
    """Measure phantoms with known growth and atrophy, in both orders."""
    spacing = options.spacing or 2.0
    size = round(SIZE_MM / spacing)
    folder = options.out / f"growth{size}"
    folder.mkdir(parents=True, exist_ok=True)
    for number, percent in enumerate(("base", *PERCENTS)):
        path = folder / f"{percent}_t1.nii.gz"
        if not path.is_file():
            changes = {} if percent == "base" else changes_of(percent)
            where = None if percent == "base" else pose(3 + number, (2.3 - number, 1.1, -1.7 + number))
            image, labels = make_time_point(changes, size=size, seed=100 + number, pose=where, name=str(percent))
            write_volume(labels, folder / f"{percent}_seg.nii.gz")
            write_volume(image, path)
    base = target_of(folder / "base_t1.nii.gz", folder / "base_seg.nii.gz")
    earlier = results_file(options)
    rows = json.loads(earlier.read_text(encoding="utf-8"))["rows"] if earlier.is_file() else []
    missing = [percent for percent in options.percents if percent not in {row["percent"] for row in rows}]
    found = {"rows": rows, "spacing": spacing, "rescans": not options.no_rescans}
    for percent in missing:
        truth = true_changes(changes_of(percent))
        later = target_of(folder / f"{percent}_t1.nii.gz")
        settings = MonitorSettings(rescans=not options.no_rescans, sessions_percent=0)
        out = options.out / f"growth{size}_{percent}{options.tag}"
        changed = {name: json.loads(value) for name, value in (one.split("=", 1) for one in options.set)}
        there = monitor([base, later], out, settings, engine_settings=changed)
        write_monitor_page(there)
        # In the other order no registration is repeated, only what is computed from them.
        is_first = not rows
        back = monitor([later, base], out, settings, engine_settings=changed) if is_first else None
        for number, trend in enumerate(there.trends):
            change = trend.changes[0]
            rows.append(
                {
                    "percent": percent,
                    "label": trend.label,
                    "name": trend.name,
                    "truth": truth[trend.label],
                    "found": change.percent,
                    "uncertainty": change.uncertainty,
                    "reversed": back.trends[number].changes[0].percent if back else None,
                    "no_change": trend.no_change,
                    "volume_ml": trend.first_mm3 / 1000,
                    "cpu": there.cpu_seconds,
                }
            )
        wrong = [abs(row["found"] - row["truth"]) for row in rows if row["percent"] == percent]
        save(found, options)
        print(percent, f"mean error {np.mean(wrong):.2f} largest {np.max(wrong):.2f} points", flush=True)
    return found


def rescan(options) -> dict:
    """Measure the scan-rescan pair of OASIS, which did not change."""
    folder = options.data / "visible/brain_malf_oasis"
    first = target_of(folder / "1003_t1.nii.gz", folder / "1003_fs.nii.gz")
    second = target_of(folder / "1023_t1.nii.gz")
    settings = MonitorSettings(spacing_mm=options.spacing, rescans=not options.no_rescans, sessions_percent=0)
    found = monitor([first, second], options.out / "rescan", settings)
    write_monitor_page(found)
    rows = [
        {
            "label": trend.label,
            "volume_ml": trend.first_mm3 / 1000,
            "found": trend.changes[0].percent,
            "uncertainty": trend.changes[0].uncertainty,
            "no_change": trend.no_change,
        }
        for trend in found.trends
    ]
    return {
        "rows": rows,
        "cpu": found.cpu_seconds,
        "spacing": found.scans[0].grid.spacing_mm[0],
        "correlation": found.residual,
    }


def save(found: dict, options) -> None:
    """Write the results of a part, from which the page is written."""
    results_file(options).write_text(json.dumps(found, indent=1), encoding="utf-8")


def results_file(options) -> Path:
    """Return the file with the results of a part."""
    number = {"atlas": options.subjects, "ants": options.subjects, "growth": round(SIZE_MM / (options.spacing or 2.0))}
    name = f"{options.part}{number.get(options.part, '')}{options.tag}"
    return options.out / f"{name}.json"


PARTS = {
    "atlas": atlas,
    "ants": ants,
    "hippocampus": hippocampus,
    "lpba": lpba_labels,
    "growth": growth,
    "rescan": rescan,
}


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=[*PARTS, "page"])
    parser.add_argument("--data", type=Path, default=Path("/work/shared/data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--subjects", type=int, default=8, help="subjects of the atlas")
    parser.add_argument("--others", type=int, default=4, help="other subjects that are registered to it")
    parser.add_argument("--single", type=int, default=3, help="single subjects as the reference")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--atlases", type=int, default=20)
    parser.add_argument("--targets", type=int, default=6)
    parser.add_argument("--percents", type=lambda text: [int(p) for p in text.split(",")], default=list(PERCENTS))
    parser.add_argument("--spacing", type=float, default=0.0, help="voxel size in mm (growth, rescan)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="setting of the engine (growth)"
    )
    parser.add_argument("--no-rescans", action="store_true", help="without simulated rescans (growth, rescan)")
    parser.add_argument("--tag", default="", help="end of the names of the folders of growth")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.part == "page":
        from atlas_bench_page import write_page

        write_page(options.out, PAGE)
        return
    save(PARTS[options.part](options), options)


if __name__ == "__main__":
    main()

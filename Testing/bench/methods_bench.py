"""Every learned method trained alike through `dvcreg train`, and judged beside the classical engines.

Trained on the hippocampus crops of the training folder; judged on the visible hippocampus pairs (in-domain: the same
data set, other subjects) and on hippocampus crops cut from visible brains of other sources (elsewhere). Every training
has the same budget of CPU minutes and one thread. All engines begin with the same linear starts.

Resumable: a row whose JSON has the same budget, seed and settings is not measured again; trainings go on where they
were stopped; finished registrations are kept under --out. Several of these commands may run at a time, each with
other --methods, once the classical rows are there (--methods none). `methods_page.py` writes METHODS.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean, median

for variable in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ.setdefault(variable, "1")  # before the libraries are loaded that read them

import one  # noqa: E402
from bench import read_runs, run_all  # noqa: E402
from cases import Case, read_cases  # noqa: E402
from hippocampus_crops import make_crops  # noqa: E402
from methods_page import write_page  # noqa: E402

HERE = Path(__file__).parent
ROWS = HERE / "methods"
TRAINING = Path("training/indomain_1mm/hippocampus_msd")
CLASSICAL = ("linear", "instance", "elastix", "greedy", "ants:quick")
SUPERVISION = {"labels": ("labels",), "images": ("none", "momentum")}  # momenta are optimized between two images
LEARNING_RATE = "1e-3"
# 1.5 mm: a step takes a third of its time at the 1 mm of the volumes, and the fields are smooth.
GRID = ("--size", "32,48,32", "--spacing", "1.5")
IN_DOMAIN, ELSEWHERE = "in_domain", "elsewhere"


def main() -> None:
    """Measure what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.json and training/")
    parser.add_argument("--out", type=Path, required=True, help="folder of trainings and runs")
    parser.add_argument("--methods", default="all", help="all, none (classical only), or names, comma separated")
    parser.add_argument("--supervision", default="labels,images")
    parser.add_argument("--minutes", type=float, default=10.0, help="CPU minutes of every training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--trained", type=Path, help="judge this training of `dvcreg train` too; --minutes: its CPU time"
    )
    parser.add_argument("--learning-rate", default=LEARNING_RATE)
    # In ten minutes no network sees all pairs of 200 subjects: voxelmorph learns twice as fast without augmentation.
    parser.add_argument("--augment", default="", help="augmentation, as of `dvcreg train`")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="setting of the method")
    arguments = parser.parse_args()
    ROWS.mkdir(exist_ok=True)
    sets = {IN_DOMAIN: arguments.data, ELSEWHERE: make_crops(arguments.data, arguments.out / "crops")}
    cases = {IN_DOMAIN: read_cases(arguments.data, only="hippo"), ELSEWHERE: read_cases(sets[ELSEWHERE])}
    judge_classical(cases, sets, arguments.out)
    if arguments.trained is not None:
        row = {**adopted(arguments.trained, arguments), **judge(arguments.trained, cases, sets, arguments.out)}
        row["cpu_minutes"] = arguments.minutes
        write_row(ROWS / f"{arguments.trained.name}-{arguments.minutes:g}min.json", row)
    for method, supervision in wanted(arguments.methods, arguments.supervision):
        path = ROWS / f"{row_name(method, supervision, arguments)}.json"
        if not is_measured(path, arguments):
            print(path.stem, flush=True)
            write_row(path, learned_row(method, supervision, cases, sets, arguments))
    write_page(ROWS, HERE / "METHODS.md")


def row_name(method: str, supervision: str, arguments: argparse.Namespace) -> str:
    """Return the name of a row, which tells all that may differ between trainings of a method."""
    settings = "".join(f"-{entry.replace('=', '').replace(' ', '-')}" for entry in shown_settings(arguments))
    seed = f"-seed{arguments.seed}" if arguments.seed else ""
    return f"{method}-{supervision}-{arguments.minutes:g}min{settings}{seed}"


def shown_settings(arguments: argparse.Namespace) -> list[str]:
    """Return what differs from the trainings of all other methods."""
    rate = [] if arguments.learning_rate == LEARNING_RATE else [f"learning-rate={arguments.learning_rate}"]
    augmentation = [f"{arguments.augment} augmentation"] if arguments.augment else []
    return [*arguments.set, *rate, *augmentation]


def is_measured(path: Path, arguments: argparse.Namespace) -> bool:
    """Return whether the row is there and was measured with this budget."""
    return path.is_file() and json.loads(path.read_text(encoding="utf-8"))["budget_minutes"] == arguments.minutes


def wanted(methods: str, supervision: str) -> list[tuple[str, str]]:
    """Return the (method, supervision) of the catalogue that predict a field of volumes and can be trained so."""
    from DeepVsClassicRegLib.core.networks.catalogue import field_methods

    able = field_methods(3)
    names = {"all": able, "none": ()}.get(methods, methods.split(","))
    unknown = [name for name in names if name not in able]
    if unknown:
        raise SystemExit(f"Not a method that predicts a field of volumes: {', '.join(unknown)}")
    return [(name, shown) for name in names for shown in supervision.split(",") if way_of(name, shown)]


def way_of(method: str, shown: str) -> str:
    """Return how `dvcreg train` calls this supervision of a method, '' when the method cannot be trained so."""
    from DeepVsClassicRegLib.core.networks.catalogue import get_method

    return next((way for way in SUPERVISION[shown] if way in get_method(method).info.supervision), "")


def judge_classical(cases: dict[str, list[Case]], sets: dict[str, Path], out: Path) -> None:
    """Write the rows of the classical engines that have none; their linear starts serve every other row.

    A row of another machine or folder stays as it is: remove its file to measure it again.
    """
    missing = [engine for engine in CLASSICAL if not classical_row(engine).is_file()]
    runs = {}
    for name, folder in sets.items():
        place = out / f"classical-{name}"
        place.mkdir(parents=True, exist_ok=True)
        settings = argparse.Namespace(data=folder, out=place, threads=1, model="")
        run_all(cases[name], [engine for engine in missing if engine != "linear"], settings)
        runs[name] = read_runs(place)
    for engine in missing:
        chosen = {name: [run for run in found if run["engine"] == engine] for name, found in runs.items()}
        row = {"method": engine, "supervision": "", **scores(chosen)}
        write_row(classical_row(engine), row)


def classical_row(engine: str) -> Path:
    """Return the file of the row of a classical engine."""
    return ROWS / f"classical-{engine.replace(':', '-')}.json"


def learned_row(
    method: str, supervision: str, cases: dict[str, list[Case]], sets: dict[str, Path], arguments: argparse.Namespace
) -> dict:
    """Train, judge, and return the row; a training that fails becomes a row that says so."""
    row = {"method": method, "supervision": supervision, "budget_minutes": arguments.minutes, "seed": arguments.seed}
    row["settings"] = shown_settings(arguments)
    folder = arguments.out / row_name(method, supervision, arguments)
    code = train(method, supervision, folder, arguments)
    if code:
        return {**row, "status": "failed", "reason": f"dvcreg train ended with exit code {code}"}
    return {**row, **judge(folder, cases, sets, arguments.out)}


def adopted(folder: Path, arguments: argparse.Namespace) -> dict:
    """Return the first entries of the row of a training that was not made by this program."""
    from DeepVsClassicRegLib.core.networks.catalogue import get_method
    from DeepVsClassicRegLib.core.settings import to_json
    from DeepVsClassicRegLib.core.training.config import read_config

    config = read_config(folder)
    usual = to_json(get_method(config.method).info.settings())
    changed = [f"{name}={value}" for name, value in config.method_settings.items() if value != usual[name]]
    return {
        "method": config.method,
        "supervision": next(words for words, ways in SUPERVISION.items() if config.supervision in ways),
        "budget_minutes": arguments.minutes,
        "seed": config.train.seed,
        "settings": [*changed, f"learning-rate={config.train.learning_rate:g}", f"steps={config.train.steps}"],
    }


def judge(folder: Path, cases: dict[str, list[Case]], sets: dict[str, Path], out: Path) -> dict:
    """Return the entries of a row that tell how a training went and what its model reaches."""
    runs = {
        name: [judged(case, sets[name], folder / "model", out / f"classical-{name}") for case in chosen]
        for name, chosen in cases.items()
    }
    return {**training_facts(folder), **scores(runs)}


def train(method: str, supervision: str, folder: Path, arguments: argparse.Namespace) -> int:
    """Train through the program with one thread, or go on with a training, and return the exit code."""
    command = [sys.executable, "-m", "DeepVsClassicRegLib.cli.main", "train", "--resume", "--out", str(folder)]
    command += [
        "--method",
        method,
        "--data",
        str(arguments.data / TRAINING),
        "--supervision",
        way_of(method, supervision),
    ]
    # Aligned like the pairs in use: from where the headers put them most networks learn little but the alignment.
    command += ["--linear", "first", *GRID, "--validation", "20", "--threads", "1"]
    if arguments.augment:
        command += ["--augment", arguments.augment]
    command += ["--hours", str(round(arguments.minutes / 60, 5)), "--clock", "cpu", "--schedule", "cosine"]
    command += ["--learning-rate", arguments.learning_rate, "--warmup", "50", "--average", "0.99"]
    command += ["--validate-every", "200"]
    command += ["--seed", str(arguments.seed)]
    for entry in arguments.set:
        command += ["--set", entry]
    share_prepared(folder)
    with (folder.parent / f"{folder.name}.log").open("a", encoding="utf-8") as log:
        return subprocess.run(command, stdout=log, stderr=log, check=False).returncode


def share_prepared(folder: Path) -> None:
    """Let all trainings use the same aligned and resampled volumes."""
    folder.mkdir(parents=True, exist_ok=True)
    prepared = folder.parent / "prepared"
    prepared.mkdir(exist_ok=True)
    if not (folder / "prepared").exists():
        (folder / "prepared").symlink_to(prepared, target_is_directory=True)


def training_facts(folder: Path) -> dict:
    """Return what the training's files say: CPU minutes, steps, values of the weights, validation Dice."""
    from safetensors import safe_open

    with (folder / "validation.csv").open(encoding="utf-8", newline="") as file:
        checks = list(csv.DictReader(file))
    with safe_open(next((folder / "model").glob("*.safetensors")), "numpy") as tensors:
        parameters = sum(tensors.get_tensor(key).size for key in tensors.keys())  # noqa: SIM118 - not a mapping
    return {
        "parameters": parameters,
        "steps": int(checks[-1]["step"]),
        "kept_step": int(max(checks, key=lambda check: float(check["dice"]))["step"]),
        "cpu_minutes": round(60 * float(checks[-1]["hours"]), 2),
        "validation_dice_before": float(checks[0]["dice_before"]),
        "validation_dice": max(float(check["dice"]) for check in checks),
    }


def judged(case: Case, data: Path, model: Path, starts: Path) -> dict:
    """Register a pair with a model, from the linear start that the classical engines had, in this process."""
    start = starts / ("".join(letter if letter.isalnum() else "_" for letter in case.name) + ".h5")
    run = one.run(
        argparse.Namespace(data=data, case=case.name, engine="network", start=start, threads=1, model=str(model))
    )
    return {"case": case.name, **run}


def scores(runs: dict[str, list[dict]]) -> dict:
    """Return means over the pairs of each set, and the Dice of every pair; one failed pair fails the row."""
    failed = [f"{run['case']}: {run['reason']}" for found in runs.values() for run in found if run["status"] != "done"]
    if failed:
        return {"status": "failed", "reason": "; ".join(failed)}
    sets = {
        name: {
            "dice": round(mean(run["dice"] for run in found), 5),
            "folds": round(mean(run["folds"] for run in found), 5),
            "seconds": round(median(run["seconds"] for run in found), 2),
            "starts_kept": sum("linear start is kept" in " ".join(run["notes"]) for run in found),
            "pairs": {run["case"]: run["dice"] for run in found},
        }
        for name, found in runs.items()
    }
    return {"status": "done", **sets}


def write_row(path: Path, row: dict) -> None:
    """Write one JSON file."""
    path.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

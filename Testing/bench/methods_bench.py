"""Every learned method trained alike through `dvcreg train`, and judged beside the classical engines.

Resumable: a row whose JSON has the same budget and seed is not repeated; trainings go on with --resume, and finished
registrations are kept under --out. `--page` only writes METHODS.md from the JSON files.

Only the classical rows have been made with it so far: the training of a learned row has not been run to its end.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean

from bench import read_runs, run_all
from cases import read_cases
from table import formatted, markdown

HERE = Path(__file__).parent
ROWS = HERE / "methods"
TRAINING = Path("training/indomain_1mm/hippocampus_msd")
CLASSICAL = ("linear", "instance", "elastix", "greedy")
SUPERVISION = {"labels": "labels", "images": "none"}
REFERENCE = "classical-instance"
# The paper's in-domain claim: supervised methods gain at least this much Dice over the best classical one.
CLAIM = 0.05


def main() -> None:
    """Measure what is missing, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with manifest.json and training/")
    parser.add_argument("--out", type=Path, help="folder of trainings and runs")
    parser.add_argument("--methods", default="all", help="all, none (classical only), or names, comma separated")
    parser.add_argument("--supervision", default="labels,images")
    parser.add_argument("--minutes", type=float, default=20.0, help="wall minutes of every training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", action="store_true", help="write METHODS.md from the JSON files, measure nothing")
    arguments = parser.parse_args()
    if not arguments.page:
        if arguments.data is None or arguments.out is None:
            parser.error("--data and --out are needed to measure")
        measure_all(arguments)
    (HERE / "METHODS.md").write_text(page(read_rows()), encoding="utf-8")


def measure_all(arguments: argparse.Namespace) -> None:
    """Write the JSON file of every classical engine and of every wanted (method, supervision)."""
    ROWS.mkdir(exist_ok=True)
    runs = register_all(arguments, arguments.out / "classical", list(CLASSICAL))
    for name in CLASSICAL:
        chosen = [run for run in runs if run["engine"] == name]
        write_row(f"classical-{name}", {"method": name, "supervision": "", **scores(chosen)})
    for method, supervision in wanted(arguments.methods, arguments.supervision):
        name = f"{method}-{supervision}"
        path = ROWS / f"{name}.json"
        if path.is_file() and same_budget(json.loads(path.read_text(encoding="utf-8")), arguments):
            continue
        print(name, flush=True)
        write_row(name, {"method": method, "supervision": supervision, **learned_row(method, supervision, arguments)})


def same_budget(row: dict, arguments: argparse.Namespace) -> bool:
    """Return whether the row was measured with this budget and seed."""
    return (row.get("budget_wall_minutes"), row.get("seed")) == (arguments.minutes, arguments.seed)


def wanted(methods: str, supervision: str) -> list[tuple[str, str]]:
    """Return the (method, supervision) of the catalogue that predict a field of volumes and can be trained so."""
    from DeepVsClassicRegLib.core.networks.catalogue import method_infos

    able = {info.name: info for info in method_infos() if info.kind == "field" and 3 in info.dimensions}
    names = {"all": list(able), "none": []}.get(methods, methods.split(","))
    unknown = [name for name in names if name not in able]
    if unknown:
        raise SystemExit(f"Not a method that predicts a field of volumes: {', '.join(unknown)}")
    return [
        (name, shown)
        for name in names
        for shown in supervision.split(",")
        if SUPERVISION[shown] in able[name].supervision
    ]


def learned_row(method: str, supervision: str, arguments: argparse.Namespace) -> dict:
    """Train, judge, and return the row; a training that fails becomes a row that says so."""
    folder = arguments.out / f"{method}-{supervision}-{arguments.seed}"
    training = folder / "training"
    budget = {"budget_wall_minutes": arguments.minutes, "seed": arguments.seed}
    code = train(method, supervision, training, arguments)
    if code:
        return {**budget, "status": "failed", "reason": f"dvcreg train ended with exit code {code}"}
    facts = training_facts(training)
    # Another number of steps is another model: its registrations get a folder of their own.
    judged = folder / f"runs-{facts['steps']}"
    reuse_linear(arguments.out / "classical", judged)
    runs = register_all(arguments, judged, ["network"], model=training / "model")
    return {**budget, **facts, **scores([run for run in runs if run["engine"] == "network"])}


def train(method: str, supervision: str, out: Path, arguments: argparse.Namespace) -> int:
    """Train through the program, add the CPU seconds of the child to cpu.json, return the exit code."""
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "DeepVsClassicRegLib.cli.main", "train", "--resume", "--out", str(out)]
    command += ["--method", method, "--data", str(arguments.data / TRAINING), "--supervision", SUPERVISION[supervision]]
    command += ["--size", "own", "--augment", "usual", "--validation", "20", "--threads", "1"]
    command += ["--hours", str(round(arguments.minutes / 60, 5)), "--seed", str(arguments.seed)]
    before = child_cpu_seconds()
    with (out.parent / "log.txt").open("a", encoding="utf-8") as log:
        code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    path = out.parent / "cpu.json"
    former = json.loads(path.read_text(encoding="utf-8"))["cpu_seconds"] if path.is_file() else 0.0
    path.write_text(json.dumps({"cpu_seconds": round(former + child_cpu_seconds() - before, 1)}), encoding="utf-8")
    return code


def child_cpu_seconds() -> float:
    """Return the CPU seconds of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def training_facts(training: Path) -> dict:
    """Return what the training's files say: steps, values of the weights, validation Dice, CPU minutes."""
    from safetensors import safe_open

    with (training / "validation.csv").open(encoding="utf-8", newline="") as file:
        checks = list(csv.DictReader(file))
    weights = next((training / "model").glob("*.safetensors"))
    with safe_open(weights, "numpy") as tensors:
        parameters = sum(tensors.get_tensor(key).size for key in tensors.keys())  # noqa: SIM118 - not a mapping
    cpu = json.loads((training.parent / "cpu.json").read_text(encoding="utf-8"))["cpu_seconds"]
    return {
        "parameters": parameters,
        "steps": int(checks[-1]["step"]),
        "kept_step": int(max(checks, key=lambda check: float(check["dice"]))["step"]),
        "cpu_minutes": round(cpu / 60, 2),
        "validation_dice_before": float(checks[0]["dice_before"]),
        "validation_dice": max(float(check["dice"]) for check in checks),
    }


def reuse_linear(source: Path, target: Path) -> None:
    """Give a folder of runs the linear starts of another one, so that every engine begins alike."""
    target.mkdir(parents=True, exist_ok=True)
    if (target / "runs.jsonl").is_file():
        return
    for start in source.glob("*.h5"):
        shutil.copy2(start, target)
    lines = [json.dumps(run) + "\n" for run in read_runs(source) if run["engine"] == "linear"]
    (target / "runs.jsonl").write_text("".join(lines), encoding="utf-8")


def register_all(arguments: argparse.Namespace, out: Path, engines: list[str], model: Path | str = "") -> list[dict]:
    """Run the engines on the visible hippocampus pairs, one thread, and return all finished runs of the folder."""
    out.mkdir(parents=True, exist_ok=True)
    settings = argparse.Namespace(data=arguments.data, out=out, threads=1, model=str(model))
    run_all(read_cases(arguments.data, only="hippo"), [name for name in engines if name != "linear"], settings)
    return read_runs(out)


def scores(runs: list[dict]) -> dict:
    """Return the means and the Dice of every pair."""
    done = [run for run in runs if run["status"] == "done"]
    if not done:
        return {"status": "failed", "reason": "no pair was registered"}
    means = {key: round(mean(run[key] for run in done), 5) for key in ("dice", "folds", "seconds", "cpu_seconds")}
    failed = [run["case"] for run in runs if run["status"] != "done"]
    return {"status": "done", **means, "pairs": {run["case"]: run["dice"] for run in done}, "failed_pairs": failed}


def write_row(name: str, row: dict) -> None:
    """Write one JSON file."""
    (ROWS / f"{name}.json").write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


def read_rows() -> dict[str, dict]:
    """Return the rows by name, the best mean Dice first, failed ones last."""
    rows = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(ROWS.glob("*.json"))}
    return dict(sorted(rows.items(), key=lambda item: -item[1].get("dice", -1.0)))


def against(row: dict, other: dict) -> tuple[float, float, int]:
    """Return mean gain in Dice, p of the Wilcoxon signed-rank test and the number of pairs both have."""
    from scipy.stats import wilcoxon

    both = [case for case in row["pairs"] if case in other["pairs"]]
    gains = [row["pairs"][case] - other["pairs"][case] for case in both]
    return mean(gains), float(wilcoxon(gains).pvalue) if any(gains) else 1.0, len(both)


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """Return the p values adjusted for their number (Holm 1979)."""
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return adjusted


def claim(rows: dict[str, dict]) -> str:
    """Return whether supervised methods beat the best classical one by `CLAIM`: one-sided Wilcoxon tests at 5 %."""
    from scipy.stats import wilcoxon

    classical = [row for name, row in rows.items() if name.startswith("classical-")]
    learned = [row for row in rows.values() if row["supervision"] == "labels"]
    if not classical or not learned:
        return "undecided (no supervised method has been judged)"
    both = [case for case in learned[0]["pairs"] if case in classical[0]["pairs"]]
    excess = [learned[0]["pairs"][case] - classical[0]["pairs"][case] - CLAIM for case in both]
    above, below = (wilcoxon(excess, alternative=side).pvalue for side in ("greater", "less"))
    return "holds" if above < 0.05 else "fails" if below < 0.05 else "undecided"


def page(rows: dict[str, dict]) -> str:
    """Return METHODS.md."""
    done = {name: row for name, row in rows.items() if row["status"] == "done"}
    others = [name for name in done if name != REFERENCE and REFERENCE in done]
    tests = {name: against(done[name], done[REFERENCE]) for name in others}
    p_values = holm({name: test[1] for name, test in tests.items()})
    table = []
    for name, row in rows.items():
        test = [f"{tests[name][0]:+.3f}", f"{p_values[name]:.3g}"] if name in tests else ["", ""]
        cells = [formatted(row.get(key), key) for key in ("dice", "folds", "seconds")]
        budget = [
            str(row.get(key, "")) for key in ("cpu_minutes", "steps", "kept_step", "parameters", "validation_dice")
        ]
        table.append([name, str(len(row.get("pairs", ()))), *cells, *test, *budget])
    head = ["row", "pairs", "Dice", "folds %", "s per pair", "gain on instance", "p (Holm)"]
    head += ["training CPU min", "steps", "kept step", "parameters", "validation Dice"]
    return "\n\n".join(
        [
            "# Learned methods against classical engines: hippocampus, in-domain",
            "Written by `methods_bench.py --page`. One thread per run; the same linear start for every engine.",
            markdown(head, table),
            f"Supervised at least {CLAIM} Dice above the best classical engine: {claim(done)}.",
            "Not measured: every (method, supervision) without a row above; crops from elsewhere; other anatomies.\n",
        ]
    )


if __name__ == "__main__":
    main()

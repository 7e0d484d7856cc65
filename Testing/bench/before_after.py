"""Two trees of this project side by side: Dice, landmark error, folds and CPU seconds of engines on the same pairs.

Usage: python Testing/bench/before_after.py --before TREE --data DATA --out OUT [--trials 3]

TREE is a checkout of the former version (`git worktree add ../before COMMIT && ln -s $PWD/.venv ../before/.venv`). Both
trees start from the linear alignment of this one; each run is a process of its own with one thread, and the trees take
turns. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from table import markdown

HERE = Path(__file__).resolve().parents[2]
CASES = (
    "hippo 015->014",
    "liver_mr dataset19 cyc_1_6",
    "lung_ct",
    "lpba40:S02->S01",
    "abdomen mr->ct",
)
ENGINES = ("instance", "network", "elastix")


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=3, help="counted runs of each tree")
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--cases", default=",".join(CASES))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    trees = {"before": arguments.before.resolve(), "after": HERE}
    cases, engines = arguments.cases.split(","), arguments.engines.split(",")
    for tree in trees.values():  # compiles the kernels
        measured(tree, cases[0], "instance", arguments)
    rows = []
    for case, engine in itertools.product(cases, engines):
        runs: dict[str, list[dict]] = {name: [] for name in trees}
        for _trial in range(arguments.trials):
            for name, tree in trees.items():
                runs[name].append(measured(tree, case, engine, arguments))
        rows.append(row(case, engine, runs))
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    print(markdown(["case", "engine", "Dice", "TRE mm", "folds %", "CPU s", "after / before"], rows))


def measured(tree: Path, case: str, engine: str, arguments: argparse.Namespace) -> dict:
    """Return one run of an engine of a tree from the linear start of this tree, which is made when it is missing."""
    start = arguments.out / ("".join(letter if letter.isalnum() else "_" for letter in case) + ".h5")
    if not start.is_file():
        _run(HERE, ["--case", case, "--engine", "linear", "--start", str(start)], arguments)
    return _run(tree, ["--case", case, "--engine", engine, "--start", str(start)], arguments)


def _run(tree: Path, words: list[str], arguments: argparse.Namespace) -> dict:
    command = [sys.executable, str(tree / "Testing/bench/one.py"), "--data", str(arguments.data), "--threads", "1"]
    paths = os.pathsep.join(str(tree / part) for part in ("DeepVsClassicReg", "Testing", "Testing/bench"))
    done = subprocess.run(
        [*command, *words], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    if found["status"] != "done":
        raise SystemExit(f"{tree}: {' '.join(words)}: {found['reason']}")
    return found


def row(case: str, engine: str, runs: dict[str, list[dict]]) -> list[str]:
    """Return a line of the table; CPU seconds are medians."""
    cpu = {name: median(run["cpu_seconds"] for run in found) for name, found in runs.items()}

    def both(key: str, digits: int) -> str:
        values = [runs[name][0].get(key) for name in ("before", "after")]
        return "" if None in values else " / ".join(f"{value:.{digits}f}" for value in values)

    return [
        case,
        engine,
        both("dice", 4),
        both("tre_mm", 3),
        both("folds", 4),
        f"{cpu['before']:.2f} / {cpu['after']:.2f}",
        f"{cpu['after'] / cpu['before']:.2f}",
    ]


if __name__ == "__main__":
    main()

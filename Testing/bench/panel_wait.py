"""Seconds from pressing Register until the verdict is shown, under the stand-in, in trees that take turns.

    git worktree add ../before COMMIT && ln -s $PWD/.venv ../before/.venv
    python Testing/bench/panel_wait.py --before ../before --cases hippocampus brain --trials 5 --log waits.jsonl

In each trial a new process opens the panel, loads volumes and segmentations and registers twice: the first run starts
the worker, the second uses it again. Prints the medians; every trial is one line of the log, which a later call
continues. Ratios of CPU seconds depend least on what else the computer does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from speed_cases import CASES, case_inputs

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
JOBS = ("first", "second")
# Seconds from pressing Register, and from the end of the engine; CPU seconds of Slicer's process and of the worker.
COLUMNS = ("map", "verdict", "complete", "map to verdict", "cpu to verdict", "cpu")


def main() -> None:
    """Run the trials that are missing and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("/work/shared/data"))
    parser.add_argument("--before", type=Path, help="a worktree of the commit to compare with")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["hippocampus"])
    parser.add_argument("--engine", default="instance")
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--child", nargs=2, metavar=("TREE", "CASE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        tree, case = arguments.child
        for numbers in _waits(Path(tree), case_inputs(case, arguments.data), arguments.engine):
            print(json.dumps(numbers), flush=True)
        return
    versions = {"before": arguments.before.resolve()} if arguments.before else {}
    versions["after"] = ROOT
    for wanted in range(1, arguments.trials + 1):
        for case in arguments.cases:
            for version, tree in versions.items():
                key = {"case": case, "engine": arguments.engine, "version": version}
                if sum(key.items() <= row.items() for row in _read(arguments.log)) < wanted * len(JOBS):
                    _trial(arguments, key, tree)
    print(table(_read(arguments.log)))


def table(rows: list[dict[str, Any]]) -> str:
    """Return the medians of the trials as a table."""
    groups: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["engine"], row["job"], row["version"]), []).append(row)
    lines = [f"| case | engine | run | version | trials | {' | '.join(COLUMNS)} |", "|---" * (5 + len(COLUMNS)) + "|"]
    for key, trials in sorted(groups.items()):
        middle = [statistics.median(trial[name] for trial in trials) for name in COLUMNS]
        lines.append(f"| {' | '.join(key)} | {len(trials)} | {' | '.join(f'{value:.2f}' for value in middle)} |")
    return "\n".join(lines)


def _trial(arguments: argparse.Namespace, key: dict[str, str], tree: Path) -> None:
    if not any(row["version"] == key["version"] for row in _read(arguments.log)):
        _rows(arguments, key, tree)  # compiles kernels
    rows = _rows(arguments, key, tree)
    with arguments.log.open("a", encoding="utf-8") as file:
        for job, numbers in zip(JOBS, rows, strict=True):
            file.write(json.dumps({**key, "job": job, **numbers}) + "\n")


def _rows(arguments: argparse.Namespace, key: dict[str, str], tree: Path) -> list[dict[str, float]]:
    environment = {**os.environ, "PYTHONPATH": str(tree / "DeepVsClassicReg"), "QT_QPA_PLATFORM": "offscreen"}
    command = [sys.executable, str(HERE), "--data", str(arguments.data), "--engine", arguments.engine]
    command += ["--log", str(arguments.log), "--child", str(tree), key["case"]]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
    return [json.loads(line) for line in found.splitlines() if line.startswith(b"{")]


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def _waits(tree: Path, files: dict[str, Path], engine: str) -> list[dict[str, float]]:
    """Register twice in the panel of a tree and return the seconds of both."""
    sys.path[:0] = [str(tree / "Testing"), str(tree / "DeepVsClassicReg")]
    from slicer_standin import boot, modules
    from slicer_standin.watch import wait_until

    slicer = boot.boot()
    module = modules.load_module(tree / "DeepVsClassicReg" / "DeepVsClassicReg.py")
    slicer.util.selectModule("DeepVsClassicReg")
    panel = module.widgetRepresentation().self().panel
    ui = panel.ui
    ui.adviseCheck.checked = False
    from DeepVsClassicRegLib.mrml.inputs import Inputs

    inputs = Inputs(
        fixed=slicer.util.loadVolume(str(files["fixed"])),
        moving=slicer.util.loadVolume(str(files["moving"])),
        fixed_labels=slicer.util.loadSegmentation(str(files["fixed-seg"])),
        moving_labels=slicer.util.loadSegmentation(str(files["moving-seg"])),
    )
    panel.inputs.pick(inputs)
    ui.engineCombo.currentIndex = ui.engineCombo.findData(engine)
    ui.threadsSpin.value = 2
    slicer.util.mainWindow().show()
    with tempfile.TemporaryDirectory() as folder:
        type(slicer.app).temporaryPath = folder
        found = [_wait(panel, wait_until) for _job in JOBS]
        panel.close()
    return found


def _wait(panel: Any, wait_until: Any) -> dict[str, float]:
    wait_until(lambda: panel.ui.registerButton.enabled and not panel.checking and not panel.busy)
    count, seen = len(panel.results.runs), {}

    def listen(task: Any) -> None:
        if task.stage.startswith("Measuring"):
            seen.setdefault("map", time.monotonic())

    panel.runner.changed.connect(listen)
    load, cpu, start = os.getloadavg()[0], _cpu(), time.monotonic()
    panel.ui.registerButton.click()
    wait_until(lambda: len(panel.results.runs) > count, 900.0)
    verdict, cpu_verdict = time.monotonic(), _cpu() - cpu
    wait_until(lambda: not panel.busy, 900.0)
    complete, cpu = time.monotonic(), _cpu() - cpu
    panel.runner.changed.disconnect(listen)
    return {
        "map": seen["map"] - start,
        "verdict": verdict - start,
        "complete": complete - start,
        "map to verdict": verdict - seen["map"],
        "cpu to verdict": cpu_verdict,
        "cpu": cpu,
        "load": load,
    }


def _cpu() -> float:
    """Return the CPU seconds of this process and of the worker's."""
    import psutil

    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return sum(time.user + time.system for time in times) + sum(own.cpu_times()[2:4])


if __name__ == "__main__":
    main()

"""Whole jobs before and after a change, in turns, and those of other programs: writes SPEED.md.

    git worktree add ../before COMMIT && ln -s $PWD/.venv ../before/.venv
    python Testing/bench/speed.py --before ../before --cases hippocampus brain --engines instance --peers --trials 5

Every trial is one line of a log, which a later call continues; kernels are compiled in a run that does not count. CPU
seconds come first, because wall time depends on what else the computer does. `--page` only writes the page again.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from profile_job import LIBRARY, measured
from speed_cases import CASES, case_inputs

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
PEERS = ("elastix", "greedy", "ants:quick")
COMMAND, FIRST, SECOND = "command", "warm, first", "warm, second"
HEAD = """# Whole jobs: seconds from the command to the files

`Testing/bench/speed.py`; medians of the trials, in which the versions take turns. "command" is the whole
`dvcreg register` with two threads, both volumes with segmentations, all files and the HTML page; "warm" is the same job
without the page in a worker that the panel and cohorts keep, its first and its second job. Other programs run as
engines of this library, so that their files, measures and page are the same. CPU seconds are those of all processes.
Wall seconds depend on the load, which is the mean over the trials: above 2 on two cores they are only indicative.

| case | engine | job | version | trials | CPU s | wall s | load | memory MB | transform.h5 MB |
|---|---|---|---|---|---|---|---|---|---|
"""


def main() -> None:
    """Run the trials that are missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("/work/shared/data"))
    parser.add_argument("--before", type=Path, help="a worktree of the commit to compare with")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["hippocampus"])
    parser.add_argument("--engines", nargs="+", default=["instance"])
    parser.add_argument("--peers", action="store_true", help=f"also run {', '.join(PEERS)}")
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--log", type=Path, default=HERE.with_name("speed.jsonl"))
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--warm", nargs=2, metavar=("CASE", "ENGINE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.warm:
        _warm(*arguments.warm, arguments.data)
        return
    if not arguments.page:
        _run(arguments)
    target = arguments.log.with_name("SPEED.md")
    target.write_text(page(_read(arguments.log)) + _further_sections(target), encoding="utf-8")


def page(rows: list[dict[str, Any]]) -> str:
    """Return the page of the trials."""
    groups: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["engine"], row["job"], row["version"]), []).append(row)
    lines = []
    for (case, engine, job, version), trials in sorted(groups.items()):
        middle = {key: statistics.median(trial[key] for trial in trials) for key in ("cpu", "wall", "memory", "file")}
        load = statistics.mean(trial["load"] for trial in trials)
        before = groups.get((case, engine, job, "before"))
        ratio = ""
        if before and version == "after":
            ratio = f" ({middle['cpu'] / statistics.median(trial['cpu'] for trial in before):.2f} of before)"
        lines.append(
            f"| {case} | {engine} | {job} | {version} | {len(trials)} | {middle['cpu']:.2f}{ratio} "
            f"| {middle['wall']:.1f} | {load:.0f} | {middle['memory']:.0f} | {middle['file']:.1f} |"
        )
    return HEAD + "\n".join(lines) + "\n"


def _further_sections(path: Path) -> str:
    """Return the sections below the table, which are written by hand."""
    _table, mark, rest = (path.read_text(encoding="utf-8") if path.is_file() else "").partition("\n## ")
    return mark + rest


def _run(arguments: argparse.Namespace) -> None:
    versions = {"after": ROOT} | ({"before": arguments.before.resolve()} if arguments.before else {})
    for wanted in range(1, arguments.trials + 1):
        for case in arguments.cases:
            for engine in (*arguments.engines, *(PEERS if arguments.peers else ())):
                own = engine in arguments.engines
                for version, tree in versions.items():
                    if own or version == "after":
                        key = {"case": case, "engine": engine, "version": version}
                        _trial(arguments, key, tree, wanted, warm=own and version == "after")


def _trial(arguments: argparse.Namespace, key: dict[str, str], tree: Path, wanted: int, *, warm: bool) -> None:
    """Run what is missing for a number of trials."""
    jobs = [row["job"] for row in _read(arguments.log) if key.items() <= row.items()]
    case, engine = key["case"], key["engine"]
    if jobs.count(COMMAND) < wanted:
        if COMMAND not in jobs:
            _command(case, engine, tree, arguments.data)  # compiles kernels, fills the cache of the disk
        _append(arguments.log, {**key, "job": COMMAND, **_command(case, engine, tree, arguments.data)})
    if warm and jobs.count(SECOND) < wanted:
        command = [sys.executable, str(HERE), "--data", str(arguments.data), "--warm", case, engine]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=_environment(tree)).stdout
        for line in found.splitlines():
            _append(arguments.log, {**key, **json.loads(line)})


def _command(case: str, engine: str, tree: Path, data: Path) -> dict[str, float]:
    name, _, preset = engine.partition(":")
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-P", "-m", f"{LIBRARY}.cli", "register", "--engine", name, "--threads", "2"]
        command += ["--preset", preset or "default", "--out", out, "--quiet"]
        for role, path in case_inputs(case, data).items():
            command += [f"--{role}", str(path)]
        load = os.getloadavg()[0]
        before = dict(os.environ)
        os.environ.update(_environment(tree))
        try:
            wall, cpu, memory = measured(command)
        finally:
            os.environ.clear()
            os.environ.update(before)
        size = Path(out, "transform.h5").stat().st_size / 1e6
    return {"wall": wall, "cpu": cpu, "memory": memory, "load": load, "file": size}


def _environment(tree: Path) -> dict[str, str]:
    environment = {**os.environ, "PYTHONPATH": str(tree / "DeepVsClassicReg"), "PYTHONUTF8": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # users have compiled files
    return environment


def _warm(case: str, engine: str, data: Path) -> None:
    """Run a job twice in one warm worker and print both."""
    for job, numbers in zip((FIRST, SECOND), _warm_jobs(case, engine, data), strict=True):
        print(json.dumps({"job": job, **numbers}), flush=True)


def _warm_jobs(case: str, engine: str, data: Path) -> Iterator[dict[str, float]]:
    import psutil
    from DeepVsClassicRegLib.core.device import Compute
    from DeepVsClassicRegLib.core.job import OUTPUTS, Job
    from DeepVsClassicRegLib.worker.client import WorkerClient
    from DeepVsClassicRegLib.worker.idle import WarmWorkers

    roles = {"fixed-seg": "fixed_labels", "moving-seg": "moving_labels"}
    inputs = {roles.get(role, role): str(path) for role, path in case_inputs(case, data).items()}
    outputs = {role: name for role, name in OUTPUTS.items() if role != "html"}
    name, _, preset = engine.partition(":")
    job = Job(inputs=inputs, engine=name, preset=preset or "default", compute=Compute(threads=2), outputs=outputs)
    workers, used = WarmWorkers(), 0.0
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            job.write(Path(folder))
            load, started = os.getloadavg()[0], time.perf_counter()
            client = WorkerClient(Path(folder), workers=workers)
            outcome = client.run().require()
            wall = time.perf_counter() - started
            processes = [psutil.Process(pid) for pid in client.session.groups]
            total = sum(sum(process.cpu_times()[:2]) for process in processes)
            memory = max(process.memory_info().rss for process in processes) / 1e6
            size = outcome.files["transform"].stat().st_size / 1e6
        yield {"wall": wall, "cpu": total - used, "memory": memory, "load": load, "file": size}
        used = total
    workers.end()


def _read(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []


def _append(log: Path, row: dict[str, Any]) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()

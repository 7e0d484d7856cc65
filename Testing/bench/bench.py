"""Engines side by side: same linear start, own process each, alternating order, resumable.

Writes `runs.jsonl` (one line per finished run; delete a line to repeat it), `table.md`, and `pareto.png`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from cases import Case, read_cases
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from table import write_summary

HERE = Path(__file__).parent
# Wall seconds; runs of ANTs at the paper's settings take over an hour, several where others share the machine.
LIMIT_S = 6 * 3600


def main() -> None:
    """Run what is missing, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.json")
    parser.add_argument("--engines", default="elastix,greedy,ants:quick", help="name or name:preset, comma separated")
    parser.add_argument("--only", default="", help="only pairs whose name contains this")
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default="", help="name or folder of the model the engine `network` asks")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    cases = read_cases(arguments.data, only=arguments.only)
    engines = [engine for engine in arguments.engines.split(",") if engine not in ("", "linear")]
    run_all(cases, engines, arguments)
    write_summary(arguments.out, read_runs(arguments.out))


def run_all(cases: list[Case], engines: list[str], arguments: argparse.Namespace) -> None:
    """Run every engine on every case that has no line yet."""
    finished = {(run["case"], run["engine"]) for run in read_runs(arguments.out)}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("", total=len(cases) * (len(engines) + 1))
        for number, case in enumerate(cases):
            # Alternating the order keeps a slow phase of the machine from falling on one engine.
            order = engines if number % 2 == 0 else engines[::-1]
            for engine in ["linear", *order]:
                bar.update(task, description=f"{case.name} {engine}", advance=1)
                if (case.name, engine) not in finished:
                    run_one(case, engine, arguments)


def run_one(case: Case, engine: str, arguments: argparse.Namespace) -> None:
    """Run in a process of its own and append the line."""
    safe = "".join(letter if letter.isalnum() else "_" for letter in case.name)
    command = [sys.executable, str(HERE / "one.py"), "--data", str(arguments.data), "--case", case.name]
    command += ["--engine", engine, "--start", str(arguments.out / f"{safe}.h5"), "--threads", str(arguments.threads)]
    if arguments.model and engine.startswith("network"):
        command += ["--model", arguments.model]
    with (arguments.out / "log.txt").open("a", encoding="utf-8") as log:
        log.write(f"\n=== {case.name} {engine}\n")
        log.flush()
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, timeout=LIMIT_S, check=False)
            record = json.loads(done.stdout) if done.returncode == 0 else crashed(f"exit code {done.returncode}")
        except subprocess.TimeoutExpired:
            record = crashed(f"more than {LIMIT_S} s")
    head = {"case": case.name, "group": case.group, "kind": case.kind, "engine": engine, "threads": arguments.threads}
    with (arguments.out / "runs.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({**head, **record}) + "\n")


def crashed(reason: str) -> dict:
    """Return the record of a run without an answer."""
    return {"status": "failed", "reason": reason}


def read_runs(out: Path) -> list[dict]:
    """Return the finished runs; a later line of the same case and engine replaces an earlier one."""
    path = out / "runs.jsonl"
    if not path.is_file():
        return []
    runs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return list({(run["case"], run["engine"]): run for run in runs}.values())


if __name__ == "__main__":
    main()

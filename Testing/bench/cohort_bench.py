"""Measures cohorts: throughput and overhead on real pairs, and scheduling of many pairs that do nothing.

    cohort_bench.py pairs   --data shared/data --out runs     (resumes; needs about ten CPU minutes)
    cohort_bench.py nothing --count 10000 --out runs          (scheduler and worker in processes of their own)

PYTHONPATH must contain DeepVsClassicReg and Testing. Every measurement is one JSON line of OUT/cohort.jsonl, which
COHORT.md quotes.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cohort_fakes
import DeepVsClassicRegLib as dvc
import psutil
from DeepVsClassicRegLib.core.cohort.cluster import ClusterOptions
from DeepVsClassicRegLib.core.cohort.manifest import CohortManifest, CohortPair, read_cohort
from DeepVsClassicRegLib.core.cohort.records import PairRecord, task_folder
from DeepVsClassicRegLib.core.device import cpu_seconds
from DeepVsClassicRegLib.core.evaluation.measures import scalars
from DeepVsClassicRegLib.core.evaluation.report import read_report
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom, write_phantom
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.settings import Choice
from DeepVsClassicRegLib.worker.cohort import RunOptions

ROOT = Path(__file__).resolve().parents[2]
SETS = {
    # name: (beginnings of the ids in manifest.json, most pairs, engines)
    "hippocampus": (("hippo",), 15, "instance:fast,linear"),
    "brain": (("malf_oasis", "lpba40", "fs"), 12, "instance:fast,linear"),
}


def note(out: Path, **entries: Any) -> None:
    """Add one measurement to the log."""
    with (out / "cohort.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(entries) + "\n")


def measured_pairs(data: Path, beginnings: tuple[str, ...], most: int) -> CohortManifest:
    """Return some pairs of the manifest of the data."""
    found = read_cohort(data)
    kept = [pair for pair in found.pairs if pair.name.startswith(beginnings)][:most]
    return CohortManifest(found.source, tuple(kept))


def run_pairs(data: Path, out: Path, workers: list[int], sets: list[str]) -> None:
    """Run every set with each number of workers, then compare some pairs with single runs."""
    for name in sets:
        beginnings, most, engines = SETS[name]
        manifest = measured_pairs(data, beginnings, most)
        for count in workers:
            folder = out / f"{name}-{count}"
            if (folder / "cohort.csv").is_file():
                continue
            shutil.rmtree(folder, ignore_errors=True)
            before, started = cpu_seconds(), time.monotonic()
            done = dvc.cohort.run(
                manifest,
                engines,
                folder,
                workers=count,
                threads=1,
                options=RunOptions(outputs="transform", pages=False),
                progress=Progress(lambda update: print(update.stage, flush=True)),
            )
            elapsed = time.monotonic() - started
            with (folder / "cohort.csv").open(encoding="utf-8", newline="") as file:
                rows = [row for row in csv.DictReader(file) if row["wall_seconds"]]
            jobs = [float(row["wall_seconds"]) for row in rows]
            registered = sum(float(row["seconds"]) for row in rows if row["seconds"])
            note(
                out,
                what="pairs",
                set=name,
                engines=engines,
                workers=count,
                registrations=done.total,
                failed=done.failed,
                elapsed_s=round(elapsed, 1),
                cpu_s=round(cpu_seconds() - before, 1),
                jobs_wall_s=round(sum(jobs), 1),
                registered_wall_s=round(registered, 1),
                busy=round(sum(jobs) / (elapsed * count), 3),
                overhead_s=round((elapsed * count - sum(jobs)) / done.total, 3),
                beyond_registration_s=round((elapsed * count - registered) / done.total, 3),
                load=os.getloadavg()[0],
            )
        compare_with_single(manifest, engines, out, name, workers[0])


def compare_with_single(manifest: CohortManifest, engines: str, out: Path, name: str, workers: int) -> None:
    """Register two pairs with `dvcreg register` and note the largest difference of any measure."""
    for pair in manifest.pairs[:2]:
        choice = Choice.parse(engines.split(",")[0])
        single = out / "single" / pair.name
        names = {"fixed_labels": "fixed-seg", "moving_labels": "moving-seg"}
        options = [word for role, path in pair.inputs.items() for word in (f"--{names.get(role, role)}", path)]
        command = [sys.executable, "-m", "DeepVsClassicRegLib.cli.main", "register", *options]
        command += ["-e", choice.engine, "-p", choice.preset, "--threads", "1", "--no-html", "-q", "--out", str(single)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "DeepVsClassicReg")})
        alone = scalars(read_report(single / "report.json").measures.after)
        together = PairRecord.read(task_folder(out / f"{name}-{workers}", pair.name, choice)).after
        both = [(alone[key], together[key]) for key in alone if alone[key] is not None]
        note(
            out,
            what="single",
            set=name,
            pair=pair.name,
            measures=len(both),
            largest_difference=max(abs(a - b) for a, b in both),
        )


@contextlib.contextmanager
def dask(*arguments: Any) -> Iterator[psutil.Process]:
    """Run a scheduler or worker of dask in its own process."""
    paths = os.pathsep.join([str(ROOT / "DeepVsClassicReg"), str(ROOT / "Testing"), str(Path(__file__).parent)])
    process = subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{arguments[0]}", *map(str, arguments[1:])],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def tree_cpu(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and its children."""
    family = [process, *process.children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in family)


def run_nothing(count: int, out: Path) -> None:
    """Run `count` pairs that take no time through a scheduler and a worker in processes of their own."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    folder = out / f"nothing-{count}"
    shutil.rmtree(folder, ignore_errors=True)
    volume = write_phantom(make_phantom("head", size=16), out / "phantom")["fixed"]
    pairs = tuple(
        CohortPair(f"p{number:06d}", {"fixed": str(volume), "moving": str(volume)}, f"pair {number}", f"S{number}")
        for number in range(count)
    )
    manifest = CohortManifest(out, pairs)
    me = psutil.Process()
    peak = {"client": 0, "scheduler": 0}
    local = ("--memory-limit", 0, "--nthreads", 1, "--no-dashboard", "--local-directory", out / "dask")
    with (
        dask("dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard") as scheduler,
        dask("dask_worker", f"tcp://127.0.0.1:{port}", *local) as worker,
    ):
        base = me.memory_info().rss

        def watch(_update: Any) -> None:
            peak["client"] = max(peak["client"], me.memory_info().rss)
            peak["scheduler"] = max(peak["scheduler"], scheduler.memory_info().rss)

        options = ClusterOptions(scheduler=f"tcp://127.0.0.1:{port}")
        before, started = cpu_seconds(), time.monotonic()
        done = dvc.cohort.run(
            manifest, "linear", folder, cluster=options, execute=cohort_fakes.instant, progress=Progress(watch)
        )
        elapsed = time.monotonic() - started
        entries = {
            "client_cpu_s": round(cpu_seconds() - before, 1),
            "scheduler_cpu_s": round(tree_cpu(scheduler), 1),
            "worker_cpu_s": round(tree_cpu(worker), 1),
        }
    table_started = time.process_time()
    dvc.cohort.page(folder)
    entries["table_cpu_s"] = round(time.process_time() - table_started, 1)
    resumed = time.process_time()
    again = dvc.cohort.run(manifest, "linear", folder, cluster=options, execute=cohort_fakes.instant)
    entries["resume_cpu_s"] = round(time.process_time() - resumed, 1)
    files = ("cohort.csv", "cohort.parquet", "cohort.html")
    note(
        out,
        what="nothing",
        count=count,
        done=done.done,
        reused_again=again.reused,
        elapsed_s=round(elapsed, 1),
        elapsed_per_pair_ms=round(1000 * elapsed / count, 2),
        **entries,
        base_mb=round(base / 1e6),
        **{f"{name}_mb": round(value / 1e6) for name, value in peak.items()},
        **{f"{name}_mb": round((folder / name).stat().st_size / 1e6, 2) for name in files},
        load=os.getloadavg()[0],
    )


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pairs", "nothing"])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--workers", default="2,1")
    parser.add_argument("--sets", default="hippocampus,brain")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    out = given.out.resolve()
    if given.what == "pairs":
        run_pairs(given.data, out, [int(n) for n in given.workers.split(",")], given.sets.split(","))
    else:
        run_nothing(given.count, out)


if __name__ == "__main__":
    main()

"""Print CPU and wall seconds of every step of one registration: imports, reading, engine, measures, files, pictures.

    python Testing/bench/profile_job.py --data DATA --case hippocampus|brain|ct [--engine instance] [--threads 2]

Each step is measured in a process of its own that runs the worker's task directly: functions are wrapped by a
stopwatch, and what runs at once runs one at a time. Process starts, the whole command and the second job of a
warm worker, as in the panel, are measured from outside.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from speed_cases import CASES, case_inputs

LIBRARY = "DeepVsClassicRegLib"
# Module:function of each measured step, in the order of a run; a dot leads to a method.
STEPS = (
    "worker.registering:read_pair",
    "core.images.io:read_volume",
    "core.images.io:read_labels",
    "core.api:register",
    "core.engines.registration:align_linearly",
    "core.engines.instance.engine:InstanceEngine.run",
    "core.engines.registration:never_worse",
    "core.engines.registration:stored",
    "worker.registering:evaluate",
    "core.evaluation.evaluate:marked_pair",
    "core.evaluation.evaluate:fixed_region",
    "core.evaluation.evaluate:background_value",
    "core.evaluation.evaluate:_prepared_labels",
    "core.evaluation.evaluate:Evaluator.column",
    "core.evaluation.evaluate:Evaluator._sampled",
    "core.evaluation.evaluate:warped_array",
    "core.evaluation.evaluate:_Sampling.add",
    "core.evaluation.evaluate:field_jacobian",
    "core.evaluation.evaluate:hard_overlap",
    "core.evaluation.segmentations:SoftOverlap.add",
    "core.evaluation.segmentations:Memberships.of",
    "core.evaluation.segmentations:Surfaces.of",
    "core.evaluation.evaluate:surface_measures",
    "core.evaluation.similarity:SimilarityRegion.of",
    "core.evaluation.similarity:SimilarityRegion.measures",
    "core.evaluation.evaluate:local_agreement",
    "core.evaluation.evaluate:mismatches_of",
    "core.evaluation.evaluate:regularity",
    "core.evaluation.evaluate:round_trip_measures",
    "core.evaluation.evaluate:locations_of",
    "worker.registering:write_transform",
    "worker.registering:write_volume",
    "worker.registering:write_labels",
    "worker.registering:make_report",
    "worker.registering:write_report_json",
    "core.evaluation.figures:write_thumbnail",
    "core.evaluation.make_report:write_report_html",
    "core.evaluation.make_report:Page",
    "core.evaluation.make_report:Pictures",
    "core.evaluation.make_report:figure_of",
    "core.evaluation.make_report:data_uri",
    "core.evaluation.make_report:label_plot",
    "core.evaluation.make_report:curves",
)

# Modules that run some of these steps at once.
POOLS = ("core.evaluation.evaluate", "worker.registering")


class OneByOne(Executor):
    """Runs the tasks of a pool one at a time, so that the time of each is known."""

    def __init__(self, _at_once: int) -> None:
        pass

    def submit(self, task: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        """Run a task and return its result as a future."""
        future: Future[Any] = Future()
        future.set_result(task(*arguments, **options))
        return future


class Stopwatch:
    """Sums wall and CPU seconds of wrapped functions by the path of their callers."""

    def __init__(self) -> None:
        self.path: tuple[str, ...] = ()
        self.found: dict[tuple[str, ...], list[float]] = {}

    def wrap(self, place: str) -> None:
        """Wrap one function of `STEPS`."""
        holder, name, function = found_step(place)
        is_class_method = isinstance(function, classmethod)
        timed = self.timed(place.partition(":")[2], function.__func__ if is_class_method else function)
        setattr(holder, name, classmethod(timed) if is_class_method else timed)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time added to the entry of its path."""

        @functools.wraps(function)
        def inner(*arguments: Any, **options: Any) -> Any:
            before = self.path
            self.path = (*before, name)
            entry = self.found.setdefault(self.path, [0, 0.0, 0.0])
            wall, cpu = time.perf_counter(), _cpu()
            try:
                return function(*arguments, **options)
            finally:
                entry[0] += 1
                entry[1] += time.perf_counter() - wall
                entry[2] += _cpu() - cpu
                self.path = before

        return inner


def found_step(place: str) -> tuple[Any, str, Any]:
    """Return module or class, name and function of a step.

    Raises
    ------
    LookupError
        When the library has no such function (any more).
    """
    module_name, _, path = place.partition(":")
    *owners, name = path.split(".")
    holder: Any = importlib.import_module(f"{LIBRARY}.{module_name}")
    for owner in owners:
        holder = getattr(holder, owner, None)
    if name not in vars(holder or object):
        raise LookupError(f"The step {place} is not in the library: correct STEPS.")
    return holder, name, vars(holder)[name]


def main() -> None:
    """Parse the arguments; measure from outside, or (`--child`) from inside."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("/work/shared/data"))
    parser.add_argument("--case", choices=CASES, default="hippocampus")
    parser.add_argument("--engine", default="instance")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _inside(arguments)
        return
    print(
        f"case {arguments.case}, engine {arguments.engine}, {arguments.threads} threads, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'process starts':<58}{'':>6}{'wall s':>9}{'CPU s':>9}")
    for title, code in (
        ("python", "pass"),
        ("command line: imports of `register`", f"import {LIBRARY}.cli.main, {LIBRARY}.cli.register"),
        ("supervising process: imports", f"import {LIBRARY}.worker.run"),
        ("computing process: imports", f"import {LIBRARY}.worker.compute"),
        ("computing process: imports of the task", f"import {LIBRARY}.worker.registering"),
    ):
        wall, cpu, _ = measured([sys.executable, "-P", "-c", code])
        print(f"  {title:<56}{'':>6}{wall:>9.2f}{cpu:>9.2f}")
    with tempfile.TemporaryDirectory() as folder:
        inside = [sys.executable, __file__, "--data", str(arguments.data), "--case", arguments.case]
        inside += ["--engine", arguments.engine, "--threads", str(arguments.threads), "--child", folder]
        subprocess.run(inside, check=True)
        command = [sys.executable, "-P", "-m", f"{LIBRARY}.cli", "register", "--engine", arguments.engine]
        command += ["--threads", str(arguments.threads), "--out", f"{folder}/result", "--quiet"]
        for role, path in case_inputs(arguments.case, arguments.data).items():
            command += [f"--{role}", str(path)]
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # users have compiled files
        wall, cpu, memory = measured(command)
        print(f"{'whole command `dvcreg register`':<58}{'':>6}{wall:>9.2f}{cpu:>9.2f}   {memory:.0f} MB")
        for path in sorted(Path(folder, "result").iterdir()):
            print(f"  {path.name:<56}{path.stat().st_size / 1e6:>24.2f} MB")


def measured(command: list[str]) -> tuple[float, float, float]:
    """Run a command and return wall and CPU seconds and peak memory in MB of it and its children."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}.")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3


def _inside(arguments: argparse.Namespace) -> None:
    wall, cpu = time.perf_counter(), _cpu()
    from DeepVsClassicRegLib.core.device import Compute, thread_variables
    from DeepVsClassicRegLib.core.job import OUTPUTS, Job

    os.environ.update(thread_variables(arguments.threads), MPLBACKEND="Agg")
    from DeepVsClassicRegLib.core.device import kept_memory
    from DeepVsClassicRegLib.core.progress import Progress
    from DeepVsClassicRegLib.worker.registering import register

    imports = time.perf_counter() - wall, _cpu() - cpu
    watch = Stopwatch()
    roles = {"fixed-seg": "fixed_labels", "moving-seg": "moving_labels"}
    inputs = {roles.get(role, role): str(path) for role, path in case_inputs(arguments.case, arguments.data).items()}
    outputs = {role: name for role, name in OUTPUTS.items() if role not in {"thumbnail", "extras", "uncertainty"}}
    if "moving_labels" not in inputs:
        outputs.pop("warped_labels")
    job = Job(inputs=inputs, engine=arguments.engine, compute=Compute(threads=arguments.threads), outputs=outputs)
    job.write(arguments.child)
    for place in STEPS:
        watch.wrap(place)
    for module in POOLS:
        importlib.import_module(f"{LIBRARY}.{module}").ThreadPoolExecutor = OneByOne
    wall, cpu = time.perf_counter(), _cpu()
    with kept_memory():
        register(job, arguments.child, Progress())
    whole = time.perf_counter() - wall, _cpu() - cpu
    print(f"{'the job, inside one process':<58}{'calls':>6}{'wall s':>9}{'CPU s':>9}")
    print(f"  {'imports':<56}{'':>6}{imports[0]:>9.2f}{imports[1]:>9.2f}")
    for path, (count, seconds, used) in sorted(watch.found.items(), key=lambda item: list(watch.found).index(item[0])):
        title = "  " * len(path) + path[-1]
        print(f"{title:<58}{count:>6}{seconds:>9.2f}{used:>9.2f}")
    print(f"  {'all of the job':<56}{'':>6}{whole[0]:>9.2f}{whole[1]:>9.2f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"  {'peak memory':<56}{peak:>24.0f} MB", flush=True)
    print(json.dumps({"load": os.getloadavg()[0]}), flush=True)


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()

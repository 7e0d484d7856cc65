"""Run one engine on one pair from a given linear start and print what came out as one JSON line.

A process of its own for every run, so that CPU seconds and peak memory belong to that run alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--case", required=True)
    parser.add_argument("--engine", required=True, help="name or name:preset; 'linear' writes --start")
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default="", help="name or folder of the model the engine `network` asks")
    arguments = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)
    # Back ends print what they like; only our line may reach the parent's pipe.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answer.write(json.dumps(run(arguments)) + "\n")
    answer.flush()


def run(arguments: argparse.Namespace) -> dict:
    """Register and evaluate; errors become an entry of their own."""
    from cases import read_cases
    from DeepVsClassicRegLib.core.api import register
    from DeepVsClassicRegLib.core.device import cpu_seconds, kept_memory, peak_memory_mb
    from DeepVsClassicRegLib.core.errors import RegistrationError
    from DeepVsClassicRegLib.core.transforms.files import read_transform, write_transform

    case = next(case for case in read_cases(arguments.data) if case.name == arguments.case)
    pair = case.load().without_annotations()
    name, _, preset = arguments.engine.partition(":")
    if name != "linear":
        pair = pair.replace(initial=read_transform(arguments.start))
    wall, cpu = time.perf_counter(), cpu_seconds()
    try:
        settings = {"model": arguments.model} if arguments.model else None
        with kept_memory():  # as the worker and the command line do
            result = register(pair, name, preset=preset or "default", settings=settings, threads=arguments.threads)
    except RegistrationError as error:
        return {"status": "failed", "reason": str(error)}
    record = {
        "status": "done",
        "seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(cpu_seconds() - cpu, 2),
        "peak_memory_mb": peak_memory_mb(),
        "confidence": result.diagnostics.confidence,
        "notes": list(result.diagnostics.notes),
        "versions": dict(result.diagnostics.versions),
    }
    if name == "linear":
        write_transform(result.transform, arguments.start)
    return {**record, **measure(case, result.transform)}


def measure(case, transform) -> dict:
    """Return Dice over the listed labels (and over all finer ones), TRE and regularity."""
    from DeepVsClassicRegLib.core.evaluation.evaluate import evaluate

    kept = {"dice_mean": "dice", "tre_mm_mean": "tre_mm", "folding_percent": "folds", "sd_log_jacobian": "sdlogj"}
    outcome = evaluate(case.load(), transform, labels=case.labels, measures=("overlap", "landmarks", "regularity"))
    record = {ours: outcome.after[name] for name, ours in kept.items() if outcome.after.get(name) is not None}
    finer = case.finer()
    if finer is not None:
        record["dice_all"] = evaluate(finer.load(), transform, measures=("overlap",)).after["dice_mean"]
    return {key: round(float(value), 5) for key, value in record.items()}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()

"""Work on the pairs of a cohort that takes no time, fails, or ends its worker; importable by workers."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from DeepVsClassicRegLib.core.cohort.records import (
    FORMAT,
    PairRecord,
    PairTask,
    described,
    failed_record,
    finished_record,
    record_of_report,
)
from DeepVsClassicRegLib.core.evaluation.report import Measured, Report, Verdict, write_report_json
from DeepVsClassicRegLib.core.files import jsonable, write_text


def report_of(number: int) -> Report:
    """Return a report whose measures depend on a number."""
    after = {"dice_mean": 0.8 + 0.01 * (number % 7), "folding_percent": 0.0, "sd_log_jacobian": 0.1}
    return Report(
        engine="linear",
        seconds={"total": 1.0 + number},
        measures=Measured(before={"dice_mean": 0.4}, after=after),
        verdict=Verdict("good", "Better aligned", "Dice rose."),
    )


def nothing(task: PairTask) -> PairRecord:
    """Write a report and a record at once, and note the call in `calls` beside the cohort's folder."""
    folder = Path(task.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parents[3] / "calls").open("a", encoding="utf-8") as calls:
        calls.write(task.pair.name + "\n")
    number = int("".join(filter(str.isdigit, task.pair.name)) or 0)
    report = report_of(number)
    record = record_of_report(task, report, fingerprint=task.fingerprint(), wall_seconds=0.0, files=["report.json"])
    record.write(folder)
    write_report_json(folder / "report.json", report)
    return record


def failing(task: PairTask) -> PairRecord:
    """Fail for the pair p1, break for p2, and work for the others."""
    if task.pair.name == "p1":
        record = failed_record(task, "The engine gave up.", "Try another one.")
        Path(task.folder).mkdir(parents=True, exist_ok=True)
        record.write(Path(task.folder))
        return record
    if task.pair.name == "p2":
        raise ZeroDivisionError("a bug")
    return nothing(task)


def dying_once(task: PairTask) -> PairRecord:
    """Kill the worker at the first attempt of the pair p1."""
    mark = Path(task.folder).parents[3] / "died"
    if task.pair.name == "p1" and not mark.exists():
        write_text(mark, "")
        os.kill(os.getpid(), signal.SIGKILL)
    return finished_record(task) or nothing(task)


def always_dying(task: PairTask) -> PairRecord:
    """Kill every worker that gets the pair p1."""
    if task.pair.name == "p1":
        os.kill(os.getpid(), signal.SIGKILL)
    return finished_record(task) or nothing(task)


def slow(task: PairTask) -> PairRecord:
    """Take a moment, and return at once what is done, as the real work does."""
    time.sleep(0.1)
    return finished_record(task) or nothing(task)


def instant(task: PairTask) -> PairRecord:
    """Write a record and an empty report without waiting for the disk, to measure the scheduling alone."""
    folder = Path(task.folder)
    folder.mkdir(parents=True, exist_ok=True)
    number = int(task.pair.name.removeprefix("p"))
    measures = {"dice_mean": 0.7 + 0.2 * (number % 97) / 97, "folding_percent": 0.0, "sd_log_jacobian": 0.1}
    record = PairRecord(
        **described(task),
        fingerprint=task.fingerprint(),
        verdict="good",
        sentence="Dice rose from 0.40 to 0.80. No voxel is folded.",
        seconds=1.0,
        before={"dice_mean": 0.4},
        after=measures,
        files=("report.json",),
    )
    content = {"format": FORMAT, **jsonable(record)}
    (folder / "record.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "report.json").write_text("{}", encoding="utf-8")
    return record

"""Runs every case of `Testing/faults` and writes what came out to FAULTS.md.

python Testing/bench/faults.py                     all cases
python Testing/bench/faults.py AB                  the cases of these kinds, on the terminal only
python Testing/bench/faults.py --scripts FOLDER    all cases, and the scripts of a folder (python NN_name.py in it)
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING.parent / "DeepVsClassicReg"), str(TESTING)]

import faults  # noqa: E402  (needs the path)

PAGE = Path(__file__).with_name("FAULTS.md")
KINDS = {
    "A": "DICOM",
    "B": "NIfTI and other volumes",
    "C": "Labels and masks",
    "D": "Transform files",
    "E": "Landmarks",
    "F": "Outputs",
    "G": "Voxel size",
    "H": "Background and padding",
    "I": "Partial view",
    "J": "What the user must see",
}
INTRODUCTION = """# Files from real life

Written by `python Testing/bench/faults.py`, which runs every case of `Testing/faults`; the same cases are tests
(`Testing/core/test_faults.py`). A case gives the true value, with the notes that a user needs, or is refused in a
sentence that says what is wrong and what to do. Every case also checks that no input file was changed.
"""


def row(case: faults.Case) -> tuple[bool, str]:
    """Run a case; return whether it did what is true, and its line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            run = case.run(Path(folder))
            failures = case.failures(run)
            out, said = case.expect.outcome(run), faults.message(run).replace(folder, "…")
        except Exception as error:  # a bug is an outcome of the table too
            failures, out, said = [str(error)], f"bug: {type(error).__name__}", str(error)
    mark = "" if not failures else "**WRONG** "
    cells = [case.name, case.expect.describe(), mark + out, said]
    return not failures, "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def numbered_row(number: int) -> tuple[bool, str]:
    """Run the case of this number in `all_cases`, in a process of a pool."""
    return row(faults.all_cases()[number])


def script_lines(folder: Path) -> list[str]:
    """Run the numbered scripts of a folder; return their part of the page."""
    lines = [
        "## Scripts of the problem reports",
        "",
        "Each builds its input and prints what came out beside what is true.",
    ]
    with tempfile.TemporaryDirectory() as work:
        environment = {**os.environ, "FAULTS_WORK": work, "DVCREG": str(Path(sys.executable).with_name("dvcreg"))}
        for script in sorted(folder.glob("[0-9]*.py")):
            done = subprocess.run(
                [sys.executable, script.name], cwd=folder, env=environment, capture_output=True, encoding="utf-8"
            )
            said = (done.stdout + (done.stderr if done.returncode else "")).replace(work, "…")
            print(f"{script.name}: {done.returncode}\n{said}", flush=True)
            lines += ["", f"### {script.stem}", "", "```text", said.strip(), "```"]
    return [*lines, ""]


def main(arguments: list[str]) -> int:
    """Run the cases of these kinds (all when none is named) and write the page when all were run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="?", default="", type=str.upper)
    parser.add_argument("--scripts", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args(arguments)
    kinds = options.kinds
    cases = faults.all_cases()
    chosen = [number for number, case in enumerate(cases) if not kinds or case.kind in kinds]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        rows = {}
        for number, found in zip(chosen, pool.map(numbered_row, chosen), strict=True):
            rows[number] = found
            print(f"{cases[number].id}: {'as it should be' if found[0] else found[1]}", flush=True)
    wrong = sum(not good for good, _ in rows.values())
    lines = [INTRODUCTION, f"{len(rows)} cases, {wrong} wrong.", ""]
    for kind, title in KINDS.items():
        table = [line for number, (_, line) in rows.items() if cases[number].kind == kind]
        if table:
            lines += [f"## {kind}. {title} ({len(table)} cases)", ""]
            lines += ["| input | what is true | what came out | message |", "|---|---|---|---|", *table, ""]
    if options.scripts:
        lines += script_lines(options.scripts)
    if not kinds:
        PAGE.write_text("\n".join(lines), encoding="utf-8")
    print(f"{wrong} wrong of {len(rows)}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

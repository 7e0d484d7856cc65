"""Runs every case of `Testing/faults` and writes what came out to FAULTS.md.

python Testing/bench/faults.py                     all cases
python Testing/bench/faults.py AB                  the cases of these kinds; the rest of the page stays
python Testing/bench/faults.py I --only slab       those of them whose names contain this; the other rows stay
python Testing/bench/faults.py none --scripts FOLDER/*.py    the scripts of problem reports; the rest of the page stays
"""

from __future__ import annotations

import argparse
import os
import re
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
SCRIPT = "Script of a problem report:"
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
        except faults.NotInstalled as missing:
            failures, out, said = [], "not run", str(missing)
        except Exception as error:  # a bug is an outcome of the table too
            failures, out, said = [str(error)], f"bug: {type(error).__name__}", str(error)
    mark = "" if not failures else "**WRONG** "
    cells = [case.name, case.expect.describe(), mark + out, said]
    return not failures, "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def numbered_row(number: int) -> tuple[bool, str]:
    """Run the case of this number in `all_cases`, in a process of a pool."""
    return row(faults.all_cases()[number])


def script_text(script: Path) -> str:
    """Run a script that builds its input and prints what came out beside what is true; return its part of the page."""
    with tempfile.TemporaryDirectory() as work:
        environment = {**os.environ, "FAULTS_WORK": work, "DVCREG": str(Path(sys.executable).with_name("dvcreg"))}
        done = subprocess.run(
            [sys.executable, script.name], cwd=script.parent, env=environment, capture_output=True, encoding="utf-8"
        )
    said = done.stdout.replace(work, "…")
    if done.returncode:  # most read the result of a registration, refused or not
        errors = [line for line in done.stderr.splitlines() if re.match(r"\w*(Error|Exception)\b", line)]
        said += f"The script ends here: {(errors or done.stderr.splitlines() or ['?'])[-1][:120]}"
    print(f"{script.name}: {done.returncode}\n{said}", flush=True)
    return f"\n```text\n{said.strip()}\n```\n"


def read_page() -> dict[str, str]:
    """Return the sections of the page as it is, title -> text."""
    if not PAGE.exists():
        return {}
    _, *parts = re.split(r"^## (.*)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def write_page(sections: dict[str, str]) -> None:
    """Write the page: the introduction with the counts, the kinds, the scripts."""
    kinds = [title for title in (f"{kind}. {name}" for kind, name in KINDS.items()) if title in sections]
    titles = [*kinds, *sorted(title for title in sections if title.startswith(SCRIPT))]
    count = sum(len(re.findall(r"^\| ", sections[title], re.MULTILINE)) - 1 for title in kinds)
    wrong = sum(sections[title].count("**WRONG**") for title in kinds)
    text = f"{INTRODUCTION}\n{count} cases, {wrong} wrong.\n\n"
    PAGE.write_text(text + "\n".join(f"## {title}\n{sections[title]}" for title in titles), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Run the cases of these kinds (all when none is named) and write their part of the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="?", default="".join(KINDS))
    parser.add_argument("--only", default="")
    parser.add_argument("--scripts", type=Path, nargs="*", default=[])
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args(arguments)
    cases = faults.all_cases()
    named = [number for number, case in enumerate(cases) if case.kind in options.kinds]
    chosen = [number for number in named if options.only in cases[number].name]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        rows = {}
        for number, found in zip(chosen, pool.map(numbered_row, chosen), strict=True):
            rows[number] = found
            print(f"{cases[number].id}: {'as it should be' if found[0] else found[1]}", flush=True)
    wrong = sum(not good for good, _ in rows.values())
    sections = read_page()
    for kind, title in KINDS.items():
        kept = {line.split(" | ")[0]: line for line in sections.get(f"{kind}. {title}", "").splitlines()}
        table = []
        for number in (number for number in named if cases[number].kind == kind):
            line = rows[number][1] if number in rows else kept.get(f"| {cases[number].name}", "")
            table += [line] if line else []
        if any(cases[number].kind == kind for number in rows):
            head = ["| input | what is true | what came out | message |", "|---|---|---|---|"]
            sections[f"{kind}. {title}"] = "\n".join(["", f"{len(table)} cases.", "", *head, *table, ""])
    for script in options.scripts:
        sections[f"{SCRIPT} {script.stem}"] = script_text(script)
    write_page(sections)
    print(f"{wrong} wrong of {len(rows)}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Lists the library files that a command or a click uses: those of which a function is called, in all processes.

python Testing/tools/trace.py                                    `dvcreg register` of a phantom with `sitk-demons`
python Testing/tools/trace.py register --fixed F --moving M ...  any other command
python Testing/tools/trace.py click                              a click on Register, until its result is shown
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "DeepVsClassicReg"
LIBRARY = MODULE / "DeepVsClassicRegLib"
PROGRAM = (sys.executable, "-m", "DeepVsClassicRegLib.cli.main")
# Python imports a module of this name at its start. Bodies of modules and classes are no functions (flag 1), and
# neither are comprehensions, which also run while a module is imported.
HOOK = """
import os, sys, threading
seen = set()
def follow(frame, event, argument):
    name = frame.f_code.co_filename
    function = frame.f_code.co_flags & 1 and not frame.f_code.co_name.endswith(("comp>", "expr>"))
    if event == "call" and function and name not in seen:
        seen.add(name)
        if name.startswith(os.environ["TRACED_LIBRARY"]):
            file = os.open(os.environ["TRACED_FILES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, (name + "\\n").encode())
            os.close(file)
threading.setprofile(follow)
sys.setprofile(follow)
"""


def traced(folder: Path) -> dict[str, str]:
    """Write the hook into a folder; return the variables with which Python processes write the names of their files."""
    (folder / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
    path = os.pathsep.join([str(folder), str(MODULE)])
    return {"TRACED_LIBRARY": str(LIBRARY), "TRACED_FILES": str(folder / "files.txt"), "PYTHONPATH": path}


def used_files(folder: Path) -> list[str]:
    """Return the files of the library that the traced processes used, sorted."""
    names = set((folder / "files.txt").read_text(encoding="utf-8").splitlines())
    return sorted(Path(name).relative_to(LIBRARY).as_posix() for name in names if name.endswith(".py"))


def click(folder: Path) -> None:
    """Open the module with a phantom, click on Register, and wait for the result; traced from the click on."""
    from screenshots import Studio  # beside this file; needs the stand-in of Slicer

    studio = Studio(folder, 32)
    studio.load_pair()
    studio.choose("sitk-demons")
    os.environ.update(traced(folder))
    exec(HOOK, {})
    studio.ui.registerButton.click()
    studio.wait(lambda: studio.panel.results.runs and not studio.panel.busy)
    sys.setprofile(None)
    threading.setprofile(None)


def phantom_command(folder: Path) -> list[str]:
    """Write a phantom; return the arguments that register it with its segmentations."""
    environment = {**os.environ, "PYTHONPATH": str(MODULE)}
    phantom = folder / "phantom"
    subprocess.run(
        [*PROGRAM, "phantom", "--size", "32", "--out", str(phantom)], env=environment, check=True, capture_output=True
    )
    inputs = {"fixed": "fixed", "moving": "moving", "fixed-seg": "fixed_seg", "moving-seg": "moving_seg"}
    named = [part for role, name in inputs.items() for part in (f"--{role}", str(phantom / f"{name}.nii.gz"))]
    return ["register", *named, "--engine", "sitk-demons", "--out", str(folder / "result")]


def main() -> None:
    """Print the files and their number."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if sys.argv[1:] == ["click"]:
            click(folder)
        else:
            command = [*PROGRAM, *(sys.argv[1:] or phantom_command(folder))]
            subprocess.run(command, env={**os.environ, **traced(folder)}, check=True)
        files = used_files(folder)
    print(*files, f"{len(files)} files", sep="\n")


if __name__ == "__main__":
    main()

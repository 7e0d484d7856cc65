"""Lists the library files that a command uses: those of which a function is called, in all of its processes.

python Testing/tools/trace.py                                    `dvcreg register` of a phantom with `sitk-demons`
python Testing/tools/trace.py register --fixed F --moving M ...  any other command
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "DeepVsClassicReg"
LIBRARY = MODULE / "DeepVsClassicRegLib"
PROGRAM = (sys.executable, "-m", "DeepVsClassicRegLib.cli.main")
# Python imports a module of this name at its start. Bodies of modules and classes are no functions (flag 1).
HOOK = """
import os, sys, threading
seen = set()
def follow(frame, event, argument):
    name = frame.f_code.co_filename
    if event == "call" and name not in seen and frame.f_code.co_flags & 1:
        seen.add(name)
        if name.startswith(os.environ["TRACED_LIBRARY"]):
            file = os.open(os.environ["TRACED_FILES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, (name + "\\n").encode())
            os.close(file)
threading.setprofile(follow)
sys.setprofile(follow)
"""


def used_files(arguments: list[str], folder: Path) -> list[str]:
    """Run `dvcreg` with these arguments; return the used files of the library, sorted."""
    hooks, found = folder / "hooks", folder / "files.txt"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
    path = os.pathsep.join([str(hooks), str(MODULE)])
    traced = {"TRACED_LIBRARY": str(LIBRARY), "TRACED_FILES": str(found), "PYTHONPATH": path}
    subprocess.run([*PROGRAM, *arguments], env={**os.environ, **traced}, check=True)
    names = set(found.read_text(encoding="utf-8").splitlines())
    return sorted(Path(name).relative_to(LIBRARY).as_posix() for name in names if name.endswith(".py"))


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
        files = used_files(sys.argv[1:] or phantom_command(folder), folder)
    print(*files, f"{len(files)} files", sep="\n")


if __name__ == "__main__":
    main()

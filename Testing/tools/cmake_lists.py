"""Keep the file lists of the module's CMakeLists.txt equal to the tree (`make cmake` writes, a test compares)."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "DeepVsClassicReg"
LISTS = MODULE / "CMakeLists.txt"


def scripts() -> list[str]:
    """Return every Python file that is installed, relative to the module folder."""
    library = sorted(path.relative_to(MODULE).as_posix() for path in (MODULE / "DeepVsClassicRegLib").rglob("*.py"))
    return ["DeepVsClassicReg.py", *library]


def resources() -> list[str]:
    """Return every other file that is installed, relative to the module folder."""
    inside = [path for path in (MODULE / "Resources").rglob("*") if path.is_file()]
    beside = [p for p in (MODULE / "DeepVsClassicRegLib").rglob("*") if p.is_file() and p.suffix != ".py"]
    files = sorted(path.relative_to(MODULE).as_posix() for path in inside + beside)
    return [file for file in files if "__pycache__" not in file]


def block(name: str, files: list[str]) -> str:
    """Return a CMake `set` command."""
    lines = "".join(f"  {file}\n" for file in files)
    return f"set({name}\n{lines}  )"


def updated(text: str) -> str:
    """Return the CMake file with both lists replaced."""
    for name, files in (("MODULE_PYTHON_SCRIPTS", scripts()), ("MODULE_PYTHON_RESOURCES", resources())):
        text = re.sub(rf"set\({name}\n.*?  \)", lambda _m, n=name, f=files: block(n, f), text, flags=re.S)
    return text


def main() -> int:
    """Write the lists, or say whether they are right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    text = LISTS.read_text(encoding="utf-8")
    if parser.parse_args().write:
        LISTS.write_text(updated(text), encoding="utf-8")
        return 0
    return int(updated(text) != text)


if __name__ == "__main__":
    sys.exit(main())

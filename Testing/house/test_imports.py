"""Who imports whom: no circles, and no file reaches for what another one keeps private.

Every import counts: those inside functions and those for type checkers alone bind two files as well.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "DeepVsClassicReg"
FILES = sorted((PACKAGES / "DeepVsClassicRegLib").rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGES).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports(module: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, module and imported name ('' for a module itself) of every import of the library's own files."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, entry.name, "") for entry in node.names)
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *(node.module or "").split(".")]).rstrip(".")
            for entry in node.names:
                inner = f"{source}.{entry.name}"
                yield (node.lineno, inner, "") if inner in MODULES else (node.lineno, source, entry.name)


def known_imports(module: str) -> set[str]:
    return {source for _line, source, _name in imports(module) if source in MODULES and source != module}


def test_no_import_circles():
    graph = {module: known_imports(module) for module in MODULES}
    assert sum(map(len, graph.values())) > len(MODULES), "the imports must be found"
    assert any("report" in source for source in graph["DeepVsClassicRegLib.mrml.runs"])
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail("Circle: " + " <- ".join(error.args[1]))


@pytest.mark.parametrize("module", sorted(MODULES))
def test_nothing_private_is_imported(module):
    for line, source, name in imports(module):
        if source in MODULES:
            private = [part for part in (*source.split("."), name) if part.startswith("_")]
            assert not [part for part in private if not part.endswith("__")], f"line {line}: {source} {name}"


def names_of(module: str) -> set[str]:
    """Return what a file defines or imports at its top level."""
    names: set[str] = set()
    for node in ast.parse(MODULES[module].read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names |= {(entry.asname or entry.name).partition(".")[0] for entry in node.names}
        else:
            names |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return names


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("Testing/bench/**/*.py"), *ROOT.glob("Testing/tools/*.py")]), ids=str
)
def test_benchmarks_and_tools_import_what_exists(path):
    """No test runs them, so a name that moved would be missed."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("DeepVsClassicRegLib."):
            for entry in node.names:
                inner = f"{node.module}.{entry.name}"
                assert inner in MODULES or entry.name in names_of(node.module), f"line {node.lineno}: no {inner}"

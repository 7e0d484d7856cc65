"""Finds code that runs under the stand-in but not in Slicer: PySide6 names, Qt 6 only API, keyword constructors."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

FORBIDDEN_IMPORTS = {"PySide6", "PySide2", "PyQt5", "PyQt6", "shiboken6", "slicer_standin", "qtpy"}
# Attributes that only one of PySide6 / PythonQt or Qt 5 / Qt 6 knows.
FORBIDDEN_NAMES = {
    "Signal": "PythonQt cannot define signals", "Slot": "PythonQt needs no slot decorator",
    "Property": "PythonQt cannot define properties", "exec": "PythonQt spells it exec_()",
    "checkStateChanged": "Qt 6.7 and later only", "globalPosition": "Qt 6 only", "QStringConverter": "Qt 6 only",
    "QTextCodec": "Qt 5 only", "QRegExp": "Qt 5 only", "QDesktopWidget": "Qt 5 only", "setMargin": "Qt 5 only",
    "staticMetaObject": "PySide only",
}  # fmt: skip


def violations(paths: Iterable[Path]) -> list[str]:
    """Return "file:line: reason" for everything in these Python files that would fail in Slicer."""
    found = []
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        found += [f"{path}:{line}: {reason}" for line, reason in _check(tree)]
    return sorted(found)


def _check(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            reasons = _check_import(node)
        elif isinstance(node, ast.Attribute):
            reasons = _check_attribute(node)
        elif isinstance(node, ast.Call):
            reasons = _check_call(node)
        else:
            continue
        yield from ((node.lineno, reason) for reason in reasons)


def _check_import(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    for name in names:
        if name.partition(".")[0] in FORBIDDEN_IMPORTS:
            yield f"imports {name}, which Slicer does not have"


def _check_attribute(node: ast.Attribute) -> Iterator[str]:
    chain = _dotted(node)
    if node.attr in FORBIDDEN_NAMES and chain[:1] != ["builtins"] and _is_qt_like(node, chain):
        yield f".{node.attr}: {FORBIDDEN_NAMES[node.attr]}"
    if len(chain) == 4 and chain[0] == "qt" and all(part[:1].isupper() for part in chain[1:3]):
        yield f"{'.'.join(chain)}: scoped enums are unknown to older PythonQt, leave out {chain[2]}"


def _check_call(node: ast.Call) -> Iterator[str]:
    if not node.keywords or not isinstance(node.func, ast.Attribute):
        return
    chain = _dotted(node.func)
    if len(chain) == 2 and chain[0] in ("qt", "ctk") and chain[1][:1] in "Qc":
        yield f"{'.'.join(chain)}(...): keyword arguments of constructors differ in PythonQt"


def _is_qt_like(node: ast.Attribute, chain: list[str]) -> bool:
    return node.attr[0].isupper() is False or chain[:1] in (["qt"], ["QtCore"])


def _dotted(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        inner = _dotted(node.value)
        return [*inner, node.attr] if inner else []
    return []

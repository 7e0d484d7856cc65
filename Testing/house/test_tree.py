"""The rules of the house that a reader relies on: lists, import-free packages, lazy torch."""

import ast
import subprocess
import sys
from pathlib import Path

import cmake_lists
import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "DeepVsClassicReg" / "DeepVsClassicRegLib"


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_cmake_lists_name_every_file():
    text = cmake_lists.LISTS.read_text(encoding="utf-8")
    assert cmake_lists.updated(text) == text, "run `make cmake`"


@pytest.mark.parametrize("path", sorted(LIBRARY.rglob("__init__.py")), ids=name)
def test_packages_import_nothing(path):
    top = ast.parse(path.read_text(encoding="utf-8")).body
    imports = [node for node in top if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert all(getattr(node, "module", "") in ("__future__", "typing") for node in imports)


@pytest.mark.parametrize("path", sorted(LIBRARY.rglob("*.py")), ids=name)
def test_nothing_prints_or_hides_errors(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}: the library never prints"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: bare except"


@pytest.mark.parametrize("path", sorted(LIBRARY.rglob("*.py")), ids=name)
def test_files_have_a_docstring(path):
    if path.stat().st_size:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_no_two_public_classes_share_a_name():
    """One term a concept: a reader who meets a name must not ask which of two classes it is."""
    places: dict[str, list[str]] = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(f"{name(path)}:{node.lineno}")
    assert {title: found for title, found in places.items() if len(found) > 1} == {}


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules loaded in a fresh interpreter after running the code."""
    script = f"import sys; sys.path.insert(0, {str(LIBRARY.parent)!r}); {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, encoding="utf-8", check=True)
    return {module.partition(".")[0] for module in done.stdout.splitlines()[-1].split()}


def test_importing_the_library_loads_nothing_heavy():
    assert not loaded_by("import DeepVsClassicRegLib") & {"numpy", "SimpleITK", "torch", "matplotlib"}


def test_the_catalogue_loads_no_back_end():
    loaded = loaded_by("from DeepVsClassicRegLib.core.engines import catalogue as c; c.engine_infos()")
    assert not loaded & {"torch", "itk", "ants", "picsl_greedy", "numba", "fireants", "matplotlib", "jinja2"}


@pytest.mark.parametrize("module", ["torch", "itk", "numba", "matplotlib"])
def test_the_api_works_without(module):
    """Slicer brings numpy, scipy and SimpleITK; a classical registration and its measures need no more."""
    code = (
        f"sys.modules[{module!r}] = None;"
        "import DeepVsClassicRegLib as d;"
        "from DeepVsClassicRegLib.core.phantom.phantom import make_phantom;"
        "p = make_phantom('head', size=24).pair;"
        "r = d.register(p, engine='sitk-demons', threads=1, settings={});"
        "assert d.evaluate(p, r).after['dice_mean'] > 0"
    )
    loaded_by(code)


HEAVY = {"numpy", "scipy", "SimpleITK", "torch", "numba", "matplotlib", "itk"}
HEAVY |= {"pandas", "dask", "pydicom", "h5py", "PIL"}


def loaded_by_command(*arguments: str) -> set[str]:
    """Return the heavy packages that `dvcreg` has loaded when it would start the computing process, or at its end."""
    code = (
        "from DeepVsClassicRegLib.cli.main import main;"
        "from DeepVsClassicRegLib.worker.client import WorkerClient;"
        "WorkerClient.start = lambda self: (_ for _ in ()).throw(KeyboardInterrupt);"
        f"main({list(arguments)!r})"
    )
    return loaded_by(code) & HEAVY


def test_help_loads_nothing_heavy():
    assert loaded_by_command("--help") == set()
    assert loaded_by_command("register", "--help") == set()


def test_a_registration_starts_before_anything_heavy_is_loaded(tmp_path):
    """The other process loads what it needs meanwhile."""
    volumes = [f"--{side}={tmp_path}/{side}.nii.gz" for side in ("fixed", "moving")]
    assert loaded_by_command("register", *volumes, "--engine=instance", f"--out={tmp_path}") == set()

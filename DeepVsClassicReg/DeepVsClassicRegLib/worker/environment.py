"""How a worker process is started: its command line and its environment."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from ..core.device import Compute, thread_variables
from ..core.errors import RegistrationError

MODULE = __package__ or "DeepVsClassicRegLib.worker"


def worker_python() -> str:
    """Return the Python program that runs workers: this one, or Slicer's PythonSlicer inside Slicer.

    Raises
    ------
    RegistrationError
        When this is an application with Python inside and no PythonSlicer is on PATH.
    """
    if "python" in Path(sys.executable or "").name.lower():
        return sys.executable
    found = shutil.which("PythonSlicer")
    if found is None:
        raise RegistrationError(
            f"No Python program found to run the registration (this is {sys.executable or 'unknown'}).",
            hint="Start Slicer through its launcher, which puts PythonSlicer on PATH.",
        )
    return found


def worker_command(folder: str | os.PathLike[str], *, python: str | None = None, module: str = MODULE) -> list[str]:
    """Return the command that works on a job folder.

    Parameters
    ----------
    folder : path
        The job folder.
    python : str, optional
        The Python program; `worker_python()` when not given.
    module : str
        What is run; only the worker itself starts another one.
    """
    # -P keeps the current folder off sys.path, so a stray numpy.py beside the user's data does no harm.
    return [python or worker_python(), "-P", "-m", module, str(Path(folder).resolve())]


def worker_environment(
    compute: Compute | None = None, *, base: Mapping[str, str] | None = None, scratch: Path | None = None
) -> dict[str, str]:
    """Return the environment a worker runs in.

    Parameters
    ----------
    compute : Compute, optional
        Threads above 0 bound every numerical library; device 'cpu' hides the GPUs.
    base : mapping, optional
        Where it starts from; this process' environment when not given.
    scratch : path, optional
        Where temporary files go.
    """
    environment = dict(os.environ if base is None else base)
    environment.update(PYTHONUNBUFFERED="1", PYTHONUTF8="1", MPLBACKEND="Agg")
    for name in ("PYTHONINSPECT", "PYTHONSTARTUP", "PYTHONBREAKPOINT"):
        environment.pop(name, None)
    library = Path(__file__).resolve().parents[2]
    # An installed library is found without help, and site-packages must not come before the standard library.
    if library.name not in ("site-packages", "dist-packages"):
        others = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
        kept = [entry for entry in others if entry != str(library)]
        environment["PYTHONPATH"] = os.pathsep.join([str(library), *kept])
    if compute is not None and compute.threads > 0:
        environment.update(thread_variables(compute.threads))
    if compute is not None and compute.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = "-1"
    if scratch is not None:
        environment.update(dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch)))
    return environment

"""How a worker process is started (command line, environment) and killed with all its children."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..core.device import SLEEPING_THREADS, Compute, thread_variables
from ..core.errors import RegistrationError

WINDOWS = sys.platform == "win32"


def lead_own_group() -> None:
    """Make this process the leader of its own session, so that it and its children can be killed together."""
    if not WINDOWS and os.getpgrp() != os.getpid():
        os.setsid()


def kill_groups(leaders: Iterable[int | None]) -> None:
    """Kill these processes and their groups (Windows: their descendants) immediately.

    Processes that have already ended are ignored; the group of this process is never killed.
    """
    for leader in leaders:
        if leader is None or leader <= 1:
            continue
        if WINDOWS:
            subprocess.run(
                ["taskkill", "/T", "/F", "/PID", str(leader)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
        elif leader != os.getpgrp():
            try:
                os.killpg(leader, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue


def kill_own_group() -> None:
    """Kill this process and its children immediately; does nothing unless it leads its own group."""
    if not WINDOWS and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)


MODULE = __package__ or "DeepVsClassicRegLib.worker"


def worker_python() -> str:
    """Return the Python program that runs workers: the current one, or PythonSlicer inside Slicer.

    Raises
    ------
    RegistrationError
        When this is an application with embedded Python and PythonSlicer is not on PATH.
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


def worker_command(
    folder: str | os.PathLike[str] | None = None, *, python: str | None = None, module: str = MODULE
) -> list[str]:
    """Return the command that runs the job of a folder, or without a folder that of a warm worker.

    Parameters
    ----------
    folder : path, optional
        The job folder.
    python : str, optional
        The Python program; default: `worker_python()`.
    module : str
        The module to run; only the worker itself passes another one.
    """
    # -P keeps the current folder off sys.path, so that a file like numpy.py beside the user's data is not imported.
    arguments = [] if folder is None else [str(Path(folder).resolve())]
    return [python or worker_python(), "-P", "-m", module, *arguments]


def worker_environment(
    compute: Compute | None = None, *, base: Mapping[str, str] | None = None, scratch: Path | None = None
) -> dict[str, str]:
    """Return the environment of a worker.

    Parameters
    ----------
    compute : Compute, optional
        Threads above 0 limit all numerical libraries; device 'cpu' hides the GPUs.
    base : mapping, optional
        Base environment; default: that of this process.
    scratch : path, optional
        Folder for temporary files.
    """
    environment = dict(os.environ if base is None else base)
    environment = {**SLEEPING_THREADS, **environment}
    environment.update(PYTHONUNBUFFERED="1", PYTHONUTF8="1", MPLBACKEND="Agg")
    for name in ("PYTHONINSPECT", "PYTHONSTARTUP", "PYTHONBREAKPOINT"):
        environment.pop(name, None)
    library = Path(__file__).resolve().parents[2]
    # An installed library needs no PYTHONPATH, and site-packages must not precede the standard library.
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

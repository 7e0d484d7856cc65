"""A phantom on disk, and the command line called in this process or as a program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from DeepVsClassicRegLib.cli.main import main
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom, write_phantom
from DeepVsClassicRegLib.core.transforms.files import write_transform
from DeepVsClassicRegLib.core.transforms.transform import Transform
from DeepVsClassicRegLib.worker.processes import worker_environment

FAKES = Path(__file__).parent / "fakes"


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> dict[str, Path]:
    """Return the files of a small phantom, and `initial`, its exact linear part."""
    folder = tmp_path_factory.mktemp("phantom ü")
    phantom = make_phantom("head", size=20)
    written = write_phantom(phantom, folder)
    initial = write_transform(Transform((phantom.warp.affine,)), folder / "initial.tfm")
    return {**written, "initial": initial}


@pytest.fixture
def pair(files) -> list[str]:
    """Return the options that name the phantom's volumes and its linear part."""
    return ["--fixed", str(files["fixed"]), "--moving", str(files["moving"]), "--initial", str(files["initial"])]


@pytest.fixture
def call(capsys):
    """Return a function that runs a command in this process: (exit code, standard output, standard error)."""

    def run(*arguments) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def program():
    """Return a function that starts the program with the fake engines known; none outlives its test."""
    started = []

    def start(*arguments, **variables) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "DeepVsClassicRegLib.cli", *map(str, arguments)],
            env={**worker_environment(base={**os.environ, "PYTHONPATH": str(FAKES)}), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            # A test run that a shell put in the background ignores Ctrl-C, and its children would inherit that.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()

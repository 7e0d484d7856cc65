"""Inputs from real life: each case says what is true of it, and the library says that, or refuses it clearly.

A file of this folder holds a list `CASES` (`making.py` helps to build inputs); `Testing/core/test_faults.py` runs them
all as tests and `Testing/bench/faults.py` writes them as the table `Testing/bench/FAULTS.md`:

    def cut(folder):
        whole = write_phantom(...)
        ...
        return ["info", "cut.nii.gz"]                       # arguments of dvcreg, run inside `folder`, or
        return lambda: read_volume(folder / "cut.nii.gz")   # anything to call; its result is the value

    CASES = [
        Case("B", "gzip cut at 60 %", cut, Refused(FileError, "cut off", "bytes")),
        Case("B", "both form codes 0", no_codes, Gives(64, read=size, notes=["orientation"])),   # size(run) -> value
    ]

No case may change a file that `build` made: the runner compares them, whatever is expected.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import logging
import os
import pkgutil
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from DeepVsClassicRegLib.cli.main import main
from DeepVsClassicRegLib.core.errors import RegistrationError
from DeepVsClassicRegLib.worker.protocol import EXIT_RESULT, EXIT_USER

Call = Sequence[Any] | Callable[[], Any]
LIBRARY = "DeepVsClassicRegLib"
SHORT = 160


class NotInstalled(Exception):
    """Raised by a case that needs a program or package that this computer lacks: nothing was tried."""


@dataclass(frozen=True)
class Run:
    """What came out of a case.

    Parameters
    ----------
    folder : Path
        Where the case was built and run.
    value : object
        What the called function returned; for a command its standard output.
    code : int
        Exit code of the command; of a function 0, or 2 when it refused.
    error : RegistrationError, optional
        The refusal of a called function.
    text : str
        All that was shown: both streams (also what C++ code wrote), warnings of the log, notes of the value.
    changed : tuple of str
        Files made by `build` that are no longer what they were.
    """

    folder: Path
    value: Any
    code: int
    error: RegistrationError | None
    text: str
    changed: tuple[str, ...]

    def json(self, name: str) -> Any:
        """Return the content of a JSON file below the folder."""
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Gives:
    """The case succeeds with the true value, and says what must be said.

    Parameters
    ----------
    truth : number, string, sequence or array
        The true value, known without the library.
    tolerance : float
        Largest absolute difference of any element from the truth.
    read : callable
        Takes the value out of the `Run`; the returned value itself when not given.
    notes : sequence of str
        Words that must be shown (in any letter case).
    silent : sequence of str
        Words that must not be shown.
    """

    truth: Any
    tolerance: float = 0.0
    read: Callable[[Run], Any] = lambda run: run.value
    notes: Sequence[str] = ()
    silent: Sequence[str] = ()

    def describe(self) -> str:
        """Return what is true, in words."""
        words = f"{_short(self.truth)}" + (f" ± {self.tolerance:g}" if self.tolerance else "")
        return words + (f"; says {', '.join(map(repr, self.notes))}" if self.notes else "")

    def outcome(self, run: Run) -> str:
        """Return what came out, in words."""
        return _short(self.read(run)) if run.code == EXIT_RESULT else "refused"

    def failures(self, run: Run) -> list[str]:
        """Return what is wrong with the outcome; empty when nothing is."""
        if run.code != EXIT_RESULT:
            return [f"refused (exit code {run.code}): {run.text}"]
        value = self.read(run)
        wrong = [] if _equal(value, self.truth, self.tolerance) else [f"{_short(value)} is not {self.describe()}"]
        return wrong + _missing(self.notes, run.text) + _present(self.silent, run.text)


@dataclass(frozen=True, init=False)
class Refused:
    """The case is refused with a user error whose message has these words (in any letter case)."""

    error: type[RegistrationError]
    words: tuple[str, ...]

    def __init__(self, error: type[RegistrationError], *words: str) -> None:
        object.__setattr__(self, "error", error)
        object.__setattr__(self, "words", words)

    def describe(self) -> str:
        """Return what is true, in words."""
        return f"refused: {', '.join(map(repr, self.words))}"

    def outcome(self, run: Run) -> str:
        """Return what came out, in words."""
        return "refused" if run.code == EXIT_USER else f"exit code {run.code}: {_short(run.value)}"

    def failures(self, run: Run) -> list[str]:
        """Return what is wrong with the outcome; empty when nothing is."""
        if run.code != EXIT_USER:
            return [f"not refused (exit code {run.code}): {_short(run.value)} {run.text}"]
        if run.error is not None and not isinstance(run.error, self.error):
            return [f"{type(run.error).__name__} is no {self.error.__name__}: {run.error}"]
        wrong = _missing(self.words, run.text) + _present(("traceback", "itk::"), run.text)
        foreign = "" if run.error is None else run.text.replace(str(run.error), "").strip()
        return wrong + ([f"shows what is not ours: {foreign}"] if foreign else [])


@dataclass(frozen=True)
class Case:
    """An input from real life and what is true of it.

    Parameters
    ----------
    kind : str
        Letter of the kind of fault: A DICOM, B NIfTI, C labels, D transforms, E landmarks, F outputs, G scale,
        H background, I partial view, J what the user must see.
    name : str
        The input in a few words; unique in its kind.
    build : callable
        Makes the input in the folder given and returns the arguments of `dvcreg` or a function to call.
    expect : Gives or Refused
        What is true.
    rewrites : sequence of str
        Files made by `build` that may change: outputs of an earlier run.
    slow : bool
        More than about 10 seconds of computation.
    """

    kind: str
    name: str
    build: Callable[[Path], Call]
    expect: Gives | Refused
    rewrites: Sequence[str] = field(default=())
    slow: bool = False

    @property
    def id(self) -> str:
        """Return the name of the test."""
        return f"{self.kind}-{re.sub(r'[^a-z0-9.]+', '-', self.name.lower()).strip('-')}"

    def run(self, folder: Path) -> Run:
        """Build the input in an empty folder and run it there."""
        called = self.build(folder)
        before = _hashes(folder)
        notes: list[str] = []
        value, code, error = None, EXIT_RESULT, None
        with contextlib.chdir(folder), _streams() as shown, _warnings(notes):
            if callable(called):
                try:
                    value = called()
                except RegistrationError as caught:
                    error, code = caught, EXIT_USER
            else:
                code = main([str(argument) for argument in called])
        out, err = shown()
        notes += [] if error is None else [str(error)]
        notes += [str(note) for note in getattr(value, "notes", ())]
        after = _hashes(folder)
        changed = tuple(name for name, old in before.items() if after.get(name) != old and name not in self.rewrites)
        text = "\n".join(part for part in (out, err, *notes) if part)
        return Run(folder, value if callable(called) else out, code, error, text, changed)

    def failures(self, run: Run) -> list[str]:
        """Return what is wrong with a run of this case; empty when nothing is."""
        lost = [f"changed its input {name}" for name in run.changed]
        return lost + self.expect.failures(run)


def all_cases() -> list[Case]:
    """Return the cases of every file of this folder, by kind."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return sorted((case for module in modules for case in getattr(module, "CASES", [])), key=lambda case: case.kind)


def message(run: Run) -> str:
    """Return the lines of a run that speak to the user, without the results."""
    lines = [line.strip() for line in run.text.splitlines()]
    spoken = [line for line in lines if line and (run.error is not None or line.startswith(("Error", "Hint", "Note")))]
    extra = [str(note) for note in getattr(run.value, "notes", ())]
    return " ".join(dict.fromkeys([*spoken, *extra]))


def _equal(value: Any, truth: Any, tolerance: float) -> bool:
    if value is None or truth is None or isinstance(truth, (str, bool, dict)):
        return type(value) is type(truth) and bool(value == truth)
    try:
        got, wanted = np.asarray(value), np.asarray(truth)
        if got.dtype.kind in "US" or wanted.dtype.kind in "US":
            return got.tolist() == wanted.tolist()
        return got.shape == wanted.shape and bool(np.allclose(got, wanted, rtol=0, atol=tolerance))
    except (TypeError, ValueError):
        return bool(value == truth)


def _missing(words: Sequence[str], text: str) -> list[str]:
    flat = " ".join(text.split()).lower()
    return [f"'{word}' is not said in: {text}" for word in words if word.lower() not in flat]


def _present(words: Sequence[str], text: str) -> list[str]:
    flat = " ".join(text.split()).lower()
    return [f"'{word}' is said in: {text}" for word in words if word.lower() in flat]


def _short(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        value = type(value)(entry.item() if isinstance(entry, np.generic) else entry for entry in value)
    if isinstance(value, np.ndarray):
        value = np.round(value, 4).tolist()
    words = f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
    return words if len(words) <= SHORT else words[:SHORT] + " …"


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.md5(path.read_bytes()).hexdigest() for path in files}


@contextlib.contextmanager
def _warnings(notes: list[str]) -> Iterator[None]:
    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notes.append(record.getMessage())

    handler, logger = Keep(logging.WARNING), logging.getLogger(LIBRARY)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextlib.contextmanager
def _streams() -> Iterator[Callable[[], tuple[str, str]]]:
    """Catch both streams inside the block, Python's and those of C++ code."""
    python = io.StringIO(), io.StringIO()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        read: list[str] = ["", ""]
        saved = os.dup(1), os.dup(2)
        sys.stdout.flush(), sys.stderr.flush()
        os.dup2(out.fileno(), 1), os.dup2(err.fileno(), 2)
        try:
            with contextlib.redirect_stdout(python[0]), contextlib.redirect_stderr(python[1]):
                yield lambda: (read[0], read[1])
        finally:
            for number, old in zip((1, 2), saved, strict=True):
                os.dup2(old, number), os.close(old)
            for number, (file, words) in enumerate(zip((out, err), python, strict=True)):
                file.seek(0)
                read[number] = words.getvalue() + file.read().decode("utf-8", "replace")

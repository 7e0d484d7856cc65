"""`make panel`: a real window where there is a screen, a sentence where there is none."""

import os
import subprocess
import sys
from pathlib import Path

SHOW = Path(__file__).parents[1] / "slicer_standin" / "show.py"
TINY = Path(__file__).parent / "TinyModule" / "TinyModule.py"


def run(environment, *arguments):
    clean = {name: value for name, value in os.environ.items() if "DISPLAY" not in name and name != "QT_QPA_PLATFORM"}
    command = [sys.executable, str(SHOW), "--module", str(TINY), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", timeout=300, env=clean | environment
    )


def test_a_missing_screen_is_reported_in_one_line():
    done = run({})
    assert done.returncode == 1
    assert done.stderr.startswith("No screen: neither DISPLAY nor WAYLAND_DISPLAY is set.")
    assert len(done.stderr.splitlines()) == 1


def test_window_opens_with_a_sample_and_closes():
    done = run({"QT_QPA_PLATFORM": "minimal"}, "--close-after", "1")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr

"""Hundreds of random clicks leave no traceback, no critical message, no process, no file and no node behind."""

from __future__ import annotations

import logging
from pathlib import Path

import psutil
import pytest
import slicer
from DeepVsClassicRegLib.ui.preferences import scene_table
from panel_clicks import WAIT_S, Soak, listed
from panel_helpers import wait


@pytest.fixture
def soak(module, widget, phantom, tmp_path, monkeypatch, dialogs, packages):
    """A function that clicks and then looks for what was left behind."""
    packages.refuse = True
    for name in ("XDG_DATA_HOME", "APPDATA", "HOME"):  # presets that are saved
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setattr("DeepVsClassicRegLib.ui.dependencies.packages_to_add", lambda *_: ())  # no pip, no network
    for number in range(200):
        dialogs.answer("getSaveFileName", str(tmp_path / f"saved{number}.csv"))
        dialogs.answer("getExistingDirectory", "")
        dialogs.answer("getOpenFileName", "")
        dialogs.answer("getText", f"My preset {number % 3}")

    def clicks(count, **options):
        user = Soak(module, phantom, tmp_path, monkeypatch, dialogs, **options)
        children = {child.pid for child in psutil.Process().children(recursive=True)}
        user.run(count)
        logging.info("seed %s: %s", user.seed, user.done)
        check_nothing_left(user, children)

    return clicks


def check_nothing_left(user, children):
    """Fail on processes, job folders and nodes that outlive their use."""
    from DeepVsClassicRegLib.ui.process import end_idle_workers  # of the module as it was reloaded last

    names = [slicer.mrmlScene.GetNthNode(index).GetName() or "" for index in range(slicer.mrmlScene.GetNumberOfNodes())]
    assert not [name for name in names if name.startswith("Comparison")], f"seed {user.seed}: {user.done}"
    slicer.mrmlScene.Clear(0)
    user.settle()
    assert not [node.GetName() for node in listed()], f"seed {user.seed}: {user.done}"
    wait(lambda: not [path for path in Path(slicer.app.temporaryPath).iterdir() if "dvcreg" in path.name], WAIT_S)
    end_idle_workers()  # one waits for the next job, on purpose
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in children]
    assert not [child for child in left if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def test_only_what_users_work_with_is_listed(panel, picked, ui, fake):
    ui.registerButton.click()
    fake.process.finish()
    wait(lambda: not panel.busy)
    for name in ("measures", "structures", "plot"):
        assert scene_table(name, panel.results.parameter_node).GetHideFromEditors()
    ui.arrowsButton.click()
    wait(lambda: not panel.busy)
    hidden = [node.GetName() for node in listed() if node.GetHideFromEditors()]
    assert not hidden, "the Data module lists what was visible for a moment"


def test_forty_clicks(soak):
    soak(40, seed=11)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_three_hundred_clicks(soak, seed):
    soak(300, seed=seed, real_share=0.1)

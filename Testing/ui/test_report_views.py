"""The menu *More*: views added to the report, and the transform in Slicer's module Transforms."""

from __future__ import annotations

import base64
import re

import pytest
import slicer
from DeepVsClassicRegLib.mrml.runs import size_of_views, stored_views
from DeepVsClassicRegLib.ui.report_page import captured_views
from panel_helpers import settle, wait


def saved_page(panel, tmp_path):
    panel.results.save_page(str(tmp_path / "report.html"))
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def figures(page):
    """Return the pictures (PNG) of each added view, and its caption."""
    found = []
    for content, caption in re.findall(r"<figure>(.*?)<figcaption>(.*?)</figcaption></figure>", page, flags=re.S):
        found.append(([base64.b64decode(data) for data in re.findall(r"base64,([^\"]+)", content)], caption))
    return found


@pytest.fixture
def window(widget):
    from slicer_standin import boot

    made = boot.main_window()
    made.resize(1200, 800)
    made.show()
    settle()
    yield made
    made.hide()


def test_added_views_are_in_the_report_as_they_were(gl, window, panel, ui, finish, tmp_path):
    run = finish(worse=True)
    ui.checkerboardButton.click()
    wait(lambda: not panel.busy)
    panel.qa.go_to(run.look_at[0])
    panel.results.capture_action.trigger()
    ui.flickerButton.click()
    wait(lambda: not panel.busy)
    ui.beforeButton.click()
    wait(lambda: not panel.busy)
    panel.results.capture_action.trigger()
    assert "(2)" in panel.results.capture_action.text
    first, second = figures(saved_page(panel, tmp_path))
    assert "Checkerboard" in first[1] and run.look_at[0].text in first[1]
    assert "Flicker, before registration" in second[1]
    assert len(first[0]) == 3 and all(picture.startswith(b"\x89PNG") for picture in first[0])
    assert first[0] != second[0]


def test_only_views_on_the_screen_are_in_the_report(gl, window, panel, ui, finish):
    finish()
    ui.sideBySideButton.click()
    wait(lambda: not panel.busy)
    panel.results.capture_action.trigger()
    names = [name for name, _png in captured_views(panel.results.runs)[0].pictures]
    assert names == ["RegistrationFixed", "RegistrationMoving", "RegistrationOverlay"]


def test_added_views_are_removed_on_request_and_with_the_scene(panel, ui, finish):
    finish()
    remove = panel.results.uncapture_action
    assert not remove.enabled
    panel.results.capture_action.trigger()
    assert remove.enabled
    remove.trigger()
    assert captured_views(panel.results.runs) == [] and not remove.enabled
    panel.results.capture_action.trigger()
    slicer.mrmlScene.Clear(0)
    settle()
    assert captured_views(panel.results.runs) == []


def test_the_transform_is_opened_in_its_module(panel, ui, finish, monkeypatch):
    run = finish()
    opened = []
    monkeypatch.setattr(type(slicer.app), "openNodeModule", lambda app, node: opened.append(node))
    panel.results.transform_action.trigger()
    assert opened == [run.transform]


def test_a_deleted_transform_is_reported(panel, ui, finish, recorded_errors):
    run = finish()
    slicer.mrmlScene.RemoveNode(run.transform)
    panel.results.transform_action.trigger()
    assert any("was deleted" in text for text in recorded_errors())


def reopened(path):
    """Save the scene, open it again, and wait for the panel."""
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    settle()
    slicer.util.loadScene(str(path))
    settle()


@pytest.mark.parametrize("kind", ["mrb", "mrml"])
def test_added_views_are_saved_with_the_scene_and_forgotten_with_their_run(
    gl, window, panel, ui, finish, tmp_path, kind
):
    run = finish()
    run.record.SetName("Left | right")  # '|' separates parameters in the file
    panel.results.refresh()
    ui.blendButton.click()
    wait(lambda: not panel.busy)
    panel.results.capture_action.trigger()
    ui.checkerboardButton.click()
    wait(lambda: not panel.busy)
    panel.results.capture_action.trigger()
    before = captured_views(panel.results.runs)
    assert len(before) == 2 and before[0] != before[1] and "|" in before[0].caption
    reopened(tmp_path / f"scene.{kind}")
    assert captured_views(panel.results.runs) == before
    assert "(2)" in panel.results.capture_action.text and panel.results.uncapture_action.enabled
    assert size_of_views(panel.results.run) == sum(map(len, stored_views(panel.results.run))) > 10_000
    assert [caption for _pictures, caption in figures(saved_page(panel, tmp_path))] == [one.caption for one in before]
    panel.results.forget()
    assert captured_views(panel.results.runs) == [] and not panel.results.uncapture_action.enabled


def test_the_views_of_one_run_stay_when_another_is_forgotten(panel, ui, finish):
    finish()
    panel.results.capture_action.trigger()
    kept = captured_views(panel.results.runs)
    finish()
    panel.results.capture_action.trigger()
    assert len(captured_views(panel.results.runs)) == 2
    panel.results.forget()
    assert captured_views(panel.results.runs) == kept


@pytest.mark.parametrize("bound, value", [("MOST_VIEWS", 2), ("MOST_VIEW_BYTES", 30)])
def test_no_more_views_than_a_scene_should_hold(panel, ui, finish, monkeypatch, bound, value):
    from DeepVsClassicRegLib.ui import results_section

    monkeypatch.setattr(results_section, bound, value)
    finish()
    action = panel.results.capture_action
    for _ in range(5):
        panel.results.capture_views()
    assert 1 <= len(captured_views(panel.results.runs)) <= 2
    assert not action.enabled and "no more fit" in action.text
    panel.results.uncapture_action.trigger()
    assert action.enabled and "no more" not in action.text

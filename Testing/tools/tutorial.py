"""Takes the pictures of Docs/tutorial.md, one per step, with the clicks that the page describes: `make screenshots`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from screenshots import ROOT, Studio, workers_suspended

PICTURES = ROOT / "Docs" / "pictures"
WINDOW = (1280, 800)
COMPARED = ("elastix", "sitk-demons")


def steps(studio: Studio) -> Iterator[tuple[str, str]]:
    """Yield name and topmost widget of the panel ('' for the result) of each picture when it is to be taken."""
    ui, panel = studio.ui, studio.panel
    yield "1-open", "inputsButton"

    ui.sampleButton.click()
    studio.wait(lambda: panel.inputs.inputs().fixed is not None and ui.registerButton.enabled)
    studio.slicer.app.layoutManager().resetSliceViews()
    yield "2-pair", "inputsButton"

    ui.inputsButton.collapsed = True
    panel.advice.ask()
    studio.wait(lambda: not panel.advice.asking)
    ui.whyButton.collapsed = False
    yield "3-advice", "adviceButton"

    ui.useAdviceButton.click()
    ui.whyButton.collapsed = ui.adviceButton.collapsed = True
    ui.progressButton.collapsed = False
    studio.choose("instance")
    ui.registerButton.click()
    studio.wait(lambda: not panel.runner.busy or panel.runner.current.fraction > 0.5)
    with workers_suspended():
        yield "4-running", "methodButton"

    studio.wait(lambda: not panel.busy)
    ui.progressButton.collapsed = True
    yield "5-verdict", ""
    for number, look in ((6, "checkerboard"), (7, "grid")):
        studio.look(f"{look}Button")
        yield f"{number}-{look}", ""
    studio.look("blendButton")
    studio.look("structureButton")
    yield "8-location", ""

    ui.applyButton.collapsed = False
    panel.validate()
    inputs = panel.inputs.inputs()
    for node in (inputs.moving_labels, inputs.moving_points):
        panel.apply.check(node.GetName())
    ui.applyNowButton.click()
    studio.wait(lambda: not panel.busy)
    for node in studio.slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        if node.GetName().startswith(f"{inputs.moving_labels.GetName()} on"):
            node.GetDisplayNode().SetVisibility(True)
            node.GetDisplayNode().SetVisibility2DFill(False)
            yield "9-apply", "structuresButton"
            node.GetDisplayNode().SetVisibility(False)

    ui.applyButton.collapsed = True
    ui.methodButton.collapsed = False
    studio.choose("compare")
    for name, (check, _combo) in panel.engines.compare_list.rows.items():
        check.checked = name in COMPARED and check.enabled
    studio.wait(lambda: ui.registerButton.enabled and not panel.checking)
    studio.register()
    studio.slicer.app.layoutManager().resetSliceViews()
    studio.look("contoursButton")
    yield "10-compare", ""


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PICTURES)
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)
    studio = Studio(wanted.out, 96)
    studio.wait(lambda: not studio.panel.checking)
    for name, top in steps(studio):
        studio.shoot(f"tutorial-{name}", scroll=top, size=WINDOW)


if __name__ == "__main__":
    main()

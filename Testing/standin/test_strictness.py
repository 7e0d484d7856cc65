"""What would fail in Slicer fails here: .ui files, PySide6 names, Qt 6 only API."""

from pathlib import Path

import pytest
import slicer
from slicer_standin import sourcecheck

UI = """<ui version="4.0"><class>A</class><widget class="qMRMLWidget" name="A"><layout class="QVBoxLayout" name="l">
<item>{widget}</item></layout></widget><connections>{connections}</connections></ui>"""
COMBO = '<widget class="qMRMLNodeComboBox" name="combo">{}</widget>'
LINK = """<connection><sender>{}</sender><signal>{}</signal><receiver>{}</receiver><slot>{}</slot></connection>"""
GOOD = ("A", "mrmlSceneChanged(vtkMRMLScene*)", "combo", "setMRMLScene(vtkMRMLScene*)")


def write(tmp_path, widget, link=GOOD):
    path = tmp_path / "a.ui"
    path.write_text(UI.format(widget=widget, connections=LINK.format(*link) if link else ""))
    return str(path)


def test_good_file_is_loaded_and_linked(tmp_path, slicer_scene):
    widget = slicer.util.loadUI(write(tmp_path, COMBO.format("")))
    assert widget.combo.enabled is False
    widget.setMRMLScene(slicer_scene)
    assert widget.combo.mrmlScene() is slicer_scene


@pytest.mark.parametrize(
    ("widget", "link", "match"),
    [
        ('<widget class="qMRMLNodeBox" name="combo"/>', GOOD, "unknown widget class 'qMRMLNodeBox'"),
        ('<widget class="qMRMLPlotView" name="combo"/>', None, "unknown widget class"),
        (COMBO.format('<property name="nodeType"><string>a</string></property>'), GOOD, "no property 'nodeType'"),
        (
            '<widget class="QLabel" name="combo"><property name="txt"><string>a</string></property></widget>',
            None,
            "'txt'",
        ),
        (COMBO.format(""), ("A", "sceneChanged(vtkMRMLScene*)", *GOOD[2:]), "no signal"),
        (COMBO.format(""), (*GOOD[:3], "setScene(vtkMRMLScene*)"), "no slot"),
        (COMBO.format(""), (*GOOD[:2], "kombo", GOOD[3]), "unknown object 'kombo'"),
    ],
)
def test_bad_files_are_refused(tmp_path, widget, link, match):
    with pytest.raises(RuntimeError, match=match):
        slicer.util.loadUI(write(tmp_path, widget, link))


BAD_SOURCES = {
    "import PySide6": "imports PySide6",
    "from PySide6.QtCore import QTimer": "imports PySide6.QtCore",
    "import slicer_standin.boot": "imports slicer_standin",
    "import qt\nclass A(qt.QObject):\n    changed = qt.Signal(int)": "cannot define signals",
    "def f(dialog):\n    return dialog.exec()": "exec_",
    "def f(box, g):\n    box.checkStateChanged.connect(g)": "Qt 6.7",
    "import qt\nx = qt.Qt.AlignmentFlag.AlignLeft": "scoped enums",
    "import qt\nx = qt.QPushButton(text='a')": "keyword arguments",
}


@pytest.mark.parametrize("source", BAD_SOURCES)
def test_source_check_finds(tmp_path, source):
    path = tmp_path / "module.py"
    path.write_text(source)
    (found,) = sourcecheck.violations([path])
    assert BAD_SOURCES[source] in found


def test_source_check_accepts_the_tiny_module():
    assert sourcecheck.violations([Path(__file__).parent / "TinyModule" / "TinyModule.py"]) == []

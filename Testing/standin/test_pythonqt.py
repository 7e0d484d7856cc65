"""PythonQt's rules as read from its source, one row per rule."""

import ctk
import pytest
import qt
import slicer
from slicer_standin import pythonqt


def button():
    made = qt.QPushButton("text")
    made.setObjectName("theButton")
    return made


READS = [
    ("text", "text"),
    ("name", "theButton"),
    ("objectName", "theButton"),
    ("enabled", True),
    ("checkable", False),
    ("className", None),
]


@pytest.mark.parametrize(("name", "expected"), READS)
def test_properties_are_attributes_and_win_over_getters(name, expected):
    value = getattr(button(), name)
    assert value == expected if expected is not None else value() == "QPushButton"


def test_getters_of_properties_cannot_be_called_but_is_and_set_methods_can():
    made = button()
    with pytest.raises(TypeError, match="not callable"):
        made.text()
    made.setText("other")
    made.checkable = True
    made.checked = True
    assert (made.text, made.isChecked(), made.isEnabled()) == ("other", True, True)


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (qt.QDoubleSpinBox, "decimals", 4),
        (qt.QLabel, "text", "words"),
        (qt.QCheckBox, "checked", True),
        (qt.QTimer, "interval", 40),
        (qt.QTimer, "singleShot", True),
        (qt.QVBoxLayout, "spacing", 3),
        (qt.QLineEdit, "placeholderText", "hint"),
        (qt.QPlainTextEdit, "plainText", "lines"),
        (qt.QProgressBar, "value", 7),
        (qt.QWidget, "toolTip", "tip"),
        (qt.QTabWidget, "tabPosition", qt.QTabWidget.South),
    ],
)
def test_properties_can_be_written(make, name, value):
    made = make()
    setattr(made, name, value)
    assert getattr(made, name) == value


def test_virtual_getters_are_values_and_still_answer_qt():
    class Wide(qt.QWidget):
        def sizeHint(self):
            return qt.QSize(300, 20)

    holder = qt.QWidget()
    layout = qt.QVBoxLayout(holder)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(Wide())
    assert holder.sizeHint.width() == 300
    bar = qt.QProgressBar()
    bar.maximum, bar.value = 10, 5
    assert bar.text == "50%"


def test_python_layout_subclass_keeps_its_virtual_getters():
    class Tight(qt.QVBoxLayout):
        pass

    holder = qt.QWidget()
    layout = Tight(holder)
    layout.setSpacing(7)
    layout.addWidget(qt.QLabel("a"))
    layout.addWidget(qt.QLabel("b"))
    holder.resize(50, 80)
    assert layout.spacing == 7
    assert holder.sizeHint.height() > 7


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("foo", "has no attribute"),
        ("setText", "cannot be overwritten"),
        ("width", "not writable"),
        ("_foo", "none can be"),
    ],
)
def test_cpp_objects_take_no_foreign_attributes(name, match):
    with pytest.raises(AttributeError, match=match):
        setattr(button(), name, 1)


@pytest.mark.parametrize("cls", [ctk.ctkSliderWidget, slicer.qMRMLNodeComboBox, slicer.qMRMLTableView])
def test_stand_ins_are_as_strict_as_cpp_objects(cls):
    made = cls()
    with pytest.raises(AttributeError):
        made.foo = 1
    with pytest.raises(AttributeError):
        made._foo = 1
    with pytest.raises(AttributeError):
        _ = made.bar


def test_python_subclasses_may_add_attributes():
    class Mine(qt.QWidget):
        def __init__(self):
            super().__init__()
            self.answer = 42

    assert Mine().answer == 42


def test_children_and_dynamic_properties_are_attributes():
    holder = qt.QWidget()
    layout = qt.QHBoxLayout(holder)
    made = button()
    layout.addWidget(made)
    holder.setProperty("SlicerParameterName", "fixed")
    assert holder.theButton is made
    assert holder.SlicerParameterName == "fixed"
    holder.SlicerParameterName = "moving"
    assert holder.property("SlicerParameterName") == "moving"


def none():
    calls.append(())


def one(first):
    calls.append((first,))


def default(first=7):
    calls.append((first,))


def every(*arguments):
    calls.append(arguments)


class Receiver:
    def method(self):
        calls.append(("method",))

    def method_one(self, value):
        calls.append((value,))


calls = []


@pytest.mark.parametrize(
    ("signal", "function", "expected"),
    [
        ("clicked()", none, ()),
        ("clicked(bool)", none, ()),
        ("clicked(bool)", one, (False,)),
        ("clicked(bool)", default, (False,)),
        ("clicked()", default, (7,)),
        ("clicked()", every, ()),
        ("clicked(bool)", every, (False,)),
        ("clicked( bool )", one, (False,)),
        ("clicked(bool)", Receiver().method, ("method",)),
        ("clicked(bool)", Receiver().method_one, (False,)),
        ("clicked()", lambda: calls.append(("lambda",)), ("lambda",)),
    ],
)
def test_arguments_are_trimmed_to_what_the_receiver_declares(signal, function, expected):
    calls.clear()
    made = button()
    assert made.connect(signal, function) is True
    made.click()
    assert calls == [expected]
    assert made.disconnect(signal, function) is True
    made.click()
    assert calls == [expected]


def test_connect_to_a_slot_by_name():
    source, target = qt.QLineEdit(), qt.QLabel()
    source.connect("textChanged(QString)", target, "setText(QString)")
    source.text = "typed"
    assert target.text == "typed"


def test_signals_are_attributes_with_connect():
    calls.clear()
    made = button()
    made.clicked.connect(none)
    made.click()
    assert calls == [()]


@pytest.mark.parametrize("signal", ["clickd()", "clicked(int)", "currentNodeChanged(vtkMRMLNode*)"])
def test_unknown_signals_raise(signal):
    with pytest.raises(ValueError, match="has no signal"):
        button().connect(signal, none)


@pytest.mark.parametrize(
    ("cls", "signal"),
    [
        (slicer.qMRMLNodeComboBox, "currentNodeChanged(PyObject)"),
        (slicer.qMRMLNodeComboBox, "nodeChanged(vtkMRMLNode*)"),
        (ctk.ctkSliderWidget, "valueChanged(int)"),
        (ctk.ctkCollapsibleButton, "collapsed(bool)"),
    ],
)
def test_signals_of_stand_ins_have_their_cpp_spelling_only(cls, signal):
    with pytest.raises(ValueError, match="has no signal"):
        cls().connect(signal, none)


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (slicer.qMRMLNodeComboBox, "setNoneEnabled"),
        (slicer.qMRMLNodeComboBox, "setNodeTypes"),
        (ctk.ctkSliderWidget, "setMinimum"),
        (ctk.ctkCollapsibleButton, "setCollapsed"),
        (ctk.ctkCheckableComboBox, "checkedIndexes"),
    ],
)
def test_methods_that_are_neither_slot_nor_invokable_are_missing(cls, name):
    with pytest.raises(AttributeError):
        getattr(cls(), name)


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (ctk.ctkSliderWidget, "minimum", "low"),
        (slicer.qMRMLNodeComboBox, "noneEnabled", "yes"),
        (slicer.qMRMLNodeComboBox, "nodeTypes", "vtkMRMLScalarVolumeNode"),
        (slicer.qMRMLNodeComboBox, "baseName", 3),
        (qt.QLabel, "text", 3),
    ],
)
def test_properties_refuse_values_of_another_type(cls, name, value):
    with pytest.raises(TypeError):
        setattr(cls(), name, value)


def test_timer_single_shot_is_static_and_property(wait_until):
    calls.clear()
    qt.QTimer.singleShot(1, none)
    wait_until(lambda: calls)
    timer = qt.QTimer()
    timer.singleShot = True
    timer.connect("timeout()", none)
    timer.start(1)
    wait_until(lambda: len(calls) == 2)
    assert timer.active is False


def test_enums_are_numbers():
    assert qt.QMessageBox.Ok == 0x400
    assert int(qt.Qt.AlignLeft | qt.Qt.AlignTop) == 33
    assert qt.QProcess.NotRunning == 0


def test_exceptions_in_slots_are_recorded_not_raised(recorded_errors):
    def fail():
        raise KeyError("in a slot")

    made = button()
    made.connect("clicked()", fail)
    made.click()
    found = recorded_errors()
    assert len(found) == 1
    assert "in a slot" in found[0]


def test_names_of_pyside_do_not_leak():
    for name in ("Signal", "Slot", "Property", "QtCore", "QtWidgets"):
        assert not hasattr(qt, name)


def test_connections_of_a_deleted_object_are_forgotten():
    before = len(pythonqt._connections)
    made = button()
    made.connect("clicked()", none)
    assert len(pythonqt._connections) == before + 1
    made.delete()
    assert len(pythonqt._connections) == before

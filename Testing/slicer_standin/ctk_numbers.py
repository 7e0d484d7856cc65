"""Stand-ins for CTK's numeric widgets; only what CTK declares as property, slot or signal is public."""

from __future__ import annotations

from typing import Any

from slicer_standin.pythonqt import QtCore, QtWidgets, Signal
from slicer_standin.qtmodule import register_widget
from slicer_standin.stored import forwarded, stored

STEPS = 10_000


@register_widget
class ctkDoubleSpinBox(QtWidgets.QDoubleSpinBox):
    """QDoubleSpinBox with `invertedControls`."""

    invertedControls = stored("invertedControls", bool, False)


@register_widget
class ctkDoubleSlider(QtWidgets.QWidget):
    """A slider over doubles, vertical by default."""

    _signals_ = {"valueChanged(double)": "valueChanged", "sliderMoved(double)": "sliderMoved",
                 "rangeChanged(double,double)": "rangeChanged"}  # fmt: skip
    valueChanged, sliderMoved, rangeChanged = Signal(float), Signal(float), Signal(float, float)
    sliderPressed, sliderReleased = Signal(), Signal()
    minimum, maximum = stored("minimum", float, 0.0), stored("maximum", float, 99.0)
    singleStep, pageStep = stored("singleStep", float, 1.0), stored("pageStep", float, 10.0)
    tickInterval, tracking = stored("tickInterval", float, 0.0), stored("tracking", bool, True)
    invertedAppearance = stored("invertedAppearance", bool, False)
    handleToolTip = stored("handleToolTip", str, "")

    def __init__(self, first: Any = None, parent: Any = None) -> None:
        orientation = first if isinstance(first, QtCore.Qt.Orientation) else QtCore.Qt.Vertical
        super().__init__(parent if isinstance(first, QtCore.Qt.Orientation) else first)
        self._value = 0.0
        self._slider = QtWidgets.QSlider(orientation, self)
        self._slider.setRange(0, STEPS)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        self._slider.valueChanged.connect(self._from_slider)
        self._slider.sliderPressed.connect(self.sliderPressed)
        self._slider.sliderReleased.connect(self.sliderReleased)

    def _changed(self, name: str) -> None:
        if name in ("minimum", "maximum"):
            values = vars(self)["_values"]
            if self.minimum > self.maximum:
                values["maximum" if name == "minimum" else "minimum"] = values[name]
            self.rangeChanged.emit(self.minimum, self.maximum)
            self.setValue(self._value)
            self._show_value()
        elif name == "invertedAppearance":
            self._slider.setInvertedAppearance(self.invertedAppearance)

    def _show_value(self) -> None:
        span = self.maximum - self.minimum
        self._slider.blockSignals(True)
        self._slider.setValue(round(STEPS * (self._value - self.minimum) / span) if span else 0)
        self._slider.blockSignals(False)

    def _from_slider(self, position: int) -> None:
        value = self.minimum + (self.maximum - self.minimum) * position / STEPS
        if self.singleStep > 0:
            value = self.minimum + round((value - self.minimum) / self.singleStep) * self.singleStep
        self.sliderMoved.emit(value)
        self._assign(min(value, self.maximum))

    def _assign(self, value: float) -> None:
        if value != self._value:
            self._value = value
            self.valueChanged.emit(value)

    def setValue(self, value: float) -> None:
        self._assign(min(max(float(value), self.minimum), self.maximum))
        self._show_value()

    def setOrientation(self, orientation: Any) -> None:
        self._slider.setOrientation(orientation)

    value = forwarded(float, lambda self: self._value, lambda self, value: self.setValue(value))
    sliderPosition = value
    orientation = QtCore.Property(QtCore.Qt.Orientation, lambda self: self._slider.orientation, setOrientation)


@register_widget
class ctkSliderWidget(QtWidgets.QWidget):
    """A double slider and a spin box showing one value."""

    _signals_ = {"valueChanged(double)": "valueChanged", "valueIsChanging(double)": "valueIsChanging"}
    valueChanged, valueIsChanging = Signal(float), Signal(float)
    tickInterval, tracking = stored("tickInterval", float, 0.0), stored("tracking", bool, True)
    autoSpinBoxWidth, popupSlider = stored("autoSpinBoxWidth", bool, True), stored("popupSlider", bool, False)
    spinBoxAlignment = stored("spinBoxAlignment", object, QtCore.Qt.AlignRight)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider = ctkDoubleSlider(QtCore.Qt.Horizontal, self)
        self._spin = QtWidgets.QDoubleSpinBox(self)
        self._spin.setMinimumWidth(80)
        self._spin.setRange(0.0, 99.0)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spin)
        self._slider.valueChanged.connect(self._spin.setValue)
        self._spin.valueChanged.connect(self._from_spin)

    def _from_spin(self, value: float) -> None:
        self._slider.blockSignals(True)
        self._slider.setValue(value)
        self._slider.blockSignals(False)
        self.valueChanged.emit(value)

    def _set_limit(self, name: str, value: float) -> None:
        self._slider.blockSignals(True)
        setattr(self._slider, name, value)
        self._slider.blockSignals(False)
        self._spin.setRange(self._slider.minimum, self._slider.maximum)

    def _set_step(self, value: float) -> None:
        self._slider.singleStep = value
        self._spin.setSingleStep(value)

    def setValue(self, value: float) -> None:
        self._spin.setValue(value)

    def reset(self) -> None:
        self.setValue(0.0)

    def setSpinBoxVisible(self, visible: bool) -> None:
        self._spin.setVisible(visible)

    value = forwarded(float, lambda self: self._spin.value, lambda self, value: self.setValue(value))
    minimum = forwarded(float, lambda self: self._spin.minimum, lambda self, value: self._set_limit("minimum", value))
    maximum = forwarded(float, lambda self: self._spin.maximum, lambda self, value: self._set_limit("maximum", value))
    singleStep = forwarded(float, lambda self: self._spin.singleStep, lambda self, value: self._set_step(value))
    pageStep = forwarded(float, lambda self: self._slider.pageStep,
                         lambda self, value: setattr(self._slider, "pageStep", value))  # fmt: skip
    decimals = forwarded(int, lambda self: self._spin.decimals, lambda self, value: self._spin.setDecimals(value))
    prefix = forwarded(str, lambda self: self._spin.prefix, lambda self, value: self._spin.setPrefix(value))
    suffix = forwarded(str, lambda self: self._spin.suffix, lambda self, value: self._spin.setSuffix(value))
    spinBoxVisible = forwarded(bool, lambda self: not self._spin.isHidden(),
                               lambda self, value: self._spin.setVisible(value))  # fmt: skip


class _Range(QtWidgets.QWidget):
    """Two numbers inside a range; base of the two CTK range widgets."""

    _signals_ = {"minimumValueChanged(double)": "minimumValueChanged", "maximumValueChanged(double)":
                 "maximumValueChanged", "valuesChanged(double,double)": "valuesChanged",
                 "rangeChanged(double,double)": "rangeChanged"}  # fmt: skip
    minimumValueChanged, maximumValueChanged = Signal(float), Signal(float)
    valuesChanged, rangeChanged = Signal(float, float), Signal(float, float)
    singleStep, tickInterval = stored("singleStep", float, 1.0), stored("tickInterval", float, 0.0)
    tracking, symmetricMoves = stored("tracking", bool, True), stored("symmetricMoves", bool, False)
    minimum, maximum = stored("minimum", float, 0.0), stored("maximum", float, 99.0)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._low = QtWidgets.QDoubleSpinBox(self)
        self._high = QtWidgets.QDoubleSpinBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for box in (self._low, self._high):
            box.setRange(0.0, 99.0)
            layout.addWidget(box)
        self._high.setValue(99.0)
        self._low.valueChanged.connect(lambda value: self._moved(self.minimumValueChanged, value))
        self._high.valueChanged.connect(lambda value: self._moved(self.maximumValueChanged, value))

    def _moved(self, signal: Any, value: float) -> None:
        self._low.setMaximum(self._high.value)
        self._high.setMinimum(self._low.value)
        signal.emit(value)
        self.valuesChanged.emit(self._low.value, self._high.value)

    def _changed(self, name: str) -> None:
        if name == "singleStep":
            self._low.setSingleStep(self.singleStep)
            self._high.setSingleStep(self.singleStep)
        elif name in ("minimum", "maximum"):
            self._low.setMinimum(self.minimum)
            self._high.setMaximum(self.maximum)
            self.rangeChanged.emit(self.minimum, self.maximum)

    def setMinimumValue(self, value: float) -> None:
        self._low.setValue(value)

    def setMaximumValue(self, value: float) -> None:
        self._high.setValue(value)

    def setValues(self, low: float, high: float) -> None:
        self._high.setMinimum(self.minimum)
        self._high.setValue(high)
        self._low.setValue(low)

    minimumValue = forwarded(float, lambda self: self._low.value, lambda self, value: self._low.setValue(value))
    maximumValue = forwarded(float, lambda self: self._high.value, lambda self, value: self._high.setValue(value))


@register_widget
class ctkDoubleRangeSlider(_Range):
    """Shown as two spin boxes instead of one slider with two handles."""

    sliderPressed, sliderReleased = Signal(), Signal()

    def __init__(self, first: Any = None, parent: Any = None) -> None:
        super().__init__(parent if isinstance(first, QtCore.Qt.Orientation) else first)


@register_widget
class ctkRangeWidget(_Range):
    """Shown without the slider between its spin boxes."""

    autoSpinBoxWidth = stored("autoSpinBoxWidth", bool, True)
    decimals = forwarded(int, lambda self: self._low.decimals,
                         lambda self, value: (self._low.setDecimals(value), self._high.setDecimals(value)))  # fmt: skip
    suffix = forwarded(str, lambda self: self._low.suffix,
                       lambda self, value: (self._low.setSuffix(value), self._high.setSuffix(value)))  # fmt: skip
    prefix = forwarded(str, lambda self: self._low.prefix,
                       lambda self, value: (self._low.setPrefix(value), self._high.setPrefix(value)))  # fmt: skip

    def reset(self) -> None:
        self.setValues(0.0, 0.0)

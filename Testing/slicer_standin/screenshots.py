"""Pictures of the main window: the module panel beside the views, crisp at any device pixel ratio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer

from slicer_standin import boot, ownership, view_widgets
from slicer_standin.pythonqt import QtCore, QtGui


def settle(rounds: int = 5) -> None:
    """Let layouts, timers, posted events and deferred deletes come to rest."""
    for _ in range(rounds):
        slicer.app.processEvents()
        QtCore.QCoreApplication.sendPostedEvents(None, 0)
        ownership.run_deferred_deletes()


def grab_widget(widget: Any, *, scale: float = 1.0) -> np.ndarray:
    """Return a widget with everything in it as an array (rows, columns, 3) of uint8.

    Parameters
    ----------
    widget
        Any widget; views inside are rendered again when OpenGL is there.
    scale
        Device pixels per pixel; 2 gives text fit for a README.
    """
    settle()
    size = widget.size
    image = QtGui.QImage(size * scale, QtGui.QImage.Format_RGB888)
    image.setDevicePixelRatio(scale)
    image.fill(QtCore.Qt.white)
    before, view_widgets.scale = view_widgets.scale, scale
    try:
        widget.render(image)
    finally:
        view_widgets.scale = before
    rows, columns, stride = image.height(), image.width(), image.bytesPerLine()
    pixels = np.frombuffer(image.constBits(), np.uint8).reshape(rows, stride)[:, : 3 * columns]
    return pixels.reshape(rows, columns, 3).copy()


def grab_view(name: str, width: int = 500, height: int = 500, *, scale: float = 1.0) -> np.ndarray:
    """Return one view as an array (rows, columns, 3) of uint8.

    Parameters
    ----------
    name
        "Red", "Yellow", "Green", "3D" or "Plot".
    width, height, scale
        Size in device independent pixels and device pixels per pixel.
    """
    manager = slicer.app.layoutManager()
    if name == "3D":
        view = manager.threeDWidget(0).threeDView()
    elif name == "Plot":
        view = manager.plotWidget(0).plotView()
    else:
        view = manager.sliceWidget(name).sliceView()
    return view._canvas.grab(width, height, scale=scale)


def screenshot(path: str | Path, *, size: tuple[int, int] = (1500, 900), panel_width: int = 480,
               scale: float = 2.0, layout: int | None = None, views: bool = True) -> Path:  # fmt: skip
    """Save the main window, or the panel alone, as PNG and return the path.

    Parameters
    ----------
    path
        File to write.
    size
        Width and height of the window in device independent pixels; with `views=False` the height is that of
        the panel.
    panel_width
        Width of the module panel.
    scale
        Device pixels per pixel.
    layout
        A `vtkMRMLLayoutNode` layout to switch to first.
    views
        False leaves the views out.
    """
    from slicer_standin.views import save_png

    window = boot.main_window()
    if layout is not None:
        slicer.app.layoutManager().setLayout(layout)
    window.resize(*size)
    window.show()
    dock = window.findChild(QtCore.QObject, "PanelDockWidget")
    window.resizeDocks([dock], [panel_width], QtCore.Qt.Horizontal)
    settle()
    if views:
        return save_png(grab_widget(window, scale=scale), path)
    panel = window._panel
    inner = panel._scroll.widget()
    needed = inner.sizeHint.height() + panel._title.height + 12 if inner is not None else size[1]
    window.resize(size[0], needed)
    settle()
    picture = grab_widget(panel, scale=scale)
    return save_png(picture[: int(needed * scale)], path)

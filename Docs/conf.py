"""Sphinx configuration of the documentation: `make docs`.

The source folder is the root of the repository, so that the links of the pages are the same on GitHub and here.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "DeepVsClassicReg"), str(ROOT / "Docs" / "extensions")]

from DeepVsClassicRegLib.core.version import VERSION  # noqa: E402

project = "DeepVsClassicReg"
author = copyright = "The DeepVsClassicReg developers"
release = version = VERSION
root_doc = "Docs/index"
source_suffix = {".md": "markdown"}
include_patterns = ["*.md", "Docs/**.md", "Testing/**.md"]
exclude_patterns = [".venv", "build", "demo", "bench", "DeepVsClassicReg"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "command_help"]
autodoc_mock_imports = ["slicer", "vtk", "qt", "ctk"]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]

html_theme = "furo"
html_title = f"DeepVsClassicReg {VERSION}"
html_favicon = "../Resources/DeepVsClassicReg.png"
html_show_sourcelink = False

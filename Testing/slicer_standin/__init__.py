"""Stand-in for the Slicer application: real MRML from slicer-core, Qt from PySide6 under PythonQt's rules."""

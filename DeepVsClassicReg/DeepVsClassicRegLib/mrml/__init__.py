"""Converts between MRML nodes and objects of the library; the only package that converts between RAS and LPS.

Used by the panel, in this order: `inputs.Inputs`, `inputs.problems`, `snapshot.snapshot_steps`, `outputs.load_result`
(any thread), `outputs.publish`, `runs.runs`, `display.Inspection`, `tables`, `sample_data`.
"""

"""Slicer's nodes and the library's objects: the only room that knows both (and the only one that flips RAS and LPS).

For the panel, in the order of use: `inputs.Inputs`, `inputs.problems`, `snapshot.snapshot_steps`, `results.load_result`
(any thread), `outputs.publish`, `runs.runs`, `display.Inspection`, `tables`, `plots`, `sample_data`.
"""

"""Analytic anatomy with labels, landmarks and an exactly known warp, for the demo and the tests."""

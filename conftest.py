"""Guarded output of notebooks is compared within a tolerance, whichever test files are named."""

pytest_plugins = ["tolerant"]  # tests/notebooks/tolerant.py

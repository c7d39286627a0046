"""The measurements of the Integrated Gradients notebooks; see ``studies``."""

STUDIES = {}

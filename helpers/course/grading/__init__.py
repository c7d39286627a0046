"""Grading by re-executing: ``python -m helpers grade``. A stranger's notebook runs in a process of
its own, behind a wall."""

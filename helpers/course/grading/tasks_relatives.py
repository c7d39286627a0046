"""The tasks of the notebooks on the gradient's relatives."""

from helpers.course.grading.tasks import Task

TASKS: tuple[Task, ...] = ()

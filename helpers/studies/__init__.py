"""Measurements of hundreds of pictures: computed once, every value stored, some computed again."""

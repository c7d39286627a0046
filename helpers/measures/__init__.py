"""Judging a map: against a known truth, by hiding pixels, against controls; and the statistics of a
claim."""

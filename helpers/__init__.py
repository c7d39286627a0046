"""Gradient explanations of image networks, with ground truth to judge them by."""

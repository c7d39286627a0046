"""The drawings of one dimension of the page on how a map is drawn."""

import matplotlib.pyplot as plt

from helpers.display.sketches_relatives import plot_black_pixel, plot_capped_line


def test_a_lower_end_colours_more_of_the_same_numbers():
    figure = plot_capped_line((100, 95, 80))
    above = figure.axes[:3]
    heights = [[bar.get_height() for bar in ax.patches] for ax in above]
    assert heights[0] == heights[1] == heights[2] and len(heights[0]) == 24
    coloured = [int(ax.get_title().split("\n")[1].split()[0]) for ax in above]
    assert coloured == sorted(coloured) and coloured[0] < coloured[1]
    assert "100, 95, 80" in figure.alt
    plt.close(figure)


def test_a_black_pixel_is_nothing_from_black():
    figure = plot_black_pixel(-2.0)
    _, right = figure.axes
    assert [bar.get_height() for bar in right.patches] == [-2, 0, 2]
    assert len(figure.alt.split()) >= 8
    plt.close(figure)

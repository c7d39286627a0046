"""Last maps as seen: the places that a network has, and what enlarging makes of them."""

import matplotlib

matplotlib.use("Agg")

import torch

from helpers.benchmark.images import ImageSet
from helpers.display.last_maps import explore_last_maps, plot_weighted_maps


def test_the_panel_shows_the_places_and_what_lies_between_them():
    images = ImageSet(torch.rand(2, 3, 8, 8), ("a", "b"))
    coarse = {"2 × 2": torch.tensor([[0.0, 1], [0, 1]]).expand(2, 1, 2, 2)}
    coarse |= {"4 × 4": torch.rand(2, 1, 4, 4), "8 × 8": torch.rand(2, 1, 8, 8)}
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    mask[..., 2:5, 2:5] = True
    panel = explore_last_maps(images, coarse, mask=mask)
    assert "a · last map 2 × 2" in panel.status.value
    row = [cell.cell_contents for cell in panel.draw.__closure__]
    (row,) = [each for each in row if hasattr(each, "maps")]
    blocks, fine = (row.maps[place].get_array() for place in (1, 2))
    assert set(blocks[0].tolist()) == {0, 1} and len(set(fine[0].tolist())) > 2
    panel.controls["network"].value, panel.controls["picture"].value = "4 × 4", 1
    assert "b · last map 4 × 4" in panel.status.value
    assert len(panel.frames()[0]) == 3


def test_the_sketch_adds_up():
    figure = plot_weighted_maps()
    three, total, fine = figure.axes
    heights = [[bar.get_height() for bar in bars] for bars in three.containers]
    weights = [float(t.get_text()[4:].replace("−", "-")) for t in three.get_legend().get_texts()]
    summed = [sum(w * h[i] for w, h in zip(weights, heights, strict=True)) for i in range(4)]
    shown = [bar.get_height() for bar in total.containers[0]]
    assert all(abs(a - b) < 1e-9 for a, b in zip(summed, shown, strict=True))
    nearest = fine.get_lines()[0].get_ydata()
    assert all(abs(nearest[8 * i + 3] - value) < 1e-9 for i, value in enumerate(shown))
    assert "negative at one end" in figure.alt and min(shown) < 0

"""What judging a map looks like: pixels hidden, and a network that forgets its layers."""

import ipywidgets as widgets
import matplotlib.pyplot as plt

from helpers.attribution.targets import Score, explained, resolve_target
from helpers.benchmark.images import ImageSet
from helpers.display.panel import MEANING, Panel, PictureRow, Subject, per_cent, plural
from helpers.display.plotting import describe, named, show_pixels
from helpers.evaluate import logits_of, probabilities
from helpers.measures.faithfulness import ORDERS, hide

FILLS = ("mean", "blur", "noise", "black")


def explore_hiding(model, images: ImageSet, maps, *, target=None, fills=FILLS, strip=None) -> Panel:
    """Hide pixels of one picture in the order of a map, and see what the network still says.

    maps: {name: (N, C, H, W)} of the N pictures.
    fills: names that ``make_baseline`` knows.
    strip: by default three shares of the pixels.
    """
    subject = Subject(model, images, target)
    row = PictureRow(images, subject.mask)

    def draw(picture, method, hidden, order, fill):
        one, values = subject[picture][0], maps[method][picture : picture + 1]
        left = hide(one, values, hidden, fill=fill, order=order, model=model)
        aim = subject.targets[picture]
        if isinstance(aim, Score):
            now = f"{float(explained(model, left, subject[picture][1])):.3g}"
            said = f"{subject.name(aim)}: {now}"
        else:
            says = probabilities(logits_of(model, left))[0]
            now = f"“{subject.name(says.argmax())}”"
            said = f"probability of “{subject.name(aim)}”: {per_cent(float(says[aim]))}"
        row.picture(0, one[0], "input")
        row.map(1, values, f"{method}\n{MEANING['unsigned']}", show="unsigned")
        row.picture(2, left[0], f"{per_cent(hidden)} hidden\nnow {now}")
        row.outline(picture)
        return row.figure, (
            f"{subject.about(picture)} · {method}, {per_cent(hidden)} of the pixels hidden, "
            f"{order} first, filled with {fill} · {said}"
        )

    return Panel(
        draw,
        strip=strip or {"hidden": [0.5, 0.8, 0.95]},
        alt="each frame shows the input, the map, and the input with its lowest pixels hidden",
        picture=subject.control(),
        method=widgets.Dropdown(options=list(maps), description="map"),
        hidden=widgets.FloatSlider(
            0.8, min=0, max=1, step=0.05, readout_format=".0%", description="hidden"
        ),
        order=widgets.Dropdown(options=list(ORDERS), description="first"),
        fill=widgets.Dropdown(options=list(fills), description="fill"),
    )


def plot_hidden(model, pixels, maps, target, *, fill, using, share=0.1, alt=None):
    """A row for each picture: with the best share of its pixels kept, and with it hidden, for each
    map; over it what the network says, ✓ where ``using`` finds its label kept.

    Args:
        pixels, fill: (N, C, H, W). maps: {name: (N, C, H, W)}. target: a class, in any of the ways
            to say one.
        using: (model, pixels, maps, target, fractions, fill) → the share of pictures that keep
            their label for each fraction of pixels hidden, the lowest first.

    Returns:
        (figure, axes), axes of shape (N, 1 + 2 × number of maps).

    Raises:
        TypeError: the target is a callable, which names no label.
    """
    target = resolve_target(model, pixels, target)
    if isinstance(target, Score):
        raise TypeError(
            "whether the network still says a label needs a class as target, found a callable: "
            "explore_hiding shows what one makes of the output"
        )
    columns = [(name, kept) for name in maps for kept in (True, False)]
    figure, axes = plt.subplots(
        len(pixels),
        1 + len(columns),
        figsize=(1.75 * (1 + len(columns)), 2.15 * len(pixels)),
        squeeze=False,
        layout="constrained",
    )
    for i, row in enumerate(axes):
        one, label, filled = pixels[i : i + 1], target[i : i + 1], fill[i : i + 1]
        show_pixels(row[0], one[0])
        row[0].set_title("input\n" * (i == 0) + _called(model, label), fontsize=9)
        for ax, (name, kept) in zip(row[1:], columns, strict=True):
            size = maps[name][i : i + 1].abs().sum(1, keepdim=True)
            order, hidden = (size, 1 - share) if kept else (size.max() - size, share)
            left = hide(one, order, hidden, fill=filled)
            mark = "✓" if float(using(model, one, order, label, [hidden], filled)[0]) else "✗"
            head = f"{name}, best {per_cent(share)}\n{'kept' if kept else 'hidden'}\n" * (i == 0)
            show_pixels(ax, left[0])
            ax.set_title(f"{head}{mark} {_called(model, logits_of(model, left).argmax(1))}"[:60])
            ax.title.set_fontsize(9)
    describe(
        figure,
        alt
        or f"{plural(len(pixels), 'picture')}, one a row, with the best {per_cent(share)} of the "
        f"pixels kept and with them hidden, by {named(maps)}; over each what the network says.",
    )
    return figure, axes


def _called(model, label):
    classes = getattr(model, "classes", None)
    return classes[int(label)] if classes else f"class {int(label)}"


def explore_forgetting(images: ImageSet, maps, *, strip=None) -> Panel:
    """Maps of one picture while more and more layers of the network get random weights.

    maps: {method: [its maps (N, C, H, W) with 0, 1, 2, … random layers]}.
    strip: by default up to four numbers of layers, none and all among them.
    """
    row = PictureRow(images, n=1 + len(maps))
    most = len(next(iter(maps.values()))) - 1

    def draw(picture, layers):
        row.picture(0, images.pixels[picture], "input")
        for place, (name, stages) in enumerate(maps.items(), start=1):
            values = stages[layers][picture : picture + 1]
            row.map(place, values, f"{name}\n{MEANING['unsigned']}", show="unsigned")
        return row.figure, (
            f"{images.names[picture]} · {layers} of {plural(most, 'layer')} random, from the "
            "output · each map has its own colours"
        )

    names = [(f"{i}: {name}", i) for i, name in enumerate(images.names)]
    return Panel(
        draw,
        strip=strip or {"layers": sorted({0, 1, most // 2, most})},
        alt=f"each frame shows the input and its maps by {named(maps)}",
        picture=widgets.Dropdown(options=names, description="picture"),
        layers=widgets.IntSlider(0, min=0, max=most, description="random layers"),
    )


def explore_classes(images: ImageSet, maps, *, strip=None) -> Panel:
    """Maps of one picture for one class of the network and for another.

    maps: {class name: {method: (N, C, H, W)}}.
    strip: by default all classes.
    """
    methods = list(next(iter(maps.values())))
    row = PictureRow(images, n=1 + len(methods))

    def draw(picture, explained):
        row.picture(0, images.pixels[picture], f"explained:\n“{explained}”")
        for place, name in enumerate(methods, start=1):
            values = maps[explained][name][picture : picture + 1]
            row.map(place, values, f"{name}\n{MEANING['signed']}", show="signed")
        return row.figure, (
            f"{images.names[picture]} · explained for “{explained}” · each map has its own colours"
        )

    names = [(f"{i}: {name}", i) for i, name in enumerate(images.names)]
    return Panel(
        draw,
        strip=strip or {"explained": list(maps)},
        alt=f"each frame shows the input and its maps by {named(methods)} for one class",
        picture=widgets.Dropdown(options=names, description="picture"),
        explained=widgets.Dropdown(options=list(maps), description="class"),
    )

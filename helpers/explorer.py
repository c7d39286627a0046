"""Sliders: ipywidgets' own controls beside a figure that is redrawn as they move.

The figure is a PNG in an ``Image`` widget and every control is watched with ``observe``, so that the same controls can be
driven from plain Python (``panel.controls["noise"].value = 0.3``), where an error in a redraw is raised; on the page it is
shown in red under the figure.
"""

import html
import io
import traceback
from functools import lru_cache
from pathlib import Path

import ipywidgets as widgets
from matplotlib import pyplot as plt

from helpers.files import written_whole
from helpers.gradients import REDUCTIONS, reduce_channels, resolve_target, saliency
from helpers.images import ImageSet
from helpers.integrated_gradients import integrated_gradients
from helpers.plotting import color_limits, outline, show_map, show_pixels
from helpers.smoothgrad import smoothgrad_counts

DPI = 80


class Panel(widgets.VBox):
    """Controls over a figure over a line of status.

    Args:
        draw: called with the value of every control by name; returns (figure, status), status a line of plain text.
        controls: name → an ipywidgets control.

    Attributes:
        controls, image (PNG), status (HTML): the widgets; ``status.value`` holds the line, or the error of the last redraw.
    """

    def __init__(self, draw, **controls):
        self.draw, self.controls = draw, controls
        self.image, self.status = widgets.Image(format="png"), widgets.HTML()
        for control in controls.values():
            if hasattr(control, "continuous_update"):
                control.continuous_update = False
            control.style.description_width = "90px"
            control.layout.width = "330px"
            control.observe(self.redraw, names="value")
        row = widgets.Layout(display="flex", flex_flow="row wrap")
        super().__init__([widgets.Box(list(controls.values()), layout=row), self.image, self.status])
        self.redraw()

    def redraw(self, _=None):
        """Draw anew from the controls' values. An error is shown under the figure and raised."""
        try:
            figure, status = self.draw(**{name: control.value for name, control in self.controls.items()})
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=DPI)
        except Exception as error:
            self.status.value = _in_red(error)
            raise
        self.image.value = buffer.getvalue()
        self.image.width = round(figure.get_figwidth() * DPI)
        self.status.value = html.escape(status)

    def __repr__(self):  # what a page without a kernel shows; ipywidgets cuts it off after 110 characters
        return f"[sliders: {', '.join(self.controls)}; run the notebook to move them]"


def _in_red(error):
    return f'<pre style="color:#b00020">{html.escape("".join(traceback.format_exception_only(error)))}</pre>'


def explore_maps(model, images: ImageSet, *, target=None) -> Panel:
    """Gradient, SmoothGrad and Integrated Gradients of one picture, with sliders for what they depend on.

    Moving the number of samples or the display evaluates no new gradient: the samples of one noise level are one pass.
    """
    targets = resolve_target(model, images.pixels, target)
    classes = getattr(model, "classes", None)
    names = [f"{i}: {name}" for i, name in enumerate(images.names)]
    mask = images.masks.get(getattr(model, "part", None))

    @lru_cache(maxsize=8)  # 50 maps of a 224-pixel photograph are 30 MB
    def compute(picture, method, setting):
        one, aim = images.pixels[picture : picture + 1], targets[picture : picture + 1]
        if method == "SmoothGrad":
            return smoothgrad_counts(model, one, aim, counts=range(1, 51), noise=setting)
        return saliency(model, one, aim) if method == "gradient" else integrated_gradients(model, one, aim, n_steps=setting)

    # A fixed layout: a constrained one settles over several drawings, so the figure would shift under the reader's hand.
    places = {"left": 0.01, "right": 0.99, "bottom": 0.02, "top": 0.9, "wspace": 0.04}
    figure, axes = plt.subplots(1, 3, figsize=(7.5, 2.75), gridspec_kw=places)
    plt.close(figure)  # it is shown by the panel, not at the end of the cell

    def draw(picture, method, noise, samples, steps, show, percentile):
        picture = names.index(picture)
        setting, uses = {
            "gradient": (None, ""),
            "SmoothGrad": (noise, f", noise {noise:.2f}, {samples} sample{'s' if samples > 1 else ''}"),
            "Integrated Gradients": (steps, f", {steps} steps"),
        }[method]
        values = compute(picture, method, setting)
        values = values[samples] if method == "SmoothGrad" else values
        for ax, how in zip(axes, (None, show, "overlay"), strict=True):
            ax.clear()
            if how is None:
                show_pixels(ax, images.pixels[picture])
                ax.set_title("input", fontsize=9)
                continue
            reduced = reduce_channels(values.cpu(), "unsigned" if how == "overlay" else how).numpy()
            limit = color_limits(reduced[:, None], percentile=percentile)[0, 0]
            if how == "overlay":
                show_pixels(ax, images.pixels[picture].mean(0, keepdim=True))
                drawn = show_map(ax, reduced[0], limit, "unsigned")
                drawn.set_alpha((reduced[0] / limit).clip(0, 1) * 0.9)
                ax.set_title("size, over the input in grey", fontsize=9)
            else:
                show_map(ax, reduced[0], limit, how)
                ax.set_title("red positive, blue negative" if how == "signed" else "size", fontsize=9)
        if mask is not None:
            for ax in axes:
                outline(ax, mask[picture])
        label = int(targets[picture])
        what = classes[label] if classes else f"class {label}"
        return figure, f"{method}{uses} · why “{what}”? · {show}, colours end at the {percentile:g}th percentile"

    return Panel(
        draw,
        picture=widgets.Dropdown(options=names, description="picture"),
        method=widgets.Dropdown(
            options=["gradient", "SmoothGrad", "Integrated Gradients"], value="SmoothGrad", description="method"
        ),
        noise=widgets.FloatSlider(0.15, min=0, max=0.5, step=0.05, description="noise"),
        samples=widgets.IntSlider(50, min=1, max=50, description="samples"),
        steps=widgets.IntSlider(50, min=5, max=200, step=5, description="steps"),
        show=widgets.Dropdown(options=list(REDUCTIONS), description="show"),
        percentile=widgets.FloatSlider(99, min=90, max=100, step=0.5, description="percentile"),
    )


class _Upload(widgets.VBox):
    def __repr__(self):
        return "[a button to add pictures; run the notebook to use it]"


def upload_pictures(folder="my_pictures") -> widgets.VBox:
    """A button that copies pictures from the reader's machine into a folder beside the notebook, for ``load_images``."""
    folder = Path(folder)
    button = widgets.FileUpload(accept="image/*", multiple=True, description="Add pictures")
    status = widgets.HTML(f"They go to the folder <code>{html.escape(str(folder))}</code>.")

    def store(change):
        new = change["new"]
        # ipywidgets 7 gives {name: {"content": bytes}}, ipywidgets 8 a tuple of {"name": …, "content": memoryview}
        files = (
            {name: f["content"] for name, f in new.items()} if isinstance(new, dict) else {f["name"]: f["content"] for f in new}
        )
        try:
            for name, content in files.items():
                with written_whole(folder / Path(name).name) as whole:
                    whole.write_bytes(bytes(content))
        except OSError as error:
            status.value = _in_red(error)
            raise
        status.value = (
            f"{len(files)} pictures added. Set <code>IMAGES = {html.escape(repr(str(folder)))}</code> in the parameters cell, "
            "and a network that knows such pictures, e.g. <code>MODEL = 'resnet50'</code>; then run all cells."
        )

    button.observe(store, names="value")
    return _Upload([button, status])

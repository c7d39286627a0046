"""Sliders: ipywidgets' own controls beside a figure that is redrawn as they move, and a button to
add pictures. A page without a kernel shows a strip of frames.

The figure is a PNG in an ``Image`` widget and every control is watched with ``observe``, so that
the controls can be driven from plain Python (``panel.controls["noise"].value = 0.3``), where
an error in a redraw is raised; on the page it is shown in red under the figure.
"""

import html
import io
import json
import os
import re
import traceback
from pathlib import Path

import ipywidgets as widgets
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from helpers.attribution.gradients import REDUCTIONS
from helpers.attribution.targets import ClassScore, Score, resolve_target
from helpers.display.frames import Frame, cells_of, sheet, slider
from helpers.display.plotting import (
    COLOURS_SAY,
    alt_of,
    as_picture,
    color_limits,
    color_scale,
    named,
    outline,
    reduced,
    show_map,
    show_pixels,
)
from helpers.evaluate import logits_of, probabilities
from helpers.files import written_whole

DPI = 90
# Before the line of status while the next is on its way, over its first words so that nothing
# moves. It appears after a moment, or every quick move would flash it.
COMPUTING = (
    "<style>@keyframes computing{to{opacity:1}}</style>"
    '<div style="position:relative"><b class="computing" style="position:absolute;opacity:0;'
    "padding:0 .5em;background:#ffe08a;color:#222;animation:computing 0s .2s forwards"
    '">computing …</b></div>'
)


class Panel(widgets.VBox):
    """Controls over a figure over a line of status, and a button that saves what is seen.

    Where no kernel runs, the picture is a strip of frames, drawn when the panel is displayed; with
    the environment variable ``HELPERS_FRAMES`` set, there is a slider over them too.

    Args:
        draw: called with the value of every control by name; returns (figure, status), status a
            line of plain text, or (figure, status, kept), ``kept`` what ``save`` stores: {"map",
            "pixels": (C, H, W)}.
        strip: {name of a control: three to five of its values}, the frames; None for a single one.
        alt: what each frame shows, a text for those who do not see it; None for the status.
        controls: name → an ipywidgets control.

    Attributes:
        controls, image (PNG), status (HTML), button: the widgets; ``status.value`` holds the line,
            or the error of the last redraw. During one, "computing …" is before it.

    Raises:
        ValueError: a strip of something else.
    """

    def __init__(self, draw, *, strip=None, alt=None, **controls):
        self.draw, self.controls, self.drawn = draw, controls, None
        self.strip, self.alt, self._frames = _checked_strip(strip, controls), alt, (None, None)
        self.image, self.status = widgets.Image(format="png"), widgets.HTML()
        self.button = widgets.Button(description="save map", layout={"width": "100px"})
        self.button.on_click(self._save_and_say)
        for control in controls.values():
            if hasattr(control, "continuous_update"):
                control.continuous_update = False
            control.style.description_width = "90px"
            control.layout.width = "330px"
            control.observe(self.redraw, names="value")
        row = widgets.Layout(display="flex", flex_flow="row wrap")
        super().__init__(
            [
                widgets.Box(list(controls.values()), layout=row),
                self.image,
                self.status,
                self.button,
            ]
        )
        self.redraw()

    def redraw(self, _=None):
        """Draw anew from the controls' values, unless they are those of the last drawing (one
        control may move another, and both report it). An error is shown under the figure and
        raised."""
        values = {name: control.value for name, control in self.controls.items()}
        if values == self.drawn:
            return
        self.status.value = COMPUTING + self.status.value  # sent at once, from another thread
        try:
            figure, status, *kept = self.draw(**values)
            png = _png(figure)
        except BaseException as error:  # an interrupt too, or it would go on "computing"
            self.drawn, self.status.value = None, in_red(error)
            raise
        self.image.value = png
        self.image.width = round(figure.get_figwidth() * DPI)
        self.drawn, self.status.value = values, html.escape(status)
        self._status, self._kept = status, kept[0] if kept else {}

    def frames(self):
        """([Frame of each value of the strip, or of what is drawn], {value: error} of those that
        could not be drawn). No control moves; the same frames are drawn once."""
        if self._frames[0] == self.drawn and self.drawn is not None:
            return self._frames[1]
        (name, values), frames, wrong = self._of_strip(), [], {}
        for value in values:
            text = value_text(self.controls[name], value) if name else ""
            try:
                figure, status, *_ = self.draw(**(self.drawn | ({name: value} if name else {})))
                picture = Image.open(io.BytesIO(_png(figure))).convert("RGB")
            except Exception as error:
                wrong[text] = error
                continue
            frames.append(Frame(text, status, picture, cells_of(figure, DPI)))
        self._frames = self.drawn, (frames, wrong)
        return self._frames[1]

    def _of_strip(self):
        return next(iter(self.strip.items())) if self.strip else (None, (None,))

    def _repr_mimebundle_(self, **asked):
        """What a notebook stores: the live view, and for pages without a kernel the frames."""
        # ipywidgets 7 displays in its own way, and does not come here
        data = getattr(super(), "_repr_mimebundle_", lambda **_: {})(**asked) or {}
        if self.drawn is None:
            return data
        (name, _), (frames, wrong) = self._of_strip(), self.frames()
        label = (self.controls[name].description or name) if name else ""
        each = self.alt or self._status
        colours = COLOURS_SAY.get(self.drawn.get("show"), "")
        shown = f": {label} {named([frame.value for frame in frames])}" if name else ""
        alt = alt_of(f"a panel with sliders{shown}", each, colours)
        data["text/plain"] = (
            f"{alt} Run the notebook to move the sliders: {', '.join(self.controls)}."
            + "".join(
                f" Not drawn: {label} {value}, {type(error).__name__}: {error}."
                for value, error in wrong.items()
            )
        )
        if frames:
            data["image/png"] = sheet(frames, label)
            if os.environ.get("HELPERS_FRAMES"):
                now = value_text(self.controls[name], self.drawn[name]) if name else ""
                at = [frame.value for frame in frames]
                start = at.index(now) if now in at else 0
                data["text/html"] = slider(frames, label, start)
        return data, {"image/png": {"alt": alt}}

    # ipywidgets 7 shows it, cut off after 110 characters
    def __repr__(self):
        line = f"[sliders: {', '.join(self.controls)}; run the notebook to move them]"
        return line if len(line) <= 110 else "[sliders; run the notebook to move them]"

    def save(self, folder="."):
        """Store what is seen: NAME.png as drawn, and where there is a map NAME.npz: ``map``,
        signed, and ``pixels``, both (C, H, W) float32, and ``settings``, JSON.

        Returns:
            the paths; NAME says picture and settings.

        Raises:
            ValueError: the last drawing failed. OSError: the folder cannot be written to.
        """
        if self.drawn is None:
            raise ValueError("nothing to save: the last setting could not be drawn")
        texts = {name: value_text(c, c.value) for name, c in self.controls.items()}
        path = Path(folder) / _file_name(self.controls)
        paths = [path.with_name(f"{path.name}.png")]
        with written_whole(paths[0]) as whole:
            whole.write_bytes(self.image.value)
        if self._kept:
            paths.append(path.with_name(f"{path.name}.npz"))
            arrays = {
                name: np.asarray(values.detach().cpu(), dtype=np.float32)
                for name, values in self._kept.items()
            }
            settings = json.dumps(texts | {"status": self._status}, ensure_ascii=False)
            with written_whole(paths[1]) as whole:
                np.savez_compressed(whole, settings=settings, **arrays)
        return paths

    def _save_and_say(self, _):
        try:
            paths = self.save()
        except Exception as error:
            self.status.value = in_red(error)
            raise
        where = f"Saved {' and '.join(path.name for path in paths)} in {Path.cwd()}"
        self.status.value = f"{html.escape(self._status)}<br>{html.escape(where)}"


def _png(figure):
    buffer = io.BytesIO()
    # as large, in less time
    figure.savefig(buffer, format="png", dpi=DPI, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()


def _checked_strip(strip, controls):
    if strip is None:
        return {}
    names = list(strip)
    if len(names) != 1 or names[0] not in controls:
        raise ValueError(
            f"strip must name one of the controls, {', '.join(controls)}; found "
            f"{', '.join(names) or 'none'}"
        )
    (name,), (values,) = names, strip.values()
    if not 3 <= len(values) <= 5:
        raise ValueError(f"strip must have three to five values of {name}, found {len(values)}")
    control = controls[name]
    for value in values:
        if (
            value not in _offered(control)
            if hasattr(control, "options")
            else hasattr(control, "min") and not control.min <= value <= control.max
        ):
            raise ValueError(f"strip: {name} cannot be {value!r}")
    return {name: tuple(values)}


def _offered(control):
    """{value: label} of a control that has options."""
    return {
        one[1] if isinstance(one, tuple) else one: one[0] if isinstance(one, tuple) else str(one)
        for one in control.options
    }


def value_text(control, value):
    """A control's value as it is read: a label without its number and addition, a share in per
    cent."""
    if hasattr(control, "options"):
        return re.sub(r"^\d+: | \([^)]*%\)$", "", _offered(control)[value])
    if isinstance(value, bool):
        return "yes" if value else "no"
    if getattr(control, "readout_format", "").endswith("%"):
        return per_cent(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def per_cent(share):
    return f"{100 * share:.3g} %"


def _file_name(controls):
    """A name of letters, digits, dots and dashes that says the settings."""
    parts = []
    for name, control in controls.items():
        if isinstance(control.value, bool):
            parts += [name] if control.value else []
        elif isinstance(control.value, float):
            parts.append(f"{name}-{control.value:g}")
        else:
            text = value_text(control, control.value)
            parts.append(f"{name}-{text}" if text[:1].isdigit() else text)
    return "_".join(re.sub(r"[^\w.]+", "-", part).strip("-.")[:40] for part in parts)[:160]


class PictureRow:
    """A picture and maps of it, side by side in a figure that stays: a redraw sets the data of what
    is there, in half the time that drawing it anew takes. The layout is fixed: one that adapts
    would shift under the reader's hand.

    Args:
        images: the ImageSet that pictures come from.
        mask: (N, 1, H, W) bool to be outlined on every panel, or None.
        n: the number of panels.
        room: inches to be left free on the right, for axes of the caller's own.
    """

    def __init__(self, images, mask=None, n=3, room=0.0, cell=2.35, top=0.44, gap=0.06):
        self.images, self.mask, self.outlined = images, mask, None
        height, width = (cell * min(1, side / other) for side, other in self._sides())
        self.figure = Figure(figsize=(n * (width + gap) + gap + room, height + top + gap))
        FigureCanvasAgg(self.figure)
        # inches: left, bottom, width, height
        self.free = (gap + n * (width + gap), gap, room, height)
        self.axes = [self.add_axes(gap + i * (width + gap), gap, width, height) for i in range(n)]
        blank = images.pixels[0] * 0
        self.pictures = [show_pixels(ax, blank) for ax in self.axes]
        self.maps = [show_map(ax, reduced(blank[None], "signed")[0], 1) for ax in self.axes]

    def _sides(self):
        height, width = self.images.pixels.shape[-2:]
        return (height, width), (width, height)

    def add_axes(self, left, bottom, width, height):
        """Axes at a place in inches from the figure's lower left corner."""
        across, up = self.figure.get_size_inches()
        ax = self.figure.add_axes((left / across, bottom / up, width / across, height / up))
        # A place of its own, or matplotlib looks for one at every drawing, a quarter of the time.
        ax.set_title("", y=1)
        return ax

    def frame(self, place):
        """A thin line around a panel, so that a white picture is seen on white."""
        edge = {"fill": False, "edgecolor": "0.6", "linewidth": 0.8}
        ax = self.axes[place]
        ax.add_patch(Rectangle((0, 0), 1, 1, transform=ax.transAxes, clip_on=False, **edge))

    def picture(self, place, pixels, title):
        """Show a picture (C, H, W) in a panel."""
        self.axes[place].set_title(title, fontsize=9, y=1)
        self.pictures[place].set(data=as_picture(pixels), visible=True)
        self.maps[place].set_visible(False)

    def map(self, place, maps, title, *, show, percentile=99.0, over=None, limit=None):
        """Show a map (1, C, H, W) in a panel; ``over`` a picture (C, H, W) in grey, the map opaque
        where it is large.

        show: "signed" or "unsigned"; its colours end at ``limit``, or else at its own
            ``percentile``."""
        values = reduced(maps, show)[0]
        limit = (
            color_limits(values[None, None], percentile=percentile)[0, 0]
            if limit is None
            else limit
        )
        scale, drawn = color_scale(limit, show), self.maps[place]
        drawn.set(
            data=values, visible=True, cmap=scale["cmap"], clim=(scale["vmin"], scale["vmax"])
        )
        # An array either way: matplotlib cannot go back from one to None.
        drawn.set_alpha(
            np.ones_like(values) if over is None else abs(values / limit).clip(0, 1) * 0.9
        )
        self.pictures[place].set_visible(over is not None)
        if over is not None:
            self.pictures[place].set_data(as_picture(over.mean(0, keepdim=True)))
        self.axes[place].set_title(title, fontsize=9, y=1)

    def outline(self, number):
        """Outline picture ``number``'s mask, if there are masks."""
        if self.mask is None or number == self.outlined:
            return
        self.outlined = number
        for ax in self.axes:
            for old in list(ax.collections):
                old.remove()
            outline(ax, self.mask[number])


class Subject:
    """What a panel explains: pictures, the class of each, and how they are called.

    ``subject[i]`` is picture i, (1, C, H, W), and its class, (1,), or ``Score``. ``mask`` is that
    of the part that the model names, or None; ``noun`` says what the number explained is.
    """

    def __init__(self, model, images, target):
        self.model, self.images, self.targets = (
            model,
            images,
            resolve_target(model, images.pixels, target),
        )
        self.classes = getattr(model, "classes", None)
        self.mask = images.masks.get(getattr(model, "part", None))
        self.noun = "score" if isinstance(self.targets, Score) else "logit"

    def __getitem__(self, picture):
        return self.images.pixels[picture : picture + 1], self.targets[picture : picture + 1]

    def control(self):
        """A control that chooses a picture; its value is the picture's number."""
        names = [(f"{i}: {name}", i) for i, name in enumerate(self.images.names)]
        return widgets.Dropdown(options=names, description="picture")

    def name(self, label):
        """What a class is called, or a ``Score`` of one picture."""
        if isinstance(label, Score):
            name = getattr(label.function, "__name__", "<").strip("_").replace("_", " ")
            if isinstance(label, ClassScore):
                return f"{name} of {self.name(label.rows[0])}"
            return "your target" if name.startswith("<") else name
        return self.classes[int(label)] if self.classes else f"class {int(label)}"

    def about(self, picture, label=None):
        """The beginning of a status line."""
        label = self.targets[picture] if label is None else label
        return f"{self.images.names[picture]}: why “{self.name(label)}”?"

    def aims(self):
        """picture → [(name and probability, class)]: the one explained, then the most probable, all
        of them or five of many; of a target that is a callable, that alone."""
        if isinstance(self.targets, Score):
            return lambda picture: [(self.name(self.targets[picture]), -1)]
        shares = probabilities(logits_of(self.model, self.images.pixels)).cpu()

        def of(picture):
            first, row = int(self.targets[picture]), shares[picture]
            others = [int(k) for k in row.argsort(descending=True, stable=True) if k != first]
            return [
                (f"{self.name(k)} ({row[k]:.1%})", k)
                for k in [first, *others[: None if len(row) <= 20 else 4]]
            ]

        return of


MEANING = {"signed": "red positive, blue negative", "unsigned": "size: bright is large"}


def display_controls(overlay=True):
    """What every panel has: signed or unsigned, whether over the input, and where the colours
    end."""
    show = {"show": widgets.Dropdown(options=list(REDUCTIONS), description="show")}
    over = {"overlay": widgets.Checkbox(False, description="over the input")} if overlay else {}
    return (
        show
        | over
        | {
            "percentile": widgets.FloatSlider(
                99, min=90, max=100, step=0.5, description="percentile"
            )
        }
    )


def shown(show, percentile, overlay=False, whose="the map's"):
    """The end of a status line: the values of the display controls."""
    return (
        f"{show}{', over the input' if overlay else ''}, colours end at {whose} {percentile:g}th "
        "percentile"
    )


def plural(n, noun):
    return f"{n} {noun}{'' if n == 1 else 's'}"


def in_red(error):
    said = html.escape("".join(traceback.format_exception_only(error)))
    return f'<pre style="color:#b00020">{said}</pre>'


class _Upload(widgets.VBox):
    def __repr__(self):
        return "[a button to add pictures; run the notebook to use it]"


def upload_pictures(folder="my_pictures") -> widgets.VBox:
    """A button that copies pictures from the reader's machine into a folder beside the notebook,
    for ``load_images``."""
    folder = Path(folder)
    button = widgets.FileUpload(accept="image/*", multiple=True, description="Add pictures")
    status = widgets.HTML(f"They go to the folder <code>{html.escape(str(folder))}</code>.")

    def store(change):
        new = change["new"]
        # ipywidgets 7 gives {name: {"content": bytes}}, ipywidgets 8 a tuple of {"name": …,
        # "content": memoryview}
        files = (
            {name: f["content"] for name, f in new.items()}
            if isinstance(new, dict)
            else {f["name"]: f["content"] for f in new}
        )
        try:
            for name, content in files.items():
                with written_whole(folder / Path(name).name) as whole:
                    whole.write_bytes(bytes(content))
        except OSError as error:
            status.value = in_red(error)
            raise
        status.value = (
            f"{len(files)} pictures added. Set <code>IMAGES = "
            f"{html.escape(repr(str(folder)))}</code> in the parameters cell, "
            "and a network that knows such pictures, e.g. <code>MODEL = 'resnet50'</code>; then "
            "run all cells."
        )

    button.observe(store, names="value")
    return _Upload([button, status])

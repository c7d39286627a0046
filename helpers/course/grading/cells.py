"""Run a notebook's cells in this process and say what each showed: no kernel, no socket, and no
error left unseen.

A Jupyter front end hides errors in a widget's callbacks (they are logged, or shown in a widget that
no page has); here IPython is asked to show them, so they are seen.
"""

import base64
import io
import re
import sys
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from itertools import zip_longest

import ipywidgets
import matplotlib
from IPython.core.displayhook import CapturingDisplayHook
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from ipywidgets.widgets.widget_float import _BoundedFloat
from ipywidgets.widgets.widget_int import _BoundedInt
from ipywidgets.widgets.widget_selection import _Selection
from matplotlib_inline import backend_inline
from PIL import Image

MOST_TEXT = 20_000  # characters, of one cell
MOST_PICTURES, MOST_PICTURED = 20, 8 * 2**20  # and bytes of them, of one cell
LARGE, WIDTH = 2**20, 1600  # a picture of more bytes is made this many pixels wide
_KINDS = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")
_WITHIN = re.compile(
    r"data:(image/(?:png|jpeg|gif|webp)|video/(?:mp4|webm));base64,([A-Za-z0-9+/=\\\s]+)"
)
MOST_MOVES = 8  # of sliders


class _Text(io.TextIOBase):
    """A stream that keeps the first characters."""

    def __init__(self):
        self.kept, self.cut = "", False

    def writable(self):
        return True

    def write(self, text):
        room = MOST_TEXT - len(self.kept)
        self.kept, self.cut = self.kept + text[:room], self.cut or len(text) > room
        return len(text)


class _Shell(InteractiveShell):
    """An IPython that notes errors instead of printing them."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.shown = []

    def showtraceback(self, exc_tuple=None, *args, **kwargs):
        self.shown.append((exc_tuple or sys.exc_info())[1])

    def showsyntaxerror(self, *args, **kwargs):
        self.shown.append(sys.exc_info()[1])

    def _tee(self, channel):
        return nullcontext()  # IPython would keep all that is printed, be it a gigabyte

    def enable_gui(self, gui=None):
        pass  # no event loop

    def enable_matplotlib(self, gui=None):
        return "inline", "inline"  # %matplotlib widget, qt, …: here figures are pictures

    # of !commands: without a terminal of their own, which a sandbox does not have
    system = InteractiveShell.system_raw


class Cells:
    """A namespace in which cells run one after another.

    Args:
        clock: seconds → a context that raises ``out_of_time`` when they are over.
        seconds: for one cell.
    """

    def __init__(self, clock, out_of_time, seconds):
        self._clock, self._out_of_time, self._seconds = clock, out_of_time, seconds
        _Shell.clear_instance()
        self._shell = shell = _Shell.instance()
        shell.history_manager.enabled = False
        self._outputs = []
        shell.display_pub = CapturingDisplayPublisher(shell=shell)
        shell.display_pub.outputs = self._outputs
        shell.display_trap.hook = CapturingDisplayHook(shell=shell, outputs=self._outputs)
        matplotlib.use("module://matplotlib_inline.backend_inline")
        matplotlib.interactive(True)  # figures appear under their cell, also without plt.show()
        backend_inline.configure_inline_support(shell, "module://matplotlib_inline.backend_inline")
        self.namespace = shell.user_ns
        self._widgets = []
        ipywidgets.Widget.on_widget_constructed(self._widgets.append)

    def run(self, source) -> dict:
        """Execute a cell: {"error": text or None, "text": what it printed, "pictures": [(kind, such
        as "image/png", bytes)]}."""
        return self._watched(lambda: self._shell.run_cell(source, store_history=False))

    def move_sliders(self) -> dict:
        """Move the first controls to their ends, as a reader would; as ``run``."""
        moved = []

        def move():
            ends = [[(control, end) for end in _ends(control)] for control in self._widgets]
            # each control once, then again
            ends = [one for each in zip_longest(*ends) for one in each if one]
            for control, end in ends[:MOST_MOVES]:
                if end not in getattr(control, "_options_values", (end,)):
                    continue  # another control's move took this choice away
                moved[:] = [f"{control.description or type(control).__name__} at {end!r}: "]
                try:
                    control.value = end
                except Exception as error:
                    self._shell.shown.append(error)
                if self._shell.shown:
                    return

        told = self._watched(move)
        return {**told, "error": told["error"] and "".join(moved) + told["error"], "pictures": []}

    def _watched(self, action):
        text = _Text()
        self._outputs.clear()
        self._shell.shown.clear()
        try:
            with redirect_stdout(text), redirect_stderr(text), self._clock(self._seconds):
                action()
        except self._out_of_time:
            self._shell.shown.append(TimeoutError())
        except BaseException as error:
            self._shell.shown.append(error)
        pictures, left_out, size = [], 0, 0
        for output in self._outputs:
            data = output["data"] if isinstance(output, dict) else output.data
            found = [_of_a_size(*picture) for picture in _pictures(data)]
            for kind, picture in found:
                size += len(picture)
                if len(pictures) == MOST_PICTURES or size > MOST_PICTURED:
                    left_out += 1
                else:
                    pictures.append((kind, picture))
            if not found:
                text.write(str(data.get("text/plain", "")) + "\n")
        if left_out:
            text.write(f"[{left_out} more pictures]\n")
        error = self._described(self._shell.shown[0]) if self._shell.shown else None
        return {
            "error": error,
            "text": text.kept + ("\n[cut off]" if text.cut else ""),
            "pictures": pictures,
        }

    def _described(self, error):
        if isinstance(error, (self._out_of_time, TimeoutError)) and not str(error):
            return f"it ran longer than {self._seconds} s"
        try:
            return f"{type(error).__name__}: {str(error)[:1000]}".removesuffix(": ")
        except Exception:
            return type(error).__name__


def _pictures(data):
    """[(kind, bytes)] of what one output shows: a picture, or those within its HTML, of which an
    animation has many: its first, middle and last."""
    for kind in _KINDS:
        if kind in data:
            found = data[kind]
            if isinstance(found, str):
                found = found.encode() if kind == "image/svg+xml" else base64.b64decode(found)
            return [(kind, found)]
    found = _WITHIN.findall(str(data.get("text/html", "")))
    found = [found[i] for i in sorted({0, len(found) // 2, len(found) - 1})] if found else []
    return [(kind, base64.b64decode(re.sub(r"[\\\s]", "", text))) for kind, text in found]


def _of_a_size(kind, picture):
    """The picture, where it is large with fewer pixels, so that a page can show it."""
    if len(picture) <= LARGE or kind == "image/svg+xml":
        return kind, picture
    try:
        image = Image.open(io.BytesIO(picture))
        image.thumbnail((WIDTH, 4 * WIDTH))
        smaller = io.BytesIO()
        image.convert("RGB").save(smaller, "JPEG", quality=90)
        return "image/jpeg", smaller.getvalue()
    except Exception:  # no picture after all: the page shows as much
        return kind, picture


def _ends(control):
    if isinstance(control, ipywidgets.Play):
        return []
    if isinstance(control, _BoundedInt | _BoundedFloat):
        return sorted((control.min, control.max), key=lambda end: -abs(end - control.value))
    if isinstance(control, _Selection) and control.options:
        values = [value for _, value in control._options_full]
        return [values[-1], values[0]]
    return []

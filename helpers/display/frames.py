"""A panel where nothing computes: frames of it in one picture, or under a slider that a page moves
by itself. What is the same in every frame is shown once."""

import base64
import html
import io
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import matplotlib
from PIL import Image, ImageChops, ImageDraw, ImageFont

WIDEST = 1100  # pixels, of a strip
MOST_STRIP, MOST_SLIDER = 250_000, 300_000  # bytes
SCALES = (1, 0.85, 0.7, 0.6, 0.5, 0.4)  # tried in turn until the bytes suffice
GAP, CAPTION = 2, 24  # pixels
_FIVE_BITS = [round(round(value / 255 * 31) / 31 * 255) for value in range(256)]
SMALL = 340  # pixels: of such pictures a phone shows two side by side
# Light or dark is the page's; the slider is as high as a finger. Where no script runs, all frames
# are shown, each under its value, and the slider is not.
_STYLE = (
    "<style>.frames{display:flex;flex-wrap:wrap;gap:2px;align-items:flex-end;margin:.5em 0}"
    ".frames img{max-width:100%;height:auto;margin:0;background:#fff}"
    ".frames figure{display:contents}.frames figcaption{display:none;flex:1 0 100%}"
    ".frames label,.frames p{flex:1 0 100%;margin:0}.frames p{font-size:.85em;min-height:3em}"
    ".frames label{display:flex;gap:.6em;align-items:center}"
    ".frames input{flex:1;max-width:24em;min-width:6em;height:44px}"
    "@media(max-width:600px){.frames .small{width:calc(50% - 1px)}}</style>"
    "<noscript><style>.frames figure{display:contents!important}.frames figcaption{display:block}"
    ".frames label,.frames p{display:none}</style></noscript>"
)
_MOVE = (
    "const d=this.closest('.frames'),all=d.querySelectorAll('figure'),one=all[this.value];"
    "all.forEach(f=>f.style.display=f==one?'contents':'none');"
    "this.ariaValueText=this.nextElementSibling.value=one.dataset.value;"
    "d.lastElementChild.textContent=one.dataset.status"
)


class Cell(NamedTuple):
    """A part of a frame, from one column of pixels to another, and what stands over it."""

    left: int
    right: int
    title: str


class Frame(NamedTuple):
    """One setting of a panel: the value that it shows, the line of status, the picture (PIL, RGB)
    and the cells that it may be cut into."""

    value: str
    status: str
    picture: Image.Image
    cells: tuple[Cell, ...]

    def parts(self, cells):
        return [self.picture.crop((c.left, 0, c.right, self.picture.height)) for c in cells]


def cells_of(figure, dpi):
    """A cell for each of the axes that stand side by side; one for all where they do not."""
    axes = sorted(figure.axes, key=lambda ax: ax.get_position().x0)
    boxes, width = [ax.get_position() for ax in axes], round(figure.get_figwidth() * dpi)
    titles = [
        " ".join((ax.get_title() or f"{ax.get_ylabel()} against {ax.get_xlabel()}").split())
        for ax in axes
    ]
    if not axes or any(one.x1 > other.x0 for one, other in pairwise(boxes)):
        return (Cell(0, width, ", ".join(titles)),)
    # close after the axes: what they are labelled with stands on their left
    cuts = [0, *(round(box.x1 * width) + 3 for box in boxes[:-1]), width]
    return tuple(Cell(*ends, title) for ends, title in zip(pairwise(cuts), titles, strict=True))


def split(frames):
    """(the cells that look the same in all frames, the others), of the first frame."""
    first, *others = frames
    ends = [[(cell.left, cell.right) for cell in frame.cells] for frame in frames]
    size = first.picture.size
    if any(f.picture.size != size or e != ends[0] for f, e in zip(frames, ends, strict=True)):
        return [], None
    still = [
        cell
        for cell in first.cells
        if all(_same(*first.parts([cell]), *other.parts([cell])) for other in others)
    ]
    if len(still) == len(first.cells):
        return [], list(range(len(first.cells)))
    return still, [number for number, cell in enumerate(first.cells) if cell not in still]


def _moving(frame, places):
    return frame.cells if places is None else [frame.cells[place] for place in places]


def sheet(frames, name) -> bytes:
    """Frames side by side under what sets them apart, in rows, as a PNG."""
    still, places = split(frames)
    blocks = [("", _joined(frames[0].parts(still)))] if still else []
    blocks += [
        (f"{name} {frame.value}".strip(), _joined(frame.parts(_moving(frame, places))))
        for frame in frames
    ]
    for scale in SCALES:
        png = _png(_rows([(caption, _scaled(picture, scale)) for caption, picture in blocks]))
        if len(png) <= MOST_STRIP:
            break
    return png


def slider(frames, name, start=0) -> str:
    """HTML of a slider over frames, which moves without a kernel and asks for nothing from
    elsewhere; ``start`` is the frame shown at first."""
    for scale in SCALES:
        page = _page(frames, name, start, scale)
        if len(page) <= MOST_SLIDER:
            break
    return page


def _page(frames, name, start, scale):
    still, places = split(frames)
    now = frames[start]
    said = html.escape(now.value)
    parts = [f'{_STYLE}<div class="frames">']
    if len(frames) > 1:
        parts.append(
            f'<label>{html.escape(name)} <input type="range" min="0" max="{len(frames) - 1}" '
            f'value="{start}" aria-valuetext="{said}" oninput="{_MOVE}" autocomplete="off">'
            f"<output>{said}</output></label>"
        )
    parts += _images(now, still, f"for every value of {name}", scale)
    for frame in frames:
        caption = f"{name} {frame.value}".strip()
        parts += [
            f'<figure data-value="{html.escape(frame.value)}" '
            f'data-status="{html.escape(frame.status)}"'
            f"{'' if frame is now else ' style=display:none'}>"
            f"<figcaption>{html.escape(caption)}</figcaption>",
            *_images(frame, _moving(frame, places), caption, scale),
            "</figure>",
        ]
    return "".join([*parts, f"<p>{html.escape(now.status)}</p></div>"])


def _images(frame, cells, caption, scale):
    """An <img> for each cell, which says what it shows, for which value, of which picture."""
    about = frame.status.split(" · ")[0]
    for cell, picture in zip(cells, frame.parts(cells), strict=True):
        data = base64.b64encode(_png(_scaled(picture, scale))).decode()
        alt = html.escape(": ".join(filter(None, [caption, f"{cell.title}; {about}"])))
        small = ' class="small"' if picture.width <= SMALL else ""
        yield (
            f'<img alt="{alt}"{small} width="{picture.width}" height="{picture.height}" '
            f'src="data:image/png;base64,{data}">'
        )


def _same(one, other):
    return ImageChops.difference(one, other).getbbox() is None


def _joined(pictures):
    """Pictures of one height, side by side."""
    joined = Image.new("RGB", (sum(one.width for one in pictures), pictures[0].height))
    left = 0
    for one in pictures:
        joined.paste(one, (left, 0))
        left += one.width
    return joined


def _scaled(picture, scale):
    if scale == 1:
        return picture
    return picture.resize([max(1, round(side * scale)) for side in picture.size])


def _rows(blocks):
    """Pictures under captions, as many side by side as there is room for."""
    font = ImageFont.truetype(
        Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf"), 13
    )
    blocks = [
        (caption, _scaled(picture, min(1, WIDEST / picture.width))) for caption, picture in blocks
    ]
    widths = [picture.width for _, picture in blocks]
    # The narrowest that needs no more rows: they come out alike.
    room = range(max(widths), WIDEST + 1)
    widest = min(room, key=lambda width: (_n_rows(widths, width), width))
    places, left, top, row = [], 0, 0, 0
    for _, picture in blocks:
        if left and left + picture.width > widest:
            left, top, row = 0, top + row + GAP, 0
        places.append((left, top))
        left, row = left + picture.width + GAP, max(row, CAPTION + picture.height)
    right = max(x + picture.width for (x, _), (_, picture) in zip(places, blocks, strict=True))
    whole = Image.new("RGB", (right, top + row), "white")
    drawing = ImageDraw.Draw(whole)
    for (x, y), (caption, picture) in zip(places, blocks, strict=True):
        drawing.text((x + picture.width / 2, y + 5), caption, "black", font, anchor="ma")
        whole.paste(picture, (x, y + CAPTION))
    return whole


def _n_rows(widths, widest):
    left, rows = 0, 1
    for width in widths:
        if left and left + width > widest:
            left, rows = 0, rows + 1
        left += width + GAP
    return rows


def _png(picture):
    """A small file, of a palette; of the ways to choose one that which keeps white white. From the
    colours of five bits, or it would take minutes where every pixel has its own."""
    buffer = io.BytesIO()
    few = picture.point(_FIVE_BITS * 3).quantize(
        method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    )
    few.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()

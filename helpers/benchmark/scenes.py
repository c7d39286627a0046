"""The embedded benchmark: small pictures whose parts, and so whose truth, are known.

A *scene* holds one of ten shapes, one of ten letters and two meaningless distractors (a blob and a
scribble) on correlated noise. The four never touch, and none enters the corners, where a shortcut
picture carries its patch. What is drawn follows from the seed alone, so any part can be swapped and
the rest rendered again, bit for bit: that is how the networks' cards prove which part a network
listens to.

>>> scene = sample_scene("test", index=7)
>>> pixels, parts = render(scene)  # (3, 64, 64) uint8, (64, 64) uint8
>>> other, _ = render(swap(scene, "letter", seed=0))  # the same picture with another letter
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter

from helpers.checks import choose

SIZE = 64
SHAPES = (
    "disc",
    "ring",
    "square",
    "triangle",
    "star",
    "plus",
    "heart",
    "crescent",
    "arrow",
    "hourglass",
)
LETTERS = tuple("AEHKLMNTVZ")
PARTS = ("shape", "letter", "distractors", "background")
"""The parts of a scene. ``render`` writes the position in this tuple, plus one, into its map of
parts (0: background)."""
N_STORED = 500  # pictures in each split but "train"
PATCH_SIZE = 8
PATCH_COLOURS = np.array(
    [
        [230, 25, 25],
        [25, 160, 45],
        [30, 60, 230],
        [250, 210, 20],
        [235, 60, 210],
        [20, 205, 215],
        [245, 130, 20],
        [115, 30, 160],
        [20, 20, 20],
        [240, 240, 240],
    ],
    dtype=np.uint8,
)
"""The k-th colour stands for the k-th shape: (10, 3) uint8."""
_SPLITS = {"train": 0, "tune": 1, "test": 2, "strong": 2}
STRONG = 0.3
"""The contrast of the background in the split "strong": three times the strongest of the others,
which the networks never saw in training. All else is as in "test"."""
_MIN_CONTRAST = (
    0.45  # Euclidean RGB distance of a part's colour from the mean background, of at most sqrt(3)
)


@dataclass(frozen=True)
class Part:
    """One thing in a scene. ``centre`` and ``radius`` (of the circle that holds all its ink) in
    pixels, ``angle`` in radians, ``colour`` RGB in [0, 1]; ``seed`` draws the outline of a
    distractor and is 0 for the others."""

    kind: str
    centre: tuple[float, float]
    radius: float
    angle: float
    colour: tuple[float, float, float]
    seed: int = 0


@dataclass(frozen=True)
class Background:
    """Correlated noise: mean ``colour`` and standard deviation ``contrast`` in [0, 1] units,
    correlation ``length`` (the Gaussian's σ) in pixels."""

    colour: tuple[float, float, float]
    contrast: float
    length: float
    seed: int


@dataclass(frozen=True)
class Scene:
    shape: Part
    letter: Part
    distractors: tuple[Part, Part]
    background: Background
    corner: int  # 0 … 3, where ``add_patch`` puts the shortcut

    @property
    def labels(self) -> dict[str, int]:
        return {"shape": SHAPES.index(self.shape.kind), "letter": LETTERS.index(self.letter.kind)}

    @property
    def parts(self) -> tuple[Part, ...]:
        return (self.shape, self.letter, *self.distractors)


def sample_scene(split, index, *, seed=0, keep=None) -> Scene:
    """The ``index``-th scene of a split ("train", "tune", "test" or "strong"), a function of its
    arguments alone.

    keep: a ``Part`` of another scene that this one takes over as it is (its kind says which part it
        is); everything
    else is drawn anew around it.
    """
    rng = np.random.default_rng(
        np.random.SeedSequence([_SPLITS[choose(split, _SPLITS, "split")], seed, index])
    )
    kinds = {"shape": rng.choice(SHAPES), "letter": rng.choice(LETTERS)}
    kept = None if keep is None else ("shape" if keep.kind in SHAPES else "letter")
    circles = {} if kept is None else {("shape", "letter").index(kept): (keep.centre, keep.radius)}
    circles = _place(circles, rng)
    background = _sample_background(rng, [] if keep is None else [keep])
    if split == "strong":
        background = replace(background, contrast=STRONG)

    def draw(slot, kind, outline=0):
        centre, radius = circles[slot]
        return Part(
            str(kind),
            centre,
            radius,
            rng.uniform(-0.3, 0.3),
            _sample_colour(rng, background),
            outline,
        )

    shape, letter = draw(0, kinds["shape"]), draw(1, kinds["letter"])
    blob, scribble = (
        draw(2 + i, kind, int(rng.integers(2**31))) for i, kind in enumerate(("blob", "scribble"))
    )
    if kept == "shape":
        shape = keep
    elif kept == "letter":
        letter = keep
    return Scene(shape, letter, (blob, scribble), background, corner=int(rng.integers(4)))


def swap(scene, part, *, seed) -> Scene:
    """The scene with one part exchanged and all else as it was.

    A shape or letter becomes another of the ten at the same place, size, angle and colour; the
    distractors get other outlines and colours at their places; the background becomes a wholly new
    one (mean colour, contrast, correlation length and noise), far enough from the parts' colours
    that they can still be seen.
    """
    rng = np.random.default_rng(
        np.random.SeedSequence([PARTS.index(choose(part, PARTS, "part")), seed])
    )
    if part in ("shape", "letter"):
        old = getattr(scene, part)
        kinds = [kind for kind in (SHAPES if part == "shape" else LETTERS) if kind != old.kind]
        return replace(scene, **{part: replace(old, kind=str(rng.choice(kinds)))})
    if part == "distractors":
        return replace(
            scene,
            distractors=tuple(
                replace(
                    old,
                    seed=int(rng.integers(2**31)),
                    angle=rng.uniform(-0.3, 0.3),
                    colour=_sample_colour(rng, scene.background),
                )
                for old in scene.distractors
            ),
        )
    return replace(scene, background=_sample_background(rng, scene.parts))


def render(scene) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scene: pixels (3, SIZE, SIZE) uint8 and the map of parts (SIZE, SIZE) uint8, 1 +
    position in ``PARTS`` wherever a part has any ink (anti-aliased edges included), 0 on the
    background."""
    canvas = _render_background(scene.background)
    parts = np.zeros((SIZE, SIZE), np.uint8)
    for number, part in zip((1, 2, 3, 3), scene.parts, strict=True):
        reach = part.radius + 1
        x0, y0 = (max(0, int(np.floor(c - reach))) for c in part.centre)
        x1, y1 = (min(SIZE, int(np.ceil(c + reach)) + 1) for c in part.centre)
        # Pixel (row, column) covers [column, column + 1) x [row, row + 1): sample its middle.
        x, y = np.meshgrid(
            np.arange(x0, x1) + 0.5 - part.centre[0], np.arange(y0, y1) + 0.5 - part.centre[1]
        )
        cos, sin = np.cos(part.angle), np.sin(part.angle)
        u, v = (cos * x + sin * y) / part.radius, (cos * y - sin * x) / part.radius
        ink = np.clip(0.5 - part.radius * _distance(part, u, v), 0, 1)
        window = canvas[:, y0:y1, x0:x1]
        window += ink * (np.reshape(part.colour, (3, 1, 1)) - window)
        parts[y0:y1, x0:x1][ink > 0] = number
    return np.round(255 * canvas).astype(np.uint8), parts


def patch_window(corner) -> tuple[slice, slice]:
    """Rows and columns of the corner patch; corner 0 is top left, 1 top right, 2 bottom left, 3
    bottom right."""
    near, far = slice(0, PATCH_SIZE), slice(SIZE - PATCH_SIZE, SIZE)
    return (near, far)[corner // 2], (near, far)[corner % 2]


def _place(kept, rng):
    """Centres and radii for shape, letter, blob and scribble: inside the picture, apart, out of the
    corners."""
    shrink = 1.0
    while True:
        circles = dict(kept)
        for slot, (low, high) in enumerate([(9.5, 13.5), (8.5, 11.5), (5, 8), (5, 8)]):
            radius = shrink * rng.uniform(low, high)
            for _ in range(0 if slot in circles else 50):
                centre = rng.uniform(radius + 1, SIZE - radius - 1, 2)
                to_corner = np.maximum(np.minimum(centre, SIZE - centre) - PATCH_SIZE, 0)
                if np.hypot(*to_corner) < radius + 1:
                    continue
                if all(
                    np.hypot(*(centre - other)) > radius + r + 2 for other, r in circles.values()
                ):
                    circles[slot] = (tuple(float(c) for c in centre), float(radius))
                    break
        if len(circles) == 4:
            return circles
        shrink *= 0.98  # a large part in the middle can leave no room for the rest at full size


def _sample_colour(rng, background):
    while True:
        special = rng.random()
        if special < 0.1:
            colour = np.zeros(3)
        elif special < 0.2:
            colour = np.ones(3)
        elif special < 0.3:
            colour = np.full(3, rng.uniform(0.3, 0.7))
        else:
            colour = rng.random(3)
        if np.linalg.norm(colour - background.colour) > _MIN_CONTRAST:
            return tuple(float(c) for c in colour)


def _sample_background(rng, parts):
    while True:
        colour = rng.uniform(0.15, 0.85, 3)
        if all(np.linalg.norm(colour - part.colour) > _MIN_CONTRAST for part in parts):
            break
        # Parts of opposite colours can leave no room: accept what keeps three quarters of the
        # contrast, now and then.
        if rng.random() < 0.02 and all(
            np.linalg.norm(colour - p.colour) > 0.75 * _MIN_CONTRAST for p in parts
        ):
            break
    return Background(
        tuple(float(c) for c in colour),
        float(rng.uniform(0.03, 0.1)),
        float(rng.uniform(1.5, 5)),
        int(rng.integers(2**31)),
    )


def _render_background(background):
    rng = np.random.default_rng(background.seed)
    noise = rng.standard_normal((3, SIZE, SIZE))
    # a shared part, so it varies in brightness more than in hue
    noise += 1.5 * rng.standard_normal((1, SIZE, SIZE))
    noise = gaussian_filter(noise, (0, background.length, background.length), mode="wrap")
    noise *= background.contrast / noise.std()
    return np.clip(np.reshape(background.colour, (3, 1, 1)) + noise, 0, 1)


# Outlines: signed distances in units of the radius, negative inside, y downwards, all ink within
# the unit circle.


def _distance(part, u, v):
    match part.kind:
        case "disc":
            return np.hypot(u, v) - 0.85
        case "ring":
            return np.abs(np.hypot(u, v) - 0.7) - 0.2
        case "crescent":
            return np.maximum(np.hypot(u, v) - 0.95, 0.8 - np.hypot(u - 0.5, v))
        case "heart":
            lobes = np.hypot(np.abs(u) - 0.42, v + 0.3) - 0.45
            return np.minimum(lobes, _polygon(_HEART_TIP, u, v))
        case "blob":
            rng = np.random.default_rng(part.seed)
            k = np.arange(2, 6)[:, None, None]
            amplitude, phase = rng.uniform(0, 0.16, k.shape), rng.uniform(0, 2 * np.pi, k.shape)
            edge = 0.68 * (1 + np.sum(amplitude * np.cos(k * np.arctan2(v, u) + phase), axis=0))
            return np.hypot(u, v) - np.minimum(edge, 0.95)
        case "scribble":
            rng = np.random.default_rng(part.seed)
            turn = np.cumsum(rng.uniform(1.2, 3.2, 6))
            reach = rng.uniform(0.3, 0.82, 6)
            return _strokes(
                [np.stack([reach * np.cos(turn), reach * np.sin(turn)], axis=1)], u, v, 0.15
            )
    if part.kind in _LETTER_STROKES:
        return _strokes(_LETTER_STROKES[part.kind], u, v, 0.14)
    return _polygon(_POLYGONS[part.kind], u, v)


def _segment(a, b, u, v):
    du, dv = b[0] - a[0], b[1] - a[1]
    t = np.clip(((u - a[0]) * du + (v - a[1]) * dv) / (du * du + dv * dv), 0, 1)
    return np.hypot(u - a[0] - t * du, v - a[1] - t * dv)


def _strokes(lines, u, v, half_width):
    return (
        np.min([_segment(a, b, u, v) for line in lines for a, b in pairwise(line)], axis=0)
        - half_width
    )


def _polygon(corners, u, v):
    distance, inside = np.inf, np.zeros(u.shape, bool)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        distance = np.minimum(distance, _segment(a, b, u, v))
        if a[1] != b[1]:
            inside ^= ((a[1] > v) != (b[1] > v)) & (
                u < (b[0] - a[0]) * (v - a[1]) / (b[1] - a[1]) + a[0]
            )
    return np.where(inside, -distance, distance)


def _regular(n, *radii):
    angle = np.arange(n) * 2 * np.pi / n - np.pi / 2
    radius = np.resize(radii, n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


_HEART_TIP = np.array([[-0.8, -0.1], [0, -0.3], [0.8, -0.1], [0, 0.92]])
_POLYGONS = {
    "square": np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.66,
    "triangle": _regular(3, 0.98),
    "star": _regular(10, 0.98, 0.42),
    "plus": np.array(
        [
            [-1, -3],
            [1, -3],
            [1, -1],
            [3, -1],
            [3, 1],
            [1, 1],
            [1, 3],
            [-1, 3],
            [-1, 1],
            [-3, 1],
            [-3, -1],
            [-1, -1],
        ]
    )
    * 0.3,
    "arrow": np.array([[-9, -2.8], [0, -2.8], [0, -7], [9, 0], [0, 7], [0, 2.8], [-9, 2.8]]) / 9.6,
    "hourglass": np.array([[-6.5, -7], [6.5, -7], [1.2, 0], [6.5, 7], [-6.5, 7], [-1.2, 0]]) / 9.8,
}
_W, _H = 0.5, 0.68
_LETTER_STROKES = {
    "A": [[(-_W, _H), (0, -_H), (_W, _H)], [(-0.3, 0.2), (0.3, 0.2)]],
    "E": [[(_W, -_H), (-_W, -_H), (-_W, _H), (_W, _H)], [(-_W, 0), (0.35, 0)]],
    "H": [[(-_W, -_H), (-_W, _H)], [(_W, -_H), (_W, _H)], [(-_W, 0), (_W, 0)]],
    "K": [[(-_W, -_H), (-_W, _H)], [(_W, -_H), (-_W, 0), (_W, _H)]],
    "L": [[(-_W, -_H), (-_W, _H), (_W, _H)]],
    "M": [[(-_W, _H), (-_W, -_H), (0, 0.15), (_W, -_H), (_W, _H)]],
    "N": [[(-_W, _H), (-_W, -_H), (_W, _H), (_W, -_H)]],
    "T": [[(-_W, -_H), (_W, -_H)], [(0, -_H), (0, _H)]],
    "V": [[(-_W, -_H), (0, _H), (_W, -_H)]],
    "Z": [[(-_W, -_H), (_W, -_H), (-_W, _H), (_W, _H)]],
}

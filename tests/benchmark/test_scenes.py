"""The pictures: drawn the same every time, parts apart, a swap that moves nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from helpers.benchmark.models import DATA
from helpers.benchmark.scenes import (
    LETTERS,
    PARTS,
    PATCH_COLOURS,
    PATCH_SIZE,
    SHAPES,
    SIZE,
    patch_window,
    render,
    sample_scene,
    swap,
)
from helpers.benchmark.training import N_STORED, _rendered, add_patch

A_FEW = range(40)
CODES = {"shape": 1, "letter": 2, "distractors": 3}


@pytest.fixture(scope="module", params=["tune", "test"])
def split(request):
    """(name, scenes, pixels, parts, what is stored) of a whole split."""
    with np.load(DATA / f"scenes-{request.param}.npz", allow_pickle=False) as stored:
        stored = dict(stored)
    scenes = [sample_scene(request.param, index) for index in range(N_STORED)]
    pixels, parts = (np.stack(arrays) for arrays in zip(*map(render, scenes), strict=True))
    return request.param, scenes, pixels, parts, stored


def test_stored_pictures_are_what_is_rendered(split):
    name, _, pixels, _, _ = split
    sheets = [np.asarray(Image.open(path)) for path in sorted(DATA.glob(f"scenes-{name}-*.png"))]
    tiles = [
        sheet[y : y + SIZE, x : x + SIZE]
        for sheet in sheets
        for y in range(0, sheet.shape[0], SIZE)
        for x in range(0, sheet.shape[1], SIZE)
    ]
    np.testing.assert_array_equal(np.stack(tiles).transpose(0, 3, 1, 2), pixels)


def test_stored_parts_labels_and_corners_are_what_is_rendered(split):
    _, scenes, _, parts, stored = split
    np.testing.assert_array_equal(stored["parts"], parts)
    np.testing.assert_array_equal(stored["corner"], [scene.corner for scene in scenes])
    np.testing.assert_array_equal(
        stored["shape"], [SHAPES.index(scene.shape.kind) for scene in scenes]
    )
    np.testing.assert_array_equal(
        stored["letter"], [LETTERS.index(scene.letter.kind) for scene in scenes]
    )


def test_every_split_holds_all_classes_and_corners_about_evenly(split):
    stored = split[-1]
    for part in ("shape", "letter"):
        counts = np.bincount(stored[part], minlength=10)
        assert len(counts) == 10 and counts.min() >= 25 and counts.max() <= 85, (part, counts)
    assert np.bincount(stored["corner"], minlength=4).min() >= 80


def test_shape_and_letter_say_nothing_of_each_other(split):
    stored = split[-1]
    together = np.zeros((10, 10))
    np.add.at(together, (stored["shape"], stored["letter"]), 1)
    expected = together.sum(1, keepdims=True) * together.sum(0) / N_STORED
    assert (
        (together - expected) ** 2 / expected
    ).sum() < 126  # chi square with 81 degrees of freedom, p = 0.001


def test_every_part_has_ink_and_none_in_a_corner_or_over_the_edge(split):
    _, scenes, _, parts, _ = split
    for code in (0, 1, 2, 3):
        assert (parts == code).any(axis=(1, 2)).all()
    for corner in range(4):
        assert not parts[(slice(None), *patch_window(corner))].any()
    for part in (part for scene in scenes for part in scene.parts):
        assert all(part.radius < c < SIZE - part.radius for c in part.centre), part


def test_parts_are_apart(split):
    for scene in split[1]:
        for i, one in enumerate(scene.parts):
            for other in scene.parts[i + 1 :]:
                gap = np.hypot(*np.subtract(one.centre, other.centre)) - one.radius - other.radius
                assert gap >= 2, (one, other)


def test_masks_hold_all_ink(split):
    # What is no part is the background as it would be without them.
    _, scenes, pixels, parts, _ = split
    for scene, picture, part in list(zip(scenes, pixels, parts, strict=True))[::25]:
        nothing = {"radius": 1e-3, "centre": (SIZE / 2, SIZE / 2)}
        bare, none = render(
            replace(
                scene,
                shape=replace(scene.shape, **nothing),
                letter=replace(scene.letter, **nothing),
                distractors=tuple(replace(d, **nothing) for d in scene.distractors),
            )
        )
        assert not none.any()
        np.testing.assert_array_equal(picture[:, part == 0], bare[:, part == 0])


def test_background_noise_is_dim_beside_the_contrast_of_the_parts(split):
    for scene in split[1]:
        assert 0.03 <= scene.background.contrast <= 0.1
        for part in scene.parts:
            assert np.linalg.norm(np.subtract(part.colour, scene.background.colour)) > 0.45


@pytest.mark.parametrize("kind", [*SHAPES, *LETTERS])
def test_every_kind_has_an_outline_of_its_own_within_its_circle(kind):
    scene = sample_scene("test", 0)
    part = replace(scene.shape if kind in SHAPES else scene.letter, kind=kind)
    name = "shape" if kind in SHAPES else "letter"
    mask = render(replace(scene, **{name: part}))[1] == CODES[name]
    others = [
        render(replace(scene, **{name: replace(part, kind=k)}))[1] == CODES[name]
        for k in (SHAPES if kind in SHAPES else LETTERS)
        if k != kind
    ]
    assert 0.15 * np.pi * part.radius**2 < mask.sum() < np.pi * (part.radius + 1) ** 2
    y, x = np.nonzero(mask)
    assert np.hypot(x + 0.5 - part.centre[0], y + 0.5 - part.centre[1]).max() <= part.radius + 1
    assert all((mask != other).sum() > 10 for other in others)


def test_rendering_is_deterministic():
    for index in A_FEW:
        first, second = (render(sample_scene("tune", index, seed=5)) for _ in range(2))
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])


def test_rendering_leaves_the_global_random_state_alone():
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    render(swap(sample_scene("test", 0), "background", seed=0))
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize(
    "other",
    [
        ("tune", 0, 0),
        ("train", 0, 0),
        ("test", 1, 0),
        ("test", 0, 1),
        ("train", 0, 2),
        ("test", 2, 0),
    ],
)
def test_split_index_and_seed_each_give_another_scene(other):
    split, index, seed = other
    assert (
        render(sample_scene("test", 0))[0] != render(sample_scene(split, index, seed=seed))[0]
    ).mean() > 0.5


@pytest.mark.parametrize("part", ["shape", "letter"])
def test_swapping_a_shape_or_letter_keeps_every_other_pixel(part):
    other_part = "letter" if part == "shape" else "shape"
    for index in A_FEW:
        scene = sample_scene("test", index)
        other = swap(scene, part, seed=index)
        (pixels, parts), (changed, other_parts) = render(scene), render(other)
        outside = (parts != CODES[part]) & (other_parts != CODES[part])
        np.testing.assert_array_equal(pixels[:, outside], changed[:, outside])
        assert (pixels != changed).any()
        assert (
            other.labels[part] != scene.labels[part]
            and other.labels[other_part] == scene.labels[other_part]
        )
        old, new = getattr(scene, part), getattr(other, part)
        assert replace(old, kind=new.kind) == new


def test_swapping_the_distractors_keeps_every_other_pixel():
    for index in A_FEW:
        scene = sample_scene("test", index)
        (pixels, parts), (changed, other_parts) = (
            render(scene),
            render(swap(scene, "distractors", seed=index)),
        )
        outside = (parts != 3) & (other_parts != 3)
        np.testing.assert_array_equal(pixels[:, outside], changed[:, outside])
        assert (pixels != changed).any() and (other_parts == 3).any()


def test_swapping_the_background_keeps_pure_ink_and_the_parts():
    for index in A_FEW:
        scene = sample_scene("test", index)
        (pixels, parts), (changed, other_parts) = (
            render(scene),
            render(swap(scene, "background", seed=index)),
        )
        np.testing.assert_array_equal(parts, other_parts)
        assert (pixels != changed)[:, parts == 0].mean() > 0.9
        for code, part in ((1, scene.shape), (2, scene.letter)):
            colour = np.round(255 * np.array(part.colour)).astype(np.uint8)[:, None]
            ink = (pixels == colour[..., None]).all(0) & (parts == code)
            # A pixel of nearly full ink may round to the colour by chance on one background: a step
            # of 1 is rounding.
            assert ink.sum() > 8 and np.abs(changed[:, ink].astype(int) - colour).max() <= 1


def test_swaps_of_one_seed_are_the_same_and_of_another_are_not():
    scene = sample_scene("test", 3)
    for part in PARTS:
        assert swap(scene, part, seed=1) == swap(scene, part, seed=1)
    for part in ("distractors", "background"):
        assert swap(scene, part, seed=1) != swap(scene, part, seed=2)
    assert {swap(scene, "shape", seed=seed).shape.kind for seed in range(100)} == set(SHAPES) - {
        scene.shape.kind
    }


@pytest.mark.parametrize("part", ["shape", "letter"])
def test_keep_keeps_the_part_bit_for_bit_and_draws_the_rest_anew(part):
    for index in A_FEW:
        scene = sample_scene("train", index)
        kept = getattr(scene, part)
        other = sample_scene("train", 1000 + index, keep=kept)
        assert getattr(other, part) == kept
        (pixels, parts), (changed, other_parts) = render(scene), render(other)
        mine = parts == CODES[part]
        np.testing.assert_array_equal(mine, other_parts == CODES[part])
        colour = np.round(255 * np.array(kept.colour)).astype(np.uint8)[:, None, None]
        ink = mine & (pixels == colour).all(0)
        assert ink.any() and np.abs(changed[:, ink].astype(int) - colour[:, 0]).max() <= 1
        assert (pixels != changed)[:, ~mine].mean() > 0.5
        assert other.background != scene.background and other.distractors != scene.distractors
        # Apart, and out of the corners, also around a part that was there first.
        assert all(not other_parts[patch_window(corner)].any() for corner in range(4))
        for i, one in enumerate(other.parts):
            assert all(
                np.hypot(*np.subtract(one.centre, two.centre)) > one.radius + two.radius + 1.99
                for two in other.parts[i + 1 :]
            )


def test_the_patch_fills_one_corner_with_its_colour_and_nothing_else():
    pixels, _ = render(sample_scene("test", 0))
    for corner in range(4):
        patched = add_patch(pixels, corner, 6)
        changed = (patched != pixels).any(0)
        inside = np.zeros((SIZE, SIZE), bool)
        inside[patch_window(corner)] = True
        assert inside.sum() == PATCH_SIZE**2 and not (changed & ~inside).any()
        assert (patched[:, inside] == PATCH_COLOURS[6][:, None]).all()
    assert [tuple(s.start for s in patch_window(c)) for c in range(4)] == [
        (0, 0),
        (0, 56),
        (56, 0),
        (56, 56),
    ]


def test_patch_colours_are_far_apart():
    colours = PATCH_COLOURS.astype(float) / 255
    distances = np.linalg.norm(colours[:, None] - colours, axis=2) + 10 * np.eye(10)
    assert distances.min() > 0.25


def test_rendered_pictures_of_a_certificate_are_drawn_once():
    scenes, pixels = _rendered("test", 2, "shape")
    assert _rendered("test", 2, "shape")[1] is pixels
    np.testing.assert_array_equal(
        pixels[1], render(swap(sample_scene("test", 1), "shape", seed=1))[0]
    )
    assert scenes[1] == swap(sample_scene("test", 1), "shape", seed=1)

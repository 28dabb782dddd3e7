"""Made pictures whose labels a transform changes, and some whose labels none does: plain drawings on a noisy ground."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE_PX = 96
SOLE = ((8, 40), (24, 58), (30, 86), (22, 100), (4, 100), (-8, 84), (-6, 56), (-20, 30), (-24, 4), (-12, -6), (4, 8))
ARROW = ((0, -8), (44, -8), (44, -24), (84, 0), (44, 24), (44, 8), (0, 8))

Drawing = Callable[[np.random.Generator, str], Image.Image]


def write(folder: Path, name: str, *, train: int, test: int) -> Path:
    """Write `train` and `test` pictures of a set, as many of each class, to `folder`/PART/CLASS; `folder`."""
    classes, drawing = SETS[name]
    for part, count in (("train", train), ("test", test)):
        for number in range(count):
            label = classes[number % len(classes)]
            place = folder / part / label
            place.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng(zlib.crc32(f"{name} {part} {number}".encode()))
            drawing(rng, label).save(place / f"{number:04d}.png")
    return folder


def arrow(rng: np.random.Generator, label: str) -> Image.Image:
    """An arrow that points to the left or to the right."""
    return _outline(rng, ARROW, is_mirrored=label == "left", about=(42, 0), turn=12)


def shoe(rng: np.random.Generator, label: str) -> Image.Image:
    """The sole of a left or a right shoe."""
    return _outline(rng, SOLE, is_mirrored=label == "left", about=(2, 47), turn=12)


def letter(rng: np.random.Generator, label: str) -> Image.Image:
    """A letter or a digit, upright or nearly so."""
    font = ImageFont.load_default(size=float(rng.uniform(44, 76)))
    sign = Image.new("L", (SIDE_PX, SIDE_PX))
    ImageDraw.Draw(sign).text((SIDE_PX / 2, SIDE_PX / 2), label, fill=255, font=font, anchor="mm")
    return _placed(rng, sign, turn=12)


def disc(rng: np.random.Generator, label: str) -> Image.Image:
    """A disc, small or large."""
    radius = rng.uniform(9, 14) if label == "small" else rng.uniform(19, 24)
    sign = Image.new("L", (SIDE_PX, SIDE_PX))
    middle = SIDE_PX / 2
    ImageDraw.Draw(sign).ellipse((middle - radius, middle - radius, middle + radius, middle + radius), fill=255)
    return _placed(rng, sign, turn=0)


def cells(rng: np.random.Generator, label: str) -> Image.Image:
    """Cells as under a microscope, round ones or long ones, anyhow turned."""
    picture = Image.new("RGB", (4 * SIDE_PX, 4 * SIDE_PX), tuple(rng.integers(190, 240, 3).tolist()))
    for _ in range(rng.integers(8, 16)):
        radius = rng.uniform(24, 34)
        long, short = (radius, radius) if label == "round" else (1.7 * radius, 0.6 * radius)
        angles = np.linspace(0, 2 * np.pi, 24)
        turn, middle = rng.uniform(0, np.pi), rng.uniform(0, 4 * SIDE_PX, 2)
        x, y = long * np.cos(angles), short * np.sin(angles)
        points = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], 1) + middle
        ImageDraw.Draw(picture).polygon(
            [tuple(point) for point in points], fill=tuple(rng.integers(60, 150, 3).tolist())
        )
    return _noisy(rng, picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC))


def texture(rng: np.random.Generator, label: str) -> Image.Image:
    """Noise without a direction, coarse, fine or of both kinds."""
    sides = {"coarse": (6,), "fine": (24,), "mixed": (6, 24)}[label]
    layers = [
        np.asarray(
            Image.fromarray(rng.integers(0, 256, (side, side), np.uint8)).resize(
                (SIDE_PX,) * 2, Image.Resampling.BICUBIC
            )
        )
        for side in sides
    ]
    grey = np.mean(layers, 0)[..., None] / 255
    low, high = rng.uniform(0, 110, 3), rng.uniform(140, 255, 3)
    return _noisy(rng, Image.fromarray((low + grey * (high - low)).astype(np.uint8)))


def light(rng: np.random.Generator, label: str) -> Image.Image:
    """A dark or a light scene of discs."""
    level = rng.uniform(60, 85) if label == "dark" else rng.uniform(105, 130)
    picture = Image.new("RGB", (SIDE_PX, SIDE_PX), (int(level),) * 3)
    for _ in range(4):
        x, y, radius = rng.uniform(10, 86), rng.uniform(10, 86), rng.uniform(6, 16)
        ImageDraw.Draw(picture).ellipse(
            (x - radius, y - radius, x + radius, y + radius), fill=(int(level + rng.uniform(-25, 25)),) * 3
        )
    return _noisy(rng, picture)


def _outline(rng: np.random.Generator, points, *, is_mirrored: bool, about, turn: float) -> Image.Image:
    """A filled outline around a point, some pixels high, mirrored or not."""
    corners = np.array(points, float) - about
    corners *= rng.uniform(0.55, 0.85) * np.array([-1 if is_mirrored else 1, 1])
    sign = Image.new("L", (SIDE_PX, SIDE_PX))
    ImageDraw.Draw(sign).polygon([tuple(corner) for corner in corners + SIDE_PX / 2], fill=255)
    return _placed(rng, sign, turn=turn)


def _placed(rng: np.random.Generator, sign: Image.Image, *, turn: float) -> Image.Image:
    """The sign in a colour on a ground of another, a little turned and moved."""
    moved = tuple(rng.integers(-8, 9, 2).tolist())
    mask = sign.rotate(rng.uniform(-turn, turn), Image.Resampling.BICUBIC, translate=moved)
    ground, ink = rng.integers(130, 250, 3), rng.integers(0, 110, 3)
    if rng.random() < 0.5:
        ground, ink = ink, ground
    share = np.asarray(mask, float)[..., None] / 255
    return _noisy(rng, Image.fromarray((ground + share * (ink - ground)).astype(np.uint8)))


def _noisy(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    pixels = np.asarray(picture, float) + rng.normal(0, 12, (SIDE_PX, SIDE_PX, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


SETS: dict[str, tuple[tuple[str, ...], Drawing]] = {
    "arrows": (("left", "right"), arrow),
    "shoes": (("left", "right"), shoe),
    "sixes": (("6", "9"), letter),
    "text": (("b", "d", "p", "q"), letter),
    "discs": (("large", "small"), disc),
    "light": (("dark", "bright"), light),
    "cells": (("long", "round"), cells),
    "textures": (("coarse", "fine", "mixed"), texture),
}

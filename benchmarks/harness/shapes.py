"""Pictures of coloured shapes on noise, each with all labels that are on it, for a multi-label classifier."""

import csv
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE_PX = 64
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COLOURS = ("red", "orange", "yellow", "green", "blue", "violet", "white", "black")
HUES = {"red": 0, "orange": 20, "yellow": 42, "green": 85, "blue": 160, "violet": 205}  # of 255
TEST_SHARE = 5  # every fifth picture


def write(folder: Path, count: int, *, seed: int = 0) -> Path:
    """Write `count` pictures of 1 to 4 shapes and labels.csv (path,labels,split); its path.

    The labels are the names of the shapes, six, some of which are three times as common as others.
    """
    (folder / "pictures").mkdir(parents=True)
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "labels", "split"])
        for number in range(count):
            image, labels = picture(np.random.default_rng([seed, number]))
            path = f"pictures/{number:05d}.png"
            image.save(folder / path)
            writer.writerow([path, "|".join(sorted(labels)), "test" if number % TEST_SHARE == 0 else "train"])
    return folder / "labels.csv"


def picture(rng: np.random.Generator) -> tuple[Image.Image, set[str]]:
    """One picture and the names of the shapes on it."""
    low, high = np.sort(rng.integers(40, 216, 2))
    noise = rng.integers(low, high + 1, (8, 8, 3), np.uint8)
    image = Image.fromarray(noise).resize((2 * SIDE_PX, 2 * SIDE_PX), Image.Resampling.BICUBIC)
    draw, labels = ImageDraw.Draw(image), set()
    share = np.linspace(3, 1, len(SHAPES))
    cells = rng.permutation(4)  # of 2 x 2, so that no shape hides another
    for cell in cells[: rng.integers(1, 5)]:
        name = SHAPES[rng.choice(len(SHAPES), p=share / share.sum())]
        radius = rng.uniform(0.55, 0.95) * SIDE_PX / 2
        centre = SIDE_PX * (0.5 + np.array(divmod(cell, 2))) + rng.uniform(-4, 4, 2)
        _draw(draw, name, centre, radius, turn=rng.uniform(0, 2 * math.pi), fill=_colour(rng))
        labels.add(name)
    return image.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS), labels


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    name = COLOURS[rng.integers(len(COLOURS))]
    if name in HUES:
        hue, saturation, value = HUES[name] + int(rng.integers(-6, 7)), rng.integers(190, 256), rng.integers(170, 256)
        return Image.new("HSV", (1, 1), (hue % 256, int(saturation), int(value))).convert("RGB").getpixel((0, 0))
    level = int(rng.integers(225, 256) if name == "white" else rng.integers(0, 30))
    return level, level, level


def _draw(draw: ImageDraw.ImageDraw, name: str, centre: np.ndarray, radius: float, *, turn: float, fill) -> None:
    box = [*(centre - radius), *(centre + radius)]
    if name == "circle":
        draw.ellipse(box, fill=fill)
    elif name == "ring":
        draw.ellipse(box, outline=fill, width=max(4, round(radius / 3.5)))
    else:
        draw.polygon([tuple(centre + radius * point) for point in _corners(name, turn)], fill=fill)


def _corners(name: str, turn: float) -> list[np.ndarray]:
    """The corners of a polygon in a circle of radius 1."""
    if name == "cross":
        arm = 0.33
        x = [arm, arm, 1, 1, arm, arm, -arm, -arm, -1, -1, -arm, -arm]
        y = [1, arm, arm, -arm, -arm, -1, -1, -arm, -arm, arm, arm, 1]
        points = np.stack([x, y], 1) * 0.95
    else:
        count, inner = {"square": (4, 1.0), "triangle": (3, 1.0), "star": (10, 0.42)}[name]
        angles = 2 * math.pi * np.arange(count) / count
        radii = np.where(np.arange(count) % 2, inner, 1.0)
        points = np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return list(points @ rotation.T)

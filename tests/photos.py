"""Photos made of noise: they have details as real ones have, and no two are alike."""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps


def photo(seed: int, *, size: tuple[int, int] = (256, 192)) -> Image.Image:
    """Clouds and edges in colours, others for each seed; always the same."""
    rng = np.random.default_rng(seed)
    width, height = size
    layers = np.zeros((height, width, 3))
    for side in (4, 8, 16, 32, 64):
        coarse = rng.integers(0, 256, (side * 3 // 4, side, 3), np.uint8)
        layers += np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), float) / side**0.5
    scaled = 255 * (layers - layers.min()) / np.ptp(layers)
    return Image.fromarray(scaled.astype(np.uint8))


CHANGES = {
    "cropped to 80 %": lambda image: image.crop((20, 10, 20 + image.width * 4 // 5, 10 + image.height * 4 // 5)),
    "half as large": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "mirrored": ImageOps.mirror,
    "in other colours": lambda image: ImageEnhance.Color(ImageEnhance.Brightness(image).enhance(0.7)).enhance(0.3),
    "grey": lambda image: image.convert("L"),
    "as it is": lambda image: image,
}

"""What is said of a file's encoding is what Pillow was told when it wrote the file."""

import io

import numpy as np
import pytest
from PIL import Image

from transferkit.pretraining import encoding


def written(form: str, *, mode: str = "RGB", **options) -> bytes:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True, "optimize": True}, {"mode": "L"}])
@pytest.mark.parametrize("quality", [1, 2, 30, 50, 75, 95, 99, 100])
def test_the_quality_of_a_jpeg_is_found_in_its_tables(quality, options):
    assert encoding.describe(written("jpeg", quality=quality, **options)) == f"JPEG, quality {quality}"


def test_of_tables_that_no_quality_has_none_is_named():
    assert encoding.describe(written("jpeg", qtables=[list(range(1, 65)), list(range(2, 66))])) == "JPEG"


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP", "GIF"])
def test_other_formats_are_named(form):
    assert encoding.describe(written(form)) == form

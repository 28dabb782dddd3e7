"""Draw docs/images/report.png: parts of the report of a run as a browser shows them, for the README.

python benchmarks/report_pictures.py RUN [--browser chromium]

RUN is that of `transferkit demo`, whose photos are scikit-learn's digits. The browser runs without a window.
"""

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images"
SHOWN = ("More photos", "The least certain answers")
FIGURES = 6  # photos with their maps
SIZE_PX = (1080, 4000)
MARGIN_PX = 24
COLOURS = 256
MOST_BYTES = 200_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--browser", default="chromium")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        page = Path(scratch) / "report.html"
        page.write_text(shortened((given.run / "report.html").read_text(encoding="utf-8")), encoding="utf-8")
        whole = photographed(page, given.browser)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "report.png"
    trimmed(whole).quantize(COLOURS).save(path, optimize=True)
    if (size := path.stat().st_size) > MOST_BYTES:
        raise SystemExit(f"{path} has {size:,} bytes, more than {MOST_BYTES:,}")
    print(f"{path}: {size:,} bytes")


def shortened(page: str) -> str:
    """The page with its head and some of its sections, and of photos the first."""

    def kept(section: re.Match) -> str:
        if not any(f"<h2>{title}</h2>" in section[0] for title in SHOWN):
            return ""
        figures = section[0].split("<figure title=")
        return "<figure title=".join(figures[: FIGURES + 1]) + (
            "</div></section>" if len(figures) > FIGURES + 1 else ""
        )

    return re.sub(r"<section>.*?</section>", kept, page, flags=re.DOTALL).replace("<footer>", "<footer hidden>")


def photographed(page: Path, browser: str) -> Image.Image:
    """What the browser shows of a file, in light colours."""
    picture = page.with_suffix(".png")
    size = ",".join(map(str, SIZE_PX))
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={size}", f"--screenshot={picture}"]
    subprocess.run([browser, *options, page.as_uri()], check=True, capture_output=True)
    return Image.open(picture).convert("RGB")


def trimmed(picture: Image.Image) -> Image.Image:
    """Without the empty space below."""
    empty = Image.new("RGB", picture.size, picture.getpixel((0, 0)))
    _, _, _, bottom = ImageChops.difference(picture, empty).getbbox()
    return picture.crop((0, 0, picture.width, min(bottom + MARGIN_PX, picture.height)))


if __name__ == "__main__":
    main()

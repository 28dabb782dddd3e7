"""Near copies that are planted among real photos: how many are found, what else is, and how long it takes.

python -m benchmarks.near_copies FOLDER... [--seeds 3] [--backbone NAME] [--sheets DIR]

Of each FOLDER (train/CLASS and test/CLASS) one photo in ten gets a changed copy beside it: cropped to 80 % of its
sides, saved at JPEG quality 30 to 60, at half its size, mirrored, or in other light and colours. Pairs that are found
without the planted ones are natural: they are counted apart, and --sheets draws them to be looked at. One JSON line a
folder and seed; then one of all folders together, with the seconds beside those of the first pass of BACKBONE.
"""

import argparse
import json
import random
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from transferkit.audit import near_copies
from transferkit.data import copies, folder
from transferkit.data.photos import Decoding, Photos
from transferkit.preparation import reader_of
from transferkit.prepare import prepare
from transferkit.progress import Progress
from transferkit.train import first_pass
from transferkit.train.division import divide
from transferkit.train.first_pass import FirstPass
from transferkit.zoo import files

KINDS = ("crop", "encode", "half", "mirror", "colour")
SHARE = 0.1
SPLITS = 5
Names = frozenset[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--sheets", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for place in given.folders:
            taken, seconds = searched(place)
            natural = families(taken)
            print(json.dumps({"folder": place.name, "natural": own(taken), **seconds}), flush=True)
            if given.sheets:
                draw(taken, given.sheets / f"{place.name}.png")
            for seed in range(given.seeds):
                data, planted = plant(place, Path(scratch) / f"{place.name}-{seed}", seed=seed)
                print(json.dumps({"folder": place.name, "seed": seed} | scores(data, planted, natural)), flush=True)
        print(json.dumps(timed(given.folders, Path(scratch) / "all", backbone=given.backbone)))


def plant(place: Path, target: Path, *, seed: int) -> tuple[Path, dict[Names, str]]:
    """A flat copy of the folder with changed copies of some photos; what was done to each pair."""
    rng, planted = random.Random(seed), {}
    for path in sorted(place.glob("*/*/*")):
        (target / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target / path.parent.name / flat(path.relative_to(place).as_posix()))
    photos = sorted(target.glob("*/*"))
    for number, path in enumerate(rng.sample(photos, round(SHARE * len(photos)))):
        kind = KINDS[number % len(KINDS)]
        with Image.open(path) as image:
            changed, quality = change(image.convert("RGB"), kind, rng)
        copy = path.with_name(f"{rng.randrange(10**9)}.jpg")
        changed.save(copy, quality=quality)
        planted[frozenset((path.name, copy.name))] = kind
    return target, planted


def flat(relative: str) -> str:
    return relative.replace("/", " ")


def change(image: Image.Image, kind: str, rng: random.Random) -> tuple[Image.Image, int]:
    """The changed photo and the JPEG quality to save it at."""
    width, height = image.size
    if kind == "crop":
        left, top = rng.randint(0, width - width * 4 // 5), rng.randint(0, height - height * 4 // 5)
        return image.crop((left, top, left + width * 4 // 5, top + height * 4 // 5)), 90
    if kind == "encode":
        return image, rng.randint(30, 60)
    if kind == "half":
        return image.resize((width // 2, height // 2), Image.Resampling.LANCZOS), 90
    if kind == "mirror":
        return ImageOps.mirror(image), 90
    for enhance, factors in (
        (ImageEnhance.Brightness, (0.7, 1.3)),
        (ImageEnhance.Color, (0.5, 1.5)),
        (ImageEnhance.Contrast, (0.8, 1.2)),
    ):
        image = enhance(image).enhance(rng.choice(factors))
    return image, 90


def searched(place: Path) -> tuple[FirstPass, dict[str, float]]:
    """The photos of a folder with the pairs among them; the seconds that took."""
    listing = folder.read(place)
    digests = [files.sha256(path) for path in listing.paths]
    taken = FirstPass(listing=listing, features=None, bytes=[], sha256=digests, quarantine=[])
    wall, cpu = time.monotonic(), time.process_time()
    pairs = near_copies.find(taken, photos=Photos(Decoding(384), workers=2), progress=Progress())
    seconds = {"photos": len(digests), "seconds": time.monotonic() - wall, "cpu_seconds": time.process_time() - cpu}
    return replace(taken, pairs=tuple(pairs)), {name: round(value, 2) for name, value in seconds.items()}


def families(taken: FirstPass) -> dict[str, int]:
    """Of each photo, by its name in a flat copy, the number of what it is a near copy of."""
    names = (flat(taken.listing.relative(row)) for row in range(len(taken.listing.labels)))
    return dict(zip(names, taken.families.tolist()))


def own(taken: FirstPass) -> dict[str, int]:
    """How many pairs a folder has by itself."""
    parts, labels = taken.listing.parts, taken.listing.labels
    near = [pair for pair in taken.pairs if pair.kind == copies.NEAR_COPY]
    return {
        "near copies": len(near),
        "across parts": sum(parts[pair.row] != parts[pair.twin] for pair in near),
        "across classes": sum(int(labels[pair.row] != labels[pair.twin]) for pair in near),
        "bursts": len(taken.pairs) - len(near),
    }


def scores(data: Path, planted: dict[Names, str], natural: dict[str, int]) -> dict:
    """Recall and precision of pairs, and how many planted ones our split divides, in so many splits.

    Args: natural, the families of the folder by itself.
    """
    taken, seconds = searched(data)
    names = [path.name for path in taken.listing.paths]
    found = {frozenset((names[pair.row], names[pair.twin])) for pair in taken.pairs}
    source = {copy: photo for pair in planted for photo, copy in [sorted(pair, key=natural.__contains__, reverse=True)]}
    others = [pair for pair in found if pair not in planted]
    false = [pair for pair in others if len({natural[source.get(name, name)] for name in pair}) > 1]
    divided = 0
    for seed in range(SPLITS):
        parts = divide(taken, fraction=0.2, seed=seed, progress=Progress()).listing.parts
        part = dict(zip(names, parts.tolist()))
        divided += sum(len({part[name] for name in pair}) > 1 for pair in planted)
    hits = sum(pair in found for pair in planted)
    return {
        "planted": len(planted),
        "recall": round(hits / len(planted), 4),
        "missed": sorted(kind for pair, kind in planted.items() if pair not in found),
        "precision": round(hits / (hits + len(false)), 4),
        "false": [sorted(pair) for pair in false],
        "natural": len(others) - len(false),
        "divided": divided,
        **seconds,
    }


def timed(folders: list[Path], target: Path, *, backbone: str) -> dict:
    """The seconds for the photos of all folders as one, each a class, and those of the first pass before it."""
    for place in folders:
        (target / place.name).mkdir(parents=True)
        for path in sorted(place.glob("*/*/*")):
            shutil.copy(path, target / place.name / flat(path.relative_to(place).as_posix()))
    seconds = searched(target)[1]
    prepared = prepare(target, strategy="probe", backbone=backbone, cache_dir=str(target.parent / "cache"))
    wall, cpu = time.monotonic(), time.process_time()
    first_pass.read_images(prepared.listing, reader_of(prepared), progress=Progress())
    before = {"first_pass_seconds": time.monotonic() - wall, "first_pass_cpu_seconds": time.process_time() - cpu}
    return {"folder": "all", **seconds, "backbone": backbone} | {name: round(each, 2) for name, each in before.items()}


def draw(taken: FirstPass, target: Path, *, side: int = 160, columns: int = 4) -> None:
    """A picture of all pairs, side by side, each with its kind and the two names."""
    width = 2 * side + 8
    rows = -(-len(taken.pairs) // columns)
    sheet = Image.new("RGB", (columns * width, max(1, rows) * (side + 16)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, pair in enumerate(taken.pairs):
        left, top = number % columns * width, number // columns * (side + 16)
        for place, row in enumerate((pair.row, pair.twin)):
            with Image.open(taken.listing.paths[row]) as image:
                sheet.paste(image.convert("RGB").resize((side, side)), (left + place * side, top + 14))
        words = f"{pair.kind} {' = '.join(taken.listing.relative(row) for row in (pair.row, pair.twin))}"
        pen.text((left, top), words, fill="black")
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target)


if __name__ == "__main__":
    main()

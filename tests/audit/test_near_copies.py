"""Photos that show the same are found whatever was done to them, and photos that look alike are not taken for that."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import transferkit as tk
from tests.photos import CHANGES, photo
from transferkit.audit import candidates, near_copies, prints, registration
from transferkit.data import copies, folder, known
from transferkit.data.copies import BURST, NEAR_COPY, Pair
from transferkit.data.photos import Decoding, Photos
from transferkit.messages import seen_words
from transferkit.progress import Progress
from transferkit.train.division import divide
from transferkit.train.first_pass import FirstPass, Reader
from transferkit.zoo import files

TINY = {"backbone": "cifar_resnet", "strategy": "probe", "augment": "none", "l2": 0.01, "precision": "fp32"}


class Heard(Progress):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def first_pass(root):
    listing = folder.read(root, to_train=False)
    digests = [files.sha256(path) for path in listing.paths]
    return FirstPass(listing=listing, features=None, bytes=[], sha256=digests, quarantine=[])


def found(root, *, cache=None, heard=None):
    """The names in each pair with its kind."""
    taken = first_pass(root)
    pairs = near_copies.find(taken, photos=Photos(Decoding(384), workers=2), progress=heard or Heard(), cache=cache)
    names = [path.name for path in taken.listing.paths]
    return {(*sorted((names[pair.row], names[pair.twin])), pair.kind) for pair in pairs}


def printed(image):
    return prints.of(prints.grey_of(image.convert("RGB")))


def taken_with_pairs(root):
    taken = first_pass(root)
    pairs = near_copies.find(taken, photos=Photos(Decoding(384), workers=2), progress=Progress())
    return replace(taken, pairs=tuple(pairs))


@pytest.mark.parametrize("workers", [0, 2])
def test_photos_are_decoded_once_for_their_features_and_their_copies(workers, album, monkeypatch):
    read = []
    plain = Photos.read
    monkeypatch.setattr(Photos, "read", lambda self, path: read.append(path) or plain(self, path))
    card = tk.zoo.create("timm:test_resnet", weights="none", num_classes=3, image_size=32).card
    photos = Photos(Decoding(384), workers=workers)
    reader = Reader(photos=photos, preprocessing=card.preprocessing, device="cpu", extractor=None)
    taken = near_copies.read_images(folder.read(album, to_train=False), reader, progress=Progress(), cache=None)
    assert sorted(read) == sorted(taken.listing.paths)
    assert list(taken.pairs) == list(taken_with_pairs(album).pairs) != []


def test_every_changed_copy_is_found_and_nothing_else(album):
    assert found(album) == {(f"{n:02d} copy.jpg", f"{n:02d} photo.jpg", NEAR_COPY) for n in range(len(CHANGES))}


@pytest.mark.parametrize("name", CHANGES)
def test_a_copy_is_as_good_as_the_photo_where_both_show_the_same(name):
    image = photo(50)
    changed = printed(CHANGES[name](image))
    likeness = [registration.likeness(printed(image), changed, mirrored=mirrored) for mirrored in (0, 1)]
    assert max(likeness) > 0.9
    assert np.argmax(likeness) == (name == "mirrored")


def test_a_copy_that_is_mirrored_and_cropped_too_is_found_by_its_corners():
    image = photo(7)
    width, height = image.size
    turned = image.crop((width // 3, height // 4, width, height)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    made = [printed(each) for each in (image, turned, *(photo(n) for n in range(60, 70)))]
    assert [0, 1, 1] in candidates.of(made).tolist()
    assert [0, 1, 1] not in candidates._by_look(candidates.looks(made)).tolist()


def test_drawings_of_the_same_digit_are_no_copies(digit_folder):
    assert found(digit_folder) == set()


@pytest.mark.parametrize("seed", range(3))
def test_our_own_split_puts_no_near_copy_on_both_sides(album, seed):
    taken = divide(taken_with_pairs(album), fraction=0.3, seed=seed, progress=Progress())
    parts, labels = taken.listing.parts, taken.listing.labels
    assert {*parts} == {"train", "val"}
    assert len(taken.pairs) == len(CHANGES)
    assert all(parts[pair.row] == parts[pair.twin] for pair in taken.pairs)
    folds = taken.listing.task.folds(labels, 4, seed=seed, groups=taken.groups)
    assert all(folds[pair.row] == folds[pair.twin] for pair in taken.pairs)


def test_near_copies_across_given_parts_are_counted_and_the_score_without_them_is_that_of_the_others(album, tmp_path):
    for path in album.rglob("*.jpg"):
        number = int(path.name[:2])
        part = "test" if "copy" in path.name or number >= 24 else "train"
        target = tmp_path / "data" / part / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    heard = Heard()
    run = tk.finetune(tmp_path / "data", out=tmp_path / "run", progress=heard, **TINY)
    scores = run.metrics["test"]
    assert (scores["n"], scores["seen"], scores["near_copies"], scores["unseen"]["n"]) == (18, 6, 6, 12)
    fresh = [path for path in sorted((tmp_path / "data/test").rglob("*.jpg")) if "copy" not in path.name]
    answers = tk.load(run.folder).predict(fresh)
    assert scores["unseen"]["accuracy"] == np.mean([a.label == p.parent.name for a, p in zip(answers, fresh)])
    assert (
        "6 of 18 test images are copies or near copies of training or validation images: "
        "test/a/00 copy.jpg is nearly train/a/00 photo.jpg"
    ) in heard.lines
    words = "of which 6 are near copies of training or validation images; without them"
    assert words in seen_words(scores)
    assert words in (run.folder / "report.html").read_text()


def test_a_run_records_its_groups_and_goes_on_as_it_began(album, tmp_path):
    first = tk.finetune(album, out=tmp_path / "run", **TINY)
    listing = folder.read(first.folder / "manifest.csv")
    by_name = {path.name: group for path, group in zip(listing.paths, listing.groups)}
    assert len({group for group in by_name.values() if group}) == len(CHANGES)
    assert all(by_name[f"{n:02d} copy.jpg"] == by_name[f"{n:02d} photo.jpg"] != "" for n in range(len(CHANGES)))
    (first.folder / "metrics.json").unlink()
    again = tk.finetune(out=tmp_path / "run", resume=True)
    assert again.metrics["val"] == first.metrics["val"]
    assert not any("bit-exact" in note for note in again.metrics["notes"])


def test_what_was_found_is_kept_by_the_contents_of_the_files(album, tmp_path, monkeypatch):
    before = found(album, cache=tmp_path)
    monkeypatch.setattr(prints, "of", None)  # nothing is looked at again
    assert found(album, cache=tmp_path) == before != set()
    shutil.copytree(album, tmp_path / "other")
    photo(99).save(tmp_path / "other/a/00 photo.jpg")
    heard = Heard()
    assert found(tmp_path / "other", cache=tmp_path, heard=heard) == set()
    assert "near copies were not looked for" in str(heard.lines)  # they would have to be


@pytest.mark.parametrize("least", [2, 3])
def test_photos_without_details_have_no_copies_and_stop_nothing(tmp_path, least):
    (tmp_path / "a").mkdir()
    rng = np.random.default_rng(0)
    odd = {
        "black": Image.new("RGB", (64, 64)),
        "white": Image.new("RGB", (200, 200), "white"),
        "grey": Image.new("L", (90, 70), 128),
        "clear": Image.new("RGBA", (64, 64)),
        "tiny": Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)),
        "least": Image.fromarray(rng.integers(0, 256, (least, least, 3), np.uint8)),
        "strip": Image.fromarray(rng.integers(0, 256, (2, 900, 3), np.uint8)),
        "photo": photo(1),
    }
    for name, image in odd.items():
        image.save(tmp_path / "a" / f"{name}.png")
    heard = Heard()
    assert found(tmp_path, heard=heard) == set()
    assert heard.lines == []


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_photos_are_enough_to_look(tmp_path, count):
    (tmp_path / "a").mkdir()
    for number in range(count):
        photo(7).save(tmp_path / "a" / f"{number}.jpg", quality=90 - 30 * number)
    assert len(found(tmp_path)) == count - 1


def test_photos_of_a_camera_that_stands_still_count_as_photos_of_their_own(tmp_path):
    (tmp_path / "a").mkdir()
    for number in range(100):
        image = photo(3) if number < 18 else photo(100 + number, size=(96, 72))
        image.save(tmp_path / "a" / f"{number:02d}.jpg", quality=75 + number % 20)
    heard = Heard()
    assert found(tmp_path, heard=heard) == set()
    assert "18 photos are all alike" in str(heard.lines)


def test_where_nothing_but_near_copies_could_validate_they_are_divided_and_that_is_said(tmp_path):
    for label, seed in (("a", 1), ("b", 2)):
        (tmp_path / label).mkdir()
        for number in range(3):
            photo(seed).save(tmp_path / label / f"{number}.jpg", quality=50 + 20 * number)
    heard = Heard()
    taken = divide(taken_with_pairs(tmp_path), fraction=0.3, seed=0, progress=heard)
    assert {*taken.listing.parts} == {"train", "val"}
    assert "near copies join so many images" in str(heard.lines)


def test_a_photo_that_vanished_meanwhile_is_no_copy_of_anything(album, tmp_path):
    shutil.copytree(album, tmp_path / "data")
    taken = first_pass(tmp_path / "data")
    gone = next(path for path in taken.listing.paths if path.name == "00 copy.jpg")
    gone.unlink()
    pairs = near_copies.find(taken, photos=Photos(Decoding(384), workers=0), progress=Progress())
    assert len(pairs) == len(CHANGES) - 1


def test_families_are_the_connected_components():
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rng = np.random.default_rng(0)
    for _ in range(20):
        contents = rng.integers(0, 25, 30)
        pairs = [Pair(*sorted(map(int, rng.choice(30, 2, replace=False))), BURST) for _ in range(8)]
        edges = [(pair.row, pair.twin) for pair in pairs]
        edges += [(a, b) for a in range(30) for b in range(a) if contents[a] == contents[b]]
        rows, columns = np.array(edges).T
        oracle = connected_components(coo_matrix((np.ones(len(edges)), (rows, columns)), (30, 30)), directed=False)[1]
        numbers = copies.families(contents, pairs)
        assert ((numbers[:, None] == numbers) == (oracle[:, None] == oracle)).all()


def test_near_copies_under_two_labels_are_said(album, tmp_path):
    shutil.copytree(album, tmp_path / "data")
    shutil.move(tmp_path / "data/a/00 copy.jpg", tmp_path / "data/b/moved.jpg")
    taken, heard = taken_with_pairs(tmp_path / "data"), Heard()
    divide(taken, fraction=0.3, seed=0, progress=heard)
    assert "1 photo has near copies with other labels: a/00 photo.jpg is nearly b/moved.jpg" in heard.lines


def test_a_group_joins_near_copies_and_what_a_user_calls_one(album):
    taken = taken_with_pairs(album)
    names = np.array(["x" if path.name in ("00 copy.jpg", "30 photo.jpg") else "" for path in taken.listing.paths])
    groups = replace(taken, listing=replace(taken.listing, groups=names)).groups
    of = {path.name: group for path, group in zip(taken.listing.paths, groups)}
    assert of["00 photo.jpg"] == of["00 copy.jpg"] == of["30 photo.jpg"] != of["31 photo.jpg"] == ""


def test_looking_asks_the_index_for_no_file_twice(album, tmp_path):
    taken = first_pass(album)
    index = known.Known(tmp_path / "files.sqlite")
    photos = Photos(Decoding(384), workers=2, index=index)
    assert near_copies.find(taken, photos=photos, progress=Progress())

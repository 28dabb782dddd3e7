"""One small data set written by hand in every form that is read: all give the same arrays; what is odd is refused."""

import dataclasses
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferkit.pretraining import cifar
from transferkit.zoo.errors import DataError, UsageError

CLASSES = ("ant", "ant eater", "bee", "cow", "dog")
COUNTS = {"train": 2, "test": 1}  # images of a class


def pixels(part: str) -> np.ndarray:
    """The images of a part in order of class: (N, 32, 32, 3) uint8."""
    rng = np.random.default_rng(len(part))
    return rng.integers(0, 256, (len(CLASSES) * COUNTS[part], 32, 32, 3), np.uint8)


def labels(part: str) -> np.ndarray:
    return np.repeat(np.arange(len(CLASSES)), COUNTS[part])


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def folder_files() -> dict[str, bytes]:
    """part/CLASS/N.png, and things that a file manager leaves behind."""
    files = {".DS_Store": b"x", "train/.DS_Store": b"x", "train/ant/.hidden.png": b"x", "README.txt": b"x"}
    for part in COUNTS:
        for row, (image, label) in enumerate(zip(pixels(part), labels(part))):
            files[f"{part}/{CLASSES[label]}/{row}.png"] = png(image)
    return files


def record(image: np.ndarray, *label_bytes: int) -> bytes:
    """Labels, then all red values row by row, then all green, then all blue."""
    return bytes(label_bytes) + b"".join(image[:, :, channel].tobytes() for channel in range(3))


def cifar10_files() -> dict[str, bytes]:
    """The binary version of CIFAR-10: five files of two images each, and one to test with."""
    train = [record(image, label) for image, label in zip(pixels("train"), labels("train"))]
    files = {f"data_batch_{n + 1}.bin": b"".join(train[2 * n : 2 * n + 2]) for n in range(5)}
    files["test_batch.bin"] = b"".join(record(image, label) for image, label in zip(pixels("test"), labels("test")))
    return files | {"batches.meta.txt": "\n".join(CLASSES).encode() + b"\n\n", "readme.html": b"<html>"}


def cifar100_files() -> dict[str, bytes]:
    """The binary version of CIFAR-100, where the first label is the coarse one."""
    files = {
        f"{part}.bin": b"".join(record(image, 19, label) for image, label in zip(pixels(part), labels(part)))
        for part in COUNTS
    }
    return files | {"fine_label_names.txt": "\n".join(CLASSES).encode(), "coarse_label_names.txt": b"animals\n"}


FORMS = {"folders": folder_files, "cifar-10": cifar10_files, "cifar-100": cifar100_files}


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_tar(path: Path, files: dict[str, bytes], *, root: str = "") -> Path:
    """A tar with its members in reverse order of name, compressed as its suffix says."""
    kind = path.suffix.removeprefix(".").replace("tar", "")
    with tarfile.open(path, f"w:{kind}") as tar:
        for name in sorted(files, reverse=True):
            member = tarfile.TarInfo(root + name)
            member.size = len(files[name])
            tar.addfile(member, io.BytesIO(files[name]))
    return path


def refusal(data: Path, kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as caught:
        cifar.read(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("container", ["folder", ".tar", ".tar.gz", ".tar.xz"])
def test_every_form_gives_the_same_arrays(tmp_path, form, container):
    files = FORMS[form]()
    if container == "folder":
        data = write_folder(tmp_path / "data", files)
    else:
        data = write_tar(tmp_path / f"data{container}", files, root="./some folder/")
    found = cifar.read(data)
    assert found.classes == CLASSES
    assert found.tested == "test"
    assert found.encoding == ("PNG" if form == "folders" else "the binary version of CIFAR")
    for images, numbers, part in (
        (found.images, found.labels, "train"),
        (found.test_images, found.test_labels, "test"),
    ):
        assert images.dtype == np.uint8
        assert numbers.dtype == np.int64
        np.testing.assert_array_equal(images, pixels(part))
        np.testing.assert_array_equal(numbers, labels(part))


def test_a_tar_need_not_have_a_root_folder(tmp_path):
    assert cifar.read(write_tar(tmp_path / "data.tar", folder_files())).classes == CLASSES


def without(part: str, *, root: str = "") -> dict[str, bytes]:
    """The class folders of the other part, at `root`."""
    other = {"train": "test", "test": "train"}[part]
    return {name.replace(f"{other}/", root, 1): content for name, content in folder_files().items() if other in name}


@pytest.mark.parametrize("root", ["", "train/"])
@pytest.mark.parametrize("container", ["folder", "tar"])
def test_without_a_test_part_a_stratified_fifth_is_held_out_by_the_seed(tmp_path, container, root):
    files = without("test", root=root)
    for label, name in enumerate(CLASSES):
        for number in range(8):  # with the two that are there: ten of each class, two of them held out
            files[f"{root}{name}/more-{number}.png"] = png(np.full((32, 32, 3), 10 * label + number, np.uint8))
    data = write_folder(tmp_path / "d", files) if container == "folder" else write_tar(tmp_path / "d.tar", files)
    found, again, other = cifar.read(data), cifar.read(data), cifar.read(data, seed=1)
    assert found.classes == CLASSES
    assert found.tested == "held-out"
    assert np.bincount(found.labels).tolist() == [8] * 5
    assert np.bincount(found.test_labels).tolist() == [2] * 5
    every = np.concatenate([found.images, found.test_images]).reshape(50, -1)
    assert len(np.unique(every, axis=0)) == 50
    np.testing.assert_array_equal(found.test_images, again.test_images)
    assert not np.array_equal(found.test_images, other.test_images)


@pytest.mark.parametrize("container", ["folder", "tar"])
def test_without_a_test_part_the_validation_images_are_scored(tmp_path, container):
    files = {name.replace("test/", "valid/"): content for name, content in folder_files().items()}
    data = write_folder(tmp_path / "d", files) if container == "folder" else write_tar(tmp_path / "d.tar", files)
    found = cifar.read(data)
    assert found.tested == "validation"
    np.testing.assert_array_equal(found.images, pixels("train"))
    np.testing.assert_array_equal(found.test_images, pixels("test"))


def test_a_csv_is_read_as_the_folders_it_names(tmp_path):
    files = {name: content for name, content in folder_files().items() if name.endswith(".png") and "/." not in name}
    rows = [f"{name},{name.split('/')[1]},{name.split('/')[0]}" for name in files]
    write_folder(tmp_path, files | {"list.csv": "\n".join(["path,label,split", *rows]).encode()})
    found = cifar.read(tmp_path / "list.csv")
    np.testing.assert_array_equal(found.images, pixels("train"))
    np.testing.assert_array_equal(found.test_labels, labels("test"))


@pytest.mark.parametrize("container", ["folder", "tar"])
def test_photos_of_another_size_are_resized_and_cropped_in_the_middle(tmp_path, container):
    photo = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    files = folder_files() | {"train/ant/0.png": png(photo)}
    data = write_folder(tmp_path / "d", files) if container == "folder" else write_tar(tmp_path / "d.tar", files)
    small = Image.fromarray(photo).resize((48, 32), Image.Resampling.BICUBIC).crop((8, 0, 40, 32))
    np.testing.assert_array_equal(cifar.read(data).images[0], np.asarray(small))


def test_the_hash_is_that_of_what_is_trained_on(tmp_path):
    found = cifar.read(write_folder(tmp_path / "d", folder_files()))
    again = cifar.read(write_tar(tmp_path / "d.tar", cifar10_files()))
    assert found.sha256() == again.sha256()
    assert found.sha256() == dataclasses.replace(found, test_images=found.test_images + 1).sha256()
    assert found.sha256() != dataclasses.replace(found, images=found.images + 1).sha256()
    assert found.sha256() != dataclasses.replace(found, labels=found.labels[::-1]).sha256()


@pytest.mark.parametrize("name", ["batches.meta", "meta"])
def test_the_python_version_is_refused_without_being_read(tmp_path, name):
    files = {name: b"\x80\x02", "train": b"\x80\x02"}
    for data in (write_folder(tmp_path / "py", files), write_tar(tmp_path / "py.tar.gz", files, root="cifar-py/")):
        assert "a pickle, which can run code; take the binary version" in refusal(data)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train/ant/0.png": folder_files()["train/ant/0.png"][:-2000]}, "train/ant/0.png: truncated"),
        ({"test/bee/2.png": b"hello"}, "test/bee/2.png: not an image"),
        ({"test/emu/2.png": png(pixels("test")[0])}, "classes without a training image: 'emu'"),
    ],
)
@pytest.mark.parametrize("container", ["folder", "tar"])
def test_an_odd_image_is_refused_by_its_name(tmp_path, container, changes, words):
    files = folder_files() | changes
    data = write_folder(tmp_path / "d", files) if container == "folder" else write_tar(tmp_path / "d.tar", files)
    assert words in refusal(data)


def test_an_image_below_a_class_folder_belongs_to_the_class(tmp_path):
    files = folder_files() | {"train/ant/more/1.png": png(pixels("test")[0])}
    for data in (write_folder(tmp_path / "d", files), write_tar(tmp_path / "d.tar", files)):
        found = cifar.read(data)
        assert np.bincount(found.labels).tolist() == [3, 2, 2, 2, 2]
        np.testing.assert_array_equal(found.images[2], pixels("test")[0])


def test_data_with_nothing_to_train_on_or_to_hold_out_is_refused(tmp_path):
    files = {name: content for name, content in folder_files().items() if name.startswith("test/")}
    for data in (write_folder(tmp_path / "d", files), write_tar(tmp_path / "d.tar", files)):
        assert "has one class ('test'); at least 2 are needed" in refusal(data)
    assert "too few images to hold some out" in refusal(write_folder(tmp_path / "one", without("train")))
    assert "has no class folders" in refusal(write_tar(tmp_path / "loose.tar", {"a.png": b"x", "b.png": b"x"}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_batch_3.bin": cifar10_files()["data_batch_3.bin"][:-1]}, "data_batch_3.bin is truncated: 6145 bytes"),
        ({"test_batch.bin": b""}, "test_batch.bin is truncated: 0 bytes are no multiple of 3073"),
        ({"data_batch_2.bin": record(pixels("test")[0], 5)}, "data_batch_2.bin has label 5; .* names 5 classes"),
        ({"data_batch_5.bin": None}, "has no data_batch_5.bin"),
        ({"batches.meta.txt": None}, "has no batches.meta.txt"),
    ],
)
def test_an_odd_binary_file_is_refused_by_its_name(tmp_path, changes, words):
    files = {name: content for name, content in (cifar10_files() | changes).items() if content is not None}
    with pytest.raises(DataError, match=words):
        cifar.read(write_folder(tmp_path / "d", files))


@pytest.mark.parametrize("container", [".tar", ".tar.gz", ".tar.xz"])
def test_a_truncated_tar_is_refused_wherever_it_ends(tmp_path, container):
    whole = write_tar(tmp_path / f"whole{container}", cifar100_files()).read_bytes()
    data = tmp_path / f"part{container}"
    if container == ".tar":  # after a member, within the header of the next, within its content
        ends = [tarfile.BLOCKSIZE * blocks + extra for blocks in (0, 2, 4, 30) for extra in (0, 100)]
    else:
        ends = [len(whole) * tenth // 10 for tenth in range(10)]
    for end in ends:
        data.write_bytes(whole[:end])
        assert f"{data} is no tar, or a damaged or truncated one" in refusal(data)


def test_a_damaged_header_in_a_tar_is_not_taken_for_its_end(tmp_path):
    data = write_tar(tmp_path / "d.tar", folder_files())
    with tarfile.open(data) as tar:
        last = tar.getmembers()[-1].offset
    content = bytearray(data.read_bytes())
    content[last + 3] ^= 1
    data.write_bytes(content)
    assert "d.tar is no tar, or a damaged or truncated one" in refusal(data)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_link_or_a_device_in_a_tar_is_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "d.tar", "w") as tar:
        member = tarfile.TarInfo("train/ant/0.png")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    assert "train/ant/0.png is a link or a device" in refusal(tmp_path / "d.tar")


def test_a_tar_that_unpacks_to_gigabytes_is_refused_before_it_does(tmp_path):
    member = tarfile.TarInfo("train/ant/0.png")
    member.size = 1 << 40
    (tmp_path / "d.tar").write_bytes(member.tobuf() + bytes(1024))
    assert "holds more than the 1024 MB that are read" in refusal(tmp_path / "d.tar")


def test_what_is_no_tar_or_is_not_there_is_refused(tmp_path):
    (tmp_path / "d.zip").write_bytes(b"PK\x03\x04" + bytes(2000))
    assert "d.zip is no tar" in refusal(tmp_path / "d.zip")
    assert "no such folder, tar or CSV file" in refusal(tmp_path / "nowhere", UsageError)

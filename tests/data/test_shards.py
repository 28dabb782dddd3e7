"""Shards give the images that webdataset reads from them, each from its place in its tar, and what is bad is listed."""

import hashlib
import io
import json
import os
import resource
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
import webdataset
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image
from webdataset import tariterators

from transferkit.data import folder, known, remote, shard_index, shard_scan
from transferkit.data.known import Content, Known
from transferkit.data.photos import Decoding, Photos
from transferkit.data.source import DecodeError, read_file
from transferkit.zoo.errors import DataError, NetworkError, UsageError

CLASSES = ("cat", "dog", "hen")


def photo(number: int) -> bytes:
    """A JPEG file like no other."""
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), (number * 37 % 256, number * 91 % 256, 100)).save(stream, "JPEG")
    return stream.getvalue() + bytes(number)


def sample(number: int) -> dict:
    return {"__key__": f"{number:04d}", "jpg": photo(number), "cls": CLASSES[number % 3].encode()}


def write(path, samples) -> None:
    """A tar of samples by webdataset's own writer, which was written an hour ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path), encoder=False) as writer:
        for each in samples:
            writer.write(each)
    age(path)


def age(path, seconds: int = 3600) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def write_members(path, members) -> None:
    """A tar of (name or TarInfo, content) by tarfile."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            if member.isreg():
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    age(path)


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    return member


def contents(listing) -> list[tuple[bytes, str]]:
    return [(read_file(path), listing.classes[label]) for path, label in zip(listing.paths, listing.labels)]


def refused(path, members) -> list[tuple[str, str]]:
    """What is refused of a tar of `members` beside two good samples."""
    good = [("0.jpg", photo(0)), ("0.cls", b"cat"), ("1.jpg", photo(1)), ("1.cls", b"dog")]
    write_members(path, [*good, *members])
    listing = folder.read(path)
    assert contents(listing) == [(photo(0), "cat"), (photo(1), "dog")]
    return list(listing.refused)


@pytest.fixture
def pattern(tmp_path) -> str:
    """Three shards of seven samples."""
    for shard in range(3):
        write(tmp_path / "data" / f"photos-{shard:03d}.tar", map(sample, range(7 * shard, 7 * shard + 7)))
    return str(tmp_path / "data" / "photos-{000..002}.tar")


def test_the_images_and_classes_are_those_that_webdataset_reads_in_its_order(pattern):
    expected = []
    for shard in range(3):
        with open(pattern.replace("{000..002}", f"00{shard}"), "rb") as stream:
            files = tariterators.tar_file_expander([{"url": "", "stream": stream}])
            expected += [(each["jpg"], each["cls"].decode()) for each in tariterators.group_by_keys(files)]
    listing = folder.read(pattern)
    assert len(expected) == 21
    assert contents(listing) == expected
    assert listing.classes == CLASSES
    assert listing.refused == ()


def test_a_tar_of_class_folders_lists_what_the_folders_list(tmp_path):
    for number in range(9):
        path = tmp_path / "photos" / CLASSES[number // 3] / f"é {number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(number))
    as_folder = folder.read(tmp_path / "photos")
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for path in sorted((tmp_path / "photos").iterdir()):
            tar.add(path, f"./{path.name}", filter=lambda member: member)
    with tarfile.open(tmp_path / "photos.tar") as tar:
        in_order = [name for name in tar.getnames() if name.endswith(".jpg")]
    listing = folder.read(tmp_path / "photos.tar")
    assert [f"./{listing.relative(row).removeprefix('photos.tar/')}" for row in range(9)] == in_order
    assert sorted(contents(listing)) == sorted(contents(as_folder))
    assert listing.classes == as_folder.classes


@pytest.mark.parametrize(
    ("members", "label"),
    [
        ([("9.cls", b"7\n")], "7"),
        ([("9.cls", b" 007 ")], "7"),
        ([("9.CLS", "Blåbær".encode())], "Blåbær"),
        ([("9.cls", b"cow"), ("9.json", b'{"label": 1}')], "cow"),
        ([("9.json", b'{"label": 3, "class": "x"}')], "3"),
        ([("9.json", b'{"class": "cow"}')], "cow"),
    ],
)
def test_a_class_is_a_number_or_a_name(tmp_path, members, label):
    write_members(tmp_path / "a.tar", [("9.jpg", photo(9)), *members, ("b.cls", b"other"), ("b.png", photo(1))])
    assert contents(folder.read(tmp_path / "a.tar")) == [(photo(9), label), (photo(1), "other")]


def test_the_first_folder_of_a_name_is_its_class_where_nothing_else_says_it(tmp_path):
    inside = [("cat/deep/1.jpg", photo(1)), ("cat/deep/1.json", b'{"caption": "a cat"}'), ("007/2.jpg", photo(2))]
    write_members(tmp_path / "a.tar", inside)
    assert contents(folder.read(tmp_path / "a.tar")) == [(photo(1), "cat"), (photo(2), "007")]


@pytest.mark.parametrize(
    ("members", "entry", "reason"),
    [
        ([("9.jpg", b"x")], "9", "no class"),
        ([("9.cls", b"cat")], "9", "no image"),
        ([("cat/9.txt", b"cat")], "cat/9", "no image"),
        ([("9.jpg", b"x"), ("9.png", b"x"), ("9.cls", b"cat")], "9", "more than one image: .jpg, .png"),
        ([("0.jpg", b"x"), ("0.cls", b"cat")], "0", "its key occurs twice"),
        ([("1.jpg", b"x")], "1.jpg", "its name occurs twice"),
        ([("9.jpg", b"x"), ("9.cls", b"-1")], "9", "below 0"),
        ([("9.jpg", b"x"), ("9.cls", b" \n")], "9", "no name or number"),
        ([("9.jpg", b"x"), ("9.cls", b"a" * 256)], "9", "no name or number"),
        ([("9.jpg", b"x"), ("9.cls", b"1\n2")], "9", "no name or number"),
        ([("9.jpg", b"x"), ("9.cls", b"\x80\x04K\x05.")], "9", "no text"),
        ([("9.jpg", b"x"), ("9.cls", b"1" * (1 << 20) + b"1")], "9", "larger than 1 MB"),
        ([("9.jpg", b"x"), ("9.json", b'{"label": ')], "9", "damaged"),
        ([("9.jpg", b"x"), ("9.json", b"[" * 100_000)], "9", "damaged"),
        ([("9.jpg", b"x"), ("9.json", b'{"label": [1]}')], "9", "no name or number"),
        ([("9.jpg", b"x"), ("9.json", b'{"label": true}')], "9", "no name or number"),
        ([("cat/no suffix", b"x")], "cat/no suffix", "no suffix"),
        ([("cat/../../9.jpg", b"x")], "cat/../../9.jpg", "leaves the tar"),
        ([("/cat/9.jpg", b"x")], "/cat/9.jpg", "leaves the tar"),
        ([(special("cat/9.jpg", tarfile.SYMTYPE), b"")], "cat/9.jpg", "not a regular file"),
        ([(special("cat/9.jpg", tarfile.LNKTYPE), b"")], "cat/9.jpg", "not a regular file"),
        ([(special("cat/9.jpg", tarfile.FIFOTYPE), b"")], "cat/9.jpg", "not a regular file"),
        ([(special("cat/9.jpg", tarfile.CHRTYPE), b"")], "cat/9.jpg", "not a regular file"),
    ],
)
def test_what_is_no_good_sample_is_refused_by_name_with_the_reason(tmp_path, members, entry, reason):
    [(path, said)] = refused(tmp_path / "a.tar", members)
    assert path == f"a.tar/{entry}"
    assert reason in said
    assert {found.name for found in tmp_path.iterdir()} == {"a.tar", "shards.json", "shards.safetensors"}


def test_hidden_members_and_those_that_webdataset_skips_are_no_samples(tmp_path):
    members = [("cat/._9.jpg", b"x"), (".git/9.jpg", b"x"), ("__meta__/9.jpg", b"x"), ("._0.cls", b"x")]
    assert refused(tmp_path / "a.tar", [(special("cat", tarfile.DIRTYPE), b""), *members]) == []


def test_of_several_images_the_one_that_is_named_as_an_image_is_taken(tmp_path):
    inside = [("cat/1.seg.png", b"x"), ("cat/1.jpg", photo(1)), ("dog/2.left.JPG", photo(2))]
    write_members(tmp_path / "a.tar", inside)
    assert [content for content, _ in contents(folder.read(tmp_path / "a.tar"))] == [photo(1), photo(2)]


@pytest.mark.parametrize("cut", ["in an image", "in a header", "before the end mark"])
def test_of_a_truncated_tar_the_whole_samples_are_kept_and_the_loss_is_listed(pattern, cut):
    path = pattern.replace("{000..002}", "001")
    with tarfile.open(path) as tar:
        sixth = tar.getmember("0012.jpg")
        last = tar.getmember("0013.jpg")
    size = {
        "in an image": sixth.offset_data + 100,
        "in a header": sixth.offset + 100,
        "before the end mark": last.offset_data + last.size,
    }[cut]
    kept = 6 if cut == "before the end mark" else 5
    os.truncate(path, size)
    listing = folder.read(pattern)
    numbers = [*range(7 + kept), *range(14, 21)]
    assert contents(listing) == [(photo(number), CLASSES[number % 3]) for number in numbers]
    assert listing.refused == (
        ("photos-001.tar", "the tar is truncated; what comes after is lost"),
        (f"photos-001.tar/{7 + kept:04d}", "the last before the damage, perhaps not whole"),
    )


def test_after_a_damaged_header_nothing_is_guessed(pattern):
    path = pattern.replace("{000..002}", "001")
    with tarfile.open(path) as tar:
        start = tar.getmember("0012.jpg").offset
    with open(path, "r+b") as file:
        file.seek(start + 150)
        file.write(b"damage")
    listing = folder.read(pattern)
    assert len(listing.labels) == 19
    assert listing.refused[0] == ("photos-001.tar", "the tar is damaged; what comes after is lost")


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.GNUTYPE_SPARSE])
@pytest.mark.parametrize("size", [b"\xff" * 10 + b"\xfc\0", b"\x80" + b"\x7f" * 11, b"\x80\0\0\0\x10" + bytes(7)])
def test_an_absurd_length_in_a_header_is_damage_and_takes_neither_memory_nor_for_ever(tmp_path, kind, size):
    write_members(tmp_path / "a.tar", [("cat/1.jpg", photo(1)), ("dog/2.jpg", photo(2)), ("dog/3.jpg", photo(3))])
    with tarfile.open(tmp_path / "a.tar") as tar:
        start = tar.getmember("dog/3.jpg").offset
    with open(tmp_path / "a.tar", "r+b") as file:
        file.seek(start)
        header = bytearray(file.read(512))
        header[124:136], header[156:157], header[148:156] = size, kind, b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        file.seek(start)
        file.write(header)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    listing = folder.read(tmp_path / "a.tar", to_train=False)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB
    assert contents(listing)[:1] == [(photo(1), "cat")]
    assert len(listing.labels) <= 2
    assert "what comes after is lost" in listing.refused[0][1]


def test_a_member_that_claims_more_than_there_is_allocates_nothing(tmp_path):
    write_members(tmp_path / "a.tar", [("cat/1.jpg", photo(1)), ("dog/2.jpg", photo(2))])
    header = tarfile.TarInfo("hen/3.jpg")
    header.size = 1 << 50
    with open(tmp_path / "a.tar", "r+b") as file:
        file.seek(4096)
        assert file.read(512) == bytes(512)
        file.seek(4096)
        file.write(header.tobuf(format=tarfile.GNU_FORMAT))
    listing = folder.read(tmp_path / "a.tar")
    assert contents(listing) == [(photo(1), "cat"), (photo(2), "dog")]
    with pytest.raises(DecodeError, match="larger than 1024 MB"):
        read_file(f"{tmp_path / 'a.tar'}:4608+{1 << 50}/hen/3.jpg")


def test_shards_named_after_a_part_belong_to_it(tmp_path):
    names = ("train-0.tar", "validation_1.tar", "test2.tar", "training-3.tar")
    for name in names:
        write(tmp_path / name, map(sample, range(3)))
    listing = folder.read(f"{tmp_path}/{{train-0,validation_1,test2,training-3}}.tar")
    assert listing.parts.tolist() == ["train"] * 3 + ["val"] * 3 + ["test"] * 3 + [""] * 3


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("photos-{000..003}.tar", UsageError, "no such shard: .*photos-003.tar, one of "),
        ("gone.tar", UsageError, "no such shard: .*gone.tar$"),
        ("{photos-000.tar,x.csv}.tar.gz", DataError, "compressed"),
        ("text.tar", DataError, "text.tar is no tar, or a compressed one"),
        ("photos-{000..002.tar", UsageError, r"is no pattern such as photos-\{000..099\}.tar: Unbalanced braces"),
        ("empty.tar", DataError, "empty.tar is no tar"),
        ("nothing.tar", DataError, r"no image with a class \(nothing.tar/1: no class"),
        ("alone.tar", DataError, r"has one class \('cat'\); at least 2 are needed"),
    ],
)
def test_what_is_no_set_of_shards_is_told_in_one_line(tmp_path, pattern, name, error, words):
    data = tmp_path / "data"
    (data / "text.tar").write_bytes(b"no tar " * 1000)
    (data / "empty.tar").touch()
    write_members(data / "nothing.tar", [("1.jpg", photo(1))])
    write_members(data / "alone.tar", [("cat/1.jpg", photo(1)), ("cat/2.jpg", photo(2))])
    with pytest.raises(error, match=words) as caught:
        folder.read(data / name)
    assert "\n" not in str(caught.value)


def test_a_name_with_braces_that_exists_is_no_pattern(tmp_path):
    write(tmp_path / "{a,b}.tar", map(sample, range(3)))
    assert contents(folder.read(tmp_path / "{a,b}.tar"))[0] == (photo(0), "cat")


def test_without_the_packages_the_line_says_what_to_install(pattern, monkeypatch):
    for name in ("webdataset.tariterators", "braceexpand"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(UsageError, match=r"pip install 'transferkit\[shards\]'"):
                folder.read(pattern)


def test_shards_json_tells_classes_counts_and_what_was_refused(tmp_path):
    refused(tmp_path / "a.tar", [("9.jpg", b"x")])
    index = json.loads((tmp_path / "shards.json").read_text())
    assert index["samples"] == 2
    assert index["classes"] == {"cat": 1, "dog": 1}
    assert index["shards"]["a.tar"]["refused"] == [["9", "no class: neither .cls, nor a label in .json, nor a folder"]]


def scanned(monkeypatch) -> list[str]:
    """The names of the files scanned from now on."""
    names, scan = [], shard_scan.scan
    monkeypatch.setattr(shard_scan, "scan", lambda file: names.append(os.path.basename(file.name)) or scan(file))
    return names


def test_a_shard_is_scanned_once_and_again_when_it_has_changed(pattern, monkeypatch):
    names = scanned(monkeypatch)
    first = folder.read(pattern)
    assert names == ["photos-000.tar", "photos-001.tar", "photos-002.tar"]
    names.clear()
    again = folder.read(pattern)
    assert names == []
    assert list(again.paths) == list(first.paths)
    assert np.array_equal(again.labels, first.labels)
    path = pattern.replace("{000..002}", "001")
    age(path, 1800)
    folder.read(pattern)
    assert names == ["photos-001.tar"]


def test_shards_of_another_pattern_in_the_folder_stay_known_until_they_are_gone(pattern, tmp_path, monkeypatch):
    names = scanned(monkeypatch)
    for number in (0, 1, 2, 0, 1, 2):
        folder.read(pattern.replace("{000..002}", f"00{number}"))
    assert names == ["photos-000.tar", "photos-001.tar", "photos-002.tar"]
    write(tmp_path / "data" / "new.tar", map(sample, range(3)))
    os.unlink(pattern.replace("{000..002}", "001"))
    folder.read(tmp_path / "data" / "new.tar")
    index = json.loads((tmp_path / "data" / "shards.json").read_text())
    assert list(index["shards"]) == ["photos-000.tar", "photos-002.tar", "new.tar"]


def test_of_a_shard_written_a_moment_ago_nothing_is_kept(pattern, monkeypatch):
    names = scanned(monkeypatch)
    os.utime(pattern.replace("{000..002}", "001"))
    folder.read(pattern)
    names.clear()
    folder.read(pattern)
    assert names == ["photos-001.tar"]


@pytest.mark.parametrize("name", [shard_index.INDEX, shard_index.NUMBERS])
def test_a_damaged_index_is_made_anew(tmp_path, pattern, name, monkeypatch):
    first = folder.read(pattern)
    path = tmp_path / "data" / name
    whole = path.read_bytes()
    names = scanned(monkeypatch)
    for damaged in (whole[:-3], whole.replace(b"0", b"1", 1), b""):
        names.clear()
        path.write_bytes(damaged)
        again = folder.read(pattern, cache=tmp_path / f"cache {len(damaged)}")
        assert len(names) == 3
        assert list(again.paths) == list(first.paths)
        (tmp_path / "data" / "shards.json").unlink(missing_ok=True)
        folder.read(pattern)


@pytest.mark.parametrize("name", ["shards.json", "shards.safetensors"])
def test_a_shards_json_of_somebody_else_is_left_alone(tmp_path, pattern, monkeypatch, name):
    names = scanned(monkeypatch)
    foreign = tmp_path / "data" / name
    foreign.write_text('{"shardlist": []}')
    for _ in range(2):
        folder.read(pattern, cache=tmp_path / "cache")
    assert len(names) == 3
    assert foreign.read_text() == '{"shardlist": []}'
    assert [path.name for path in (tmp_path / "cache").rglob("*.json")] == ["shards.json"]


def test_an_image_of_a_shard_that_was_written_anew_is_not_taken_for_another(pattern):
    listing = folder.read(pattern)
    write(Path(pattern.replace("{000..002}", "001")), map(sample, range(40, 42)))
    for row in range(7, 14):
        with pytest.raises(DecodeError, match="not at its place"):
            read_file(listing.paths[row])
    assert read_file(listing.paths[0]) == photo(0)


@pytest.fixture
def memory(pattern, tmp_path):
    """The same shards behind a URL."""
    files = fsspec.filesystem("memory")
    for path in (tmp_path / "data").glob("*.tar"):
        files.pipe(f"/photos/{path.name}", path.read_bytes())
    yield "memory://photos/photos-{000..002}.tar"
    files.rm("/photos", recursive=True)


def test_shards_behind_a_url_give_what_local_ones_give_in_any_order_from_any_thread(memory, pattern):
    local, far = folder.read(pattern), folder.read(memory)
    assert contents(far) == contents(local)
    rows = [int(row) for row in np.random.default_rng(0).permutation(21)] * 3
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: read_file(far.paths[row]), rows))
    assert found == [photo(row) for row in rows]
    assert [far.relative(row) for row in range(21)] == [local.relative(row) for row in range(21)]


def test_an_image_seen_before_is_known_until_its_shard_changes(memory, pattern, tmp_path, monkeypatch):
    monkeypatch.setattr(known, "MARGIN_NS", 0)
    time.sleep(0.02)  # more than a tick of the file system's clock
    photos = Photos(Decoding(384), workers=0, index=Known(tmp_path / "files.sqlite"))
    expected = [Content(hashlib.sha256(photo(number)).hexdigest(), len(photo(number))) for number in range(21)]
    for data in (pattern, memory):
        listing = folder.read(data)
        assert photos.contents(listing.paths) == [None] * 21
        assert [photos.read(path).sha256 for path in listing.paths] == [content.sha256 for content in expected]
        photos.remember()
        assert photos.contents(folder.read(data).paths) == expected
    write(Path(pattern.replace("{000..002}", "001")), map(sample, range(7, 14)))
    fsspec.filesystem("memory").pipe("/photos/photos-001.tar", Path(pattern.replace("{000..002}", "001")).read_bytes())
    for data in (pattern, memory):
        known_before = photos.contents(folder.read(data).paths)
        assert known_before == expected[:7] + [None] * 7 + expected[14:]


def test_shards_behind_a_url_read_in_order_are_a_stream(memory, monkeypatch):
    listing = folder.read(memory)
    asked = []
    cat_file = MemoryFileSystem.cat_file
    monkeypatch.setattr(
        MemoryFileSystem, "cat_file", lambda *args, **given: asked.append(args[1]) or cat_file(*args, **given)
    )
    contents(listing)
    assert asked == [f"/photos/photos-00{number}.tar" for number in range(3)]


def test_a_shard_behind_a_url_is_scanned_once_and_again_when_it_has_changed(memory, tmp_path, monkeypatch):
    scans, scan = [], shard_scan.scan
    monkeypatch.setattr(shard_scan, "scan", lambda file: scans.append(file) or scan(file))
    for expected in (3, 3):
        folder.read(memory, cache=tmp_path / "cache")
        assert len(scans) == expected
    files = fsspec.filesystem("memory")
    files.pipe("/photos/photos-001.tar", files.cat("/photos/photos-000.tar"))
    listing = folder.read(memory, cache=tmp_path / "cache")
    assert len(scans) == 4
    assert read_file(listing.paths[7]) == photo(0)


@pytest.mark.parametrize("failures", [2, 3])
def test_a_server_may_fail_twice_and_an_image_it_fails_to_send_is_never_left_out(memory, failures, monkeypatch):
    listing = folder.read(memory)
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 0)
    remote.forget()
    cat_file, calls = MemoryFileSystem.cat_file, []

    def failing(*args, **given):
        calls.append(1)
        if len(calls) <= failures:
            raise OSError("connection reset")
        return cat_file(*args, **given)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", failing)
    if failures == 2:
        assert read_file(listing.paths[0]) == photo(0)
        return
    with pytest.raises(NetworkError, match=r"cannot read memory://photos/photos-000.tar: connection reset"):
        read_file(listing.paths[0])


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("memory://photos/gone-{0..3}.tar", "nothing found at memory://photos/gone-0.tar: no such file"),
        ("nosuch://photos/a.tar", "cannot read nosuch://photos/a.tar: Protocol not known: nosuch"),
        ("memory://photos", "memory://photos is no tar"),
        (Path("memory://photos/gone.tar"), "nothing found at memory://photos/gone.tar"),
    ],
)
def test_a_url_that_leads_nowhere_is_a_usage_error(url, words):
    with pytest.raises(UsageError, match=words):
        folder.read(url)

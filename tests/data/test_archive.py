"""A ZIP or a compressed tar is the data that lies in it, and writes nothing where it should not."""

import io
import os
import tarfile
import zipfile

import pytest

from tests.conftest import write_digits
from transferkit.data import archive, folder
from transferkit.data.hints import Hints
from transferkit.progress import Progress
from transferkit.zoo import cache_folder
from transferkit.zoo.errors import DataError


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("data") / "digits", classes=(0, 1), per_class=3)


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def packed(target, entries):
    """An archive of (name, content) entries, by the suffix of its name."""
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in entries:
                file.writestr(name, content)
    else:
        with tarfile.open(
            target, f"w:{target.suffix[1:].replace('t', '', 1) if target.suffix == '.tgz' else target.suffix[1:]}"
        ) as file:
            for name, content in entries:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                file.addfile(entry, io.BytesIO(content))
    return target


def read(path, tmp_path):
    return folder.read(path, cache=tmp_path / "cache")


def said(listing):
    return [(path.name, listing.classes[label]) for path, label in zip(listing.paths, listing.labels)]


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tgz", "a.tar.xz", "a.tar.bz2"])
@pytest.mark.parametrize("wrapped", ["", "my photos/", "a/b/"])
def test_an_archive_is_the_folder_that_was_packed(name, wrapped, photos, tmp_path):
    entries = [(wrapped + path, content) for path, content in contents(photos).items()]
    hidden = [("__MACOSX/digit 0/._0.png", b"x"), (f"{wrapped}.DS_Store", b"x"), (f"{wrapped}digit 0/._1.png", b"x")]
    found = read(packed(tmp_path / name, [*entries, *hidden]), tmp_path)
    plain = folder.read(photos)
    assert said(found) == said(plain)
    assert [path.read_bytes() for path in found.paths] == [path.read_bytes() for path in plain.paths]
    assert sorted(os.listdir(tmp_path)) == sorted([name, "cache"])


def test_parts_and_tables_lie_in_archives_too(photos, tmp_path):
    entries = contents(photos)
    parts = [(f"all/{part}/{path}", content) for part in ("train", "test") for path, content in entries.items()]
    assert sorted(read(packed(tmp_path / "parts.zip", parts), tmp_path).parts) == ["test"] * 6 + ["train"] * 6
    rows = ["path,label", *(f"images/{number}.png,{path.split('/')[0]}" for number, path in enumerate(entries))]
    files = [(f"images/{number}.png", content) for number, content in enumerate(entries.values())]
    found = read(packed(tmp_path / "table.zip", [*files, ("labels.csv", "\n".join(rows).encode())]), tmp_path)
    assert sorted(label for _, label in said(found)) == ["digit 0"] * 3 + ["digit 1"] * 3


def test_what_is_unpacked_is_found_again_until_the_archive_changes_or_a_file_is_gone(photos, tmp_path):
    class Heard(Progress):
        phases = 0

        def start(self, phase, total):
            Heard.phases += 1

    entries = list(contents(photos).items())
    path = packed(tmp_path / "a.zip", entries)

    def paths():
        return list(folder.read(path, cache=tmp_path / "cache", progress=Heard()).paths)

    first = paths()
    assert (paths(), Heard.phases) == (first, 1)
    first[0].unlink()
    assert (paths(), Heard.phases) == (first, 2)
    packed(path, [*entries, ("digit 1/new.png", entries[0][1])])
    assert (len(paths()), Heard.phases) == (7, 3)
    kept = [ours for _, ours in cache_folder.walked(tmp_path / "cache", archive.KIND)]
    assert all(kept)
    assert len(kept) == 6 + 7 + 2


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
@pytest.mark.parametrize(
    "name", ["../out.png", "a/../../out.png", "/tmp/out.png", "..\\out.png", "C:\\out.png", "c:/out.png"]
)
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_written(suffix, name, photos, tmp_path):
    path = packed(tmp_path / f"a{suffix}", [*contents(photos).items(), (name, b"x")])
    with pytest.raises(DataError, match="a name that leads out of it; nothing was unpacked"):
        read(path, tmp_path)
    assert not list((tmp_path / "cache" / "archives").glob("*"))
    assert not list(tmp_path.rglob("*out.png"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind, tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as file:
        entry = tarfile.TarInfo("cat/1.png")
        entry.type, entry.linkname = kind, "/etc/passwd"
        file.addfile(entry)
    with pytest.raises(DataError, match=r"holds cat/1.png, a link or device"):
        read(tmp_path / "a.tar.gz", tmp_path)


def test_a_link_in_a_zip_is_refused_and_a_locked_one(photos, tmp_path):
    link = zipfile.ZipInfo("cat/1.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match=r"holds cat/1.png, a link"):
        read(tmp_path / "link.zip", tmp_path)
    path = packed(tmp_path / "locked.zip", [("cat/1.png", b"x")])
    data = bytearray(path.read_bytes())
    for start in (6, data.index(b"PK\x01\x02") + 8):  # the flags of the entry, here and in the table at the end
        data[start] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="locked by a password"):
        read(path, tmp_path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.xz"])
def test_a_damaged_archive_is_one_line_and_leaves_nothing(name, photos, tmp_path):
    path = packed(tmp_path / name, contents(photos).items())
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"no archive", whole[: len(whole) // 2] + bytes(len(whole) // 2)):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"is damaged or cut off"):
            read(path, tmp_path)
        assert not list((tmp_path / "cache" / "archives").glob("*/files"))


def test_a_bomb_is_refused_as_it_is_unpacked_and_a_size_that_is_a_lie(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "BELIEVABLE", 1 << 20)
    path = packed(tmp_path / "bomb.zip", [("cat/1.png", bytes(50 << 20))])
    with pytest.raises(DataError, match="are these photos"):
        read(path, tmp_path)
    path = packed(tmp_path / "lie.zip", [("cat/1.png", bytes(1 << 20))])
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\x01\x02")
    data[start + 24 : start + 28] = (10).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        read(path, tmp_path)
    assert not list((tmp_path / "cache" / "archives").glob("*/files"))


def test_two_files_of_one_name_are_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = packed(tmp_path / "a.zip", [("cat/1.png", b"x"), ("cat/1.png", b"y")])
    with pytest.raises(DataError, match=r"holds cat/1.png twice"):
        read(path, tmp_path)


def test_what_is_wrong_with_the_data_is_said_of_the_archive(photos, tmp_path):
    path = packed(tmp_path / "flat.zip", [("1.png", b"x"), ("2.png", b"x")])
    with pytest.raises(DataError, match=f"^{path} has no class folders"):
        read(path, tmp_path)


def test_commands_that_are_printed_and_records_name_the_archive_not_the_cache(photos, tmp_path):
    path = packed(tmp_path / "a.zip", contents(photos).items())
    found = folder.read(path, Hints(label_from=".*(?=/)"), cache=tmp_path / "cache")
    assert found.arguments == (str(path), "--label-from", ".*(?=/)")
    assert found.data == str(path)
    assert sorted(found.relative(row) for row in range(6)) == sorted(contents(photos))


def test_a_table_of_an_archive_that_cannot_be_used_is_told_of_the_archive(tmp_path):
    path = packed(tmp_path / "a.zip", [("1.png", b"x"), ("labels.csv", b"path,label\n1.png,cat\n")])
    with pytest.raises(DataError, match=f"^{path}/labels.csv has one class"):
        read(path, tmp_path)

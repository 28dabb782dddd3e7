"""A file or folder is written where it may be, flushed, then renamed into place, with the mode of the user."""

import os
import stat

import pytest

from transferkit.zoo import files
from transferkit.zoo.errors import RunConflictError, StorageError, UsageError


def test_what_is_there_is_written_over_only_on_demand_and_never_if_it_is_read(tmp_path):
    path, other, link, hanging = (tmp_path / name for name in ("path", "other", "link", "hanging"))
    files.check_free(path, overwrite=False)
    path.touch(), other.touch(), link.symlink_to(path), hanging.symlink_to("nowhere")
    for there in (path, link, hanging):
        files.check_free(there, overwrite=True, sources=[other, tmp_path / "missing"])
        with pytest.raises(RunConflictError, match="is there already"):
            files.check_free(there, overwrite=False, sources=[other])
    for there, source in ((path, path), (path, link), (link, path)):
        with pytest.raises(RunConflictError, match="is the file that is read"):
            files.check_free(there, overwrite=True, sources=[other, source])
    with pytest.raises(UsageError, match="is a folder"):
        files.check_free(tmp_path, overwrite=True)


@pytest.fixture
def steps(monkeypatch):
    """What was flushed and what was renamed, in order, by inode; the system does both as ever."""
    done, fsync, replace = [], os.fsync, os.replace

    def flushed(descriptor):
        done.append(("flush", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def renamed(source, target):
        done.append(("rename", os.stat(source).st_ino))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    return done


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot open a folder")
def test_a_file_is_flushed_then_renamed_then_its_folder_is_flushed(tmp_path, steps):
    path = tmp_path / "new" / "folder" / "x"
    files.write_bytes(path, b"1")
    inode = path.stat().st_ino
    assert steps == [("flush", inode), ("rename", inode), ("flush", path.parent.stat().st_ino)]


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot open a folder")
def test_the_files_of_a_folder_are_flushed_before_it_appears_with_the_users_mode(tmp_path, steps):
    target = tmp_path / "new" / "folder" / "model"
    with files.new_folder(target) as scratch:
        (scratch / "deep").mkdir()
        (scratch / "deep" / "file").write_text("1")
    inodes = [path.stat().st_ino for path in (target / "deep" / "file", target, target.parent)]
    assert steps == list(zip(("flush", "rename", "flush"), inodes))
    assert stat.S_IMODE(target.stat().st_mode) == 0o777 & ~files._umask()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*model"), files.new_folder(tmp_path / "file" / "model"):
        pass


def test_the_umask_is_asked_for_and_left_alone():
    before = os.umask(0o027)
    try:
        files._umask.cache_clear()
        assert files._umask() == 0o027
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
        files._umask.cache_clear()

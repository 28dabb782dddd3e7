"""A user's files lie in and beside a cache: none is gone after training, eviction and clearing."""

import hashlib
import os
from pathlib import Path

from transferkit.cli.main import run
from transferkit.data import store
from transferkit.model import feature_cache, network_cache
from transferkit.zoo import cache_folder


def told(folder: Path) -> dict[str, str]:
    """Every file and link of a folder, with what is in it."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path)
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_no_file_of_a_user_is_gone_after_training_eviction_and_clearing(photos, tmp_path, monkeypatch, figure):
    monkeypatch.setattr(store, "DISK_SHARE", 10**9)  # the store is full from the first photo on
    monkeypatch.setattr(feature_cache, "LIMIT_BYTES", 0)
    monkeypatch.setattr(network_cache, "LIMIT_BYTES", 0)
    for kind in cache_folder.KINDS:
        (tmp_path / kind / "ab").mkdir(parents=True)
        for number in range(16):
            path = tmp_path / kind / "ab" / f"{number}.safetensors"
            path.write_bytes(bytes([number]) * 1000)
            os.utime(path, (1e9, 1e9))
    (tmp_path / "link.jpg").symlink_to(tmp_path / "pixels" / "ab" / "1.safetensors")
    (tmp_path / "pixels" / "folder").symlink_to(photos)
    before = told(tmp_path)
    monkeypatch.chdir(tmp_path)
    words = ["finetune", str(photos), "--backbone", "cifar_resnet", "--strategy", "probe", "--quiet"]
    assert run([*words, "-o", "run", "--cache-dir", "."]) == 0
    assert (tmp_path / "transferkit" / "known" / "files.sqlite").is_file()
    assert run(["cache", "clear", "--yes", "--cache-dir", "."]) == 0
    after = told(tmp_path)
    assert not (tmp_path / "transferkit" / "known").exists()
    figure(
        f"user's files in a cache folder: {sum(after.get(n) == before[n] for n in before)} of {len(before)} are there"
    )
    assert {name: after.get(name) for name in before} == before

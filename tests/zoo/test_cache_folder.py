"""A cache is used where nothing else lies, and only what it made is ever removed from it."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from transferkit.zoo import cache_folder
from transferkit.zoo.cache_folder import KINDS
from transferkit.zoo.disk_cache import DiskCache

HEX = "0123456789abcdef" * 4
OURS = {  # a file of each kind, as versions before the tag left them
    "pixels": f"pixels/1-13.0.0-3.2.0-6.2-1.6.0-1.4.2-0-256/ab/{HEX[2:]}",
    "archives": f"archives/{HEX}/files/cat/1.jpg",
    "known": "known/files.sqlite",
    "shards": f"shards/{HEX[:16]}/shards.json",
    "features": f"features/{HEX}/plain-fp32.{HEX[:16]}.safetensors",
    "networks": f"networks/{HEX}.safetensors",
    "timings": f"timings/{HEX}.json",
    "copies": f"copies/{HEX}.json",
    "maps": f"maps/{HEX}.json",
    "names": "names/timm-1.0.27-torchvision-0.28.0+cpu.json",
    "weights": "weights/vit_b_16_swag-9ac1b537.safetensors",
}
THEIRS = [
    "thesis.tex",
    "pixels/cat.jpg",
    "pixels/album/ab/dog.jpg",
    "known/addresses.sqlite",
    "features/plan.md",
    "networks/mine.safetensors",
    "weights/mine.safetensors",
    f"weights/.{HEX}",
]


def fill(folder: Path, names, content: str = "x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_cache_is_where_the_environment_says_else_in_the_home_else_in_the_temporary_folder(tmp_path, monkeypatch):
    for name in ("TRANSFERKIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert cache_folder.default() == tmp_path / "home" / ".cache" / "transferkit"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder.default() == tmp_path / "xdg" / "transferkit"
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "own"))
    assert cache_folder.default() == tmp_path / "own"


@pytest.mark.skipif(os.name == "nt", reason="needs user numbers")
def test_a_user_without_a_home_has_a_cache_all_the_same(monkeypatch):
    for name in ("TRANSFERKIT_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987_654)  # nobody's
    assert cache_folder.default() == Path(tempfile.gettempdir()) / "transferkit"


def test_a_folder_that_is_absent_or_empty_is_used_and_marked(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("absent", "empty"):
        folder = tmp_path / name
        assert cache_folder.find(folder) == cache_folder.opened(folder) == folder
        assert (folder / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")
        fill(folder, ["photo.jpg"])
        assert cache_folder.find(folder) == folder


@pytest.mark.parametrize("theirs", [*THEIRS, "CACHEDIR.TAG"])
def test_of_a_folder_that_holds_anything_else_a_sub_folder_is_used(tmp_path, theirs):
    fill(tmp_path, [theirs, *OURS.values()], "Signature: 8a477f597d28d172789f06886806bc55\n# of another program\n")
    before = files_in(tmp_path)
    assert cache_folder.find(tmp_path) == cache_folder.opened(tmp_path) == tmp_path / "transferkit"
    assert files_in(tmp_path) == before | {"transferkit/CACHEDIR.TAG"}
    assert cache_folder.find(tmp_path) == tmp_path / "transferkit"


def test_a_sub_folder_of_that_name_may_be_the_users_too(tmp_path):
    fill(tmp_path, ["setup.cfg", "transferkit/flow.py"])
    assert cache_folder.opened(tmp_path) == tmp_path / "transferkit" / "transferkit"


def test_what_an_earlier_version_kept_is_taken_over(tmp_path):
    fill(tmp_path, OURS.values())
    fill(tmp_path, [f"timings/.{HEX}.json.123.tmp"])  # of a killed one
    assert cache_folder.opened(tmp_path) == tmp_path
    for kind in KINDS:
        assert len(DiskCache(tmp_path, kind).entries()) == 1 + (kind == "timings")
        DiskCache(tmp_path, kind).clear()
    assert os.listdir(tmp_path) == ["CACHEDIR.TAG"]


def test_what_is_not_ours_stays_whatever_is_removed(tmp_path):
    folder, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    cache_folder.opened(folder)
    fill(folder, [*OURS.values(), *THEIRS])
    name = OURS["pixels"].partition("/")[2]
    fill(elsewhere, [name, "cat.jpg"])
    (folder / "pixels" / "1-2-3").symlink_to(elsewhere / Path(name).parts[0])
    (folder / "pixels" / name).with_name(HEX[:62]).symlink_to(elsewhere / "cat.jpg")
    for kind in KINDS:
        DiskCache(folder, kind).clear()
    assert files_in(elsewhere) == {name, "cat.jpg"}
    assert files_in(folder) >= set(THEIRS)
    assert not files_in(folder) & set(OURS.values())
    assert len([path for path in (folder / "pixels").rglob("*") if path.is_symlink()]) == 2


def test_a_kind_that_is_a_link_makes_a_folder_the_users(tmp_path):
    fill(tmp_path / "photos", ["cat.jpg"])
    (tmp_path / "cache").mkdir()
    cache_folder.opened(tmp_path / "cache")
    (tmp_path / "cache" / "pixels").symlink_to(tmp_path / "photos")
    assert cache_folder.find(tmp_path / "cache") == tmp_path / "cache" / "transferkit"
    assert DiskCache(tmp_path / "cache", "pixels").entries() == []


def test_a_file_in_its_place_is_left_alone(tmp_path):
    fill(tmp_path, ["file"])
    assert cache_folder.opened(tmp_path / "file") == tmp_path / "file"
    assert (tmp_path / "file").read_text() == "x"


OPENER = """
import sys
from transferkit.zoo import cache_folder
print(cache_folder.opened(sys.argv[1]))
"""


def test_several_processes_that_begin_together_use_one_folder(tmp_path):
    started = [
        subprocess.Popen([sys.executable, "-c", OPENER, tmp_path / "cache"], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    assert {process.communicate()[0].strip() for process in started} == {str(tmp_path / "cache")}


def test_every_file_of_torchvision_has_a_name_that_is_ours():
    import torchvision

    urls = [
        weight.url
        for name in torchvision.models.list_models(module=torchvision.models)
        for weight in torchvision.models.get_model_weights(name)
    ]
    assert len(urls) > 80
    names = [url.rpartition("/")[2].removesuffix(".pth") for url in urls]
    assert [name for name in names if not re.fullmatch(KINDS["weights"].names, f"{name}.safetensors")] == []

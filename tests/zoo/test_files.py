import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save

from transferkit.zoo import files
from transferkit.zoo.errors import ModelFileError, StorageError, UsageError, is_out_of_memory


def test_a_file_is_replaced_whole_and_readable_by_all(tmp_path):
    path = tmp_path / "a" / "x.json"
    files.write_json(path, {"é": 1})
    files.write_json(path, {"é": 2})
    assert json.loads(path.read_text(encoding="utf-8")) == {"é": 2}
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~files._umask()
    assert os.listdir(path.parent) == ["x.json"]


@pytest.mark.skipif(os.name == "nt", reason="no RLIMIT_FSIZE on Windows")
@pytest.mark.parametrize(
    "write",
    [
        "write_bytes(path, bytes(5000))",
        pytest.param("write_safetensors(path, {'a': torch.ones(5000)})", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path, write):
    path = tmp_path / "x.bin"
    files.write_bytes(path, b"old")
    code = (
        "import resource, signal, sys, torch; from pathlib import Path; from transferkit.zoo import files, errors\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "path = Path(sys.argv[1])\n"
        f"try: files.{write}\n"
        "except errors.StorageError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert f"cannot write {path}: " in done.stdout
    assert "File too large" in done.stdout
    assert "MB free there)" in done.stdout
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.bin"]


def test_a_folder_appears_when_it_is_complete_or_not_at_all(tmp_path):
    target = tmp_path / "model"
    with files.new_folder(target) as scratch:
        (scratch / "a").write_text("1")
        assert not target.exists()
    with contextlib.suppress(ZeroDivisionError), files.new_folder(target) as scratch:
        (scratch / "a").write_text("2")
        _ = 1 / 0
    assert (target / "a").read_text() == "1"
    with files.new_folder(target) as scratch:
        (scratch / "b").write_text("3")
    assert os.listdir(target) == ["b"]
    assert os.listdir(tmp_path) == ["model"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        files.write_text(tmp_path / "file" / "x", "")


def test_tensors_survive_in_memory_of_their_own(tmp_path):
    path = tmp_path / "x.safetensors"
    tensors = {"a": torch.arange(6.0).view(2, 3).T, "b": torch.tensor(3)}
    files.write_safetensors(path, tensors)
    read = files.read_safetensors(path)
    files.write_safetensors(path, read)  # onto the file it came from
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    assert all(torch.equal(files.read_safetensors(path)[name], tensors[name]) for name in tensors)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~files._umask()


def header(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a safetensors file"),
        (b"PK\x03\x04" + bytes(100), "is a pickle, which can run code; convert it"),
        (b"\x80\x02}q\x00." + bytes(100), "is a pickle"),
        ((1 << 62).to_bytes(8, "little") + b"{}", "not a safetensors file"),
        (header(b"{" + b'"a":' * 50), "damaged header"),
        (header(b"{" + b'"a":{' * 100_000), "damaged header"),
        (header(b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'), "damaged"),
        (header(b'{"a":1,"a":2}'), "occurs twice"),
        (header(b'{"__metadata__":{"a":1}}'), "is damaged"),
        (header(b'{"a":{"dtype":"F32","shape":[0%s],"data_offsets":[0,0]}}' % (b",140737488355327" * 5)), "beyond all"),
    ],
)
def test_a_file_that_is_no_network_is_refused_with_a_reason(tmp_path, data, said):
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=said):
        files.read_safetensors(path)


def test_any_truncation_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    whole = save({"a": torch.ones(40)})
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError):
            files.read_safetensors(path)


def test_a_missing_file_is_a_usage_error(tmp_path):
    for read in (files.read_json, files.read_safetensors):
        with pytest.raises(UsageError, match="no such"):
            read(tmp_path / "nowhere")


def test_a_name_that_is_no_text_is_read_back_as_it_was_written(tmp_path):
    value = {"path": os.fsdecode(b"caf\xe9.png")}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == value


def test_running_out_of_memory_says_nothing_of_a_file():
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not is_out_of_memory(RuntimeError("shape '[2]' is invalid"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_json_is_indented_by_one_and_keeps_its_letters(tmp_path):
    files.write_json(tmp_path / "a.json", {"é": [1]})
    assert (tmp_path / "a.json").read_bytes() == '{\n "é": [\n  1\n ]\n}\n'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_neither_written_nor_read(tmp_path, value):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", [value])
    assert not list(tmp_path.iterdir())
    (tmp_path / "b.json").write_text(json.dumps([value]))
    with pytest.raises(ModelFileError, match=r"b\.json is not valid JSON: .* is no number"):
        files.read_json(tmp_path / "b.json")


@pytest.mark.parametrize("text", ["", "{", "[" * 200_000])
def test_what_is_no_json_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"a\.json is not valid JSON"):
        files.read_json(tmp_path / "a.json")


def test_sixteen_megabytes_are_read_and_not_a_byte_more(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b" " * (16 * 1024**2))
    assert len(files.read_text(path)) == 16 * 1024**2
    path.write_bytes(b" " * (16 * 1024**2 + 1))
    with pytest.raises(ModelFileError, match="larger than the 16 MB allowed"):
        files.read_text(path)


def test_a_folder_in_the_place_of_a_text_cannot_be_read(tmp_path):
    with pytest.raises(StorageError, match=f"cannot read {tmp_path}: Is a directory"):
        files.read_text(tmp_path)


def test_an_error_of_the_system_names_the_file_that_it_is_about(tmp_path):
    with pytest.raises(StorageError, match=r"cannot read .*b: No such file"), files.read_errors(tmp_path / "a"):
        (tmp_path / "b").read_bytes()
    with pytest.raises(StorageError, match="cannot read a: odd"), files.read_errors("a"):
        raise OSError("odd")


def test_the_free_space_that_is_named_is_that_of_the_disk(tmp_path):
    with pytest.raises(StorageError) as caught, files.storage_errors(tmp_path / "deep" / "x"):
        raise OSError(28, "full")
    assert str(caught.value).startswith(f"cannot write {tmp_path / 'deep' / 'x'}: full (")
    megabytes = int(re.search(r"\((\d+) MB free there\)", str(caught.value))[1])
    assert megabytes == pytest.approx(shutil.disk_usage(tmp_path).free / 1024**2, rel=0.05, abs=2)


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (3 << 20) + 5])
def test_the_hash_is_that_of_all_bytes(tmp_path, size):
    data = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "x").write_bytes(data[:size])
    assert files.sha256(tmp_path / "x") == hashlib.sha256(data[:size]).hexdigest()


def test_files_are_read_and_written_without_torch():
    code = "import sys; from transferkit.zoo import files; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

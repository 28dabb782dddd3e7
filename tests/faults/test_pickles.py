"""Weights files made to harm: nothing in them is run; each is refused in one line, in seconds and little memory.

Most are read in this process by the functions that the child process calls, as it takes 3 s to start.
"""

import argparse
import os
import pickle
import random
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from transferkit.cli.main import run as cli
from transferkit.zoo import children, pickle_contents, weights
from transferkit.zoo.errors import ModelFileError

STATE = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2)}


class Calls:
    """Unpickled as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def attacks(canary: Path) -> dict[str, tuple[object, str]]:
    """Objects that make `canary` when they are unpickled, and the name that each has to ask for."""
    line = f"open({str(canary)!r}, 'w')"
    chain = Calls(getattr, Calls(__import__, "os"), "system")
    return {
        "os.system": (Calls(os.system, f"touch {canary}"), "posix.system"),
        "eval": (Calls(eval, line), "eval"),
        "exec": (Calls(exec, line), "exec"),
        "open": (Calls(open, str(canary), "w"), "io.open"),
        "getattr": (Calls(map, chain, [f"touch {canary}"]), "map"),
        "subprocess": (Calls(subprocess.check_output, ["touch", str(canary)]), "subprocess.check_output"),
        "hub": (Calls(torch.hub.load, str(canary), "net"), "torch.hub.load"),
        "inner load": (Calls(torch.load, str(canary), None, None), "torch.serialization.load"),
        "bytes": (Calls(pickle.loads, pickle.dumps(Calls(os.system, f"touch {canary}"))), "pickle.loads"),
        "memory": (Calls(bytearray, 10**10), "bytearray"),
        "tensor": (Calls(torch.Tensor, 10**10), "torch.Tensor"),
        "numpy": (np.float64(0.5), "numpy"),
        "options": (argparse.Namespace(lr=0.1), "argparse.Namespace"),
        "network": (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        "rebuilt": (Calls(torch._tensor._rebuild_from_type_v2, print, torch.Tensor, (), {}), "print"),
    }


def write(folder: Path, content: object) -> list[Path]:
    """A content in every form a pickle has: the zip, the pickles in a row, and plain ones of each protocol."""
    forms = [folder / "zip.pth", folder / "row.pth"]
    for path in forms:
        torch.save(content, path, _use_new_zipfile_serialization=path.stem == "zip")
    for protocol in (2, 4, 5):
        forms.append(folder / f"plain{protocol}.pth")
        forms[-1].write_bytes(pickle.dumps(content, protocol=protocol))
    return forms


def read(path: Path) -> dict[str, torch.Tensor]:
    """What the child does with a file, in this process."""
    pickle_contents.check(path)
    try:
        tensors = weights.find_tensors(torch.load(path, map_location="cpu", weights_only=True))
    except ModelFileError:
        raise
    except Exception as error:
        raise ModelFileError(weights._reason(error)) from error
    weights.check_tensors(tensors, size=path.stat().st_size)
    return tensors


def refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        read(path)
    line = str(caught.value)
    assert line.isprintable(), line
    assert "weights_only" not in line, line
    assert len(line) < 400, line
    return line


@pytest.mark.parametrize("name", attacks(Path("x")))
def test_a_pickle_is_refused_by_the_name_of_what_it_asks_for_and_runs_nothing(name, tmp_path):
    content, asked = attacks(tmp_path / "canary")[name]
    for path in write(tmp_path, {"state_dict": STATE, "extra": content}):
        line = refusal(path)
        if path.stem in ("zip", "row"):  # a plain one asks for more, as that is not how tensors are saved
            assert asked in line, (path.name, line)
        if name in ("options", "network"):
            assert "torch.save(model.state_dict(), FILE)" in line or "plain" in path.stem
    assert not (tmp_path / "canary").exists()


def zipped(path: Path, entries: dict[str, bytes], *, form: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", form) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


EMPTY = b"\x80\x02}."


@pytest.mark.parametrize(
    ("entries", "form", "reason"),
    [
        ({"x/data.pkl": EMPTY, "x/data/0": bytes(50 << 20)}, zipfile.ZIP_DEFLATED, "was packed"),
        ({"x/data.pkl": b"\x80\x02" + bytes(9 << 20)}, zipfile.ZIP_STORED, "larger than the 8 MB"),
        ({"x/data.pkl": EMPTY, "x/../../../y": b""}, zipfile.ZIP_STORED, "an entry called"),
        ({"/x/data.pkl": EMPTY}, zipfile.ZIP_STORED, "an entry called"),
        ({"x\\data.pkl": EMPTY}, zipfile.ZIP_STORED, "an entry called"),
        ({"x/data.pkl": EMPTY, "y/data.pkl": EMPTY}, zipfile.ZIP_STORED, "more than one folder"),
        ({"x/y/data.pkl": EMPTY}, zipfile.ZIP_STORED, "without data.pkl"),
        ({"x/inner.zip": b"PK\x03\x04"}, zipfile.ZIP_STORED, "without data.pkl"),
        ({"x/data.pkl": EMPTY, "x/constants.pkl": EMPTY}, zipfile.ZIP_STORED, "TorchScript"),
        ({"x/data.pkl": b"\x80\x02cposix"}, zipfile.ZIP_STORED, "damaged"),
        ({"x/data.pkl": b""}, zipfile.ZIP_STORED, "damaged"),
    ],
    ids=["bomb", "pickle", "up", "absolute", "backslash", "two", "deep", "nested", "script", "cut", "empty"],
)
def test_a_zip_that_torch_did_not_write_is_refused(entries, form, reason, tmp_path):
    assert reason in refusal(zipped(tmp_path / "x.pth", entries, form=form))


def test_a_tar_and_a_file_that_is_no_pickle_are_refused(tmp_path):
    (tmp_path / "pickle").write_bytes(EMPTY)
    with tarfile.open(tmp_path / "tar.pth", "w") as archive:
        archive.add(tmp_path / "pickle", "pickle")
    assert "is a tar" in refusal(tmp_path / "tar.pth")
    for content in (b"", b"hello", b"\x80\x02", b"PK\x03\x04", b"<html>"):
        (tmp_path / "x.pth").write_bytes(content)
        refusal(tmp_path / "x.pth")


SHARED = torch.ones(100, 100)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (
            {"a": torch.zeros(1).expand(900_000_000)},
            r"a is of shape \(900000000,\), 3,600,000,000 bytes, but only 4 are",
        ),
        ({f"a{n}": SHARED.view(-1) for n in range(100)}, "lie over each other"),
        (
            {"a": torch.ones(2), "b": torch.tensor([1.0, float("nan")]), "c": torch.tensor(-torch.inf)},
            "^b has .* 2 of 3",
        ),
        ({"a\x1b[2J": torch.ones(2)}, r"a\\x1b\[2J"),
        ({"a" * 513: torch.ones(2)}, "too long"),
        ({"": torch.ones(2)}, "no plain text"),
        ({"a": torch.ones(2), "module.a": torch.zeros(2)}, "differ only in"),
        ({"a": torch.eye(3).to_sparse()}, "sparse"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "complex"),
        ({"a": torch.ones(2, device="meta")}, "without values"),
    ],
    ids=["stride 0", "overlap", "NaN", "escape", "long", "nameless", "module", "sparse", "complex", "meta"],
)
def test_tensors_that_are_no_weights_are_refused(tensors, reason, tmp_path):
    torch.save(tensors, tmp_path / "x.pth")
    with pytest.raises(ModelFileError, match=reason):
        read(tmp_path / "x.pth")


def test_more_entries_or_tensors_than_any_network_has_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ModelFileError, match="20,001 tensors"):
        weights.check_tensors({f"a{n}": SHARED for n in range(20_001)}, size=1 << 40)
    monkeypatch.setattr(pickle_contents, "MAX_ENTRIES", 3)
    torch.save(STATE, tmp_path / "x.pth")
    assert "entries, more than the 3 allowed" in refusal(tmp_path / "x.pth")


def test_tied_weights_and_every_form_torch_has_written_are_read(tmp_path):
    state = {"a": SHARED, "b": SHARED, "c": torch.ones(90, 80).t(), "d": torch.ones(3).half(), "e": torch.tensor(7)}
    state |= {"p": torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16)), "none": torch.ones(0, 3)}
    for path in write(tmp_path, {"state_dict": state, "epoch": 3, "names": {"a", "b"}})[:2]:
        found = read(path)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], state[name]) for name in state)


def harmed(path: Path, good: bytes, *, bit: int) -> bool:
    """Whether a file with one bit flipped is read as other weights than were saved."""
    content = bytearray(good)
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    try:
        found = read(path)
    except ModelFileError:
        return False
    return found.keys() != STATE.keys() or any(not torch.equal(found[name], STATE[name]) for name in STATE)


def changed(folder: Path, *, count: int | None) -> tuple[list[int], int]:
    """The bits of a zip of torch.save whose flip changed the weights and was not refused, and how many were tried."""
    torch.save({"state_dict": STATE}, folder / "good.pth")
    good = (folder / "good.pth").read_bytes()
    bits = range(8 * len(good))
    tried = bits if count is None else random.Random(1).sample(bits, count)
    return [bit for bit in tried if harmed(folder / "x.pth", good, bit=bit)], len(tried)


def test_a_flipped_bit_is_refused_or_changes_no_weight(tmp_path):
    assert changed(tmp_path, count=100) == ([], 100)


@pytest.mark.faults
def test_of_all_bits_of_a_file_none_changes_a_weight_when_flipped(tmp_path, figure):
    found, tried = changed(tmp_path, count=None)
    figure(f"flips in a file of torch.save, all its bits: {len(found)} of {tried} changed a weight")
    assert found == []


def test_an_entry_that_is_marked_as_a_folder_is_refused_as_torch_would_read_stray_memory(tmp_path):
    torch.save(STATE, tmp_path / "good.pth")
    with zipfile.ZipFile(tmp_path / "good.pth") as good, zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        for entry in good.infolist():
            entry.external_attr = 0x10 if entry.filename.endswith("data/0") else 0
            archive.writestr(entry, good.read(entry))
    assert "is a folder" in refusal(tmp_path / "x.pth")


@pytest.mark.parametrize("form", ["zip", "row"])
def test_a_file_that_was_cut_off_is_refused_in_one_line(form, tmp_path):
    path = tmp_path / "x.pth"
    torch.save(STATE, path, _use_new_zipfile_serialization=form == "zip")
    good = path.read_bytes()
    for tenth in range(10):
        path.write_bytes(good[: tenth * len(good) // 10])
        refusal(path)


def test_the_command_refuses_an_attack_with_exit_4_and_one_line(tmp_path, capsys):
    torch.save({"state_dict": STATE, "x": Calls(os.system, f"touch {tmp_path / 'canary'}")}, tmp_path / "x.pth")
    assert cli(["import", str(tmp_path / "x.pth"), "-o", str(tmp_path / "y.safetensors")]) == 4
    said = capsys.readouterr().err
    assert said == f"error: {tmp_path / 'x.pth'} is refused: it asks for posix.system, which is code, not weights\n"
    assert os.listdir(tmp_path) == ["x.pth"]


def peak_mb(path: Path) -> tuple[int, str]:
    """The memory and the last words of the child that reads a file; it is this process's only one to be waited for."""
    code = "import resource, subprocess, sys; ended = subprocess.run(sys.argv[1:], capture_output=True, text=True); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10, ended.returncode, ended.stderr)"
    command = children.command("transferkit.zoo.weights", str(path), str(path.with_suffix(".out")))
    ended = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, timeout=120)
    memory, _, words = ended.stdout.strip().partition(" ")
    return int(memory), words


@pytest.mark.faults
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
def test_no_file_takes_more_memory_than_plain_weights_of_its_size_and_300_mb(tmp_path, figure):
    weight = torch.randn(1000, 1000)
    made = {
        "plain": {"a": torch.ones(1)},
        "stride 0": {"a": torch.zeros(1).expand(900_000_000)},
        "overlap": {f"a{n}": weight.view(-1) for n in range(1000)},
        "long list": {"state_dict": STATE, "x": [0] * 3_000_000},
    }
    for name, content in made.items():
        torch.save(content, tmp_path / f"{name}.pth")
    zipped(tmp_path / "tuples.pth", {"x/version": b"3", "x/data.pkl": b"\x80\x02]" + b"\x85" * 7_000_000 + b"."})
    zipped(tmp_path / "marks.pth", {"x/version": b"3", "x/data.pkl": b"\x80\x02" + b"(" * 7_000_000 + b"."})
    doubled = b"\x80\x02)q\x00" + b"h\x00h\x00\x86q\x00" * 60  # a tuple whose hash takes 2 ** 60 steps
    zipped(
        tmp_path / "hash.pth", {"x/version": b"3", "x/data.pkl": doubled + b"ccollections\nCounter\nh\x00\x85\x85R."}
    )
    zipped(tmp_path / "doubled.pth", {"x/version": b"3", "x/data.pkl": doubled + b"."})
    torch.save({"a": torch.ones(70_000)}, tmp_path / "claim.pth", _use_new_zipfile_serialization=False)
    claim = (tmp_path / "claim.pth").read_bytes()
    (tmp_path / "claim.pth").write_bytes(claim.replace(*(n.to_bytes(4, "little") for n in (70_000, 2_000_000_000))))
    measured, slowest = {}, 0.0
    for path in sorted(tmp_path.glob("*.pth")):
        begun = time.monotonic()
        measured[path.stem] = peak_mb(path)
        slowest = max(slowest, time.monotonic() - begun)
    plain = measured["plain"][0]
    most, name = max((memory - plain, name) for name, (memory, _) in measured.items())
    figure(f"{len(measured)} hostile weights files: at most {most} MB more than a plain one ({name}), {slowest:.0f} s")
    assert most < 300, measured
    harmless = {name for name, (_, words) in measured.items() if words.startswith("0")}
    assert harmless == {"plain", "long list"}
    assert {name for name, (_, words) in measured.items() if words.startswith("-")} == {"hash"}  # out of time


def test_a_name_is_two_texts_side_by_side_and_nothing_that_lay_below_them():
    texts = [b"\x8c" + bytes([len(text)]) + text for text in (b"posix", b"system", b"collections", b"OrderedDict")]
    hostile = b"\x80\x04" + b"".join(texts) + b"00" + b"\x93."  # two POPs, then STACK_GLOBAL of what is left
    assert "collections.OrderedDict" not in list(pickle_contents.names(hostile))
    plain = b"\x80\x04" + b"".join(texts[2:]) + b"\x93."
    assert list(pickle_contents.names(plain)) == ["collections.OrderedDict"]

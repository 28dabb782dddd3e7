"""Weights files: what is converted, what is refused, and in which words."""

import pickle
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from transferkit import zoo
from transferkit.cli.main import run as cli
from transferkit.zoo import weights
from transferkit.zoo.errors import ModelFileError, RunConflictError, UsageError

STATE = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2)}


def test_a_checkpoint_becomes_the_tensors_inside_it(tmp_path):
    source, target = tmp_path / "checkpoint.pth", tmp_path / "weights.safetensors"
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in STATE.items()}}, source)
    weights.import_pickle(source, target)
    found = load_file(target)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_ema", "ema", "net"])
def test_weights_are_found_where_training_scripts_put_them(wrapper):
    assert weights.find_tensors(STATE).keys() == STATE.keys()
    assert weights.find_tensors({wrapper: STATE, "epoch": 3}).keys() == STATE.keys()


class Attack:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path):
    source, witness = tmp_path / "attack.pth", tmp_path / "witness"
    torch.save({"state_dict": STATE, "extra": Attack(witness)}, source)
    with pytest.raises(ModelFileError, match=r"attack\.pth is refused"):
        weights.import_pickle(source, tmp_path / "out.safetensors")
    assert not witness.exists()
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {"a": 1}}, {}])
def test_a_checkpoint_without_tensors_is_refused(content):
    with pytest.raises(ModelFileError, match="dictionary of tensors"):
        weights.find_tensors(content)


def test_a_damaged_pickle_is_refused_in_one_line(tmp_path):
    source = tmp_path / "damaged.pth"
    source.write_bytes(pickle.dumps(STATE)[:50])
    with pytest.raises(ModelFileError, match=r"damaged\.pth is refused") as refusal:
        weights.import_pickle(source, tmp_path / "out.safetensors")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("spelling", ["x.pth", "folder/../x.pth", "link.pth", "twin.pth"])
def test_an_import_never_replaces_its_source(tmp_path, spelling):
    source = tmp_path / "x.pth"
    torch.save(STATE, source)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.pth").symlink_to("x.pth")
    (tmp_path / "twin.pth").hardlink_to(source)
    before = source.read_bytes()
    with pytest.raises(RunConflictError, match="is the file that is read"):
        weights.import_pickle(source, tmp_path / spelling, overwrite=True)
    with pytest.raises(RunConflictError, match="is the file that is read"):
        weights.import_pickle(tmp_path / spelling, source, overwrite=True)
    assert source.read_bytes() == before


def test_an_import_replaces_a_file_only_when_asked_and_only_with_something_whole(tmp_path, capsys):
    source, bad, target = tmp_path / "x.pth", tmp_path / "bad.pth", tmp_path / "mine.safetensors"
    torch.save(STATE, source)
    bad.write_bytes(source.read_bytes()[:200])
    target.write_text("mine")
    names = sorted(tmp_path.iterdir())
    assert cli(["import", str(source), "-o", str(target)]) == 7
    assert "add --overwrite" in capsys.readouterr().err
    assert cli(["import", str(bad), "-o", str(target), "--overwrite"]) == 4
    assert cli(["import", str(source), "-o", str(tmp_path), "--overwrite"]) == 2
    assert target.read_text() == "mine"
    assert cli(["import", str(source), "-o", str(target), "--overwrite"]) == 0
    assert load_file(target).keys() == STATE.keys()
    assert sorted(tmp_path.iterdir()) == names


def test_a_missing_pickle_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"no such file: .*absent\.pth"):
        weights.import_pickle(tmp_path / "absent.pth", tmp_path / "out.safetensors")


def test_a_pickle_is_never_opened_where_safetensors_are_asked(tmp_path):
    source = tmp_path / "weights.pth"
    torch.save(STATE, source)
    assert zipfile.is_zipfile(source)
    with pytest.raises(ModelFileError, match="transferkit import"):
        zoo.create("test_convnext", weights=source)


def test_a_file_that_does_not_fit_is_described_in_one_line(tmp_path):
    backbone = zoo.create("test_convnext", weights="none", num_classes=10)
    state = backbone.model.state_dict()
    small = zoo.create("test_convnext", weights="none", num_classes=7).model
    with pytest.raises(ModelFileError, match="file has 10 classes, 7 asked"):
        weights.load_state(small, state, source=tmp_path)
    with pytest.raises(ModelFileError, match=r"1 of \d+ tensors are missing \(first stem\.0\.weight\)"):
        weights.load_state(backbone.model, {k: v for k, v in state.items() if k != "stem.0.weight"}, source=tmp_path)
    with pytest.raises(ModelFileError, match=r"1 are unknown to it \(first extra\)"):
        weights.load_state(backbone.model, state | {"extra": torch.ones(1)}, source=tmp_path)
    with pytest.raises(ModelFileError, match=r"another shape \(first stem\.0\.weight: \(1,\), not"):
        weights.load_state(backbone.model, state | {"stem.0.weight": torch.ones(1)}, source=tmp_path)


def test_a_foreign_file_for_a_timm_network_is_described_in_one_line(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file(STATE, path)
    with pytest.raises(ModelFileError, match=r"foreign\.safetensors does not fit test_convnext: \d+ of") as refusal:
        zoo.create("test_convnext", weights=path)
    assert "\n" not in str(refusal.value)

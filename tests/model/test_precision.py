import json

import pytest
import torch

from transferkit import runtime
from transferkit.model import build, precision, timings
from transferkit.model.precision import Precision
from transferkit.zoo import cache_folder
from transferkit.zoo.errors import UsageError


@pytest.fixture
def model():
    return build.create("cifar_resnet", image_size=32)


@pytest.fixture
def bf16_machine(monkeypatch):
    monkeypatch.setattr(runtime, "computes_bf16", lambda kind: True)


def choose(model, cache, asked="auto", phases=("features", "training")):
    return precision.choose(model, asked, device="cpu", cache=cache, phases=phases)


def test_a_precision_is_read_as_it_is_written():
    for text in ("fp32", "bf16", "fp32/bf16", "bf16/fp32"):
        assert str(Precision.read(text)) == text


def test_a_machine_without_bfloat16_computes_in_single_precision_and_times_nothing(model, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "computes_bf16", lambda kind: False)
    assert choose(model, tmp_path) == (Precision(), ())
    assert not list(tmp_path.iterdir())


def test_whether_the_processor_has_bfloat16_is_what_the_system_says():
    with open("/proc/cpuinfo") as told:
        text = told.read()
    assert runtime.computes_bf16("cpu") == ("avx512_bf16" in text or "amx_bf16" in text or " bf16" in text)


@pytest.mark.usefixtures("bf16_machine")
def test_a_choice_is_timed_once_and_then_looked_up(model, tmp_path):
    _, lines = choose(model, tmp_path)
    held = {file: json.loads(file.read_text()) for file in (tmp_path / "timings").iterdir()}
    assert sorted(each["key"]["phase"] for each in held.values()) == ["error", "features", "training"]
    assert len(lines) == 2
    for file, each in held.items():  # another outcome, as if timed so
        if each["key"]["phase"] != "error":
            cache_folder.write(file, {"key": each["key"], "found": {"fp32": 3.0, "bf16": 1.0}})
    again, lines = choose(model, tmp_path)
    assert again == Precision(features="bf16", training="bf16")
    assert lines[0] == "precision of features: bf16; bf16 is 3.0 times as fast"


@pytest.mark.usefixtures("bf16_machine")
@pytest.mark.parametrize("phase", ["features", "training"])
def test_what_a_run_does_not_compute_is_not_timed(model, tmp_path, phase):
    found, (line,) = choose(model, tmp_path, phases=[phase])
    assert line.startswith(f"precision of {phase}: {found.features}")
    assert found.training == found.features


@pytest.mark.usefixtures("bf16_machine")
def test_a_damaged_timing_is_taken_anew(model, tmp_path):
    choose(model, tmp_path, phases=["features"])
    files = list((tmp_path / "timings").iterdir())
    for file in files:
        file.write_text("{")
    choose(model, tmp_path, phases=["features"])
    assert all(min(json.loads(file.read_text())["found"].values()) > 0 for file in files)


@pytest.mark.usefixtures("bf16_machine")
def test_a_network_whose_features_bfloat16_changes_is_computed_in_single_precision(model, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "LARGEST_ERROR", 1e-6)
    found, (line,) = choose(model, tmp_path)
    assert found == Precision()
    assert line.startswith("precision: fp32; bf16 changes features by")
    assert len(list((tmp_path / "timings").iterdir())) == 1


@pytest.mark.usefixtures("bf16_machine")
def test_mobilenetv2_whose_answers_change_is_beyond_what_bfloat16_may_change(shared, tmp_path):
    model = build.create(shared / "weights" / "mobilenetv2_100.imagenet", image_size=96)
    found, (line,) = choose(model, tmp_path)
    assert found == Precision()
    assert line.startswith("precision: fp32; bf16 changes features by")


@pytest.mark.usefixtures("bf16_machine")
def test_an_error_that_is_no_number_chooses_single_precision(model, tmp_path, monkeypatch):
    monkeypatch.setattr(type(model), "features", lambda self, x: torch.full((len(x), 3), torch.nan))
    for _ in range(2):  # measured, then looked up
        found, (line,) = choose(model, tmp_path)
        assert found == Precision()
        assert line == "precision: fp32; bf16 gives features that are no numbers"


@pytest.mark.usefixtures("bf16_machine")
def test_timing_leaves_the_network_as_it_was(model, tmp_path):
    model.freeze(model.stages[:1])
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    choose(model, tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.usefixtures("bf16_machine")
def test_a_cache_that_cannot_be_written_costs_a_timing_and_no_more(model, tmp_path):
    (tmp_path / "timings").write_text("in the way")
    assert choose(model, tmp_path, phases=["features"])[1]


def test_what_is_asked_for_is_taken(model, tmp_path):
    assert choose(model, tmp_path, asked="bf16/fp32") == (Precision(features="bf16"), ())
    with pytest.raises(UsageError, match="use fp32 on mps"):
        precision.choose(model, "bf16", device="mps", cache=tmp_path, phases=["features"])


@pytest.fixture
def gpu(monkeypatch):
    """Let torch say that there is a GPU of that capability."""

    def card(major, minor):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (major, minor))
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: major >= 8)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"sm_{major}{minor}")

    return card


def on_gpu(model, cache, *, error=0.0, asked="auto", phases=("features", "training")):
    """The choice of a GPU whose bfloat16 was found to change features that much."""
    timings.looked_up(model, {"phase": "error"}, lambda: {"error": error}, device="cuda", cache=cache)
    found, lines = precision.choose(model, asked, device="cuda", cache=cache, phases=phases)
    assert [json.loads(file.read_text())["key"]["phase"] for file in (cache / "timings").iterdir()] == ["error"]
    return str(found), list(lines)


@pytest.mark.parametrize(("capability", "chosen"), [((9, 0), "bf16"), ((8, 0), "bf16")])
def test_a_gpu_with_bfloat16_trains_in_it_and_times_nothing(model, tmp_path, gpu, capability, chosen):
    gpu(*capability)
    assert on_gpu(model, tmp_path) == (chosen, ["precision of training: bf16"])
    assert on_gpu(model, tmp_path, phases=["training"]) == (chosen, ["precision of training: bf16"])
    assert on_gpu(model, tmp_path, phases=["features"]) == (chosen, [])


def test_a_gpu_trains_in_bfloat16_where_its_features_would_be_too_far_off(model, tmp_path, gpu):
    gpu(9, 0)
    told = "precision of features: fp32; bf16 changes features by 7 %"
    assert on_gpu(model, tmp_path, error=0.07) == ("fp32/bf16", [told, "precision of training: bf16"])
    assert on_gpu(model, tmp_path, error=0.07, phases=["features"]) == ("fp32", [told])
    assert on_gpu(model, tmp_path, error=0.07, phases=["training"])[0] == "bf16"


@pytest.mark.parametrize(("capability", "training"), [((7, 5), "fp16"), ((7, 0), "fp16"), ((6, 1), "fp32")])
def test_a_gpu_without_bfloat16_trains_in_fp16_if_it_has_tensor_cores(model, tmp_path, gpu, capability, training):
    gpu(*capability)
    chosen = "fp32" if training == "fp32" else "fp32/fp16"
    assert on_gpu(model, tmp_path) == (chosen, [f"precision of training: {training}"])
    assert on_gpu(model, tmp_path, phases=["training"])[0] == chosen
    assert on_gpu(model, tmp_path, phases=["features"]) == ("fp32", [])


def test_fp16_is_taken_where_there_are_tensor_cores_and_refused_elsewhere(model, tmp_path, gpu):
    gpu(7, 5)
    assert on_gpu(model, tmp_path, asked="fp32/fp16") == ("fp32/fp16", [])
    gpu(6, 1)
    for device in ("cuda", "cpu"):
        with pytest.raises(UsageError, match="--precision fp32/fp16 is for CUDA devices of compute"):
            precision.choose(model, "fp32/fp16", device=device, cache=tmp_path, phases=["training"])


def test_a_run_is_single_where_features_and_training_are():
    pairs = [(features, training) for features in ("fp32", "bf16") for training in ("fp32", "bf16")]
    assert [Precision(features=features, training=training).is_single for features, training in pairs] == [
        True,
        False,
        False,
        False,
    ]

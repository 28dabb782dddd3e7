"""8-bit weights: how far a number may move, what must stay as it is, and which files are refused."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from transferkit.zoo import packed
from transferkit.zoo.errors import ModelFileError, UsageError


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def awkward() -> torch.Tensor:
    """Rows of very different sizes: a row of zeros, one number among zeros, subnormal and huge ones."""
    rows = random(7, 50) * torch.tensor([1, 0, 1e-3, 1e-42, 1e30, 1, 1e4])[:, None]
    rows[5, 1:] = 0
    return rows


@pytest.mark.parametrize("weight", [random(30, 200), random(8, 3, 3, 3), awkward(), random(5, 9).T])
def test_a_number_moves_by_at_most_half_a_step_of_its_row(weight):
    tensors = packed.pack({"fc.weight": weight})
    assert tensors["fc.weight.int8"].dtype == torch.int8
    assert tensors["fc.weight.int8"].shape == weight.shape
    half = tensors["fc.weight.scale"].double().numpy() / 2
    moved = (packed.unpack(tensors)["fc.weight"].double() - weight.double()).abs().flatten(1).numpy()
    assert (moved <= half[:, None] * (1 + 1e-6)).all()
    largest = weight.abs().flatten(1).amax(1).numpy()
    assert (2 * half * 127 <= np.maximum(largest * 1.01, 1e-35)).all()  # a step is no longer than the row needs


@pytest.mark.parametrize("weight", [random(30, 200), random(8, 3, 3, 3), awkward()])
def test_packing_what_was_unpacked_changes_nothing(weight):
    once = packed.pack({"w": weight})
    again = packed.pack(packed.unpack(once))
    assert once.keys() == again.keys()
    assert all(torch.equal(once[name], again[name]) for name in once)


def test_a_product_of_two_factors_is_stored_thin_and_comes_back_whole():
    left, right = random(40, 3, seed=1), random(3, 60, seed=2)
    tensors = packed.pack({"fc.weight": left @ right, "fc.bias": random(40)}, low_rank={"fc.weight": (left, right)})
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        "fc.weight.left.int8": (40, 3),
        "fc.weight.left.scale": (40,),
        "fc.weight.right.int8": (3, 60),
        "fc.weight.right.scale": (3,),
        "fc.bias": (40,),
    }
    arrays = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    factors = [
        arrays[f"fc.weight.{side}.int8"] * arrays[f"fc.weight.{side}.scale"][:, None] for side in ("left", "right")
    ]
    state = packed.unpack(tensors)
    assert state.keys() == {"fc.weight", "fc.bias"}
    np.testing.assert_allclose(state["fc.weight"].numpy(), factors[0] @ factors[1], atol=1e-5)
    assert (state["fc.weight"] - left @ right).norm() < 0.02 * (left @ right).norm()


def test_what_is_no_weight_stays_as_it_is_and_is_unpacked_to_single_precision():
    state = {"mean": random(3, 4, 4).half(), "bn.bias": random(5), "bn.num_batches_tracked": torch.tensor(7)}
    assert packed.pack(state) == state
    unpacked = packed.unpack(state)
    assert unpacked["mean"].dtype == torch.float32
    assert torch.equal(unpacked["mean"], state["mean"].float())
    assert torch.equal(unpacked["bn.bias"], state["bn.bias"])
    assert unpacked["bn.num_batches_tracked"].dtype == torch.int64


def thin() -> dict[str, torch.Tensor]:
    """A packed matrix `a` and a product `b`."""
    return packed.pack({"a": random(4, 6), "b": random(1)}, low_rank={"b": (random(4, 2), random(2, 6))})


@pytest.mark.parametrize("name", list(thin()))
def test_an_incomplete_group_is_refused(name):
    tensors = thin()
    del tensors[name]
    with pytest.raises(ModelFileError, match=f"{name} is missing"):
        packed.unpack(tensors)


@pytest.mark.parametrize("side", ["left", "right"])
def test_half_a_product_is_refused(side):
    tensors = {name: tensor for name, tensor in thin().items() if f".{side}." not in name}
    with pytest.raises(ModelFileError, match=f"b.{side}.int8 is missing"):
        packed.unpack(tensors)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"a.int8": torch.zeros(4, 6)}, "a is not 8-bit rows"),
        ({"a.int8": torch.zeros(4, dtype=torch.int8)}, "a is not 8-bit rows"),
        ({"a.scale": torch.ones(5)}, r"scale is torch.float32 \(5,\)"),
        ({"a.scale": torch.ones(4, dtype=torch.float16)}, "scale is torch.float16"),
        ({"a.scale": torch.tensor([1, 1, 1, float("nan")])}, "not finite"),
        ({"a": random(4, 6)}, "a is stored in two ways"),
        ({"b": random(4, 6)}, "b is stored in two ways"),
        ({"b.int8": torch.zeros(4, 6, dtype=torch.int8), "b.scale": torch.ones(4)}, "b is stored in two ways"),
        ({"b.left.int8": torch.zeros(4, 3, dtype=torch.int8)}, r"cannot be multiplied: \(4, 3\) and \(2, 6\)"),
    ],
)
def test_tensors_that_do_not_fit_each_other_are_refused(changes, words):
    with pytest.raises(ModelFileError, match=words):
        packed.unpack(thin() | changes)


def test_thin_factors_of_a_giant_matrix_are_refused_before_they_are_multiplied():
    long = torch.zeros(1 << 22, 1, dtype=torch.int8)
    tensors = {
        "w.left.int8": long,
        "w.left.scale": torch.ones(1 << 22),
        "w.right.int8": long.T.contiguous(),
        "w.right.scale": torch.ones(1),
    }
    with pytest.raises(ModelFileError, match=r"17,592,186,044,416 numbers; at most 134,217,728"):
        packed.unpack(tensors)


def test_a_file_is_read_packed_or_plain_and_named_when_it_is_refused(tmp_path):
    state = {"w": random(4, 6)}
    save_file(state, tmp_path / "plain.safetensors")
    assert torch.equal(packed.read(tmp_path / "plain.safetensors")["w"], state["w"])
    tensors = packed.pack(state)
    save_file(tensors, tmp_path / "packed.safetensors")
    assert torch.equal(packed.read(tmp_path / "packed.safetensors")["w"], packed.unpack(tensors)["w"])
    del tensors["w.scale"]
    save_file(tensors, tmp_path / "half.safetensors")
    with pytest.raises(ModelFileError, match=r"half\.safetensors is refused: w\.scale is missing"):
        packed.read(tmp_path / "half.safetensors")
    with pytest.raises(UsageError, match="no such weights file"):
        packed.read(tmp_path / "nowhere.safetensors")

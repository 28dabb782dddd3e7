import pytest
import torch

from transferkit.zoo.resnet import CifarResNet


@pytest.mark.parametrize("size_px", [32, 48, 64, 96, 128])
def test_images_of_32_to_128_px_give_as_many_features(size_px):
    network = CifarResNet(10).eval()
    with torch.no_grad():
        x = torch.randn(2, 3, size_px, size_px)
        assert network.features(x).shape == (2, 384)
        assert torch.equal(network(x), network.fc(network.features(x)))


def test_a_stage_starts_by_copying_its_input_channels():
    network = CifarResNet(10)
    for stage, width in ((network.stage1, 24), (network.stage2, 64), (network.stage3, 192)):
        x = torch.randn(1, width, 8, 8)
        assert torch.allclose(stage.conv1(x)[:, :width], x, atol=1e-6)


def test_convolutions_are_he_initialised():
    network = CifarResNet(10)
    weight = network.stage3.conv2.weight  # 384 filters of 3 x 3 see 384 channels
    assert weight.std().item() == pytest.approx((2 / (384 * 9)) ** 0.5, rel=0.02)

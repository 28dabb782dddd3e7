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


def test_convolutions_are_he_initialised_by_fan_out():
    network = CifarResNet(10)
    for stage, width_in, width_out in ((network.stage2, 64, 192), (network.stage3, 192, 384)):
        drawn = stage.conv1.weight[width_in:]  # the first filters copy their input; 3 x 3 weights an output channel
        assert drawn.std().item() == pytest.approx((2 / (width_out * 9)) ** 0.5, rel=0.02)

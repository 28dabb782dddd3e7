import numpy as np
import torch

import transferkit as tk
from transferkit.model import features


def test_features_are_those_of_each_image_and_of_its_mirror_image():
    model = tk.zoo.create("timm:test_resnet", weights="none", num_classes=2)
    x = torch.randn(5, 3, 64, 64)
    wanted = np.array([True, True, False, True, False])
    found = features.extract(model, [(x[:3], np.array([4, 0, 2])), (x[3:], np.array([1, 3]))], count=5, mirror=wanted)
    order = [1, 3, 2, 4, 0]  # the position in x of each row
    with torch.no_grad():
        plain, mirrored = model.features(x[order]).numpy(), model.features(x[order].flip(3)).numpy()
    assert np.allclose(found.plain, plain, atol=1e-5)
    assert np.allclose(found.mirrored[wanted], mirrored[wanted], atol=1e-5)
    assert np.isnan(found.mirrored[~wanted]).all()
    assert np.allclose(found.views(np.array([0, 3])), np.concatenate([plain[[0, 3]], mirrored[[0, 3]]]), atol=1e-5)


def test_a_linear_classifier_on_features_becomes_the_networks_head():
    model = tk.zoo.create("timm:test_resnet", weights="none", num_classes=2)
    weight, bias = torch.randn(2, model.num_features), torch.randn(2)
    x = torch.randn(3, 3, 64, 64)
    model.set_linear(weight, bias)
    with torch.no_grad():
        assert torch.allclose(model(x), model.features(x) @ weight.T + bias, atol=1e-5)

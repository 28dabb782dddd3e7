import numpy as np
import torch

import transferkit as tk
from transferkit.model.features import Extractor, Features


def extract(model, inputs, *, fitted, precision="fp32"):
    found = Features.empty(len(fitted), model.num_features, views=2)
    Extractor(model=model, precision=precision).fill(found, inputs, fitted=fitted)
    return found


def test_features_are_those_of_each_image_and_of_its_mirror_image():
    model = tk.zoo.create("timm:test_resnet", weights="none", num_classes=2)
    x = torch.randn(5, 3, 64, 64)
    wanted = np.array([True, True, False, True, False])
    found = extract(model, [(x[:3], np.array([4, 0, 2])), (x[3:], np.array([1, 3]))], fitted=wanted)
    order = [1, 3, 2, 4, 0]  # the position in x of each row
    with torch.no_grad():
        plain, mirrored = model.features(x[order]).numpy(), model.features(x[order].flip(3)).numpy()
    assert np.allclose(found.plain, plain, atol=1e-5)
    assert np.allclose(found.views[1][wanted], mirrored[wanted], atol=1e-5)
    assert np.isnan(found.views[1][~wanted]).all()


def test_features_of_an_image_have_the_same_bits_in_whatever_batch_it_comes():
    model = tk.zoo.create("timm:test_resnet", weights="none", num_classes=2)
    x = torch.randn(40, 3, 64, 64)
    cuts = [range(40)[start:stop] for start, stop in ((0, 1), (1, 4), (4, 21), (21, 40))]
    everyone = np.ones(40, bool)
    once = extract(model, [(x[:32], np.arange(32)), (x[32:], np.arange(32, 40))], fitted=everyone)
    cut = extract(model, [(x[list(rows)], np.array(rows)) for rows in cuts], fitted=everyone)
    assert np.array_equal(once.plain, cut.plain)
    assert np.array_equal(once.views[1], cut.views[1])


def test_images_that_only_judge_are_computed_as_they_are_predicted():
    model = tk.zoo.create("timm:test_resnet", weights="none", num_classes=2)
    x, rows = torch.randn(32, 3, 64, 64), np.arange(32)
    fitted = rows < 20
    exact, fast = (extract(model, [(x, rows)], fitted=fitted, precision=p) for p in ("fp32", "bf16"))
    assert np.array_equal(fast.plain[~fitted], exact.plain[~fitted])
    assert not np.array_equal(fast.plain[fitted], exact.plain[fitted])
    assert np.allclose(fast.plain[fitted], exact.plain[fitted], rtol=0.05, atol=0.05)


def test_a_linear_classifier_on_features_becomes_the_networks_head():
    model = tk.zoo.create("timm:test_resnet", weights="none", num_classes=2)
    weight, bias = torch.randn(2, model.num_features), torch.randn(2)
    x = torch.randn(3, 3, 64, 64)
    model.set_linear(weight, bias)
    with torch.no_grad():
        assert torch.allclose(model(x), model.features(x) @ weight.T + bias, atol=1e-5)

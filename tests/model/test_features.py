import numpy as np
import pytest
import torch

import transferkit as tk
from transferkit.model.eval_batch import filled
from transferkit.model.feature_cache import FeatureCache
from transferkit.model.features import Extractor, Features


def extract(model, inputs, *, fitted, precision="fp32"):
    found = Features.empty(len(fitted), model, views=2)
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


@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 2), ({"views": 1}, 1), ({"views": 5}, 2), ({"mirrors": False}, 1), ({"views": 5, "mirrors": False}, 1)],
)
def test_a_first_pass_sees_an_image_as_it_is_and_mirrored_if_that_is_wanted(options, count):
    model = tk.zoo.create("timm:test_resnet", weights="none", num_classes=2)
    assert Extractor(model=model, **options).first_views == count


def test_what_was_kept_is_recalled_with_every_bit_and_what_was_not_is_missing(tmp_path):
    model = tk.zoo.create("timm:test_resnet", weights="none", num_classes=2)
    extractor = Extractor(model=model, cache=FeatureCache(tmp_path, {}))
    assert not extractor.remembers
    hashes, fitted = np.array([f"{n:064d}" for n in range(5)]), np.array([True, True, True, False, False])
    found = Features.empty(5, model, views=2)
    extractor.fill(found, [(torch.randn(5, 3, 64, 64), np.arange(5))], fitted=fitted)
    some = [0, 1, 3]
    assert len(extractor.keep(found.subset(some), hashes[some], fitted=fitted[some])) == 3
    assert extractor.remembers
    again = Features.empty(5, model, views=2)
    assert extractor.recall(again, hashes, fitted=fitted).tolist() == [True, True, False, True, False]
    assert np.array_equal(again.plain[some], found.plain[some])
    assert np.array_equal(again.views[1][:2], found.views[1][:2])
    assert np.isnan(again.plain[[2, 4]]).all()
    without = Extractor(model=model)
    assert not without.remembers
    assert not without.recall(again, hashes, fitted=fitted).any()
    assert without.keep(found, hashes, fitted=fitted) == []


def test_features_that_could_not_all_be_kept_are_in_no_file(tmp_path):
    (tmp_path / "features").write_text("a file in the place of the folder")
    model = tk.zoo.create("timm:test_resnet", weights="none", num_classes=2)
    extractor = Extractor(model=model, cache=FeatureCache(tmp_path, {}))
    found = Features(views=(np.ones((2, 4), np.float32),) * 2)
    assert extractor.keep(found, np.array(["0" * 64, "1" * 64]), fitted=np.array([True, False])) == []


def test_an_augmented_view_has_the_features_of_its_images_and_none_of_the_others():
    model = tk.zoo.create("timm:test_resnet", weights="none", num_classes=2).train()
    x = torch.randn(3, 3, 64, 64)
    found = Extractor(model=model).augmented([(x[:2], np.array([3, 0])), (x[2:], np.array([1]))], count=4)
    with torch.no_grad():
        assert np.allclose(found[[3, 0, 1]], model.eval().features(x).numpy(), atol=1e-5)
    assert np.isnan(found[2]).all()


@pytest.mark.parametrize(("count", "full"), [(1, 32), (31, 32), (32, 32), (33, 64)])
def test_a_batch_is_filled_up_with_blank_images(count, full):
    x = torch.ones(count, 3, 2, 2)
    assert torch.equal(filled(x), torch.cat([x, torch.zeros(full - count, 3, 2, 2)]))

import pytest
import torch
from torch import nn

import transferkit as tk
from transferkit.model.head import linear_head
from transferkit.zoo.errors import UsageError


@pytest.fixture
def model():
    torch.manual_seed(0)
    return tk.zoo.create("timm:test_resnet", weights="none", num_classes=3)


def state(model):
    return {name: tensor.clone() for name, tensor in model.model.state_dict().items()}


def train_a_little(model):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    for _ in range(3):
        model.train()
        loss = nn.functional.cross_entropy(model(torch.randn(6, 3, 64, 64)), torch.tensor([0, 1, 2] * 2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_what_is_frozen_is_bit_equal_after_training_and_batchnorm_statistics_are_no_exception(model):
    report = tk.freeze(model, until="layer2")
    before = state(model)
    train_a_little(model)
    after = state(model)
    depth = model.stages.index("layer2")
    for name in before:
        if model.stages.index(model.stage_of(name)) <= depth:
            assert torch.equal(before[name], after[name]), name
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert any("running_mean" in name for name in moved)
    assert [row.stage for row in report.stages if row.frozen] == list(model.stages[: depth + 1])


def test_freezing_the_backbone_leaves_the_head_alone(model):
    report = tk.freeze(model, "backbone")
    assert report.trainable == model.num_features * 3 + 3
    before = state(model)
    train_a_little(model)
    moved = {name for name, tensor in state(model).items() if not torch.equal(before[name], tensor)}
    assert moved == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("nothing", [None, "none"])
def test_none_thaws_everything(model, nothing):
    tk.freeze(model, "layer3")
    report = tk.freeze(model, nothing)
    assert (report.frozen, report.frozen_stages) == (0, [])
    assert report.trainable == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("timm:test_resnet", "layer1"),
        ("cifar_mlp", "fc1"),
        ("cifar_resnet", "stage1"),
        ("timm:mobilenetv2_100", "blocks.2"),
        ("timm:tf_efficientnet_lite0", "blocks.2"),
        ("timm:vit_tiny_patch16_224", "blocks.4"),
    ],
)
def test_half_freezes_the_first_half_of_the_stages_below_the_head(name, last):
    model = tk.zoo.create(name, weights="none", num_classes=3)
    report = tk.freeze(model, "half")
    *body, _ = model.stages
    assert report.frozen_stages == body[: len(body) // 2]
    assert report.frozen_stages[-1] == last


@pytest.mark.parametrize(
    ("until", "said"), [("layr2", "did you mean 'layer2'"), ("fc", "leave nothing to train"), ("", "no stage ''")]
)
def test_a_stage_that_cannot_be_frozen_is_named_with_those_that_can(model, until, said):
    with pytest.raises(UsageError, match=said):
        tk.freeze(model, until)


def test_a_new_head_is_he_initialised_with_zero_bias_and_follows_the_seed(model):
    weights = []
    for seed in (0, 0, 1):
        tk.reset_head(model, 400, seed=seed)
        weights.append(model.model.fc.weight.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert weights[0].std().item() == pytest.approx((2 / model.num_features) ** 0.5, rel=0.05)
    assert model.model.fc.bias.abs().max() == 0
    assert model.num_classes == 400


def test_dropout_acts_in_training_only_and_leaves_the_names_of_the_state_alone(model):
    names = list(model.model.state_dict())
    tk.reset_head(model, 3, dropout=0.5)
    x = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model.eval()(x), model(x))
        tk.freeze(model, "backbone")
        model.train()
        assert not torch.equal(model(x), model(x))
    assert list(model.model.state_dict()) == names


@pytest.mark.parametrize(("classes", "dropout"), [(0, 0.0), (3, 1.0), (3, -0.1)])
def test_a_head_that_cannot_be_is_refused(model, classes, dropout):
    with pytest.raises(UsageError):
        tk.reset_head(model, classes, dropout=dropout)


@pytest.mark.parametrize("options", [{}, {"seed": 0}, {"seed": 3}])
def test_a_head_of_its_own_is_the_head_that_a_network_gets(model, options):
    head = linear_head(model.num_features, 7, **options)
    tk.reset_head(model, 7, **options)
    assert torch.equal(head.weight, model.model.fc.weight)
    assert torch.equal(head.bias, model.model.fc.bias)
    assert torch.equal(head.weight, linear_head(model.num_features, 7, seed=0).weight) == (options != {"seed": 3})


def test_a_head_drops_nothing_unless_asked(model):
    x = torch.ones(5, model.num_features)
    head = linear_head(model.num_features, 7).train()
    assert torch.equal(head(x), nn.functional.linear(x, head.weight, head.bias))
    for options in ({"dropout": 0.5}, {"dropconnect": 0.5}):
        dropping = linear_head(model.num_features, 7, **options).train()
        assert not torch.equal(dropping(x), nn.functional.linear(x, dropping.weight, dropping.bias))
    images = torch.randn(5, 3, 64, 64)
    tk.reset_head(model, 7)
    tk.freeze(model, "backbone")
    assert torch.equal(model.train()(images), model.eval()(images))

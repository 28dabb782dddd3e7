import numpy as np
import pytest
import torch
from torch import nn

from transferkit.model.build import create
from transferkit.train import full_batch, optim
from transferkit.zoo.errors import UsageError
from transferkit.zoo.layers import Linear

STEPS = 20
LR, L2 = 0.02, 0.03


class LeastSquares:
    """The loss |A w - b| ** 2 / 2 with curvatures from 0.1 to 30, and its gradient, in NumPy."""

    def __init__(self, size=8):
        rng = np.random.default_rng(0)
        rotation = np.linalg.qr(rng.normal(size=(size, size)))[0]
        self.a = np.diag(np.sqrt(np.geomspace(0.1, 30, size))) @ rotation
        self.b = rng.normal(size=size)
        self.start = rng.normal(size=size)

    def gradient(self, w):
        return self.a.T @ (self.a @ w - self.b)


@pytest.fixture
def problem():
    return LeastSquares()


def descended(optimizer, weight, problem):
    """Where each of the steps of `optimizer` leads, by autograd."""
    a, b = torch.from_numpy(problem.a), torch.from_numpy(problem.b)

    def loss():
        optimizer.zero_grad()
        value = (a @ weight - b).square().sum() / 2
        value.backward()
        return value

    places = []
    for _ in range(STEPS):
        optimizer.step(loss)
        places.append(weight.detach().numpy().copy())
    return np.stack(places)


def sgd(problem):
    w = problem.start
    for _ in range(STEPS):
        w = w - LR * (problem.gradient(w) + 2 * L2 * w)
        yield w


def momentum(problem):
    w, velocity = problem.start, np.zeros_like(problem.start)
    for _ in range(STEPS):
        velocity = 0.9 * velocity - LR * (problem.gradient(w) + 2 * L2 * w)
        w = w + velocity
        yield w


def nesterov(problem):
    """As published: the gradient is taken where momentum leads. torch's weights are that place."""
    w, velocity = problem.start, np.zeros_like(problem.start)
    for _ in range(STEPS):
        ahead = w + 0.9 * velocity
        velocity = 0.9 * velocity - LR * (problem.gradient(ahead) + 2 * L2 * ahead)
        w = w + velocity
        yield w + 0.9 * velocity


def adam(problem, *, beta2=0.99, decoupled=False):
    w, mean, square = problem.start, 0.0, 0.0
    for t in range(1, STEPS + 1):
        gradient = problem.gradient(w) + (0 if decoupled else 2 * L2 * w)
        mean = 0.9 * mean + 0.1 * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        step = mean / (1 - 0.9**t) / (np.sqrt(square / (1 - beta2**t)) + 1e-8)
        w = w - LR * (step + (L2 * w if decoupled else 0))
        yield w


def adamw(problem):
    return adam(problem, beta2=0.999, decoupled=True)


@pytest.mark.parametrize("oracle", [sgd, momentum, nesterov, adam, adamw], ids=lambda oracle: oracle.__name__)
def test_a_first_order_optimiser_takes_the_steps_of_its_published_formula(problem, oracle):
    weight = nn.Parameter(torch.from_numpy(problem.start.copy()))
    optimizer = optim.make(oracle.__name__, [{"params": [weight], "lr": LR, "l2": L2}])
    expected = np.stack(list(oracle(problem)))
    assert np.abs(descended(optimizer, weight, problem) - expected).max() < 1e-6
    assert np.abs(expected[-1] - problem.start).max() > 0.1


def two_loop_direction(gradient, pairs):
    """-H g by Nocedal and Wright 2006, algorithm 7.4, with the H0 of their equation 7.20."""
    q, alphas = gradient, []
    for s, y in reversed(pairs):
        alphas.append(s @ q / (y @ s))
        q = q - alphas[-1] * y
    s, y = pairs[-1] if pairs else (np.ones(1), np.ones(1))
    r = q * (s @ y) / (y @ y)
    for (s, y), alpha in zip(pairs, reversed(alphas)):
        r = r + s * (alpha - y @ r / (y @ s))
    return -r


def test_lbfgs_takes_the_steps_of_the_two_loop_recursion(problem):
    lr, history = 0.3, 4
    w, gradient = problem.start, problem.gradient(problem.start)
    expected, pairs = [], []
    # without curvature to go by, torch makes the first step no longer than 1 (in the 1-norm), times the rate
    rate = lr * min(1, 1 / np.abs(gradient).sum())
    for _ in range(STEPS):
        expected.append(w + rate * two_loop_direction(gradient, pairs))
        pairs = [*pairs, (expected[-1] - w, problem.gradient(expected[-1]) - gradient)][-history:]
        w, gradient, rate = expected[-1], problem.gradient(expected[-1]), lr

    weight = nn.Parameter(torch.from_numpy(problem.start.copy()))
    optimizer = full_batch.make([weight], l2=0)
    optimizer.param_groups[0].update(
        lr=lr, line_search_fn=None, max_iter=1, history_size=history, tolerance_grad=0, tolerance_change=0
    )
    assert np.abs(descended(optimizer, weight, problem) - np.stack(expected)).max() < 1e-6
    assert np.abs(gradient).max() > 1e-3  # all steps count: it is not there yet


def test_lbfgs_reaches_the_closed_form_of_a_ridge_regression_in_one_call(problem):
    size = len(problem.start)
    a, b = torch.from_numpy(problem.a), torch.from_numpy(problem.b)
    weight = nn.Parameter(torch.from_numpy(problem.start.copy()))
    optimizer = full_batch.make([weight], l2=0)
    optimizer.param_groups[0].update(max_iter=300, max_eval=375, tolerance_grad=1e-4)

    def loss():
        optimizer.zero_grad()
        value = (a @ weight - b).square().sum() / 2 + L2 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    hessian = problem.a.T @ problem.a + 2 * L2 * np.eye(size)
    closed = np.linalg.solve(hessian, problem.a.T @ problem.b)
    # no entry of the gradient is above 1e-4 where it stops, and the distance is at most |gradient| / least curvature
    bound = np.sqrt(size) * 1e-4 / np.linalg.eigvalsh(hessian).min()
    assert np.linalg.norm(weight.detach().numpy() - closed) < bound < 0.01


def test_lbfgs_is_refused_for_mini_batches_with_the_reason_and_the_way_out():
    with pytest.raises(UsageError, match=r"curvature .* noise.*all examples at once"):
        optim.make("lbfgs", [])
    with pytest.raises(UsageError, match=r"'adagrad' is unknown; allowed: sgd, .*adamw"):
        optim.make("adagrad", [])


def test_an_affine_layer_has_the_gradients_of_the_lecture():
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(5, 4)), rng.normal(size=(4, 3)), rng.normal(size=3)  # the lecture's Y = X W + b
    upstream = rng.normal(size=(5, 3))  # dY
    layer = Linear(4, 3).double()
    layer.load_state_dict({"weight": torch.from_numpy(w.T), "bias": torch.from_numpy(b)})
    given = torch.from_numpy(x).requires_grad_()
    y = layer(given)
    y.backward(torch.from_numpy(upstream))
    for found, expected in (
        (y.detach(), x @ w + b),
        (given.grad, upstream @ w.T),
        (layer.weight.grad.T, x.T @ upstream),
        (layer.bias.grad, upstream.T @ np.ones(5)),
    ):
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_every_parameter_is_in_one_group_with_the_rate_of_its_stage_and_l2_for_weights_alone():
    model = create("cifar_resnet")
    groups = optim.parameter_groups(model, lr=0.1, layer_decay=0.5, l2=0.3, head_factor=4)
    group_of = {id(parameter): group for group in groups for parameter in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(group_of) == len(list(model.parameters()))
    for height, stage in enumerate(reversed(model.stages)):
        rate = 0.1 * (4 if height == 0 else 0.5 ** (height - 1))
        for _, parameter in model.stage_parameters()[stage]:
            group = group_of[id(parameter)]
            assert group["lr"] == group["base_lr"] == pytest.approx(rate)
            assert group["l2"] == (0.3 if parameter.ndim > 1 else 0)


def test_a_factor_scales_every_group_from_its_own_base_rate():
    layer = nn.Linear(2, 2)
    groups = optim.groups_of([layer.weight], lr=0.4, l2=0) + optim.groups_of([layer.bias], lr=0.1, l2=0)
    optimizer = optim.make("sgd", groups)
    for factor in (0.5, 0.25):
        optim.set_lr(optimizer, factor)
        assert [group["lr"] for group in optimizer.param_groups] == [0.4 * factor, 0.1 * factor]

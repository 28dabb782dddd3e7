import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from transferkit.train import lbfgs


def ridge(seed=0, rows=60, size=12):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, size)) * np.geomspace(1, 0.05, size), rng.normal(size=rows)


def test_the_minimum_is_the_closed_form_of_a_ridge_regression(monkeypatch):
    monkeypatch.setattr(lbfgs, "TOLERANCE", 1e-12)
    a, b = ridge()
    hessian = a.T @ a + np.eye(12)

    def objective(w):
        residual = torch.from_numpy(a) @ w[0] - torch.from_numpy(b)
        gradient = (torch.from_numpy(a).T @ residual + w[0])[None]
        return (residual.square().sum() + w.square().sum()).item() / 2, gradient

    found = lbfgs.minimise(objective, torch.zeros(1, 12, dtype=torch.float64))
    assert found[0].numpy() == pytest.approx(np.linalg.solve(hessian, a.T @ b), abs=1e-5)


def log_cosh(centre):
    """Convex, flat far out and steep nowhere: the first steps are too short by far."""

    def objective(x):
        return torch.log(torch.cosh((x - centre) / 50)).sum().item() + 1, torch.tanh((x - centre) / 50) / 50

    return objective


def test_it_finds_what_scipy_finds_in_no_more_than_twice_the_evaluations():
    centre = torch.linspace(-40, 40, 8, dtype=torch.float64)
    objective, points = log_cosh(centre), []

    def counted(x):
        points.append(x)
        return objective(x)

    found = lbfgs.minimise(counted, torch.zeros(8, dtype=torch.float64))
    scipys = minimize(
        lambda x: tuple(np.asarray(each) for each in objective(torch.from_numpy(x))), np.zeros(8), jac=True, tol=1e-5
    )
    assert objective(found)[0] == pytest.approx(scipys.fun, rel=1e-4)
    assert len(points) <= 2 * scipys.nfev


def test_a_step_is_lengthened_until_it_leaves_the_steep_part():
    def objective(x):
        return x.square().sum().item() / 200, x / 100

    point = torch.ones(1, dtype=torch.float64)
    value, gradient = objective(point)
    slope = -(gradient.item() ** 2)
    length, _, found = lbfgs._search(objective, point, -gradient, value=value, slope=slope)
    assert length > 1
    assert -(found @ gradient) >= lbfgs.CURVATURE * slope


def test_a_value_that_is_not_a_number_shortens_the_step():
    def objective(x):  # -log(x) + x, defined right of 0 alone; the first step from 0.1 would be to 9.1
        return (x - x.log()).sum().item() if (x > 0).all() and (x < 5).all() else float("nan"), 1 - 1 / x

    assert lbfgs.minimise(objective, torch.tensor([0.1])).item() == pytest.approx(1, abs=1e-2)


def test_the_search_ends_at_once_where_it_begins_at_the_minimum():
    calls = []

    def objective(x):
        calls.append(x)
        return 1 + x.square().sum().item(), 2 * x

    assert lbfgs.minimise(objective, torch.zeros(3)).tolist() == [0, 0, 0]
    assert len(calls) == 1


def test_of_a_large_problem_fewer_steps_are_remembered():
    small, large = torch.empty(10, 1281), torch.empty(5000, 2049, device="meta")
    assert (lbfgs._history(small), lbfgs._history(large)) == (10, 3)

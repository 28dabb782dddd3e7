"""Options of unknown origin, in run.json, YAML and Python: what is wrong is said in one line, with exit code 2 to 5."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transferkit import config
from transferkit.config import FinetuneConfig
from transferkit.pretraining.recipe import Recipe, read_recipe, recipe_of
from transferkit.zoo.errors import TransferkitError

QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
FIELDS = sorted(FinetuneConfig.__dataclass_fields__)
RECIPE = sorted(Recipe.__dataclass_fields__)
WORDS = ["auto", "probe", "none", "backbone", "bf16", "sgd", "cosine", "no", "1e-3", "", "\x1b[2J", "~", "\udcf2"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.integers(0, 100)
    | st.floats()
    | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.sampled_from(WORDS), inner, max_size=2)
    ),
    max_leaves=4,
)
OPTIONS = st.dictionaries(st.sampled_from([*FIELDS, "nonsense"]), VALUES, max_size=4)


def is_said(work, *arguments: Any, **named: Any) -> bool:
    """Whether a call is refused as a user's fault is; anything but one line with a code of 2 to 5 is raised."""
    try:
        work(*arguments, **named)
    except TransferkitError as error:
        if not 2 <= error.exit_code <= 5 or "\n" in str(error):
            raise
        return True
    return False


def resolved(*arguments: Any, **named: Any) -> None:
    made = config.make(*arguments, **named)
    made.resolved(images=100, are_few=True)
    json.dumps(made.__dict__, allow_nan=False, default=str)


def campaign(folder: Path, *, examples: int) -> int:
    """Give options in every way; how often they were refused."""
    refused = []

    @settings(max_examples=examples, deadline=None, suppress_health_check=QUIET, database=None)
    @given(OPTIONS, st.sampled_from(["config", "given", None]), VALUES)
    def check(options, block, other):
        run, text = folder / "run.json", folder / "options.yaml"
        run.write_text(json.dumps({"config": other, block: options} if block else options))
        text.write_text(yaml.safe_dump(options, allow_unicode=True))
        for file in (run, text):
            refused.append(is_said(resolved, "photos", {"strategy": "lp-ft"}, file=file))
            refused.append(is_said(resolved, None, {}, file=file))
        refused.append(is_said(resolved, "photos", options))

    check()
    return sum(refused)


def recipes(folder: Path, *, examples: int) -> int:
    """Put values at random into a recipe; how often it was refused."""
    refused = []
    plain = json.loads(recipe_of("cifar_resnet").read_text())

    @settings(max_examples=examples, deadline=None, suppress_health_check=QUIET, database=None)
    @given(st.dictionaries(st.sampled_from([*RECIPE, "nonsense"]), VALUES, max_size=3) | VALUES)
    def check(changes):
        path = folder / "x.recipe.json"
        path.write_text(json.dumps(plain | changes if isinstance(changes, dict) else changes))
        refused.append(is_said(read_recipe, path))

    check()
    return sum(refused)


def test_options_at_random_are_no_crash(tmp_path):
    assert campaign(tmp_path, examples=60) > 20


def test_recipes_at_random_are_no_crash(tmp_path):
    assert recipes(tmp_path, examples=60) > 20


@pytest.mark.faults
def test_two_thousand_wrong_options_are_no_crash(tmp_path, figure):
    refused = campaign(tmp_path, examples=2000)
    assert refused > 5000
    assert recipes(tmp_path, examples=500) > 150
    figure(f"wrong values in run.json, YAML and Python: {refused:,} refused, none of 10,000 called a bug")


def test_yaml_at_random_is_no_crash(tmp_path):
    refused = []

    @settings(max_examples=100, deadline=None, suppress_health_check=QUIET, database=None)
    @given(st.text(alphabet="!&*{}[]:,-?|>'\"#%@` \n\tab0.e~\x85", max_size=40))
    def check(text):
        (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
        refused.append(is_said(resolved, "photos", {}, file=tmp_path / "x.yaml"))

    check()
    assert sum(refused) > 50

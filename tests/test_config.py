import json

import numpy as np
import pytest

from transferkit import augment_file, config
from transferkit.options import DECLARED
from transferkit.zoo import schema
from transferkit.zoo.errors import ModelFileError, UsageError


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strategy": "magic"}, "--strategy 'magic' is unknown; allowed: auto, probe"),
        ({"epochs": 0}, "--epochs 0 is out of range"),
        ({"batch_size": 1}, "--batch-size 1 is out of range"),
        ({"val_fraction": 1.0}, "--val-fraction"),
        ({"lr": float("nan")}, "--lr nan"),
        ({"epoch": 3}, "unknown option 'epoch'; did you mean 'epochs'?"),
        ({"epochs": "many"}, "--epochs 'many' is of the wrong kind; allowed: a whole number or nothing"),
        ({"views": True}, "--views True is of the wrong kind; allowed: a whole number"),
        ({"patience": 1.5}, "--patience 1.5 is of the wrong kind; allowed: a whole number"),
        ({"compile": "no"}, "--compile 'no' is of the wrong kind; allowed: true or false"),
        ({"offline": 1}, "--offline 1 is of the wrong kind"),
        ({"freeze": 5}, "--freeze 5 is of the wrong kind; allowed: text or nothing"),
        ({"backbone": None}, "--backbone None is of the wrong kind; allowed: text"),
        ({"seed": None}, "--seed None is of the wrong kind"),
        ({"dropout": float("nan")}, "--dropout nan"),
        ({"augment": ["none"]}, "--augment ['none'] is of the wrong kind"),
        ({"strategy": {}}, "--strategy {} is of the wrong kind"),
        ({"seed": 10**400}, "--seed 1000"),
        ({"seed": 2**63}, "--seed 9223372036854775808 is of the wrong kind"),
        ({"seed": -1}, "--seed -1 is out of range; allowed: 0 to 9223372036854775807"),
        ({"processes": 2}, "transferkit finetune ... --processes 2, or torchrun"),
        ({"strategy": "probe", "freeze": "layer2"}, "drop --freeze"),
        ({"optimizer": "lbfgs", "batch_size": 16}, "takes no --batch-size; drop one"),
        ({"optimizer": "lbfgs", "strategy": "finetune", "lr": 0.1}, "takes no --lr; drop one"),
        ({"optimizer": "lbfgs", "strategy": "lp-ft", "layer_decay": 0.5}, "takes no --layer-decay; drop one"),
        ({"optimizer": "lbfgs", "schedule": "constant"}, "takes no --schedule; drop one"),
        ({"optimizer": "lbfgs", "decay": 0.1}, "takes no --decay; drop one"),
        ({"optimizer": "lbfgs", "step_epochs": 2}, "takes no --step-epochs; drop one"),
        ({"optimizer": "lbfgs", "compounding": True}, "takes no --compounding; drop one"),
        ({"optimizer": "lbfgs", "snapshots": 3}, "takes no --snapshots; drop one"),
        ({"optimizer": "lbfgs", "dropout": 0.5}, "takes no --dropout; drop one"),
        ({"optimizer": "lbfgs", "dropconnect": 0.5}, "takes no --dropconnect; drop one"),
        ({"optimizer": "lbfgs", "compile": True}, "takes no --compile; drop one"),
        ({"optimizer": "lbfgs", "balance": "sampler"}, "use --balance weights"),
        ({"optimizer": "lbfgs", "views": 0}, "allowed: --views 1 or more"),
        ({"optimizer": "lbfgs", "views": 2, "augment": "none"}, "drop --views 2"),
        ({"strategy": "probe", "views": 0}, "allowed: --views 1 or more"),
        ({"optimizer": "lbfgs", "precision": "bf16"}, "use --precision fp32"),
        ({"optimizer": "lbfgs", "precision": "fp32/bf16"}, "use --precision fp32"),
        ({"optimizer": "lbfgs", "strategy": "probe", "dropout": 0.5}, "takes no --dropout"),
        ({"optimizer": "lbfgs", "strategy": "probe", "batch_size": 16}, "takes no --batch-size"),
        ({"optimizer": "lbfgs", "freeze": "backbone", "snapshots": 3}, "takes no --snapshots"),
        ({"optimizer": "rmsprop"}, "--optimizer 'rmsprop' is unknown; allowed: sgd, momentum"),
        ({"schedule": "linear"}, "--schedule 'linear' is unknown; allowed: constant, step"),
        ({"schedule": "snapshot"}, "add --snapshots"),
        ({"schedule": "step", "snapshots": 3}, "needs the cycles of --schedule snapshot"),
        ({"snapshots": 5, "epochs": 4}, "need as many epochs"),
        ({"decay": 0.1}, "--decay is a constant of"),
        ({"compounding": True, "decay": 0.1}, "--decay is a constant of"),
        ({"compounding": True, "schedule": "step", "decay": 0.1}, "--compounding is for --schedule exponential and"),
        ({"compounding": True, "schedule": "inverse"}, "--compounding is for --schedule exponential and inverse"),
        ({"step_epochs": 3, "schedule": "exponential"}, "--step-epochs is a constant of --schedule step"),
        ({"dropout": 0.5, "dropconnect": 0.5}, "not both"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(options, said):
    with pytest.raises(UsageError) as caught:
        config.make("photos", options)
    assert said in str(caught.value)


def test_explicit_options_win_over_the_file_and_the_file_over_defaults(tmp_path):
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"config": {"data": "photos", "seed": 3, "epochs": 7}}))
    made = config.make(None, {"seed": 4}, file=file)
    assert (made.data, made.seed, made.epochs, made.strategy) == ("photos", 4, 7, "auto")


def test_other_augmentation_than_in_a_run_takes_the_views_that_suit_it(tmp_path):
    file = tmp_path / "run.json"
    probe = {"data": "photos", "strategy": "probe"}
    file.write_text(json.dumps({"config": probe | {"views": 2}, "given": probe | {"views": None}}))
    assert config.make(None, {"augment": "none"}, file=file).views is None


def test_a_yaml_file_and_python_options_make_the_same_config(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("strategy: lp-ft\nepochs: 5\n")
    assert config.make("photos", {}, file=file) == config.make("photos", {"strategy": "lp-ft", "epochs": 5})


@pytest.mark.parametrize(
    "text",
    [
        "- a\n- b\n",
        "a: [",
        "!!python/object:os.system {}",
        "a: " + "[" * 5000,
        '!!int ""',
        "!!bool x",
        "!!timestamp x",
        "5: 6",
        "config: 5",
        "given: [1]\nconfig: {epochs: 5}\nx: 1",
        "epochs: .nan",
        "lr: .inf",
        "compile: 'no'",
    ],
)
def test_a_file_that_holds_no_options_is_refused(tmp_path, text):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(UsageError):
        config.make("photos", {"strategy": "lp-ft"}, file=file)


def test_a_rate_may_be_written_as_people_write_it(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("lr: 1e-3\nval_fraction: 0.5\nl2: 1\n")
    made = config.make("photos", {"epochs": np.int64(3)}, file=file)
    assert (made.lr, made.val_fraction, made.l2, made.epochs) == (1e-3, 0.5, 1, 3)


@pytest.mark.parametrize("values", [{"epochs": "many"}, {"config": {"seed": "x"}}, {"given": {"views": True}}])
def test_json_is_checked_as_yaml_is(tmp_path, values):
    file = tmp_path / "run.json"
    file.write_text(json.dumps(values))
    with pytest.raises(UsageError, match="is of the wrong kind"):
        config.make("photos", {"strategy": "finetune"}, file=file)


def test_the_largest_image_is_as_large_for_the_option_a_saved_model_and_an_augmentation(tmp_path):
    most, file = DECLARED["image_size"].high, tmp_path / "resize.json"

    def take(size):
        config.FinetuneConfig(data="photos", image_size=size)

    def open_model(size):
        schema.converted({"size_px": [size, size]}, schema.OwnPreprocessing)

    def read_augmentation(size):
        file.write_text(json.dumps({"transform": {"__class_fullname__": "Resize", "height": size}}))
        augment_file.read(file)

    for accept in (take, open_model, read_augmentation):
        accept(most)
        with pytest.raises((UsageError, ModelFileError)):
            accept(most + 1)


def test_without_data_the_message_says_how_to_name_it():
    with pytest.raises(UsageError, match="transferkit finetune DATA"):
        config.make(None, {})


def test_more_images_mean_fewer_epochs():
    epochs = [
        config.FinetuneConfig(data="x", strategy="lp-ft").resolved(images=n, are_few=True).epochs
        for n in (10, 240, 600, 5000)
    ]
    assert epochs == [20, 12, 5, 4]


@pytest.mark.parametrize(
    ("options", "optimizer"),
    [
        ({"strategy": "probe"}, "lbfgs"),
        ({"freeze": "backbone"}, "lbfgs"),
        ({"strategy": "probe", "optimizer": "sgd"}, "sgd"),
        ({"strategy": "probe", "dropout": 0.5}, "adam"),
        ({"strategy": "probe", "dropconnect": 0.5}, "adam"),
        ({"freeze": "backbone", "snapshots": 5}, "adam"),
        ({"strategy": "probe", "schedule": "step"}, "adam"),
        ({}, "adamw"),
        ({"dropout": 0.5, "freeze": "layer2"}, "adamw"),
    ],
)
def test_a_head_alone_is_solved_for_unless_something_needs_mini_batches(options, optimizer):
    made = config.make("photos", options)
    assert made.resolved(images=100, are_few=True).optimizer == optimizer
    assert made.chosen_strategy.fits_on_batches == (optimizer != "lbfgs")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strategy": "probe", "freeze": None},
        {"strategy": "probe", "freeze": None, "snapshots": 5},
        {"schedule": "step", "decay": 0.2},
    ],
)
def test_what_a_run_records_is_accepted_again_and_means_the_same(options, tmp_path):
    resolved = config.make("photos", {"freeze": "layer2"} | options).resolved(images=100, are_few=True)
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"config": config.dataclasses.asdict(resolved)}))
    assert config.make(None, {}, file=file).resolved(images=100, are_few=True) == resolved


def test_adam_has_the_lectures_learning_rate_by_default():
    assert config.FinetuneConfig(data="x", optimizer="adam").resolved(images=100, are_few=True).lr == 1e-3


@pytest.mark.parametrize("odd", [None, True, 5, "text", [[]], [1]])
@pytest.mark.parametrize("name", ["config", "given"])
def test_a_run_json_whose_options_are_something_else_is_refused(tmp_path, name, odd):
    record = {"config": {"data": "photos"}, "given": {"data": "photos"}} | {name: odd}
    (tmp_path / "run.json").write_text(json.dumps(record))
    options = {"strategy": "probe"} if name == "given" else {}
    if name == "given" and odd is None:
        assert config.make(None, options, file=tmp_path / "run.json").data == "photos"
        return
    with pytest.raises(UsageError, match=f"{name!r} holds no options"):
        config.make(None, options, file=tmp_path / "run.json")


def test_a_text_that_looks_like_a_number_stays_one_in_quotes_and_in_json(tmp_path):
    (tmp_path / "c.yaml").write_text('data: "1e5"\nlr: 1e-3\n')
    made = config.make(None, {}, file=tmp_path / "c.yaml")
    assert (made.data, made.lr) == ("1e5", 1e-3)
    (tmp_path / "c.json").write_text('{"data": "1e5", "epochs": 3}')
    assert config.make(None, {}, file=tmp_path / "c.json").data == "1e5"


def test_numbers_of_numpy_are_numbers():
    made = config.make("photos", {"epochs": np.int64(3), "lr": np.float32(0.5)})
    assert (type(made.epochs), type(made.lr)) == (int, float)
    with pytest.raises(UsageError, match="--epochs"):
        config.make("photos", {"epochs": np.array([1, 2])})

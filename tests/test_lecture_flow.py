"""What the lecture adds to the main job: heads on mini-batches, snapshot ensembles, the search for a learning rate."""

import csv
import json
import math

import numpy as np
import pytest

import transferkit as tk
from tests.conftest import write_digits
from transferkit import flow
from transferkit.cli.main import run as cli
from transferkit.zoo.errors import UsageError

FAST = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "augment": "none", "batch_size": 8}
FAST |= {"precision": "fp32"}  # else what the machine does beside the tests decides


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lecture") / "digits"
    write_digits(folder / "train", classes=(0, 1, 4), per_class=16)
    write_digits(folder / "test", classes=(0, 1, 4), per_class=10)
    return folder


def lines_of(run):
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "options",
    [
        {"dropconnect": 0.5},
        pytest.param(
            {"optimizer": "momentum", "schedule": "step", "step_epochs": 2, "decay": 0.5}, marks=pytest.mark.slow
        ),
        pytest.param({"dropout": 0.3}, marks=pytest.mark.slow),  # what each trains is shipped by the same code
        pytest.param({"optimizer": "sgd", "schedule": "inverse"}, marks=pytest.mark.slow),
    ],
    ids=lambda options: "-".join(options),
)
def test_a_head_on_mini_batches_is_shipped_as_a_plain_linear_head_that_scores_the_same(options, data, tmp_path):
    run = tk.finetune(data, out=str(tmp_path / "r"), strategy="probe", epochs=6, **FAST, **options)
    assert {line["phase"] for line in lines_of(run)} == {"probe", "head"}  # the probe finds the L2
    scores = run.classifier.evaluate(data)
    assert scores["confusion"] == run.metrics["test"]["confusion"]
    assert scores["loss"] == pytest.approx(run.metrics["test"]["loss"], abs=1e-4)
    import timm

    timm.create_model(f"local-dir:{run.folder / 'model'}", pretrained=True)


@pytest.mark.parametrize(
    ("schedule", "fall"),
    [
        ("exponential", lambda k, i: math.exp(-k * i)),  # the formulas of all: tests/train/test_schedule.py
        pytest.param("inverse", lambda k, i: 1 / (1 + k * i), marks=pytest.mark.slow),
    ],
)
def test_the_rate_of_a_compounding_run_is_that_of_the_epoch_before_decayed_once_more(schedule, fall, data, tmp_path):
    options = {"optimizer": "sgd", "l2": 1e-3, "lr": 0.1, "schedule": schedule, "decay": 0.2, "compounding": True}
    run = tk.finetune(data, out=str(tmp_path / "r"), strategy="probe", epochs=6, **FAST, **options)
    rate = 0.1
    for number, line in enumerate(lines_of(run)):
        assert line["lr"] == pytest.approx(rate)
        rate *= fall(0.2, number)


@pytest.mark.parametrize("strategy", ["finetune", pytest.param("probe", marks=pytest.mark.slow)])
def test_a_snapshot_run_says_what_its_members_reach_and_ships_what_it_says_it_kept(strategy, data, tmp_path):
    options = FAST | {"strategy": strategy, "epochs": 4, "snapshots": 2, "lr": 0.01, "l2": 1e-4}
    run = tk.finetune(data, out=str(tmp_path / "r"), **options)
    block = run.metrics["snapshots"]
    assert block["members"] == 2
    assert [line["epoch"] for line in lines_of(run) if "snapshot" in line] == [1, 3]
    assert (run.folder / "model" / "members").is_dir() == (block["chosen"] == "ensemble")
    assert run.metrics["val"]["accuracy"] == block[block["chosen"]]
    assert run.classifier.evaluate(data)["confusion"] == run.metrics["test"]["confusion"]


@pytest.mark.slow  # the mean of members: tests/ship/test_ensemble.py; that they are shipped: the snapshot run above
def test_members_of_a_head_ensemble_are_models_of_their_own_whose_mean_is_the_prediction(tmp_path):
    data = tmp_path / "digits"  # five that look alike, and a rate so high that each member is overfitted in its own way
    write_digits(data / "train", classes=(2, 3, 5, 8, 9), per_class=40)
    write_digits(data / "test", classes=(2, 3, 5, 8, 9), per_class=2)
    options = FAST | {"strategy": "probe", "epochs": 8, "snapshots": 4, "lr": 1.0, "l2": 1e-4, "seed": 2}
    run = tk.finetune(data, out=str(tmp_path / "r"), **options)
    assert run.metrics["snapshots"]["chosen"] == "ensemble"
    members = [tk.load(run.folder / "model" / "members" / str(number)) for number in range(4)]
    photos = sorted((data / "test").rglob("*.png"))
    with open(run.folder / "predictions.csv", newline="") as file:
        said = {row["path"]: row for row in csv.DictReader(file)}
    for photo in photos:
        shares = np.mean([[dict(m.predict(photo, top=5)[0].top)[name] for name in m.classes] for m in members], axis=0)
        row = said[str(photo)]
        assert members[0].classes[int(shares.argmax())] == row["predicted"]
        # heads so overfitted magnify the last bits of features, which depend on how many images are computed at once
        assert shares.max() == pytest.approx(float(row["probability"]), abs=1e-4)


def test_the_same_options_give_the_same_ensemble_again(data, tmp_path):
    options = FAST | {"strategy": "probe", "epochs": 2, "snapshots": 2, "dropconnect": 0.5, "l2": 1e-3}
    runs = [tk.finetune(data, out=str(tmp_path / name), **options) for name in "ab"]
    assert runs[0].metrics["val"] == runs[1].metrics["val"]
    assert runs[0].metrics["test"] == runs[1].metrics["test"]


@pytest.mark.parametrize(
    ("through", "default", "chosen"),
    [
        ("head", 1e-3, {"strategy": "probe", "optimizer": "adam"}),
        ("network", 3e-4, {"strategy": "finetune", "optimizer": "adamw"}),
    ],
)
@pytest.mark.slow  # which rate is suggested: tests/train/test_lr_find.py
def test_the_rate_suggested_trains_better_than_the_lowest_of_the_nine_around_the_default(
    through, default, chosen, data, tmp_path
):
    found = flow.try_rates(data, out=tmp_path / "lr.png", through=through, steps=12, **FAST)
    rates = [trial.lr for trial in found.trials]
    assert (len(rates), rates[0], rates[-1]) == (9, pytest.approx(default / 100), pytest.approx(default * 100))
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")
    ends = []
    for number, lr in enumerate((found.lr, rates[0])):
        run = tk.finetune(data, out=str(tmp_path / str(number)), epochs=3, lr=lr, l2=0.0, **chosen, **FAST)
        ends.append(lines_of(run)[-1]["train"]["loss"])
    assert ends[0] < 0.8 * ends[1]


@pytest.mark.slow
def test_trials_start_from_the_same_network(data):
    found = flow.try_rates(data, through="network", steps=8, **FAST)
    assert len({trial.losses[0] for trial in found.trials}) == 1


def test_there_is_no_learning_rate_to_look_for_with_lbfgs(data):
    with pytest.raises(UsageError, match="has no learning rate"):
        flow.try_rates(data, optimizer="lbfgs", **FAST)
    with pytest.raises(UsageError, match="drop strategy"):
        flow.try_rates(data, strategy="lp-ft", **FAST)


def test_the_command_lr_prints_a_word_for_each_rate_and_the_one_to_take(data, tmp_path, capsys):
    fast = ["--backbone", "cifar_resnet", "--steps", "8", "-o", str(tmp_path / "lr.png")]
    assert cli(["lr", str(data), *fast, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["tried"]) == 9
    assert found["picture"] == str(tmp_path / "lr.png")
    assert cli(["lr", str(data), *fast]) == 7  # before anything is tried
    assert "lr.png is there already" in capsys.readouterr().err
    assert cli(["lr", str(data), *fast, "--overwrite"]) == 0
    out = capsys.readouterr().out
    assert f"--lr {found['lr']:.2g}" in out
    assert "is too low" in out or "none lower was tried" in out
    words = {each["lr"]: each["word"] for each in found["tried"]}
    assert all(word == "good" for lr, word in words.items() if found["low"] <= lr <= found["high"])
    assert all(words[found[side]] != "good" for side in ("below", "above") if found[side] is not None)


def test_a_given_l2_is_used_without_a_search(data, tmp_path):
    options = FAST | {"strategy": "probe", "epochs": 2, "dropout": 0.2, "l2": 0.01}
    run = tk.finetune(data, out=str(tmp_path / "r"), **options)
    assert {line["phase"] for line in lines_of(run)} == {"head"}  # of an exact solution: tests/train/test_head.py


def test_an_option_that_decides_others_given_with_a_run_json_starts_from_what_was_given(data, tmp_path):
    first = tk.finetune(data, out=str(tmp_path / "a"), strategy="finetune", epochs=1, l2=0.01, **FAST)
    again = tk.finetune(config_file=first.folder / "run.json", out=str(tmp_path / "b"), strategy="probe")
    assert {line["phase"] for line in lines_of(again)} == {"probe"}  # not mini-batches with the adamw of the first


def test_a_resumed_run_takes_no_other_options(tmp_path):
    with pytest.raises(UsageError, match="drop --optimizer"):
        tk.finetune(resume=True, out=str(tmp_path), optimizer="sgd")


def test_options_that_an_exact_solution_does_not_use_are_named(data, capsys):
    assert (
        cli(["finetune", str(data), "--backbone", "cifar_mlp", "--freeze", "backbone", "--lr", "1", "--dry-run"]) == 0
    )
    out, err = capsys.readouterr()
    assert "trains 303 of" in err  # 100 x 3 weights and 3 biases
    assert "does not use --lr" in err
    assert "the head is solved for" in out


def test_few_images_or_many_the_snapshots_shipped_are_those_that_were_judged(data, tmp_path, monkeypatch):

    monkeypatch.setattr("transferkit.train.problem.REFIT_IMAGES", 0)  # as for a folder of thousands
    options = FAST | {"strategy": "probe", "epochs": 4, "snapshots": 2, "lr": 0.5, "l2": 1e-4}
    run = tk.finetune(data, out=str(tmp_path / "r"), **options)
    scores = tk.load(run.folder).evaluate(run.folder / "manifest.csv", part="val")
    assert scores["accuracy"] == run.metrics["val"]["accuracy"]


@pytest.mark.parametrize(
    "backbone", ["torchvision:squeezenet1_1", pytest.param("timm:levit_128s", marks=pytest.mark.slow)]
)
def test_dropconnect_on_features_fits_heads_of_every_form(backbone, tmp_path):
    data = write_digits(tmp_path / "digits" / "train", classes=(0, 1), per_class=6).parent
    write_digits(data / "test", classes=(0, 1), per_class=3)
    options = FAST | {"backbone": backbone, "image_size": 224 if "levit" in backbone else 64}
    run = tk.finetune(data, out=str(tmp_path / "r"), strategy="probe", dropconnect=0.5, epochs=2, l2=1e-3, **options)
    assert run.classifier.evaluate(data)["confusion"] == run.metrics["test"]["confusion"]


@pytest.mark.parametrize("steps", [7, 10_001, 1_000_000_000])
def test_a_search_for_a_rate_takes_a_sane_number_of_steps(steps, data):
    with pytest.raises(UsageError, match="allowed: 8 to 10,000"):
        flow.try_rates(data, steps=steps)

"""What a run is going to take, and a plan of it that is done in time."""

import json
import math
import re
import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.conftest import write_digits
from transferkit import budget, durations, first_batches, fitting, flow, forecast, messages, preparation
from transferkit.audit import near_copies
from transferkit.cli.main import run as cli
from transferkit.config import FinetuneConfig
from transferkit.data import known
from transferkit.forecast import Forecast
from transferkit.model import boundary
from transferkit.prepare import prepare
from transferkit.progress import Progress
from transferkit.ship import runs
from transferkit.train import state, wise_ft
from transferkit.train.deadline import Deadline
from transferkit.train.pace import Pace
from transferkit.train.strategies import of
from transferkit.zoo.errors import DataError, UsageError

TINY = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "precision": "fp32", "batch_size": 8}
WITHOUT_BATCHES = {name: value for name, value in TINY.items() if name != "batch_size"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forecast") / "digits"
    write_digits(folder / "train", classes=(3, 8), per_class=16)
    write_digits(folder / "test", classes=(3, 8), per_class=4)
    return folder


class Said(Progress):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.mark.parametrize("text", ["", "10", "m", "10x", "10m x", "-5m", "0s", "1.5.5h", "10 m"])
def test_what_is_no_span_of_time_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match=r"no span of time.*90s, 10m"):
        durations.seconds(text)


def test_a_run_that_fits_is_the_run_without_a_budget_which_alone_is_told_of_one(data, tmp_path, monkeypatch):
    monkeypatch.setattr(messages, "LONG_SECONDS", 0)
    options, told = {**TINY, "strategy": "finetune", "epochs": 2}, (Said(), Said())
    runs = [
        flow.finetune(data, out=str(tmp_path / name), progress=progress, **options, **more)
        for progress, (name, more) in zip(told, (("a", {}), ("b", {"budget": "10h"})))
    ]
    a, b = ((run.folder / "model" / "model.safetensors").read_bytes() for run in runs)
    assert a == b
    assert [any("planned to end" in line for line in each.lines) for each in told] == [True, False]


@pytest.mark.parametrize("options", [{"strategy": "auto"}, {"strategy": "probe", "dropout": 0.2}, {"freeze": "layer2"}])
def test_measuring_leaves_the_network_as_it_was(data, tmp_path, options):
    prepared = prepare(data, cache_dir=str(tmp_path), **TINY, **options)
    before = state.snapshot(prepared.model)
    found = forecast.measure(prepared, started=time.monotonic())
    after = prepared.model.state_dict()
    assert all(bool((before[name] == after[name].cpu()).all()) for name in before)
    assert found.pace.new > 0
    assert found.images == {"train": 26, "val": 6, "test": 8}
    assert found.memory > 100e6
    assert found.cache == 40 * 4 * prepared.model.num_features + 32 * 4 * prepared.model.num_features


def test_images_are_divided_in_a_forecast_as_the_run_divides_them(data, tmp_path):
    prepared = prepare(data, cache_dir=str(tmp_path), backbone="cifar_resnet", strategy="auto", precision="fp32")
    foretold = forecast.measure(prepared, started=time.monotonic()).images
    assert foretold == {"train": 22, "val": 10, "test": 8}  # a third of 16 in each of two classes, rounded
    listing = preparation.read_images(prepared, Progress())[0].listing
    assert {part: int((listing.parts == part).sum()) for part in foretold} == foretold


def test_what_is_frozen_is_foretold_to_run_once_and_to_take_memory_where_it_is_kept(data, tmp_path, monkeypatch):
    monkeypatch.setattr(forecast.runtime, "peak_memory", lambda: 1_000_000)
    prepared = prepare(data, cache_dir=str(tmp_path), **TINY, strategy="auto", freeze="layer2", views=0)
    measured, measure = [], forecast.pace.measure
    monkeypatch.setattr(
        forecast.pace, "measure", lambda *given, views: measured.append(views) or measure(*given, views=views)
    )
    needed = prepared.reuse.boundary.bytes_of(40, fitted=32, views=8)  # eight only test
    assert needed > 0
    monkeypatch.setattr(boundary, "MEMORY_BYTES", needed)
    kept = forecast.measure(prepared, started=time.monotonic())
    monkeypatch.setattr(boundary, "MEMORY_BYTES", needed - 1)
    anew = forecast.measure(prepared, started=time.monotonic())
    assert [kept.views, anew.views] == measured == [8, 0]
    assert kept.memory - anew.memory == needed


def test_features_that_are_kept_take_no_time(data, tmp_path, monkeypatch):
    monkeypatch.setattr(known, "MARGIN_NS", 0)  # files that have just been written are known all the same
    options = {**TINY, "strategy": "probe", "l2": 0.01, "cache_dir": str(tmp_path / "cache")}
    new = forecast.measure(prepare(data, **options), started=time.monotonic())
    flow.finetune(data, out=str(tmp_path / "run"), **options)
    kept = forecast.measure(prepare(data, **options), started=time.monotonic())
    assert new.read > 0
    assert (kept.read, kept.cache) == (0, 0)


def test_looking_for_near_copies_is_foretold_for_all_images(data, tmp_path, monkeypatch):
    def find(taken, *, greys, **_):
        assert set(greys) == set(taken.listing.paths)  # which are decoded once for both, as in the run
        counts.append(len(taken.bytes))
        time.sleep(1)

    monkeypatch.setattr(near_copies, "find", find)
    monkeypatch.setattr(first_batches, "READ", 2)
    monkeypatch.setattr(forecast, "batch_of", lambda model: 5)
    counts = []
    prepared = prepare(data, cache_dir=str(tmp_path), **WITHOUT_BATCHES, strategy="probe")
    found = forecast.measure(prepared, started=time.monotonic())
    assert counts == [10]
    assert found.read > sum(found.images.values()) / 10 == 4  # a second for those ten
    monkeypatch.setattr(near_copies, "MOST", 20)  # photos, of which alone the run looks
    assert 2 < forecast.measure(prepared, started=time.monotonic()).read < 4


def test_images_that_cannot_be_read_are_none_to_measure(tmp_path):
    for name in "ab":
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "data" / name / f"{number}.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match="none of the images"):
        flow.forecast(tmp_path / "data", strategy="probe", **WITHOUT_BATCHES)


def test_views_that_repeat_are_computed_once():
    pace = Pace(new=1.0, repeated=0.1, judged=0.5)
    assert pace.training(10, epochs=6, views=0) == 60
    assert pace.training(10, epochs=6, views=4) == pytest.approx(42)
    assert pace.training(10, epochs=3, views=4) == 30
    assert pace.training(10, epochs=6, views=4, known=7) == pytest.approx(3 * 4 + 48 * 0.1)
    assert pace.training(10, epochs=6, views=0, known=7) == 60


def test_views_that_the_training_images_were_seen_in_are_not_computed_again():
    found = expected(FinetuneConfig(data="d"), pace=Pace(new=1.0, repeated=0.1, judged=0.5))
    found = replace(found, views=4)
    assert found.seconds()["training again"] == pytest.approx(20 * 4 + (320 * 10 - 20 * 4) * 0.1)


def expected(given, *, epochs=10, pace=None, strategy="auto"):
    """A forecast whose seconds are round: 10 until training, 84 an epoch, one an image that is trained on again."""
    prepared = SimpleNamespace(given=given, strategy=of(given), are_few=True)
    return Forecast(
        config=SimpleNamespace(epochs=epochs, patience=8, snapshots=given.snapshots),
        prepared=prepared,
        images={"train": 80, "val": 20, "test": 10},
        started=1.0,
        read=5.0,
        tried=1.0,
        solved=3.0,
        pace=pace,
        views=0,
        memory=0,
        disk=0,
        cache=0,
    )


PACE = Pace(new=1.0, repeated=1.0, judged=0.2)


def plan(strategy, left, *, pace=PACE, **options):
    said = Said()
    found = expected(FinetuneConfig(data="d", budget="9m", strategy=strategy, **options), pace=pace)
    return budget._plan(found.prepared, found, left, said), said.lines


def test_seconds_add_up():
    found = expected(FinetuneConfig(data="d"), pace=PACE)
    seconds = found.seconds(epochs=2)
    assert seconds["training"] == 2 * 80 + 2 * 20 * 0.2
    assert seconds["training again"] == 2 * (
        4 * 100 - 80
    )  # four fits, each to all but a quarter of the training images
    assert seconds["end"] == forecast.WRITING + (10 + 9 * 100) * 0.2
    assert found.total == sum(found.seconds().values())


def test_as_many_epochs_as_fit():
    (changed, end), lines = plan("auto", 10 + 184 + 3 * 404 + 1)
    assert changed == {"epochs": 3}
    assert end == 184
    assert lines == ["epochs: 3 of 10, to be done in 9m"]
    (changed, _), lines = plan("auto", 1e6)
    assert (changed, lines) == ({"epochs": 10}, [])


def test_where_no_epoch_fits_auto_is_the_probe_and_others_say_what_is_needed():
    (changed, _), (line,) = plan("auto", 250)
    assert changed == {"strategy": "probe", "freeze": None, "views": None, "compile": False}
    assert "the head alone is fitted: with an epoch of the network the run takes about 10 min" in line
    for strategy in ("lp-ft", "finetune"):
        with pytest.raises(UsageError, match=rf"--budget 9m is too little: --strategy {strategy} with 1 epoch.*allow"):
            plan(strategy, 60)
    with pytest.raises(UsageError, match=r"fitting a head.*takes about 12 s here; allow 14s"):
        plan("auto", 5)
    with pytest.raises(UsageError, match="with 2 epochs"):
        plan("lp-ft", 300, snapshots=2)
    with pytest.raises(UsageError, match=r"fitting a head.*takes about 12 s here; allow 14s"):
        plan("probe", 5, pace=None)


def test_the_best_epoch_is_expected_early_and_of_a_head_alone_last():
    lpft, tuned = (of(FinetuneConfig(data="d", strategy=name)) for name in ("lp-ft", "finetune"))
    head = of(FinetuneConfig(data="d", strategy="probe", optimizer="adam"))
    assert [lpft.expected_best(images, epochs=15) for images in (50, 200, 900, 5000)] == [15, 4, 1, 1]
    assert [tuned.expected_best(200, epochs=epochs) for epochs in (1, 4, 20)] == [1, 4, 19]
    assert head.expected_best(200, epochs=100) == 100
    for name in ("lp-ft", "finetune"):
        assert of(FinetuneConfig(data="d", strategy=name, optimizer="lbfgs")).expected_best(200, epochs=20) == 20


def test_training_is_expected_to_end_when_patience_does():
    seconds = expected(FinetuneConfig(data="d", strategy="lp-ft"), epochs=100, pace=PACE).seconds()
    assert seconds["training"] == (11 + 8) * 84
    assert seconds["training again"] == 11 * 100
    cycles = expected(FinetuneConfig(data="d", strategy="lp-ft", snapshots=2), epochs=100, pace=PACE).seconds()
    assert (cycles["training"], cycles["training again"]) == (100 * 84, 100 * 100)


def test_a_run_lies_between_its_first_epoch_being_the_best_and_its_last():
    found = expected(FinetuneConfig(data="d", strategy="lp-ft"), epochs=10, pace=PACE)
    rest = found.without_training + 10 * 0.2  # the test images are judged
    assert found.extremes == (pytest.approx(rest + 9 * 84 + 100), pytest.approx(rest + 10 * 84 + 10 * 100))
    cycles = expected(FinetuneConfig(data="d", strategy="lp-ft", snapshots=2), epochs=10, pace=PACE)
    assert cycles.extremes == (cycles.total, cycles.total)
    fixed = expected(FinetuneConfig(data="d"), epochs=10, pace=PACE)  # auto of few images makes all epochs of each fit
    assert fixed.extremes == (fixed.total, fixed.total)
    assert (fixed.seconds()["training"], fixed.seconds()["training again"]) == (10 * 84, 10 * 320)
    fixed.images.update(train=8000, val=2000)
    fixed.prepared.are_few = False
    assert fixed.extremes[0] < fixed.extremes[1]
    alone = expected(FinetuneConfig(data="d", strategy="probe"), epochs=None)
    assert alone.extremes == (alone.total, alone.total)


def test_what_auto_looks_at_is_what_it_is_expected_to():
    shares = len(wise_ft.SHARES)
    given = FinetuneConfig(data="d")
    auto = of(given)
    assert [auto.picks_epoch(given, are_few=few) for few in (True, False)] == [False, True]
    assert auto.after(given, 8000, 2000, are_few=False) == (0, (shares + 1) * 2000)
    assert auto.after(given, 80, 20, are_few=True) == (320, (shares + 3) * 100)
    assert auto.after(FinetuneConfig(data="d", snapshots=2), 80, 20, are_few=True) == (100, 0)


@pytest.mark.parametrize(
    ("strategy", "quick", "slow"),
    [
        ("probe", {"read": 5.0}, {"read": 500.0}),
        ("auto", {"pace": PACE}, {"pace": Pace(new=9.0, repeated=9.0, judged=1.0)}),  # not kept as a head alone
    ],
)
def test_a_moment_of_other_work_refuses_nothing(strategy, quick, slow, monkeypatch):
    given, looks = FinetuneConfig(data="d", budget="2m", strategy=strategy), []

    def disturbed(prepared, *, started, look=0):
        looks.append(look)
        return replace(expected(given), **(quick if look else slow))

    monkeypatch.setattr(forecast, "measure", disturbed)
    prepared = expected(given).prepared
    found = budget._measured(prepared, {"probe": 100, "auto": 700}[strategy], started=time.monotonic())
    assert ({name: getattr(found, name) for name in quick}, looks) == (quick, [0, 1])
    looks.clear()
    found = budget._measured(prepared, 10_000, started=time.monotonic())
    assert ({name: getattr(found, name) for name in slow}, looks) == (slow, [0])
    budget._measured(prepared, 50, started=time.monotonic() - 60)  # the time is over
    assert looks == [0, 0]


def test_a_second_look_is_at_other_images(data, tmp_path, monkeypatch):
    drawn, seen = first_batches.drawn, []

    def told(listing, *given, **named):
        few = drawn(listing, *given, **named)
        seen.append([few.relative(row) for row in range(len(few.labels))])
        raise DataError("that is enough")

    monkeypatch.setattr(first_batches, "drawn", told)
    monkeypatch.setattr(first_batches, "READ", 1)
    monkeypatch.setattr(forecast, "batch_of", lambda model: 8)
    prepared = prepare(data, cache_dir=str(tmp_path), **WITHOUT_BATCHES, strategy="probe")
    for look in (0, 0, 1):
        with pytest.raises(DataError):
            forecast.measure(prepared, started=time.monotonic(), look=look)
    first, again, second = seen
    assert len(first) == len(second) == 8
    assert first == again != second
    assert not any(name.startswith("test") for name in first + second)  # those decide nothing


def test_training_ends_when_the_time_is_over_and_says_so(data, tmp_path):
    prepared = prepare(data, cache_dir=str(tmp_path), out=str(tmp_path / "run"), **TINY, strategy="lp-ft", epochs=9)
    prepared = replace(prepared, deadline=Deadline(at=0.0))
    with runs.open_run(tmp_path / "run", overwrite=False, resume=False) as run:
        metrics = fitting.train(run, prepared, None, started=time.monotonic(), progress=Progress())
    assert [note for note in metrics["notes"] if "--budget" in note] == [
        "not fitted to train and validation together: --budget leaves no time for it"
    ]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["stopped"] for line in lines if line["phase"] == "finetune"] == ["--budget leaves no time for more"]


def test_snapshots_end_with_a_whole_cycle_when_the_time_is_over(data, tmp_path):
    options = {**TINY, "strategy": "finetune", "epochs": 6, "snapshots": 3}
    prepared = replace(
        prepare(data, cache_dir=str(tmp_path), out=str(tmp_path / "run"), **options), deadline=Deadline(at=0.0)
    )
    with runs.open_run(tmp_path / "run", overwrite=False, resume=False) as run:
        metrics = fitting.train(run, prepared, None, started=time.monotonic(), progress=Progress())
    assert metrics["snapshots"]["members"] == 1


def test_a_run_that_is_gone_on_with_keeps_its_plan(data, tmp_path):
    prepared = prepare(data, cache_dir=str(tmp_path), budget="1h", **TINY)
    old = {**asdict(prepared.given), "strategy": "probe", "epochs": None}
    kept = budget.kept(prepared, old, started=time.monotonic(), progress=Progress())
    assert kept.strategy.name == "probe"
    assert kept.asked == prepared.given
    assert not kept.deadline.allows(3601)
    assert math.isinf(prepared.deadline.at)


def test_a_dry_run_tells_time_memory_and_disk(data, capsys):
    command = [
        "finetune",
        str(data),
        *["--backbone", "timm:test_resnet", "--weights", "none", "--image-size", "32", "--quiet", "--dry-run"],
    ]
    assert cli(command) == 0
    out = capsys.readouterr().out
    span = r"[\d.]+ (s|min)"
    assert re.search(rf"^time +about {span}: .*training", out, re.M)
    assert re.search(r"^memory +about [\d.]+ [MG]B of the [\d.]+ GB that are free$", out, re.M)
    assert re.search(r"^disk +about \d+ MB for the run, \d+ MB more in the cache, of the [\d.]+ GB", out, re.M)
    assert cli([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == {"train": 26, "val": 6, "test": 8}
    assert found["seconds"]["training"] > 0
    total = sum(found["seconds"].values())  # each of them is rounded
    assert found["seconds_range"] == [pytest.approx(total, abs=0.05)] * 2  # auto of few images makes all its epochs
    assert np.isfinite(found["memory_bytes"])
    assert found["stages"][0]["stage"] == "conv1"
    assert cli([*command, "--strategy", "lp-ft"]) == 0
    between = rf"\({span} if the first epoch is the best one, {span} if the last\)"
    assert re.search(rf"^time +about {span} {between}: .*training", capsys.readouterr().out, re.M)

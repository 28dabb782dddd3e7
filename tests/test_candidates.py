"""Which backbones are ranked: what is here or comes from a hub, and what licences allow."""

import json

import pytest
import timm
from safetensors.torch import save

from tests.conftest import write_digits
from tests.faults.servers import serving
from tests.test_ranking import Told
from transferkit import candidates, flow, ranking, runtime
from transferkit.candidates import STRONG, Candidates, Choice, chosen, is_free
from transferkit.cli.main import run
from transferkit.config import FinetuneConfig
from transferkit.prepare import found
from transferkit.zoo import catalog, packages, published, sizes, tries
from transferkit.zoo.errors import NetworkError, UsageError
from transferkit.zoo.from_timm import by_name

TINY, RESTRICTED = "test_efficientnet.r160_in1k", "convnextv2_atto.fcmae"  # the second is CC-BY-NC
NOT_FREE = "licence cc-by-nc-4.0, not free for every commercial use"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("candidates") / "digits", classes=(0, 1), per_class=8)


@pytest.fixture(scope="module")
def weights():
    return save(timm.create_model(TINY, pretrained=False).state_dict())


@pytest.fixture
def hub(tmp_path, monkeypatch, install):
    """The folder of the hub's cache, and a hub that nobody answers for; of what is installed there is cifar_resnet."""
    for name in packages.NAMES:
        install(name, None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(tries, "PAUSES", (0.02,))
    monkeypatch.setattr(published, "_seen", {})
    return tmp_path / "hub"


def put(hub, repository, content, *, name="model.safetensors", digest=""):
    """A file in the cache of a hub; with a digest it is a link to a blob of that name, as the hub's client makes it."""
    place = hub / f"models--{repository.replace('/', '--')}"
    target = place / "snapshots" / ("a" * 40) / name
    target.parent.mkdir(parents=True)
    if digest:
        (place / "blobs").mkdir()
        (place / "blobs" / digest).write_bytes(content)
        target.symlink_to(f"../../blobs/{digest}")
    else:
        target.write_bytes(content)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("a" * 40)


def names(choice, *, device="cpu", told=None):
    return chosen(None, choice, FinetuneConfig(data="photos", device=device), told or Told()).names


def test_timm_networks_whose_weights_are_in_the_cache_of_the_hub_are_at_hand(hub):
    here = set(catalog.at_hand())
    assert "cifar_resnet" in here
    put(hub, f"timm/{TINY}", b"weights")
    put(hub, "timm/resnet10t.c3_in1k", b"{}", name="config.json")
    put(hub, "timm/no_such_network.v9", b"weights")
    put(hub, "google/vit-base-patch16-224", b"weights")
    assert set(catalog.at_hand()) - here == {TINY}
    assert set(names(Choice())) == {"cifar_resnet", TINY}  # cifar_mlp knows no photos


def test_what_is_cached_is_ranked_and_what_is_damaged_is_passed_over_with_a_line(hub, folder, weights, capsys):
    put(hub, f"timm/{TINY}", weights)
    put(hub, "timm/test_vit.r160_in1k", b"weights", digest="0" * 64)
    assert run(["rank", str(folder), "--json", "--offline", "--precision", "fp32"]) == 0
    out, err = capsys.readouterr()
    assert {each["backbone"] for each in json.loads(out)} >= {"cifar_resnet", TINY}
    (line,) = [line for line in err.splitlines() if "is not ranked" in line]
    assert line.startswith("test_vit.r160_in1k is not ranked: ")
    assert "is damaged" in line


def test_licences_are_told_before_anything_is_fetched_and_what_cannot_be_had_is_passed_over(
    hub, folder, weights, monkeypatch
):
    asked = []

    class Watching(Told):
        def say(self, line):
            super().say(line)
            asked.append(list(server.asked))

    with serving(weights) as (server, url):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setitem(STRONG, "cpu", (TINY, RESTRICTED))
        told = Watching()
        ranked = flow.rank(folder, choice=Choice(download=True), device="cpu", precision="fp32", progress=told)
    assert TINY in {each.backbone for each in ranked}
    assert asked[told.lines.index(f"{RESTRICTED}: {NOT_FREE}")] == []
    (line,) = [line for line in told.lines if "is not ranked" in line]
    assert line.startswith(f"{RESTRICTED} is not ranked: ")  # the server has the same file for both
    assert f"does not fit {RESTRICTED.partition('.')[0]}" in line


@pytest.mark.slow  # what cannot be had is passed over with a line: the test above
def test_without_a_hub_the_rest_is_ranked_and_each_that_is_missing_has_its_line(hub, folder, capsys):
    assert run(["rank", str(folder), "--download", "--commercial", "--device", "cpu", "--precision", "fp32"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1].startswith("cifar_resnet *")
    missing = [line.partition(" is not ranked: ")[0] for line in err.splitlines() if "no connection to" in line]
    assert missing == [name for name in STRONG["cpu"] if "dinov3" not in name]
    assert "vit_small_patch16_dinov3.lvd1689m is left out: licence dinov3-license" in err


def test_those_to_download_are_others_for_a_gpu(hub, monkeypatch):
    assert names(Choice(download=True)) == ("cifar_resnet", *STRONG["cpu"])
    monkeypatch.setattr(runtime, "pick_device", lambda name: "cuda:0")
    assert names(Choice(download=True)) == ("cifar_resnet", *STRONG["gpu"])


def test_a_network_that_this_version_of_timm_has_not_is_passed_over(hub, monkeypatch):
    monkeypatch.setitem(STRONG, "cpu", ("vit_of_the_future.v1", TINY))
    told = Told()
    assert names(Choice(download=True), told=told) == ("cifar_resnet", TINY)
    assert told.lines[0].startswith("vit_of_the_future.v1 is not ranked: no such run, folder or network")


@pytest.mark.parametrize("name", [*STRONG["cpu"], *STRONG["gpu"]])
def test_the_strong_networks_can_be_built_and_cut_and_their_licences_are_known(name):
    blueprint = by_name(name)
    network = sizes.hollow(blueprint, num_classes=3)
    assert len(network.stages) >= 6
    assert blueprint.hub == f"timm/{name}"
    assert is_free(network.card.license) == ("dinov3" not in name)


def test_what_is_not_free_is_left_out_of_best_and_of_a_commercial_ranking(hub, folder):
    put(hub, f"timm/{RESTRICTED}", b"weights")
    told = Told()
    assert names(Choice(), told=told) == ("cifar_resnet", RESTRICTED)
    assert told.lines == [f"{RESTRICTED}: {NOT_FREE}"]
    told = Told()
    assert ranking.best(*found(folder, progress=Told()), told) == "cifar_resnet"
    assert told.lines[0] == f"{RESTRICTED} is left out: {NOT_FREE}"
    assert not [line for line in told.lines if "is not ranked" in line]


def test_commercial_holds_for_named_networks_too(hub, folder):
    choice = Choice(commercial=True)
    (only,) = flow.rank(folder, [RESTRICTED, "cifar_resnet"], choice=choice, device="cpu", precision="fp32")
    assert only.backbone == "cifar_resnet"
    with pytest.raises(UsageError, match="no backbone is left whose licence is Apache, MIT or BSD"):
        flow.rank(folder, [RESTRICTED], choice=choice)
    with pytest.raises(UsageError, match="did you mean cifar_resnet"):
        flow.rank(folder, ["cifar_resnet", "cifar_resnett"], choice=choice)


@pytest.mark.parametrize("licence", ["Apache-2.0", "mit", "BSD-3-Clause", "Apache-2.0, MIT"])
def test_apache_mit_and_bsd_are_free(licence):
    assert is_free(licence)


@pytest.mark.parametrize("licence", ["unknown", "", "other", "cc-by-nc-4.0", "apple-ascl", "MIT, gemma", "apache"])
def test_any_other_licence_and_one_that_nobody_states_is_not(licence):
    assert not is_free(licence)


def test_to_download_and_to_be_offline_or_to_name_networks_is_refused_before_the_data_is_looked_at():
    download = Choice(download=True)
    with pytest.raises(UsageError, match="--download needs the network, which --offline forbids"):
        flow.rank("no such folder", choice=download, offline=True)
    with pytest.raises(UsageError, match="--download chooses networks itself"):
        flow.rank("no such folder", ["cifar_resnet"], choice=download)


def test_the_licence_of_a_repository_is_read_from_its_configuration_before_its_weights(hub, monkeypatch):
    config = {"architecture": "test_vit", "num_classes": 1000, "pretrained_cfg": {"license": "mit"}}
    with serving(json.dumps(config).encode()) as (server, url):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        with pytest.raises(NetworkError, match="is not cached"):
            catalog.describe("hf-hub:me/mine")
        assert catalog.describe("hf-hub:me/mine", offline=False).license == "mit"
        assert server.asked.count("GET") == 1


def test_a_named_network_that_cannot_be_had_is_an_error_and_so_is_a_ranking_of_none(hub, folder):
    with pytest.raises(NetworkError, match="no connection to"):
        flow.rank(folder, ["cifar_resnet", TINY], device="cpu", precision="fp32", most=20)
    with pytest.raises(NetworkError, match="no connection to"):
        ranking.rank(*found(folder, progress=Told()), Candidates(names=(TINY,)), Told())


def test_none_of_the_names_is_tried_twice(hub):
    given = candidates.chosen(["cifar_resnet", "cifar_resnet"], Choice(), FinetuneConfig(data="photos"), Told())
    assert given.names == ("cifar_resnet",)

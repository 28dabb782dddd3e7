"""`transferkit serve`: what it answers, what it refuses, and that nothing that is sent to it ends it."""

import base64
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from PIL import Image

import transferkit as tk
from benchmarks.harness import hostile
from benchmarks.harness.hostile import EDGE, form
from transferkit.cli.main import run as cli
from transferkit.zoo import children
from transferkit.zoo.errors import UsageError

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("python_multipart")

from transferkit.ship.serving import server
from transferkit.ship.serving.app import PAGE, app
from transferkit.ship.serving.limits import Limits
from transferkit.ship.serving.network import About, Wanted
from transferkit.ship.serving.process import Here, answered, predictions
from transferkit.ship.serving.worker import Worker

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(
    photo_bytes=50_000, photo_pixels=20_000, photos=3, body_bytes=1 << 20, requests=2, held_bytes=3 << 19,
    patience_seconds=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def run(digit_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "r"
    options = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "strategy": "probe", "l2": 0.01}
    return tk.finetune(digit_folder, out=str(out), precision="fp32", **options)


@pytest.fixture(scope="module")
def classifier(run):
    return run.classifier


@pytest.fixture(scope="module")
def photos(digit_folder):
    return sorted(digit_folder.rglob("*.png"))


def answering(classifier, **options):
    """What answers with the network in this process."""
    return lambda photos: predictions(classifier, photos, Wanted(model="", **options))


@contextmanager
def serving(worker, classifier, said=None):
    """The port of a server in this process."""
    made = app(
        About(classes=classifier.classes, names_one=True), worker, LIMITS, say=(said if said is not None else []).append
    )
    opened = server.listening("127.0.0.1", 0)
    running = server.configured(made)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [opened]})
    thread.start()
    try:
        yield opened.getsockname()[1]
    finally:
        running.should_exit = True
        thread.join(10)
        worker.stop(seconds=10)


@pytest.fixture(scope="module")
def port(classifier):
    with serving(Worker(answering(classifier, top=2, max_error=0.05, abstains=True)), classifier) as found:
        yield found


def ask(port, method="GET", path="/health", body=None, headers=None):
    """Status, headers and the JSON of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, dict(answer.getheaders()), json.loads(text) if text.startswith(b"{") else text.decode()
    finally:
        connection.close()


def send(port, files, kind=f"multipart/form-data; boundary={EDGE}"):
    return ask(port, "POST", "/predict", form(files), {"Content-Type": kind})


def send_json(port, value):
    return ask(port, "POST", "/predict", json.dumps(value), {"Content-Type": "application/json"})


def opened(port, head):
    """A connection over which these bytes went."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(head.encode())
    return connection


def is_idle(port):
    until = time.monotonic() + 10
    while (told := ask(port))[2]["at_work"] and time.monotonic() < until:
        time.sleep(0.02)
    return told[0] == 200 and told[2]["at_work"] == 0


def predicted(run, paths, capsys):
    """What `predict --format json` says."""
    capsys.readouterr()
    assert cli(["predict", str(run.folder), *map(str, paths), "--format", "json", "--top", "2"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def close(given, expected):
    """The same fields and words, numbers to the last digits that the size of a batch may change."""
    if isinstance(expected, float):
        return given == pytest.approx(expected, abs=1e-6)
    if isinstance(expected, (dict, list)):
        pairs = expected.items() if isinstance(expected, dict) else enumerate(expected)
        return len(given) == len(expected) and all(close(given[key], value) for key, value in pairs)
    return given == expected


def test_an_answer_is_that_of_predict_for_files_and_for_base64(port, run, photos, tmp_path, capsys):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    paths = [photos[0], broken, photos[30]]
    expected = predicted(run, paths, capsys)
    status, _, told = send(port, [(str(path), path.read_bytes()) for path in paths])
    assert status == 200
    assert close(told, {"predictions": expected})
    assert "is_sure" in expected[0]
    encoded = [base64.b64encode(path.read_bytes()).decode() for path in paths]
    encoded[2] = f"data:image/png;base64,{encoded[2]}"
    status, _, told = send_json(port, {"images": encoded})
    assert [each.pop("path") for each in told["predictions"]] == ["images[0]", "images[1]", "images[2]"]
    assert close(told["predictions"], [{key: each[key] for key in each if key != "path"} for each in expected])


def test_without_abstention_no_photo_is_doubted(classifier, photos):
    answer = answering(classifier, top=1, max_error=0, abstains=False)
    assert [each.doubt for each in answer([photos[0].read_bytes()])] == [""]
    assert [each.doubt for each in answering(classifier, top=1, max_error=0, abstains=True)([photos[0].read_bytes()])]


def test_a_photo_beyond_a_limit_is_an_entry_and_the_others_are_answered(port, photos):
    wide = io.BytesIO()
    Image.new("RGB", (300, 100)).save(wide, "PNG")
    files = [("large.png", b"x" * 50_001), ("wide.png", wide.getvalue()), ("good.png", photos[0].read_bytes())]
    status, _, told = send(port, files)
    assert status == 200
    large, many, good = told["predictions"]
    assert large["fault"].startswith("larger than")
    assert many["fault"].startswith("more pixels than the limit of 0.02 million")
    assert "label" in good


@pytest.mark.parametrize(
    ("kind", "body", "status", "words"),
    [
        ("image/png", b"x", 415, "multipart/form-data"),
        ("", b"x", 415, "multipart/form-data"),
        ("application/json", b"", 400, "images"),
        ("application/json", b'{"images": 3}', 400, "images"),
        ("application/json", b"[" * 500_000, 400, "images"),
        ("application/json", b'{"images": ["\xff\xfe"]}', 400, "images"),
        ("application/json", b'{"images": []}', 422, "no photo"),
        ("application/json", b'{"images": ["", "", "", ""]}', 413, "more than 3 photos"),
        ("multipart/form-data", b"x", 400, "damaged"),
        (f"multipart/form-data; boundary={EDGE}", b"", 400, "cut off"),
        (f"multipart/form-data; boundary={EDGE}", form([("a", b"x"), ("b", b"x")])[:-30], 400, "cut off"),
        (f"multipart/form-data; boundary={EDGE}", form([(str(n), b"") for n in range(4)]), 413, "more than 3 photos"),
        (f"multipart/form-data; boundary={'e' * 300}", b"x", 400, "damaged"),
    ],
)
def test_a_body_that_is_none_is_refused_in_one_line(port, kind, body, status, words):
    found, headers, told = ask(port, "POST", "/predict", body, {"Content-Type": kind})
    assert found == status, told
    assert words in told["error"]
    assert "\n" not in told["error"]
    assert headers["connection"] == "close"


def test_fields_beside_the_files_are_no_photos_and_have_a_limit(port, photos):
    field = f'--{EDGE}\r\nContent-Disposition: form-data; name="f"\r\n\r\nv\r\n'.encode()
    files, kind = form([("a.png", photos[0].read_bytes())]), f"multipart/form-data; boundary={EDGE}"
    for count, expected in ((3, 200), (33, 413)):
        status, _, told = ask(port, "POST", "/predict", field * count + files, {"Content-Type": kind})
        assert status == expected, told
    assert "more than 32 fields" in told["error"]


def test_a_body_that_is_too_large_is_refused_before_it_has_come(port):
    with opened(port, "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n") as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")
    with opened(port, "POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n") as connection:
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        for _ in range(17):  # one more than it may have; no end follows
            connection.sendall(chunk)
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")
    assert is_idle(port)


def test_a_client_that_is_still_sending_gets_the_refusal(port):
    body = b"x" * (8 << 20)
    assert ask(port, "POST", "/predict", body, {"Content-Type": "application/json"})[0] == 413


def test_a_slow_body_is_given_up(port):
    with opened(port, "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx") as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")
    assert is_idle(port)


def test_one_request_too_many_is_told_at_once_to_come_back(port, photos):
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n"
    with opened(port, head + '{"imag') as first, opened(port, head + '{"imag') as second:
        while ask(port)[2]["at_work"] < 2:
            time.sleep(0.01)
        started = time.monotonic()
        status, headers, told = send(port, [("a.png", photos[0].read_bytes())])
        assert (status, headers["retry-after"]) == (503, "1")
        assert "2 requests are at work" in told["error"]
        assert time.monotonic() - started < 0.5
        for connection in (first, second):
            connection.sendall(b'es": []}')
            assert connection.recv(1000).startswith(b"HTTP/1.1 422")
    assert is_idle(port)
    assert send(port, [("a.png", photos[0].read_bytes())])[0] == 200


def test_bodies_at_work_hold_no_more_memory_together_than_they_may(port):
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    with opened(port, head + "x" * 900_000) as first, opened(port, head) as second:
        second.sendall(b"x" * 900_000)
        assert second.recv(1000).startswith(b"HTTP/1.1 503")
        first.close()
    assert is_idle(port)


def test_no_hostile_body_ends_the_server_or_is_a_bug_of_it(port, photos):
    for request in hostile.requests(150):
        answer = b""
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection, suppress(ConnectionError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(1000)
        assert answer[:12] != b"HTTP/1.1 500", request[:2000]
    assert is_idle(port)
    assert send(port, [("a.png", photos[0].read_bytes())])[0] == 200


def test_photos_of_requests_that_wait_are_answered_in_one_batch_each_with_its_own():
    batches, is_at_work, may_go = [], threading.Event(), threading.Event()

    def answer(photos):
        is_at_work.set()
        may_go.wait(20)
        batches.append(list(photos))
        return [photo.decode() for photo in photos]

    worker = Worker(answer, batch=4)
    waiting = [worker.submit([b"0"])]
    assert is_at_work.wait(20)
    waiting += [worker.submit([f"{n}".encode(), f"{n}b".encode()]) for n in range(1, 4)]
    may_go.set()
    assert [each.result(20) for each in waiting] == [["0"], ["1", "1b"], ["2", "2b"], ["3", "3b"]]
    assert [len(batch) for batch in batches] == [1, 4, 2]
    last = worker.submit([b"last"])
    worker.stop(seconds=20)
    assert last.result(0) == ["last"]
    assert not worker.is_alive


def test_an_error_is_that_of_the_request_that_caused_it_alone(classifier, photos):
    good, said = photos[0].read_bytes(), []
    honest = answering(classifier, top=1, max_error=0.05, abstains=True)
    may_go = threading.Event()

    def answer(given):
        may_go.wait(20)
        if b"bad" in given:
            raise MemoryError("no room")
        return honest(given)

    worker = Worker(answer)
    first, bad, second = (worker.submit([data]) for data in (good, b"bad", good))
    may_go.set()
    assert first.result(20)[0].label == second.result(20)[0].label == honest([good])[0].label
    with pytest.raises(MemoryError):
        bad.result(20)

    def broken(given):
        raise RuntimeError("it burns")

    with serving(Worker(broken), classifier, said) as port:
        status, _, told = send(port, [("a.png", good)])
        assert (status, said) == (500, ["a request failed: RuntimeError: it burns"])
        assert "it burns" not in told["error"]


def test_the_page_takes_nothing_from_elsewhere_and_its_policy_lets_nothing_else_run(port):
    status, headers, text = ask(port, path="/")
    assert status == 200
    assert text == PAGE.read_text("utf-8")
    assert not re.findall(r"https?:|@import|url\(|<script[^>]+src", text)
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert policy.count("'sha256-") == 2
    assert "unsafe" not in policy
    assert ask(port, path="/docs")[0] == 404
    assert set(ask(port, path="/openapi.json")[2]["paths"]) == {"/health", "/predict"}


def luminance(colour):
    """Source: https://www.w3.org/TR/WCAG21/#dfn-relative-luminance"""
    pairs = [colour[n : n + 2] for n in (1, 3, 5)] if len(colour) == 7 else [2 * colour[n] for n in (1, 2, 3)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (int(p, 16) / 255 for p in pairs)]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear))


def test_the_colours_of_the_page_have_the_contrast_that_text_and_marks_need():
    themes = [dict(re.findall(r"--(\w+): (#\w+)", block)) for block in re.findall(r":root \{(.*?)\}", PAGE.read_text())]
    assert len(themes) == 2
    for theme in themes:
        for name in ("ink", "soft", "doubt", "fault", "mark", "line"):
            for ground in ("paper", "card"):
                light, dark = sorted((luminance(theme[name]), luminance(theme[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= (3 if name == "line" else 4.5), (name, ground)


def test_what_fails_in_the_process_of_the_network_is_told_as_what_it_is(run, photos, monkeypatch):
    assert isinstance(next(answered(Wanted(model="nowhere"), [])), UsageError)
    assert "no share of 0.1 can be kept" in str(next(answered(Wanted(model="cifar_resnet", max_error=0.1), [])))
    bad = [3, [photos[0].read_bytes()]]
    about, fault, answer = answered(Wanted(model=str(run.folder)), bad)
    assert about == About(classes=run.classifier.classes, names_one=True)
    assert isinstance(fault, TypeError)
    assert answer[0].label == run.classifier.predict(photos[0])[0].label


def test_where_no_other_process_can_be_had_the_network_answers_in_this_one(run, photos):
    here = Here(Wanted(model=str(run.folder), top=3))
    data = photos[0].read_bytes()
    assert here.about == About(classes=run.classifier.classes, names_one=True)
    assert here([data])[0].top == run.classifier.predict(data, top=3)[0].top
    here.close()


def test_a_port_that_is_taken_and_a_host_that_is_none_are_one_line(run, port, capsys):
    assert cli(["serve", str(run.folder), "--port", str(port)]) == 2
    assert f"port {port} of 127.0.0.1 is in use" in capsys.readouterr().err
    for host in ("nowhere.invalid", "192.0.2.1", "a" * 70):
        with pytest.raises(UsageError, match="is no address of this machine"):
            server.listening(host, 0)


def test_what_others_reach_is_known():
    for host, expected in (("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)):
        with server.listening(host, 0) as found:
            assert server.is_local(found) is expected


@contextmanager
def command(run, *options):
    """A server as the command starts it: the process, and its port."""
    words = [sys.executable, "-m", "transferkit", "serve", str(run.folder), "--port", "0", *options]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, int(process.stdout.readline().strip().rpartition(":")[2])
        finally:
            process.kill()


def network_of(process):
    """The number of the process in which its network runs."""
    threads = Path(f"/proc/{process.pid}/task").glob("*/children")  # each tells of those that it started
    return int("".join(each.read_text() for each in threads))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux tells them")
def test_a_network_that_is_killed_fails_what_is_at_work_is_there_again_and_ends_with_the_server(run, photos):
    files = [("a.png", photos[0].read_bytes())]
    with command(run) as (process, port):
        first = network_of(process)
        os.kill(first, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(send, port, files)
            while not ask(port)[2]["at_work"]:
                time.sleep(0.01)
            time.sleep(0.3)
            os.kill(first, signal.SIGKILL)
            assert waiting.result()[0] == 500
        assert send(port, files)[0] == 200
        second = network_of(process)
        process.kill()
        assert "lost (signal 9)" in process.communicate(timeout=20)[1]
    until = time.monotonic() + 10
    while (is_alive := children.is_alive(second)) and time.monotonic() < until:
        time.sleep(0.1)
    assert second != first
    assert not is_alive


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_ends_it_cleanly_after_what_is_at_work(run, photos, number):
    with command(run, "--host", "0.0.0.0") as (process, port):
        assert send(port, [("a.png", photos[0].read_bytes())])[0] == 200
        body = form([("a.png", photos[0].read_bytes())])
        head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=" + EDGE
        with opened(port, f"{head}\r\nContent-Length: {len(body)}\r\n\r\n") as connection:
            connection.sendall(body[:50])
            while ask(port)[2]["at_work"] < 1:
                time.sleep(0.01)
            process.send_signal(number)
            if number == signal.SIGTERM and sys.platform == "linux":
                os.kill(network_of(process), number)  # as an end of a whole group does
            time.sleep(0.3)
            connection.sendall(body[50:])
            assert b'"label"' in connection.makefile("rb").read()
        _, told = process.communicate(timeout=20)
    assert process.returncode == 0, told
    assert told.splitlines()[-1] == "stopped"
    assert "there is no password" in told

"""How a server begins and ends: what is said, which exit code, and that nothing is left."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.serving.server.conftest import KEY, Rlguide, ready, wait_until


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(rlguide: Rlguide, number: int) -> None:
    found = ready(rlguide)
    stream = found.client().chat.completions.create(
        model="saves/it", messages=[{"role": "user", "content": "x" * 3000}], stream=True, max_tokens=900
    )
    next(iter(stream))
    begin = time.monotonic()
    found.process.send_signal(number)
    _, err = found.process.communicate(timeout=30)
    assert found.process.returncode == 0, err
    assert time.monotonic() - begin < 8
    assert rlguide.workers() == [] and rlguide.logs() == []
    assert json.loads(rlguide.run("serve", "--list", "--json").stdout) == []


def test_the_worker_ends_with_a_command_that_is_killed(rlguide: Rlguide) -> None:
    found = ready(rlguide)
    found.process.kill()
    found.process.communicate()
    wait_until(lambda: rlguide.workers() == [])


def test_the_worker_ends_with_a_command_that_is_killed_while_it_loads(rlguide: Rlguide) -> None:
    process = rlguide.start("serve", "--port", "0", "--background", loads=60)
    wait_until(rlguide.workers)
    process.kill()
    process.communicate()
    wait_until(lambda: rlguide.workers() == [])


def test_in_the_background_it_stays_until_it_is_stopped(rlguide: Rlguide) -> None:
    found = ready(rlguide, "--background")
    _, err = found.process.communicate(timeout=30)
    assert found.process.returncode == 0
    assert found.client().models.list().data[0].id == "saves/it"
    [shown] = json.loads(rlguide.run("serve", "--list", "--json").stdout)
    assert shown == found.told and [shown["pid"]] == rlguide.workers()
    assert os.getsid(shown["pid"]) != os.getsid(0)  # no terminal can end it
    stop = next(line for line in err.splitlines() if line.startswith("stop it")).removeprefix("stop it").strip()
    rlguide.run(*shlex.split(stop)[1:])
    assert rlguide.workers() == [] and Path(shown["log"]).is_file()
    said = rlguide.run("serve", "--stop", code=2).stderr
    assert "serves nothing" in said


def test_what_contradicts_itself_is_refused_and_nothing_is_stopped(rlguide: Rlguide) -> None:
    found = ready(rlguide)
    assert "three things" in rlguide.run("serve", "--list", "--stop", code=2).stderr
    assert rlguide.workers() == [found.told["pid"]]
    assert "one line" in rlguide.run("serve", "--name", "two\nlines", code=2).stderr
    found.process.terminate()
    found.process.communicate(timeout=30)


def test_of_several_one_is_stopped(rlguide: Rlguide) -> None:
    first, second = (ready(rlguide, "--background", "--name", name) for name in ("first", "second"))
    for item in (first, second):
        item.process.communicate(timeout=30)
    listed = rlguide.run("serve", "--list").stdout
    assert all(f"{item.told['address']}  {rlguide.root}" in listed for item in (first, second))
    said = rlguide.run("serve", "--stop", code=2).stderr
    fix = said.rpartition("`rlguide ")[2].partition("`")[0]
    rlguide.run(*shlex.split(fix))
    [left] = json.loads(rlguide.run("serve", "--list", "--json").stdout)
    assert left["model"] == "second"
    rlguide.run("serve", "--stop", "second")
    assert rlguide.workers() == []


def test_the_key_is_on_no_command_line_and_in_no_file(rlguide: Rlguide) -> None:
    found = ready(rlguide)
    assert KEY.encode() not in subprocess.run(["ps", "axww", "-o", "args"], capture_output=True).stdout
    [pid] = rlguide.workers()
    assert KEY.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    for path in rlguide.root.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    assert found.told["needs_key"] is True
    found.process.terminate()
    out, err = found.process.communicate(timeout=30)
    assert KEY not in out + err


def test_a_key_is_asked_for_where_others_reach_it(rlguide: Rlguide) -> None:
    said = rlguide.run("serve", "--host", "0.0.0.0", code=2).stderr
    assert "RLGUIDE_API_KEY" in said
    fix = said.rpartition("`")[0].rpartition("`")[2]
    made = subprocess.run(
        ["bash", "-c", f"{fix}; printenv RLGUIDE_API_KEY"], capture_output=True, text=True, check=True
    )
    assert len(made.stdout.strip()) == 48
    assert "short" not in rlguide.run("serve", "--host", "0.0.0.0", key="short", code=2).stderr
    found = ready(rlguide, "--host", "127.0.0.2", key="")
    assert found.address.startswith("http://127.0.0.2:") and found.told["needs_key"] is False
    assert found.client("anything").models.list().data
    found.process.terminate()
    found.process.communicate(timeout=30)


def test_a_port_that_is_taken_is_known_before_anything_is_loaded(rlguide: Rlguide) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = rlguide.run("serve", "--port", str(port), code=2).stderr
    assert f"port {port} of 127.0.0.1 is taken" in said and "loading" not in said
    assert len(said.strip().splitlines()) == 2
    assert "no address of this host" in rlguide.run("serve", "--host", "192.0.2.1", key=KEY, code=2).stderr


def test_a_state_that_cannot_be_written_is_known_before_anything_is_loaded(rlguide: Rlguide) -> None:
    (rlguide.root / "state").write_text("a file where the folder should be")
    said = rlguide.run("serve", "--port", "0", code=1).stderr
    assert "cannot write" in said and "loading" not in said


def test_a_model_that_cannot_be_loaded_is_explained(rlguide: Rlguide) -> None:
    process = rlguide.start("serve", "--port", "0", fails="Template nope does not exist.")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and "Template nope does not exist" in err
    [log] = rlguide.logs()
    assert str(log) in err and rlguide.workers() == []


def test_an_interrupted_load_leaves_nothing(rlguide: Rlguide) -> None:
    process = rlguide.start("serve", "--port", "0", "--background", loads=60)
    wait_until(rlguide.workers)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130 and rlguide.workers() == [] and rlguide.logs() == []


@pytest.mark.parametrize(("text", "why"), [("crash", "exit code 7"), ("broken", "the GPU stopped with an error")])
def test_a_worker_that_crashes_says_why(rlguide: Rlguide, text: str, why: str) -> None:
    import openai

    found = ready(rlguide)
    with pytest.raises(openai.APIError):
        found.client().chat.completions.create(model="saves/it", messages=[{"role": "user", "content": text}])
    _, err = found.process.communicate(timeout=30)
    assert found.process.returncode == 1 and why in err
    assert "Traceback" not in err and rlguide.workers() == []


def test_a_server_that_has_ended_by_itself_is_named_once(rlguide: Rlguide) -> None:
    found = ready(rlguide, "--background")
    found.process.communicate(timeout=30)
    os.kill(found.told["pid"], signal.SIGKILL)
    wait_until(lambda: rlguide.workers() == [])
    assert found.told["log"] in rlguide.run("serve", "--list").stderr
    assert found.told["log"] not in rlguide.run("serve", "--list").stderr

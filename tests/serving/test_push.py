"""Pushing an export with huggingface_hub's real client, to a hub on loopback (tests/hub/upload_server.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlguide.errors import UsageError
from rlguide.policy.policy import Policy
from rlguide.serving.card import card
from rlguide.serving.push import PushError, check_name, find_target, push, summary
from rlguide.workspace import Workspace
from tests.hub.upload_server import TOKEN, UploadHub
from tests.policy.checkpoint_files import write_model

NAME = "org/my-model"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[UploadHub]:
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with UploadHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)  # the client reads it once
        yield server


def exported(folder: Path, sha256: str = "ab") -> Path:
    """The files of an export."""
    write_model(folder)
    adapters = [{"path": "/home/somebody/saves/sft", "sha256": sha256}]
    manifest = {"base": "/home/somebody/base", "dtype": "float32", "template": "x", "adapters": adapters}
    manifest["base_files"] = {"model.safetensors": [12, 3456]}
    (folder / "rlguide.json").write_text(json.dumps(manifest))
    (folder / "README.md").write_text("# A card\n")
    (folder / ".cache").mkdir()
    (folder / ".cache/hidden").write_text("x")
    (folder / "link").symlink_to("/etc/hostname")
    return folder


def test_every_file_arrives_as_it_is(hub: UploadHub, tmp_path: Path) -> None:
    folder = exported(tmp_path / "polite")
    target = find_target(NAME, True, folder)
    assert (target.exists, target.user) == (False, "me")
    assert hub.repositories == {}  # asking writes nothing
    lines = " ".join(summary(target, folder))
    assert "new, private" in lines and "model.safetensors" in lines and "licence" in lines
    assert push(target, folder).startswith(f"{hub.url}/{NAME}/commit/")
    assert hub.private == {NAME: True}
    there = hub.repositories[NAME]
    assert set(there) == {".gitattributes", *(p.name for p in folder.iterdir() if p.name not in (".cache", "link"))}
    for name, content in there.items():
        if name not in (".gitattributes", "rlguide.json"):
            assert content == (folder / name).read_bytes()
    manifest = json.loads(there["rlguide.json"])
    assert manifest["adapters"] == [{"path": "sft", "sha256": "ab"}]
    assert b"somebody" not in there["rlguide.json"] and manifest["base_files"] == {"model.safetensors": [12]}


def test_the_same_export_may_be_pushed_again_another_one_never(hub: UploadHub, tmp_path: Path) -> None:
    folder = exported(tmp_path / "polite")
    push(find_target(NAME, True, folder), folder)
    (folder / "README.md").write_text("# A better card\n")
    again = find_target(NAME, True, folder)
    assert again.exists
    push(again, folder)
    assert hub.repositories[NAME]["README.md"] == b"# A better card\n"
    before = dict(hub.repositories[NAME])
    with pytest.raises(UsageError, match="holds something else"):
        find_target(NAME, True, exported(tmp_path / "other", "cd"))
    for manifest in (None, b"[", b"{}", b"[1]"):
        hub.repositories["org/theirs"] = {"x": b"1"} | ({"rlguide.json": manifest} if manifest else {})
        with pytest.raises(UsageError, match="holds something else"):
            find_target("org/theirs", True, folder)
    assert hub.repositories[NAME] == before


@pytest.mark.parametrize("is_private", [True, False])
def test_who_can_read_an_existing_repository_is_said_whatever_was_wished(
    hub: UploadHub, tmp_path: Path, is_private: bool
) -> None:
    folder = exported(tmp_path / "polite")
    hub.repositories[NAME], hub.private[NAME] = {".gitattributes": b""}, is_private
    target = find_target(NAME, not is_private, folder)
    said = summary(target, folder)[0]
    assert ("exists, private" in said) is is_private and ("PUBLIC" in said) is not is_private


def test_the_card_names_the_repository_and_not_the_folder(hub: UploadHub, tmp_path: Path) -> None:
    folder, ws = exported(tmp_path / "贾's models"), Workspace(tmp_path)
    own = card(ws, folder, Policy("base", ("saves/dpo",), "x"), None)
    (folder / "README.md").write_text(f"{own}\nWritten by me for {folder.name}.\n")
    push(find_target(NAME, True, folder), folder)
    there = hub.repositories[NAME]["README.md"].decode()
    assert "\n# my-model\n" in there
    assert f'model="{NAME}"' in there and f"\nvllm serve {NAME}\n" in there
    assert there.count("贾") == 1 and there.endswith(f"Written by me for {folder.name}.\n")


def test_what_was_sent_before_a_failure_is_not_sent_again(hub: UploadHub, tmp_path: Path) -> None:
    folder = exported(tmp_path / "polite")
    hub.refusals["/commit/"] = 400
    target = find_target(NAME, True, folder)
    with pytest.raises(PushError, match="failed"):
        push(target, folder)
    size = (folder / "model.safetensors").stat().st_size
    assert hub.sent == size and set(hub.repositories[NAME]) == {".gitattributes"}  # all or nothing
    push(find_target(NAME, True, folder), folder)
    assert hub.sent == size and "model.safetensors" in hub.repositories[NAME]


@pytest.mark.parametrize(
    ("where", "status", "what", "fix"),
    [
        ("whoami", 401, "does not accept the token", "hf auth login"),
        ("create", 403, "does not let this token write to org/my-model", "organization"),
        ("create", 404, "has no org to write to", "--push"),
        ("commit", 413, "takes no files of this size", "limits"),
    ],
)
def test_what_the_hub_refuses_is_said(
    hub: UploadHub, tmp_path: Path, where: str, status: int, what: str, fix: str
) -> None:
    folder = exported(tmp_path / "polite")
    hub.refusals[where] = status
    with pytest.raises(PushError) as caught:
        push(find_target(NAME, True, folder), folder)
    assert what in caught.value.what and fix in caught.value.fix
    assert TOKEN not in caught.value.what + caught.value.fix


def test_without_a_network(hub: UploadHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PushError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        find_target(NAME, True, exported(tmp_path / "polite"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE"):
        check_name(NAME)


def test_without_a_token(hub: UploadHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no token"))
    with pytest.raises(PushError) as caught:
        find_target(NAME, True)
    assert "hf auth login" in caught.value.fix


@pytest.mark.parametrize(
    "name", ["model", "a/b/c", "org/", "/x", "org/a..b", "org/a--b", "org/x.git", "o rg/x", "org/é"]
)
def test_what_is_no_repository(hub: UploadHub, name: str) -> None:
    with pytest.raises(UsageError, match="not the name of a repository"):
        check_name(name)

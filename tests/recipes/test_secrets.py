"""No secret in a config reaches the disk: it is told by the rule of its name, or by its URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlguide.engine.schema import Schema
from rlguide.errors import UsageError
from rlguide.recipes.checks import check_keys
from rlguide.workspace import Workspace
from tests.recipes.conftest import asked

VALUE = "s3cr3t-value"
NONE = Schema({}, (), {})


@pytest.mark.parametrize(
    ("key", "variable"),
    [
        ("hf_hub_token", "HF_TOKEN"),
        ("hub_token", "HF_TOKEN"),
        ("push_to_hub_token", "HF_TOKEN"),
        ("ms_hub_token", "MODELSCOPE_API_TOKEN"),
        ("om_hub_token", "OM_TOKEN"),
        ("swanlab_api_key", "SWANLAB_API_KEY"),
        ("wandb_api_key", "WANDB_API_KEY"),
        ("swanlab_lark_webhook_url", "environment"),
        ("swanlab_lark_secret", "environment"),
        ("slack_webhook", "environment"),
        ("some_password", "environment"),
        ("aws_secret_access_key", "environment"),
        ("signing_key", "environment"),
        ("DB_PASSWD", "environment"),
        ("client_credentials", "environment"),
        ("a_secret_of_mine", "environment"),
    ],
)
def test_secrets_are_told_by_rule(key: str, variable: str) -> None:
    for config in ({key: VALUE}, {"model_kwargs": {"deep": [{key: VALUE}]}}, {"model_kwargs": {key: [VALUE]}}):
        with pytest.raises(UsageError, match=key) as refused:
            check_keys(config, NONE, "it")
        assert variable in refused.value.fix
        assert VALUE not in refused.value.what + refused.value.fix


@pytest.mark.parametrize(
    "url", [f"https://me:{VALUE}@host/x", f"https://{VALUE}@host/x", f"s3://k:{VALUE}@b", f"http://h/x?token={VALUE}"]
)
def test_secrets_in_urls(url: str) -> None:
    with pytest.raises(UsageError, match="URL in model_name_or_path") as refused:
        check_keys({"model_name_or_path": url}, NONE, "it")
    assert VALUE not in refused.value.what + refused.value.fix


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("add_tokens", "<a>,<b>"),
        ("add_special_tokens", "<a>"),
        ("max_new_tokens", 5),
        ("ignore_pad_token_for_loss", True),
        ("use_fast_tokenizer", True),
        ("tokenized_path", "x"),
        ("hub_token", None),
        ("hub_token", ""),
        ("model_name_or_path", "me@home/model"),
        ("output_dir", "saves/a@b"),
        ("ray_init_kwargs", {"address": "ray://host:1"}),
    ],
)
def test_what_is_no_secret_passes(key: str, value: object) -> None:
    with pytest.raises(UsageError, match="has no key"):  # it gets as far as the table, which is empty here
        check_keys({key: value}, NONE, "it")


def test_nothing_is_written(ws: Workspace) -> None:
    own = ws.root / "own.yaml"
    own.write_text(f"{asked(ws).text}swanlab_lark_webhook_url: {VALUE}\n", encoding="utf-8")
    before = files(ws.root)
    for options in ({"config": own}, {"settings": {"swanlab_lark_webhook_url": VALUE}}):
        with pytest.raises(UsageError, match="would be written to disk"):
            asked(ws, **options)
    assert files(ws.root) == before


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

"""What nvidia-smi says; the text is that of a host with two A6000."""

from __future__ import annotations

import pytest

from rlguide.engine.hardware import _visible, parse_nvidia_smi

TWO = "0, NVIDIA RTX A6000, 49140, 48510, 8.6\n1, NVIDIA RTX A6000, 49140, 100, 8.6\n"


def test_two_cards() -> None:
    first, second = parse_nvidia_smi(TWO)
    assert first.name == "NVIDIA RTX A6000"
    assert first.memory_bytes == 49140 << 20
    assert second.free_bytes == 100 << 20
    assert first.has_bf16
    assert not parse_nvidia_smi("0, Tesla T4, 15360, 15000, 7.5")[0].has_bf16


@pytest.mark.parametrize("text", ["", "No devices were found", "0, A, [N/A], 3, 8.6", "a,b"])
def test_nonsense_is_no_card(text: str) -> None:
    assert parse_nvidia_smi(text) == []


@pytest.mark.parametrize(
    ("value", "seen"), [(None, [0, 1]), ("1", [1]), ("1,0", [1, 0]), ("", []), ("-1", []), ("GPU-12ab", [0, 1])]
)
def test_visible_devices(monkeypatch: pytest.MonkeyPatch, value: str | None, seen: list[int]) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if value is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert [gpu.index for gpu in _visible(parse_nvidia_smi(TWO))] == seen

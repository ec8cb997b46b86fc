"""Overlap with the prompts of IFEval, and with the bundled ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlguide.catalog.benchmarks import BUNDLED_INSTRUCTIONS
from rlguide.data.inspect.benchmarks import BenchmarkPrompts, load_benchmarks, load_ifeval
from rlguide.errors import DataError

LONG = "Write a letter to a friend about the new garden behind your house. Do not use any commas, and end with a poem."
CHINESE = "请为校报写一篇介绍潮汐的短文，正好写三段，段与段之间空一行，最后以“谢谢阅读”结束。"
SHORT = "Name three rivers in capital letters."


def hits(*prompts: str) -> int:
    ifeval = BenchmarkPrompts([LONG, SHORT, CHINESE])
    for prompt in prompts:
        ifeval.look_at(prompt)
    assert ifeval.result().rows == len(prompts)
    return ifeval.result().hits


def test_a_whole_prompt_is_found_whatever_its_case_and_marks() -> None:
    assert hits(LONG, LONG.upper(), SHORT, "name three rivers   in capital letters") == 4


def test_thirteen_words_in_a_row_are_found_and_twelve_are_not() -> None:
    words = LONG.split()
    assert hits("Please: " + " ".join(words[3:16]) + " Thank you.") == 1
    assert hits("Please: " + " ".join(words[3:15]) + " Thank you.") == 0


def test_other_prompts_are_not() -> None:
    assert hits("Name three rivers.", "Write a letter.", "") == 0


def test_chinese_is_compared_by_characters() -> None:
    whole = CHINESE.replace("，", "").replace("。", " ")
    assert hits(CHINESE, whole, f"您好！{whole[2:]}谢谢！") == 3
    characters = whole.replace("“", "").replace("”", "")
    assert hits(f"您好，{characters[3:29]}！") == 1  # 26 characters
    assert hits(f"您好，{characters[3:28]}！", "请为校报写一篇介绍地震的短文。", "正好写三段，段与段之间空一行。") == 0


def test_the_bundled_prompts_are_always_known() -> None:
    benchmarks = load_benchmarks(None)
    assert benchmarks.instructions is not None
    prompts = [json.loads(line)["prompt"] for line in BUNDLED_INSTRUCTIONS.read_text(encoding="utf-8").splitlines()]
    for prompt in prompts:
        benchmarks.look_at(f"{prompt.upper()}\n")
    benchmarks.look_at("Name three rivers.")
    benchmarks.look_at("列举三条河流。")
    found = benchmarks.instructions.result()
    assert (found.rows, found.hits, found.prompts) == (len(prompts) + 2, len(prompts), len(prompts))


def test_reads_a_file(tmp_path: Path) -> None:
    file = tmp_path / "提示 ifeval.jsonl"
    file.write_text("\n".join(json.dumps({"key": n, "prompt": p}) for n, p in enumerate([LONG, SHORT])))
    ifeval = load_ifeval(file)
    assert ifeval is not None
    ifeval.look_at(LONG)
    assert (ifeval.result().hits, ifeval.result().prompts) == (1, 1)


def test_a_line_ends_at_its_end_only(tmp_path: Path) -> None:
    file = tmp_path / "ifeval.jsonl"
    file.write_text(json.dumps({"prompt": f"One\u2028two. {LONG}"}, ensure_ascii=False) + "\n", encoding="utf-8")
    found = load_ifeval(file)
    assert found is not None
    found.look_at(LONG)
    assert found.result().hits == 1


def test_finds_the_hub_cache_and_says_when_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert load_ifeval(None) is None
    folder = tmp_path / "hub/datasets--google--IFEval/snapshots/abc"
    folder.mkdir(parents=True)
    (folder / "ifeval_input_data.jsonl").write_text(json.dumps({"prompt": SHORT}))
    assert load_ifeval(None) is not None


@pytest.mark.parametrize("content", ["", "{", '{"question": "x"}'])
def test_refuses_what_is_not_ifeval(tmp_path: Path, content: str) -> None:
    file = tmp_path / "wrong.jsonl"
    file.write_text(content)
    with pytest.raises(DataError, match=r"wrong\.jsonl"):
        load_ifeval(file)

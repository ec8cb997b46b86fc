"""Words that tell names of columns, lists and splits from names of anything else, where a file leaves that open."""

from __future__ import annotations

import re

# Lists of rows in an object.
LISTS = frozenset(
    ("data", "rows", "examples", "instances", "items", "records", "pairs", "samples", "dataset", "annotations",
     "results")
)  # fmt: skip
TRAIN_WORDS = ("train", "training")
HELDOUT_WORDS = ("test", "validation", "valid", "val", "eval", "evaluation", "dev", "heldout", "holdout", "testing")
SPLIT_NAME = re.compile(rf"(?:{'|'.join((*TRAIN_WORDS, *HELDOUT_WORDS))})(?:[_-]\w+)?", re.IGNORECASE)
# Columns of preference data, and hardly ever labels of rows.
COLUMNS = frozenset((
    "prompt", "prompts", "chosen", "rejected", "question", "query", "instruction", "input", "output", "answer",
    "answers", "response", "responses", "completion", "completions", "context", "system", "history", "label", "score",
    "text", "title", "messages", "conversations", "preference", "winner", "reject", "choose", "selected", "good_answer",
    "bad_answer", "response_a", "response_b", "response_j", "response_k", "model_a", "model_b",
    "问题", "回答", "指令", "输入", "输出",
))  # fmt: skip
# A name of several words, such as "Response A" or "Human rating", has one of these.
IN_NAMES = COLUMNS | {
    "rating", "rank", "verdict", "id", "index", "name", "type", "source", "category", "split", "model", "language",
    "lang", "message", "conversation", "annotator", "feedback", "comment", "reason", "date", "column", "good", "bad",
}  # fmt: skip
IN_CHINESE_NAMES = re.compile(
    "问题|提示|指令|输入|输出|回答|答案|回复|标签|评分|来源|类别|语言|编号|序号|問題|回覆|標籤|語言"
)
MESSAGE = frozenset(("role", "content", "from", "value", "text", "name", "weight"))  # the keys of a message

"""Words that tell names of columns, lists and splits from names of anything else, where a file leaves that open."""

from __future__ import annotations

import re

from rlguide.catalog.columns import vocabulary

# Lists of rows in an object.
LISTS = frozenset(
    ("data", "rows", "examples", "instances", "items", "records", "pairs", "samples", "dataset", "annotations",
     "results")
)  # fmt: skip
TRAIN_WORDS = ("train", "training")
HELDOUT_WORDS = ("test", "validation", "valid", "val", "eval", "evaluation", "dev", "heldout", "holdout", "testing")
SPLIT_NAME = re.compile(rf"(?:{'|'.join((*TRAIN_WORDS, *HELDOUT_WORDS))})(?:[_-]\w+)?", re.IGNORECASE)
COLUMNS = vocabulary().sure_names
IN_NAMES = COLUMNS | vocabulary().header_words
IN_CHINESE_NAMES = re.compile("|".join(vocabulary().chinese_header_words))
MESSAGE = frozenset(("role", "content", "from", "value", "text", "name", "weight"))  # the keys of a message

"""What a person says of columns."""

from __future__ import annotations

import pytest

from rlguide.data.cells.given import check_columns
from rlguide.errors import UsageError


def test_two_columns_cannot_be_the_same_one() -> None:
    for role in ("prompt", "chosen", "verdict"):
        with pytest.raises(UsageError, match="both q and w"):
            check_columns([("q", role), ("w", role)])
    for role in ("context", "ignored", "system"):
        check_columns([("q", role), ("w", role)])

"""`python -m rlguide`: the same as `rlguide`."""

from rlguide.cli import main

raise SystemExit(main())

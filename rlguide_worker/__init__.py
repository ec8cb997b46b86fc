"""The other side of the engine wall: scripts that run in the engine's own Python, never imported by rlguide.

Each file is started by path (`<engine python> rlguide_worker/<name>.py`), may import torch and llamafactory,
must not import rlguide, and speaks JSON.
"""

"""What a chat consists of while it runs."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from rlguide.console import say
from rlguide.serving.chat.compare import Others
from rlguide.serving.chat.conversation import Conversation
from rlguide.serving.chat.kept import Kept
from rlguide.serving.chat.screen import Screen


@dataclass
class Chat:
    """All that a command can see or change."""

    conversation: Conversation
    policy: Kept
    others: Others
    screen: Screen

    def respond(self, pieces: Generator[str, None, None]) -> None:
        """Show a response, and say how it ended where that is not to be seen."""
        came = self.screen.show(pieces)
        if not came:
            say("  (no response: /retry asks again)" if self.policy.ended == "stopped" else "  (an empty response)")
        elif self.policy.ended == "length":
            say(f"  (stopped at {self.conversation.settings.max_new_tokens} tokens: /max N allows more)")

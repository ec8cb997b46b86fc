"""The application: what is answered at which path, for a policy or for a reward model.

It is ours and not LLaMA-Factory's, whose server listens to every web page (CORS "*" with credentials), prints each
request into its log, opens files and addresses that a request names, reads bodies of any size, keeps generating for
clients that are gone, waits for ever where a generation fails in a stream, and passes over `stop` in silence
(llamafactory 0.9.5: api/app.py, api/chat.py, chat/hf_engine.py).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from openai_api.guard import Guard, error_body, error_response
from openai_api.requests import BadRequest, ChatRequest, chat_request, read_body, texts_to_score
from openai_api.text import Text
from openai_api.wire import EventStream, body_of, unless_gone
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

MOST_WAITING = 128  # requests at once, those that wait for their place included


@dataclass(frozen=True)
class Served:
    """What is served, and to whom.

    Attributes:
        name: of the model, as clients say it.
        key: what a client must send, "" if nothing.
        hosts: names by which this server may be called; empty: any.
        max_new_tokens: longest response where the request does not say.
        content: a checksum of what decides the responses, told to clients; "" if it is not known.
        on_broken: called when the model can respond to nothing any more.
    """

    name: str
    key: str = ""
    hosts: tuple[str, ...] = ()
    max_new_tokens: int = 512
    content: str = ""
    on_broken: Callable[[BaseException], None] = lambda error: None


@dataclass
class _Count:
    """Tokens of a response, and how it ended."""

    prompt: int
    completion: int = 0
    ended: str = "length"

    @property
    def usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        }


def create_app(served: Served, policy: Any = None, reward_model: Any = None) -> Any:
    """The ASGI application of a policy (by_transformers.py, by_vllm.py) or of a reward model (by_rewards.py)."""
    server = _Server(served, policy, reward_model)
    routes = [
        Route("/health", server.health),
        Route("/v1/models", server.models),
        Route("/v1/models/{name:path}", server.model),
        Route("/v1/chat/completions", server.chat, methods=["POST"]),
        Route("/v1/score/evaluation", server.score, methods=["POST"]),
    ]
    handlers: dict[Any, Any] = {
        BadRequest: lambda request, error: error_response(error),
        ClientDisconnect: lambda request, error: Response(status_code=499),  # nobody reads it
        HTTPException: lambda request, error: error_response(
            BadRequest(f"{request.method} {request.url.path[:100]} is not served", status=error.status_code)
        ),
        Exception: lambda request, error: error_response(BadRequest("the server failed; its log says why", status=500)),
    }
    return Guard(Starlette(routes=routes, exception_handlers=handlers), served.key, served.hosts)


class _Server:
    def __init__(self, served: Served, policy: Any, reward_model: Any) -> None:
        self.served, self.policy, self.reward_model = served, policy, reward_model
        self.card = {"id": served.name, "object": "model", "created": int(time.time()), "owned_by": "rlguide"}
        if served.content:
            self.card["content"] = served.content
        if policy is not None and policy.context:
            self.card["max_model_len"] = policy.context
        self.at_once = 0
        # A long text takes seconds, in which the responses of others go on.
        self._encoding = ThreadPoolExecutor(1)

    async def health(self, request: Request) -> Response:
        """Whether requests are answered, and how many are now."""
        return JSONResponse({"status": "ok", "model": self.served.name, "requests": self.at_once})

    async def models(self, request: Request) -> Response:
        """The only model there is."""
        return JSONResponse({"object": "list", "data": [self.card]})

    async def model(self, request: Request) -> Response:
        """The only model there is, by its name."""
        if request.path_params["name"] != self.served.name:
            raise BadRequest(f"no such model; this server has {self.served.name}", "model", "model_not_found", 404)
        return JSONResponse(self.card)

    async def chat(self, request: Request) -> Response:
        """A response, whole or as a stream."""
        if self.policy is None:
            raise BadRequest(f"{self.served.name} is a reward model: it scores texts, it writes none", status=405)
        asked = chat_request(read_body(await body_of(request)), self.served.name)
        prompt, limit = await asyncio.get_running_loop().run_in_executor(self._encoding, self._prompt, asked)
        self._check_place()
        count = _Count(len(prompt))
        pieces = self._pieces(asked, prompt, limit, count)
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": self.served.name}
        if asked.is_stream:
            return EventStream(self._events(head, pieces, count, asked.has_usage))

        async def whole() -> str:
            async with aclosing(pieces):
                return "".join([piece async for piece in pieces])

        try:
            text = await unless_gone(request.receive, whole())
        except ClientDisconnect:
            raise
        except Exception as error:
            return error_response(_failed(error))
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": count.ended}
        return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": count.usage})

    async def score(self, request: Request) -> Response:
        """The rewards of texts that are written by the template already (as LLaMA-Factory's own server)."""
        if self.reward_model is None:
            raise BadRequest(f"{self.served.name} is a policy: it writes responses, it scores none", status=405)
        texts, longest = texts_to_score(read_body(await body_of(request)))
        self._check_place()
        begin, self.at_once = time.monotonic(), self.at_once + 1
        try:
            scores = await unless_gone(request.receive, self.reward_model.scores(texts, longest))
        except (BadRequest, ClientDisconnect):
            raise
        except Exception as error:
            traceback.print_exception(error)
            self._tell_broken(error)
            return error_response(_failed(error))
        finally:
            self.at_once -= 1
            _log(f"score of {len(texts)} texts, {time.monotonic() - begin:.1f} s")
        head = {"id": f"scoreval-{uuid.uuid4().hex}", "object": "score.evaluation", "model": self.served.name}
        return JSONResponse({**head, "scores": scores})

    def _check_place(self) -> None:
        if self.at_once >= MOST_WAITING:
            raise BadRequest(f"{MOST_WAITING} requests wait already", code="rate_limit_exceeded", status=429)

    def _prompt(self, asked: ChatRequest) -> tuple[list[int], int]:
        """The tokens of the prompt, and how many the response may have."""
        try:
            prompt = self.policy.encode(asked.messages)
        except Exception as error:  # whatever a template makes of a text, such as one that names an image
            traceback.print_tb(error.__traceback__)  # its message may hold the text
            _log(f"the prompt failed with {type(error).__name__}")
            raise BadRequest("the template of the model cannot write this conversation", "messages") from error
        context = self.policy.context or 1 << 30
        wanted = asked.max_new_tokens
        needed = len(prompt) + (wanted or 1)
        if needed > context:
            more = f" and {wanted} for the response" if wanted else ""
            raise BadRequest(
                f"the model reads at most {context} tokens, and the prompt has {len(prompt)}{more}",
                "messages",
                "context_length_exceeded",
            )
        return prompt, wanted or min(self.served.max_new_tokens, context - len(prompt))

    async def _pieces(self, asked: ChatRequest, prompt: list[int], limit: int, count: _Count) -> AsyncIterator[str]:
        """Yield the text of a response as it comes; `count` says afterwards how it ended."""
        text = Text(self.policy.tokenizer, asked.stops)
        begin, self.at_once = time.monotonic(), self.at_once + 1
        said = "left by its client"
        try:
            tokens = self.policy.tokens(prompt, {**asked.settings, "max_new_tokens": limit}, asked.seed)
            async with aclosing(tokens):
                async for some in tokens:
                    count.completion += len(some)
                    if some and some[-1] in self.policy.stops:
                        count.ended = "stop"
                    if piece := text.add(some):
                        yield piece
                    if text.is_stopped:
                        break
            if piece := text.end():
                yield piece
            if text.is_stopped:
                count.ended = "stop"
            said = f"ended by {count.ended}"
        except Exception as error:
            said = f"failed with {type(error).__name__}"
            traceback.print_exception(error)
            self._tell_broken(error)
            raise
        finally:
            self.at_once -= 1
            seconds = time.monotonic() - begin
            _log(f"response of {count.completion} tokens to {count.prompt}, {seconds:.1f} s, {said}")

    async def _events(
        self, head: dict[str, Any], pieces: AsyncIterator[str], count: _Count, has_usage: bool
    ) -> AsyncIterator[str]:
        """Yield the data of each event of a stream."""

        def chunk(delta: dict[str, Any], ended: str | None = None) -> str:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": ended}
            usage = {"usage": None} if has_usage else {}
            return json.dumps({**head, "object": "chat.completion.chunk", "choices": [choice], **usage})

        async with aclosing(pieces):
            yield chunk({"role": "assistant", "content": ""})
            try:
                async for piece in pieces:
                    yield chunk({"content": piece})
            except Exception as error:
                yield json.dumps(error_body(_failed(error)))
                return
        yield chunk({}, count.ended)
        if has_usage:
            yield json.dumps({**head, "object": "chat.completion.chunk", "choices": [], "usage": count.usage})
        yield "[DONE]"

    def _tell_broken(self, error: Exception) -> None:
        """A CUDA error leaves a process in which nothing on the GPU works any more; memory that ran out does not."""
        kind = type(error).__name__
        if kind != "OutOfMemoryError" and (
            "CUDA error" in str(error) or kind in ("AcceleratorError", "EngineDeadError")
        ):
            self.served.on_broken(error)


def _failed(error: Exception) -> BadRequest:
    """What a client is told of a failure; the log has the traceback."""
    if type(error).__name__ == "OutOfMemoryError":
        return BadRequest(
            "memory ran out: send a shorter conversation, or ask for less", code="out_of_memory", status=503
        )
    return BadRequest("the model failed; the log of the server says why", status=500)


def _log(line: str) -> None:
    """One line a request, with nothing of what was said."""
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
    sys.stderr.flush()

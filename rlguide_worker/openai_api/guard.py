"""Who may ask: the key, and no web page."""

from __future__ import annotations

import hmac
from typing import Any

from openai_api.requests import BadRequest
from starlette.datastructures import Headers
from starlette.responses import JSONResponse

_OPEN = ("/health",)  # without a key


class Guard:
    """An ASGI application around another that lets through who may ask.

    A page in a browser may send requests to any server of this machine, and by a name of its own that leads to
    127.0.0.1 even read what comes back. So requests that a browser sends for a page (they name its `Origin`), and those
    to a name that is not this server's, are refused.

    Args:
        key: what a client must send, "" if nothing.
        hosts: names by which this server may be called; empty: any.
    """

    def __init__(self, app: Any, key: str, hosts: tuple[str, ...]) -> None:
        self._app, self._key, self._hosts = app, key.encode(), hosts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            refused = self._refused(scope["path"], Headers(scope=scope))
            await (self._app if refused is None else error_response(refused))(scope, receive, send)

    def _refused(self, path: str, headers: Headers) -> BadRequest | None:
        if self._hosts and _name_of(headers.get("host", "")) not in self._hosts:
            return BadRequest("this server is not known by that name", code="host_not_allowed", status=403)
        if "origin" in headers:
            return BadRequest("web pages may not use this server", code="origin_not_allowed", status=403)
        if not self._key or path in _OPEN:
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._key):
            return None
        return BadRequest("a key is needed, and this is none or a wrong one", code="invalid_api_key", status=401)


def _name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).strip("[]").lower()


_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def error_body(error: BadRequest) -> dict[str, Any]:
    """An error in the shape that clients of OpenAI read."""
    kind = _TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def error_response(error: BadRequest) -> JSONResponse:
    """The response to a request that is refused or failed."""
    return JSONResponse(error_body(error), status_code=error.status)

"""What goes wrong between a client and a server, and what it is called.

Importing this module imports `requests`.
"""

from __future__ import annotations

import requests
import urllib3

FAULTS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)


def origin(address: str) -> tuple[str | None, str | None, int | None]:
    """Scheme, host and port of an address: what must be the same for a secret to be sent along."""
    parts = urllib3.util.parse_url(address)  # as `requests` reads it
    return parts.scheme, parts.host, parts.port or {"http": 80, "https": 443}.get(parts.scheme or "")


def fault_name(error: Exception) -> str:
    """What happened, in the words of the field and without the address."""
    text = repr(error)
    if isinstance(error, requests.exceptions.SSLError):
        return "the certificate is refused"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy fails"
    if isinstance(error, requests.ConnectTimeout):
        return "no connection within the time allowed"
    if isinstance(error, requests.Timeout) or "timed out" in text:
        return "nothing came for too long"
    if "NameResolution" in text or "getaddrinfo" in text or "Name or service" in text:
        return "its name cannot be resolved"
    if "refused" in text:
        return "connection refused"
    return "connection cut"

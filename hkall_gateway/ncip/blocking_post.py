"""One document to an address and the reply to it, for a command that waits; the daemon's own way is ncip/transport."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from hkall_gateway import __version__
from hkall_gateway.ncip.http_post import CONTENT_TYPE, MOST_BYTES, HttpReply, NoReply


def post(url: str, body: bytes, timeout_s: float, authorization: str = "") -> HttpReply:
    """Return the reply, with any status. Raises ValueError for a malformed URL, NoReply without an answer."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} must be a URL that begins with http:// or https://")
    made = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        line = made(parts.hostname, parts.port, timeout=timeout_s)
        headers = {"Content-Type": CONTENT_TYPE, "Accept": "application/xml", "User-Agent": f"hkall-gateway/{__version__}"}
        headers |= {"Authorization": authorization} if authorization else {}
        line.request("POST", path, body, headers)
        response = line.getresponse()
        return HttpReply(response.status, response.headers.get("Content-Type", ""), response.read(MOST_BYTES), 0)
    except (OSError, HTTPException, ValueError) as failed:
        raise NoReply(f"{url}: {failed or type(failed).__name__}") from None

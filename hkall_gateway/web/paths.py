"""Addresses inside the pages."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import request


def way_back() -> str:
    """Return the address of this page for after a login; of a POST, which cannot be repeated so, its path alone."""
    return request.full_path.rstrip("?") if request.method == "GET" else request.path


def local_path(text: str, otherwise: str) -> str:
    """Return `text` if it is a path on this host, else `otherwise`: no redirect leads a person elsewhere.

    Browsers read a backslash as a slash, and drop tabs and line ends.
    """
    if not text.startswith("/") or text.startswith("//") or "\\" in text or not text.isprintable():
        return otherwise
    try:
        parts = urlsplit(text)
    except ValueError:
        return otherwise
    return otherwise if parts.scheme or parts.netloc else text

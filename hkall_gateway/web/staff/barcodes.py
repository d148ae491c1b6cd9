"""Code 128 as pictures, for the slips."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import Final

from barcode import Code128
from barcode.errors import BarcodeError
from barcode.writer import SVGWriter
from flask import Blueprint, Response, abort

from hkall_gateway.web.access import needs
from hkall_gateway.web.middleware import PICTURE
from hkall_gateway.web.roles import StaffRole

PAGES = Blueprint("barcodes", __name__)

LONGEST: Final = 40
"""Characters of a barcode; a longer one does not fit a slip."""
OPTIONS: Final = {"module_width": 0.25, "module_height": 11.0, "quiet_zone": 2.5, "write_text": False}
"""In millimetres. A module of 0.25 mm is two dots of a thermal printer with 203 dpi; the quiet zone is ten modules."""
A_DAY: Final = "private, max-age=86400"


@PAGES.get("/staff/barcode/<path:text>")
@needs(StaffRole.CLERK)
def picture(text: str) -> Response:
    """The barcode of a copy or of a request, as SVG: it has inline style, thus a policy of its own, and is shown as `<img>`."""
    if len(text) > LONGEST or not encodable(text):
        abort(404)
    return Response(
        code128(text), mimetype="image/svg+xml", headers={"Content-Security-Policy": PICTURE, "Cache-Control": A_DAY}
    )


def encodable(text: str) -> bool:
    """Return whether a text is printable ASCII, which Code 128 can hold."""
    return bool(text) and text.isascii() and text.isprintable()


@lru_cache(maxsize=512)
def code128(text: str) -> bytes:
    """Return the picture of a text. Raises ValueError for a text that is not `encodable`."""
    file = BytesIO()
    try:
        Code128(text, writer=SVGWriter()).write(file, options=dict(OPTIONS))
    except BarcodeError as error:
        raise ValueError(str(error)) from error
    return file.getvalue()

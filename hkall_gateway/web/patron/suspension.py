"""The notice of a suspended service, in the language of the page."""

from __future__ import annotations

from hkall_gateway.circulation.messages.results import Refused
from hkall_gateway.rules.vendor_words.languages import CHINESE
from hkall_gateway.web.i18n import language
from hkall_gateway.web.labels import sentence


def notice(refused: Refused | None) -> str:
    """Return until when requests are suspended, and the library's own message about it; "" if they are not."""
    if refused is None:
        return ""
    chinese = language() == CHINESE
    message = str(refused.detail["message_zh" if chinese else "message"])
    ended = message if message.endswith((".", "。", "!", "！")) else message + ("。" if chinese else ".")
    return f"{sentence(refused)} {ended[:1].upper()}{ended[1:]}"

"""Screen messages for terminals in English and Traditional Chinese. The texts for refusals are in `Reason`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum
from typing import Final

from hkall_gateway.rules.overdue_fine import CURRENCY
from hkall_gateway.rules.reasons import Reason

EN: Final = "en"
ZH: Final = "zh-Hant"
LANGUAGES: Final = (EN, ZH)

CODES: Final[Mapping[str, str]] = {EN: "001", ZH: "019"}
"""SIP2 codes of the supported languages. Source: SIP2 2.00, language."""

CHINESE: Final = frozenset({"019", "027"})
"""SIP2 language codes (Chinese, Taiwanese) for which texts are in Traditional Chinese."""
UNSAID: Final = frozenset({"", "000"})
"""Values of a message's language field that leave the choice of language to the gateway."""

UNKNOWN: Final = "…"
"""The text for a placeholder without a value."""


# fmt: off
class Notice(Enum):
    """Notices in English and Traditional Chinese: results, and instructions for the person at the terminal."""

    LENT_ALREADY     = ("On loan to you already, until {due}", "此書已由您借出，到期日為 {due}")
    LOAN_UNDONE      = ("Checkout undone: the book is on the hold shelf again", "已取消借出，圖書放回預約書架")
    RENEWED          = ("Renewed until {due}", "已續借至 {due}")
    RENEWAL_ASKED    = ("The lending library is being asked. Due on {due} until then",
                        "正向借出館查詢，暫時到期日為 {due}")
    RECEIVED         = ("Received: put on the hold shelf", "已收到，請放上預約書架")
    AGAIN_HELD       = ("Received before: it belongs on the hold shelf", "先前已收到，應放在預約書架")
    AGAIN            = ("Scanned before: nothing has changed", "先前已處理，紀錄沒有改變")
    UNWANTED         = ("Nobody waits for it any more: send to {destination}", "已無讀者等候，請送往 {destination}")
    UNCOLLECTED      = ("Not collected in time: send to {destination}", "逾期未取，請送往 {destination}")
    RETURNED         = ("Returned: send to {destination}", "已歸還，請送往 {destination}")
    RETURNED_LATE    = ("Returned: send to {destination}. Fine {currency} {fine}",
                        "已歸還，請送往 {destination}。罰款 {currency} {fine}")
    PAID_FOR         = ("It was lost and paid: {currency} {paid}. Its library pays nothing back",
                        "此書曾報失並已賠償 {currency} {paid}，借出館不予退款")
    PAID_BACK        = ("It was lost and paid: {currency} {refund} is owed to the patron",
                        "此書曾報失並已賠償，應退回讀者 {currency} {refund}")
    RETURN_UNDONE    = ("Return undone: on loan as before", "已取消歸還，維持借出")
    HOME             = ("Our own book is home: re-shelve it", "本館圖書已歸還，請重新上架")
    PAGED            = ("Wanted by {destination}: check it out to its card",
                        "{destination} 需要此書，請借出至該館帳戶")
    RECALLED         = ("Its owner wants it back", "借出館已要求歸還此書")
    ANOTHER_BOOK     = ("Not the book or volume that was asked for: staff must look at it",
                        "並非讀者申請的圖書或冊次，須由職員處理")
    ASK_READER_FIRST = ("Its reader cannot borrow now: put it on the hold shelf, and tell a colleague",
                        "讀者現時不能借書，請放上預約書架，並通知同事")
    OFFLINE_CONFLICT = ("Taken, but staff must look at it", "已接收，但須由職員跟進")
    WAITING          = ("HKALL books ready to collect: {count}", "可取的 HKALL 圖書：{count} 本")
    PAID             = ("{currency} {paid} received. Still owed: {currency} {owed}",
                        "已收 {currency} {paid}，尚欠 {currency} {owed}")
    HOLD_PLACED      = ("Requested. You will be told when it is here", "已申請，圖書送達時會通知您")
    HOLD_CANCELLED   = ("The request is cancelled", "申請已取消")
    HOLD_CHANGED     = ("The request is changed", "申請已更改")
    ALL_RENEWED      = ("Renewed: {count}", "已續借 {count} 本")
    NOT_RENEWED      = ("{item}: {why}", "{item}：{why}")
    OWED             = ("Owed for HKALL books: {currency} {owed}", "HKALL 圖書欠款：{currency} {owed}")
    ILS_AWAY         = ("The library's own system is away: HKALL only", "本館系統暫停服務，只可辦理 HKALL 圖書")
    ILS_NO_ANSWER    = ("The library's own system did not answer this: HKALL only",
                        "本館系統未有回應此查詢，只可辦理 HKALL 圖書")
    NOT_TOLD         = ("Done for HKALL, but not in the library's own system: please do it there",
                        "HKALL 已辦妥，但本館系統未有紀錄，請在本館系統補辦")
    WILL_BE_TOLD     = ("Done for HKALL. The library's own system is told later",
                        "HKALL 已辦妥，本館系統稍後補上紀錄")
    TAKEN_OFFLINE    = ("Taken. The library's own system is told later", "已接收，本館系統稍後補上紀錄")
    NO_ANSWER        = ("No answer: it may have been done all the same. Please ask at the counter",
                        "本館系統沒有回應，手續可能已辦妥，請向櫃檯查詢")
    CARD_UNKNOWN_NOW = ("Not known at the moment: whether this card is valid", "暫時未能確定此讀者證是否有效")
    PIN_UNKNOWN_NOW  = ("Not known at the moment: whether the PIN is right", "暫時未能核對密碼")
    OWED_UNKNOWN_NOW = ("Not known at the moment: what is owed to the library itself", "暫時未能查詢本館欠款")
    LOGIN_REFUSED    = ("The library's own system refuses this terminal's login. Please tell the staff",
                        "本館系統不接受此終端機登入，請通知職員")
# fmt: on


class _Blanks(dict[str, object]):
    """Values for the placeholders in a text; a placeholder without a value becomes UNKNOWN."""

    def __missing__(self, key: str) -> str:
        return UNKNOWN


def say(why: Reason, language: str, detail: Mapping[str, object]) -> str:
    """Return the screen message for a refusal, with the rule's number: "This book has not arrived yet (R13)".

    The text is English if `language` is not in LANGUAGES. `detail` fills the placeholders; dates are written as YYYY-MM-DD.
    """
    text = _fill_placeholders(why.terminal, language, detail)
    return f"{text} ({why.rule})" if why.rule else text


def notice_text(notice: Notice, language: str, **detail: object) -> str:
    """Return the screen message of a notice; see `say` for the arguments."""
    return _fill_placeholders(notice.value, language, detail)


def language_of(code: str, *known: str) -> str:
    """Choose the language for texts; an unsupported language becomes English.

    `code` is the three-digit SIP2 code in the message. If the message leaves the language open, the first nonempty entry of
    `known` decides: usually the patron's language, then the terminal's.
    """
    if code in CHINESE:
        return ZH
    if code not in UNSAID:
        return EN
    language = next(filter(None, known), EN)
    return ZH if language.lower().startswith("zh") else EN


def _fill_placeholders(words: tuple[str, str], language: str, detail: Mapping[str, object]) -> str:
    given = {name: _format_value(value) for name, value in detail.items() if value not in (None, "")}
    return words[LANGUAGES.index(language) if language in LANGUAGES else 0].format_map(_Blanks({"currency": CURRENCY, **given}))


def _format_value(value: object) -> str:
    if isinstance(value, datetime):
        return value.date().isoformat()
    return value.isoformat() if isinstance(value, date) else str(value)

"""Screen messages of terminals: one row a notice, in English and Traditional Chinese; refusals have theirs in `Reason`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from hkall_gateway.rules.overdue_fine import CURRENCY
from hkall_gateway.rules.reasons import Reason

EN: Final = "en"
ZH: Final = "zh-Hant"
LANGUAGES: Final = (EN, ZH)

CODES: Final[Mapping[str, str]] = {EN: "001", ZH: "019"}
"""SIP2's number for a language that we write. Source: SIP2 2.00, language."""

CHINESE: Final = frozenset({"019", "027"})
"""Chinese and Taiwanese: both read Traditional Chinese here."""
UNSAID: Final = frozenset({"", "000"})
"""The terminal leaves the language to us."""

UNKNOWN: Final = "…"
"""The text for a placeholder without a value."""

Words = Mapping[str, str]


class Notice(StrEnum):
    """Notices: results, and instructions for the person at the terminal."""

    LENT_ALREADY = "lent_already"
    LOAN_UNDONE = "loan_undone"
    RENEWED = "renewed"
    RENEWAL_ASKED = "renewal_asked"
    RECEIVED = "received"
    AGAIN_HELD = "again_held"
    AGAIN = "again"
    UNWANTED = "unwanted"
    UNCOLLECTED = "uncollected"
    RETURNED = "returned"
    RETURNED_LATE = "returned_late"
    RETURN_UNDONE = "return_undone"
    HOME = "home"
    PAGED = "paged"
    RECALLED = "recalled"
    OFFLINE_CONFLICT = "offline_conflict"
    WAITING = "waiting"
    PAID = "paid"
    HOLD_PLACED = "hold_placed"
    HOLD_CANCELLED = "hold_cancelled"
    HOLD_CHANGED = "hold_changed"
    ALL_RENEWED = "all_renewed"
    NOT_RENEWED = "not_renewed"
    OWED = "owed"
    ILS_AWAY = "ils_away"
    NOT_TOLD = "not_told"
    WILL_BE_TOLD = "will_be_told"
    NO_ANSWER = "no_answer"
    CARD_UNKNOWN_NOW = "card_unknown_now"
    PIN_UNKNOWN_NOW = "pin_unknown_now"
    OWED_UNKNOWN_NOW = "owed_unknown_now"
    LOGIN_REFUSED = "login_refused"


def _both(english: str, chinese: str) -> Words:
    return {EN: english, ZH: chinese}


# fmt: off
GOOD: Final[Mapping[Notice, Words]] = {
    Notice.LENT_ALREADY:     _both("On loan to you already, until {due}", "此書已由您借出，到期日為 {due}"),
    Notice.LOAN_UNDONE:      _both("Checkout undone: the book is on the hold shelf again", "已取消借出，圖書放回預約書架"),
    Notice.RENEWED:          _both("Renewed until {due}", "已續借至 {due}"),
    Notice.RENEWAL_ASKED:    _both("The lending library is being asked. Due on {due} until then",
                                   "正向借出館查詢，暫時到期日為 {due}"),
    Notice.RECEIVED:         _both("Received: put on the hold shelf", "已收到，請放上預約書架"),
    Notice.AGAIN_HELD:       _both("Received before: it belongs on the hold shelf", "先前已收到，應放在預約書架"),
    Notice.AGAIN:            _both("Scanned before: nothing has changed", "先前已處理，紀錄沒有改變"),
    Notice.UNWANTED:         _both("Nobody waits for it any more: send to {destination}", "已無讀者等候，請送往 {destination}"),
    Notice.UNCOLLECTED:      _both("Not collected in time: send to {destination}", "逾期未取，請送往 {destination}"),
    Notice.RETURNED:         _both("Returned: send to {destination}", "已歸還，請送往 {destination}"),
    Notice.RETURNED_LATE:    _both("Returned: send to {destination}. Fine {currency} {fine}",
                                   "已歸還，請送往 {destination}。罰款 {currency} {fine}"),
    Notice.RETURN_UNDONE:    _both("Return undone: on loan as before", "已取消歸還，維持借出"),
    Notice.HOME:             _both("Our own book is home: re-shelve it", "本館圖書已歸還，請重新上架"),
    Notice.PAGED:            _both("Wanted by {destination}: check it out to its card",
                                   "{destination} 需要此書，請借出至該館帳戶"),
    Notice.RECALLED:         _both("Its owner wants it back", "借出館已要求歸還此書"),
    Notice.OFFLINE_CONFLICT: _both("Taken, but staff must look at it", "已接收，但須由職員跟進"),
    Notice.WAITING:          _both("HKALL books ready to collect: {count}", "可取的 HKALL 圖書：{count} 本"),
    Notice.PAID:             _both("{currency} {paid} received. Still owed: {currency} {owed}",
                                   "已收 {currency} {paid}，尚欠 {currency} {owed}"),
    Notice.HOLD_PLACED:      _both("Requested. You will be told when it is here", "已申請，圖書送達時會通知您"),
    Notice.HOLD_CANCELLED:   _both("The request is cancelled", "申請已取消"),
    Notice.HOLD_CHANGED:     _both("The request is changed", "申請已更改"),
    Notice.ALL_RENEWED:      _both("Renewed: {count}", "已續借 {count} 本"),
    Notice.NOT_RENEWED:      _both("{item}: {why}", "{item}：{why}"),
    Notice.OWED:             _both("Owed for HKALL books: {currency} {owed}", "HKALL 圖書欠款：{currency} {owed}"),
    Notice.ILS_AWAY:         _both("The library's own system is away: HKALL only", "本館系統暫停服務，只可辦理 HKALL 圖書"),
    Notice.NOT_TOLD:         _both("Done for HKALL, but not in the library's own system: please do it there",
                                   "HKALL 已辦妥，但本館系統未有紀錄，請在本館系統補辦"),
    Notice.WILL_BE_TOLD:     _both("Done for HKALL. The library's own system is told later",
                                   "HKALL 已辦妥，本館系統稍後補上紀錄"),
    Notice.NO_ANSWER:        _both("No answer: it may have been done all the same. Please ask at the counter",
                                   "本館系統沒有回應，手續可能已辦妥，請向櫃檯查詢"),
    Notice.CARD_UNKNOWN_NOW: _both("Not known at the moment: whether this card is valid", "暫時未能確定此讀者證是否有效"),
    Notice.PIN_UNKNOWN_NOW:  _both("Not known at the moment: whether the PIN is right", "暫時未能核對密碼"),
    Notice.OWED_UNKNOWN_NOW: _both("Not known at the moment: what is owed to the library itself", "暫時未能查詢本館欠款"),
    Notice.LOGIN_REFUSED:    _both("The library's own system refuses this terminal's login. Please tell the staff",
                                   "本館系統不接受此終端機登入，請通知職員"),
}
# fmt: on


class _Blanks(dict[str, object]):
    """Values for the placeholders; a missing one is shown as UNKNOWN and raises no error."""

    def __missing__(self, key: str) -> str:
        return UNKNOWN


def say(why: Reason, language: str, detail: Mapping[str, object]) -> str:
    """Returns the screen message for a refusal, with the rule's number: "This book has not arrived yet (R13)".

    `language` is one of LANGUAGES, any other is English; `detail` fills the placeholders, dates as YYYY-MM-DD.
    """
    text = _filled(_both(*why.terminal), language, detail)
    return f"{text} ({why.rule})" if why.rule else text


def notice_text(notice: Notice, language: str, **detail: object) -> str:
    """Returns the screen message of a notice; `language` and `detail` as for `say`."""
    return _filled(GOOD[notice], language, detail)


def language_of(code: str, *known: str) -> str:
    """Returns the language to write in: the one that the message's `code` requests, else the first of `known` that is not "".

    `code` is SIP2's three digits; `known` are languages of people and terminals ("zh-Hant", "en", ""), the patron's
    before the terminal's. An unsupported language becomes English.
    """
    if code in CHINESE:
        return ZH
    if code not in UNSAID:
        return EN
    said = next(filter(None, known), EN)
    return ZH if said.lower().startswith("zh") else EN


def _filled(words: Words, language: str, detail: Mapping[str, object]) -> str:
    given = {name: _shown(value) for name, value in detail.items() if value not in (None, "")}
    blanks = _Blanks({"currency": CURRENCY, **given})
    return words.get(language, words[EN]).format_map(blanks)


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return value.date().isoformat()
    return value.isoformat() if isinstance(value, date) else str(value)

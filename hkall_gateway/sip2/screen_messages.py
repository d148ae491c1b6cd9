"""Screen messages of terminals: one row a refusal reason and one row a notice, in English and Traditional Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from hkall_gateway.rules.overdue_fine import CURRENCY
from hkall_gateway.rules.vocabulary import RULES, Reason

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
WORDS: Final[Mapping[Reason, Words]] = {
    # The patron.
    Reason.SERVICE_SUSPENDED:            _both("HKALL is suspended until {end}: {message}",
                                               "HKALL 服務暫停至 {end}，{message_zh}"),
    Reason.UNKNOWN_BORROWER:             _both("This card is not known. Please ask at the counter",
                                               "沒有此讀者證的紀錄，請向櫃檯查詢"),
    Reason.CARD_REPLACED:                _both("This card was replaced. Please use the new card",
                                               "此證已更換，請使用新證"),
    Reason.WRONG_PIN:                    _both("The PIN is missing or wrong", "未輸入密碼或密碼錯誤"),
    Reason.NOT_ELIGIBLE:                 _both("Your card may not use HKALL", "您的讀者證不能使用 HKALL 服務"),
    Reason.NOT_ELIGIBLE_PART_TIME_SPACE: _both("Part-time HKU SPACE students may not use HKALL",
                                               "HKU SPACE 兼讀制學生不能使用 HKALL 服務"),
    Reason.ELIGIBILITY_UNKNOWN:          _both("Whether you may use HKALL is not known. Please ask at the counter",
                                               "未能確定您可否使用 HKALL 服務，請向櫃檯查詢"),
    Reason.PATRON_EXPIRED:               _both("Your card expired on {expires}", "您的讀者證已於 {expires} 到期"),
    Reason.PATRON_BLOCKED:               _both("Your card is blocked. Please ask at the counter",
                                               "您的讀者證已被暫停使用，請向櫃檯查詢"),
    # The request.
    Reason.PICKUP_LOCATION:              _both("Books can be collected at {place} only", "只可在 {place} 領取"),
    Reason.MATERIAL_NOT_REQUESTABLE:     _both("Only books can be requested", "只可申請借閱圖書"),
    Reason.UNKNOWN_TITLE:                _both("This title is not known", "沒有此書目的紀錄"),
    Reason.AVAILABLE_LOCALLY:            _both("A copy is on the shelf in our own library", "本館書架上有此書"),
    Reason.AVAILABILITY_UNKNOWN:         _both("Whether our own copy is on the shelf is not known", "未能確定本館有否此書"),
    Reason.NO_AVAILABLE_COPY:            _both("No library has a copy to lend now", "現時沒有圖書館可借出此書"),
    Reason.DUPLICATE_REQUEST:            _both("You have requested this title already", "您已申請借閱此書"),
    Reason.QUOTA_HKALL:                  _both("You have all the {limit} HKALL books that you may have",
                                               "您已達 HKALL 借書上限 {limit} 本"),
    Reason.QUOTA_TOTAL:                  _both("You have all the {limit} books that you may have",
                                               "您已達借書總上限 {limit} 本"),
    Reason.QUOTA_UNKNOWN:                _both("How many books you have is not known. Please ask at the counter",
                                               "未能確定您的借書數量，請向櫃檯查詢"),
    Reason.HOLDS_NOT_ALLOWED:            _both("HKALL books cannot be put on hold", "HKALL 圖書不設預約"),
    # The hold shelf and the counter.
    Reason.NOT_REQUESTER:                _both("This book was requested by somebody else", "此書由其他讀者申請"),
    Reason.NOT_YET_ARRIVED:              _both("This book has not arrived yet", "此書尚未送達"),
    Reason.PICKUP_EXPIRED:               _both("The last day to collect was {pickup_last}. Please ask at the counter",
                                               "領取期限 {pickup_last} 已過，請向櫃檯查詢"),
    Reason.COUNTER_ONLY:                 _both("HKALL books: please go to the Lending Services counter {place}",
                                               "HKALL 圖書請到借還服務櫃檯 (Lending Services) {place} 辦理"),
    Reason.NOT_IN_BOOK_DROP:             _both("Not returned. HKALL books must go to the Lending Services counter",
                                               "尚未歸還。HKALL 圖書必須交回借還服務櫃檯 (Lending Services)"),
    Reason.AMBIGUOUS_ITEM:               _both("More than one book fits. Please ask at the counter",
                                               "有多於一本書符合，請向櫃檯查詢"),
    Reason.UNKNOWN_ITEM:                 _both("This is not an HKALL book", "此書不是 HKALL 圖書"),
    Reason.BELONGS_ELSEWHERE:            _both("This book belongs to {owner} and nobody waits for it here: send it home",
                                               "此書屬於 {owner}，本館無讀者等候，請送還"),
    Reason.UNKNOWN_REQUEST:              _both("There is no such request", "沒有此申請"),
    # On loan.
    Reason.NOT_ON_LOAN:                  _both("This book is not on loan", "此書並未借出"),
    Reason.ON_LOAN_TO_ANOTHER:           _both("This book is on loan to somebody else", "此書已由其他讀者借出"),
    Reason.RENEWAL_LIMIT:                _both("Renewed {limit} times already. Due on {due}",
                                               "已續借 {limit} 次，請於 {due} 或之前歸還"),
    Reason.RENEWAL_TOO_SOON:             _both("Can be renewed from {from} on. Due on {due}",
                                               "{from} 起方可續借，到期日為 {due}"),
    Reason.RENEWAL_OVERDUE:              _both("Overdue since {due}: cannot be renewed. Please return it",
                                               "已於 {due} 到期，不能續借，請歸還"),
    Reason.RENEWAL_DENIED:               _both("Cannot be renewed. Due on {due}", "不能續借，請於 {due} 或之前歸還"),
    Reason.RECALLED:                     _both("Recalled by its library. Please return it by {due}",
                                               "藏書館催還此書，請於 {due} 或之前歸還"),
    # The request and the partners.
    Reason.TOO_LATE_TO_CANCEL:           _both("Too late to cancel: the book is on its way", "圖書已在途中，不能取消申請"),
    Reason.ALREADY_SHIPPED:              _both("The book has been sent already", "圖書已寄出"),
    Reason.AGENCY_NOT_OWNER:             _both("This book belongs to another library", "此書屬於其他圖書館"),
    Reason.NOT_THEIR_COPY:               _both("This copy belongs to another library", "此館藏屬於其他圖書館"),
    Reason.CONTRADICTS_US:               _both("Our own record says otherwise", "與本館記錄不符"),
    Reason.AGENCY_NOT_ALLOWED:           _both("This library may not do this", "此圖書館不可進行此項操作"),
    Reason.ITEM_NOT_LENDABLE:            _both("This book is not lent", "此書不外借"),
    Reason.LENDING_SUSPENDED:            _both("Lending is suspended until {end}", "外借服務暫停至 {end}"),
    Reason.WRONG_POSITION:               _both("Not possible with this book now. Please ask at the counter",
                                               "此書現時不能辦理此項手續，請向櫃檯查詢"),
    # Payments and messages.
    Reason.FEE_NOT_ACKNOWLEDGED:         _both("A fee of {currency} {fee} is due", "須繳付 {currency} {fee}"),
    Reason.NOT_OWED:                     _both("Not taken: {currency} {owed} is owed",
                                               "未能收取，現欠款項為 {currency} {owed}"),
    Reason.TRANSACTION_REUSED:           _both("Not taken: another payment has this number",
                                               "未能收取，此交易編號已用於另一付款"),
    Reason.UNKNOWN_FINE:                 _both("There is no such fee", "沒有此項費用"),
    Reason.WRONG_DATE:                   _both("The date {on} is not possible", "日期 {on} 不適用"),
    Reason.REASON_NEEDED:                _both("A reason is needed", "須註明原因"),
    Reason.NOT_SUPPORTED:                _both("Not supported here", "此處不提供此服務"),
    Reason.NOT_AT_THIS_TERMINAL:         _both("Not possible at this terminal. Please ask at the counter",
                                               "此終端機不能辦理此項手續，請向櫃檯查詢"),
    Reason.TOO_MANY_WRONG_PINS:          _both("Too many wrong PINs here. Please try again later, or ask at the counter",
                                               "此處輸入錯誤密碼次數過多，請稍後再試或向櫃檯查詢"),
    Reason.LOG_IN_FIRST:                 _both("The terminal must log in first", "終端機須先登入"),
    Reason.UNUSABLE_MESSAGE:             _both("The terminal's message could not be read", "未能讀取終端機的訊息"),
    Reason.TRY_AGAIN:                    _both("Not possible at the moment. Please try again", "暫時未能辦理，請再試"),
}

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
    rule = RULES.get(why)
    text = _filled(WORDS[why], language, detail)
    return f"{text} ({rule})" if rule else text


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

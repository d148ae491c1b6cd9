"""All reasons for refusals, each with its rule and its texts in English and Traditional Chinese.

Protocols map reasons to their own codes in separate tables (such as `ncip/tables/problems.py`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

Texts = tuple[str, str]
"""A text in English and Traditional Chinese. Placeholders such as {due} are replaced by the details of the refusal."""
NO_TEXTS: Final[Texts] = ("", "")


# fmt: off
class Reason(StrEnum):
    """A reason for a refusal. The value is the word that is stored.

    Attributes:
        rule: Number of the published rule; "" if no rule applies.
        staff: Sentence for staff.
        terminal: Screen message, to which the terminal appends the rule; defaults to `staff` without the full stop.
        patron: Sentence that addresses the patron; defaults to `staff`.
    """

    rule: str
    staff: Texts
    terminal: Texts
    patron: Texts

    def __new__(
        cls, word: str, rule: str = "", staff: Texts = NO_TEXTS, terminal: Texts = NO_TEXTS, patron: Texts = NO_TEXTS
    ) -> Reason:
        """Create a member. The defaults exist so that `Reason(word)` can look up a member."""
        made = str.__new__(cls, word)
        made._value_ = word
        made.rule, made.staff, made.patron = rule, staff, patron if any(patron) else staff
        made.terminal = terminal if any(terminal) else (staff[0].removesuffix("."), staff[1].removesuffix("。"))
        return made

    # The patron.
    SERVICE_SUSPENDED = (
        "service_suspended", "R1",
        ("HKALL is suspended until {end}.", "HKALL 服務暫停至 {end}。"),
        ("HKALL is suspended until {end}: {message}", "HKALL 服務暫停至 {end}，{message_zh}"),
    )
    UNKNOWN_BORROWER = (
        "unknown_borrower", "R2",
        ("This card is not known.", "沒有此讀者證的紀錄。"),
        ("This card is not known. Please ask at the counter", "沒有此讀者證的紀錄，請向櫃檯查詢"),
        ("Your card is not known here. Ask at the counter.", "本館沒有您的讀者證紀錄，請向櫃檯查詢。"),
    )
    CARD_REPLACED = (
        "card_replaced", "R2",
        ("This card was replaced by another one.", "此證已更換為另一張證。"),
        ("This card was replaced. Please use the new card", "此證已更換，請使用新證"),
        ("Your card was replaced by another one. Log in with the new one.", "您的讀者證已更換，請以新證登入。"),
    )
    WRONG_PIN = (
        "wrong_pin", "R10",
        ("The PIN is missing or wrong.", "未輸入密碼或密碼錯誤。"),
        ("The PIN is missing or wrong", "未輸入密碼或密碼錯誤"),
        ("Card or PIN is wrong.", "讀者證號碼或密碼不正確。"),
    )
    NOT_ELIGIBLE = (
        "not_eligible", "R2",
        ("The patron's category may not use HKALL.", "此類別的讀者不能使用 HKALL。"),
        ("Your card may not use HKALL", "您的讀者證不能使用 HKALL 服務"),
        ("Cards of your kind may not use HKALL.", "您的讀者類別不可使用 HKALL。"),
    )
    NOT_ELIGIBLE_PART_TIME_SPACE = (
        "not_eligible_part_time_space", "R2",
        ("Part-time HKU SPACE students may not use HKALL.", "HKU SPACE 兼讀制學生不能使用 HKALL。"),
        ("Part-time HKU SPACE students may not use HKALL", "HKU SPACE 兼讀制學生不能使用 HKALL 服務"),
    )
    ELIGIBILITY_UNKNOWN = (
        "eligibility_unknown", "R2",
        ("It is not known whether the patron may use HKALL.", "未能確定讀者可否使用 HKALL。"),
        ("Whether you may use HKALL is not known. Please ask at the counter", "未能確定您可否使用 HKALL 服務，請向櫃檯查詢"),
        ("We do not know whether you may use HKALL. Ask at the counter.", "未能確定您可否使用 HKALL，請向櫃檯查詢。"),
    )
    PATRON_EXPIRED = (
        "patron_expired", "R2",
        ("The card expired on {expires}.", "讀者證已於 {expires} 到期。"),
        ("Your card expired on {expires}", "您的讀者證已於 {expires} 到期"),
        ("Your card expired on {expires}. Renew it at the counter.", "您的讀者證已於{expires}到期，請到櫃檯續期。"),
    )
    PATRON_BLOCKED = (
        "patron_blocked", "R2",
        ("The card is blocked.", "讀者證已被暫停使用。"),
        ("Your card is blocked. Please ask at the counter", "您的讀者證已被暫停使用，請向櫃檯查詢"),
        ("Your card is blocked. Ask at the counter.", "您的讀者證已被停用，請向櫃檯查詢。"),
    )
    # The request.
    PICKUP_LOCATION = (
        "pickup_location", "R4",
        ("Books can be collected at {place} only.", "只可在 {place} 領取。"),
    )
    MATERIAL_NOT_REQUESTABLE = (
        "material_not_requestable", "R5",
        ("Only books can be requested.", "只可申請借閱圖書。"),
    )
    UNKNOWN_TITLE = (
        "unknown_title", "R7",
        ("This title is not known.", "沒有此書目的紀錄。"),
    )
    AVAILABLE_LOCALLY = (
        "available_locally", "R6",
        ("A copy is on our own shelf.", "本館書架上有此書。"),
        ("A copy is on the shelf in our own library", "本館書架上有此書"),
        ("A copy is on our own shelf. Borrow that one.", "本館書架上有此書，請直接借閱。"),
    )
    AVAILABILITY_UNKNOWN = (
        "availability_unknown", "R6",
        ("It is not known whether our own copy is on the shelf.", "未能確定本館有否此書。"),
        ("Whether our own copy is on the shelf is not known", "未能確定本館有否此書"),
        ("We cannot see now whether our own copy is on the shelf. Try again later.",
         "現時未能得知本館的一本是否在架上，請稍後再試。"),
    )
    NO_AVAILABLE_COPY = (
        "no_available_copy", "R7",
        ("No library has a copy to lend now.", "現時沒有圖書館可借出此書。"),
    )
    DUPLICATE_REQUEST = (
        "duplicate_request", "R11a",
        ("The patron has requested this title already.", "讀者已申請借閱此書。"),
        ("You have requested this title already", "您已申請借閱此書"),
        ("You have requested this title already.", "您已申請此書。"),
    )
    QUOTA_HKALL = (
        "quota_hkall", "R20",
        ("The patron has all the {limit} HKALL books allowed.", "讀者已達 HKALL 借書上限 {limit} 本。"),
        ("You have all the {limit} HKALL books that you may have", "您已達 HKALL 借書上限 {limit} 本"),
        ("You have all the {limit} HKALL books that you may have, requests included.",
         "您的 HKALL 圖書（包括申請）已達上限 {limit} 本。"),
    )
    QUOTA_TOTAL = (
        "quota_total", "R21",
        ("The patron has all the {limit} books allowed.", "讀者已達借書總上限 {limit} 本。"),
        ("You have all the {limit} books that you may have", "您已達借書總上限 {limit} 本"),
        ("You have all the {limit} books that you may have.", "您的借書數目已達上限 {limit} 本。"),
    )
    QUOTA_UNKNOWN = (
        "quota_unknown", "R21",
        ("It is not known how many books the patron has.", "未能確定讀者的借書數量。"),
        ("How many books you have is not known. Please ask at the counter", "未能確定您的借書數量，請向櫃檯查詢"),
        ("We cannot see now how many books you have. Try again later.", "現時未能得知您的借書數目，請稍後再試。"),
    )
    HOLDS_NOT_ALLOWED = (
        "holds_not_allowed", "R22",
        ("HKALL books cannot be put on hold.", "HKALL 圖書不設預約。"),
    )
    # The hold shelf and the counter.
    NOT_REQUESTER = (
        "not_requester", "R13",
        ("Another patron requested this book.", "此書由其他讀者申請。"),
        ("This book was requested by somebody else", "此書由其他讀者申請"),
    )
    NOT_YET_ARRIVED = (
        "not_yet_arrived", "R13",
        ("This book has not arrived yet.", "此書尚未送達。"),
    )
    PICKUP_EXPIRED = (
        "pickup_expired", "R14",
        ("The last day to collect was {pickup_last}.", "領取期限 {pickup_last} 已過。"),
        ("The last day to collect was {pickup_last}. Please ask at the counter", "領取期限 {pickup_last} 已過，請向櫃檯查詢"),
    )
    COUNTER_ONLY = (
        "counter_only", "R16",
        ("HKALL books are handled at the counter {place} only.", "HKALL 圖書只在櫃檯 {place} 辦理。"),
        ("HKALL books: please go to the Lending Services counter {place}",
         "HKALL 圖書請到借還服務櫃檯 (Lending Services) {place} 辦理"),
    )
    NOT_IN_BOOK_DROP = (
        "not_in_book_drop", "R17",
        ("HKALL books do not go into the book drop.", "HKALL 圖書不可投入還書箱。"),
        ("Not returned. HKALL books must go to the Lending Services counter",
         "尚未歸還。HKALL 圖書必須交回借還服務櫃檯 (Lending Services)"),
    )
    AMBIGUOUS_ITEM = (
        "ambiguous_item", "",
        ("More than one book has this barcode. Name its library.", "有多於一本書用此條碼，請註明藏書館。"),
        ("More than one book fits. Please ask at the counter", "有多於一本書符合，請向櫃檯查詢"),
    )
    UNKNOWN_ITEM = (
        "unknown_item", "",
        ("No HKALL request has this copy.", "沒有 HKALL 申請涉及此館藏。"),
        ("This is not an HKALL book", "此書不是 HKALL 圖書"),
    )
    BELONGS_ELSEWHERE = (
        "belongs_elsewhere", "",
        ("It belongs to {owner}, and nobody waits for it here. Send it home.", "此書屬於 {owner}，本館無讀者等候，請送還。"),
        ("This book belongs to {owner} and nobody waits for it here: send it home",
         "此書屬於 {owner}，本館無讀者等候，請送還"),
    )
    UNKNOWN_REQUEST = (
        "unknown_request", "",
        ("There is no such request.", "沒有此申請。"),
    )
    # On loan.
    NOT_ON_LOAN = (
        "not_on_loan", "",
        ("This book is not on loan.", "此書並未借出。"),
    )
    ON_LOAN_TO_ANOTHER = (
        "on_loan_to_another", "",
        ("This book is on loan to another patron.", "此書已由其他讀者借出。"),
        ("This book is on loan to somebody else", "此書已由其他讀者借出"),
    )
    RENEWAL_LIMIT = (
        "renewal_limit", "R27",
        ("Renewed {limit} times already; due on {due}.", "已續借 {limit} 次，到期日為 {due}。"),
        ("Renewed {limit} times already. Due on {due}", "已續借 {limit} 次，請於 {due} 或之前歸還"),
        ("Renewed {limit} times already.", "已續借 {limit} 次。"),
    )
    RENEWAL_TOO_SOON = (
        "renewal_too_soon", "R29",
        ("It can be renewed from {from} on; due on {due}.", "{from} 起方可續借，到期日為 {due}。"),
        ("Can be renewed from {from} on. Due on {due}", "{from} 起方可續借，到期日為 {due}"),
        ("Can be renewed from {from} on.", "{from}起可續借。"),
    )
    RENEWAL_OVERDUE = (
        "renewal_overdue", "R29",
        ("Overdue since {due}.", "已於 {due} 到期。"),
        ("Overdue since {due}: cannot be renewed. Please return it", "已於 {due} 到期，不能續借，請歸還"),
        ("It is overdue: please return it.", "已逾期，請歸還。"),
    )
    RENEWAL_DENIED = (
        "renewal_denied", "R28",
        ("The lender does not renew; due on {due}.", "借出館不予續借，到期日為 {due}。"),
        ("Cannot be renewed. Due on {due}", "不能續借，請於 {due} 或之前歸還"),
        ("Its library does not renew it.", "借出館不予續借。"),
    )
    RECALLED = (
        "recalled", "R28",
        ("Recalled by its owner; due on {due}.", "藏書館催還，到期日為 {due}。"),
        ("Recalled by its library. Please return it by {due}", "藏書館催還此書，請於 {due} 或之前歸還"),
        ("Its library needs it back: recalled books are not renewed.", "藏書館已催還，被催還的圖書不可續借。"),
    )
    # The request and the partners.
    TOO_LATE_TO_CANCEL = (
        "too_late_to_cancel", "R34",
        ("Too late to cancel: {position}.", "不能再取消：{position}。"),
        ("Too late to cancel: the book is on its way", "圖書已在途中，不能取消申請"),
        ("Can no longer be cancelled.", "已不能取消。"),
    )
    ALREADY_SHIPPED = (
        "already_shipped", "R37",
        ("The book has left already.", "圖書已寄出。"),
        ("The book has been sent already", "圖書已寄出"),
    )
    AGENCY_NOT_OWNER = (
        "agency_not_owner", "R23",
        ("The copy belongs to another library, or its owner was not asked.", "館藏屬於其他圖書館，或未曾向藏書館申請。"),
        ("This book belongs to another library", "此書屬於其他圖書館"),
    )
    NOT_THEIR_COPY = (
        "not_their_copy", "",
        ("This copy belongs to another library.", "此館藏屬於其他圖書館。"),
    )
    CONTRADICTS_US = (
        "contradicts_us", "",
        ("Our own record says otherwise.", "與本館記錄不符。"),
    )
    AGENCY_NOT_ALLOWED = (
        "agency_not_allowed", "",
        ("This library may not do this.", "此圖書館不可進行此項操作。"),
    )
    ITEM_NOT_LENDABLE = (
        "item_not_lendable", "",
        ("This copy is not lent.", "此館藏不外借。"),
        ("This book is not lent", "此書不外借"),
    )
    LENDING_SUSPENDED = (
        "lending_suspended", "R1",
        ("Lending is suspended until {end}.", "外借服務暫停至 {end}。"),
    )
    WRONG_POSITION = (
        "wrong_position", "",
        ("Not possible where it stands now: {position}.", "現時階段不能辦理：{position}。"),
        ("Not possible with this book now. Please ask at the counter", "此書現時不能辦理此項手續，請向櫃檯查詢"),
        ("This has changed meanwhile. Look at your record.", "情況已有變動，請查看您的紀錄。"),
    )
    # Payments and messages.
    FEE_NOT_ACKNOWLEDGED = (
        "fee_not_acknowledged", "",
        ("A fee of HK${fee} is due.", "須繳付 HK${fee}。"),
        ("A fee of {currency} {fee} is due", "須繳付 {currency} {fee}"),
    )
    NOT_OWED = (
        "not_owed", "R40",
        ("Not taken: HK${owed} is owed.", "未能收取，現欠 HK${owed}。"),
        ("Not taken: {currency} {owed} is owed", "未能收取，現欠款項為 {currency} {owed}"),
    )
    TRANSACTION_REUSED = (
        "transaction_reused", "R40",
        ("Not taken: another payment has this number.", "未能收取，此編號已用於另一付款。"),
        ("Not taken: another payment has this number", "未能收取，此交易編號已用於另一付款"),
    )
    UNKNOWN_FINE = (
        "unknown_fine", "R40",
        ("There is no such fee.", "沒有此項費用。"),
    )
    REASON_NEEDED = (
        "reason_needed", "",
        ("A reason is needed.", "須註明原因。"),
    )
    WRONG_DATE = (
        "wrong_date", "",
        ("The date {on} is not possible.", "日期 {on} 不適用。"),
    )
    NOT_SUPPORTED = (
        "not_supported", "",
        ("This gateway does not do that.", "本閘道不提供此項功能。"),
        ("Not supported here", "此處不提供此服務"),
    )
    NOT_AT_THIS_TERMINAL = (
        "not_at_this_terminal", "",
        ("Not possible at this terminal.", "此終端機不能辦理。"),
        ("Not possible at this terminal. Please ask at the counter", "此終端機不能辦理此項手續，請向櫃檯查詢"),
    )
    TOO_MANY_WRONG_PINS = (
        "too_many_wrong_pins", "",
        ("Too many wrong PINs; try again later.", "輸入錯誤密碼次數過多，請稍後再試。"),
        ("Too many wrong PINs here. Please try again later, or ask at the counter",
         "此處輸入錯誤密碼次數過多，請稍後再試或向櫃檯查詢"),
    )
    LOG_IN_FIRST = (
        "log_in_first", "",
        ("The terminal must log in first.", "終端機須先登入。"),
    )
    UNUSABLE_MESSAGE = (
        "unusable_message", "",
        ("The message could not be read.", "未能讀取訊息。"),
        ("The terminal's message could not be read", "未能讀取終端機的訊息"),
    )
    TRY_AGAIN = (
        "try_again", "",
        ("No answer in time, and nothing was done. Try again.", "系統未能及時回應，手續尚未辦理。請再試一次。"),
        ("Not possible at the moment. Please try again", "暫時未能辦理，請再試"),
    )
# fmt: on

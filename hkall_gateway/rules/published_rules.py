"""The published rules of HKALL, one sentence each in our words and in both languages, by the number that the code cites."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from hkall_gateway.rules.settings import Policy

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def keys_of(policy: Policy, rules: Iterable[str], about: Collection[str] = ()) -> dict[str, object]:
    """Return every key of these rules with its value in force, named as in the file: `renewal.window_days`.

    `about` names the rows of categories and roles to include (`categories[undergraduates].quota`); service windows and
    fine-free days have no name and are all included, by their index in the list.
    """
    wanted = set(rules)
    return {name: value for name, rule, value in _walk(policy, "", about) if rule in wanted}


def _walk(record: DataclassInstance, prefix: str, about: Collection[str]) -> Iterator[tuple[str, str, object]]:
    for field in dataclasses.fields(record):
        value, name = getattr(record, field.name), prefix + field.name.rstrip("_")
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _walk(value, f"{name}.", about)
        elif isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
            for place, row in enumerate(value):
                row_name = getattr(row, "key", getattr(row, "role", place))
                if row_name is place or row_name in about:
                    yield from _walk(row, f"{name}[{row_name}].", about)
        elif not isinstance(value, dict) and value != ():
            yield name, str(field.metadata.get("rule", "")), value


# fmt: off
SENTENCES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType({
    "R1":   ("On the days of a suspension no book is requested; patrons are referred to Interlibrary Loans.",
             "暫停服務期間不接受任何申請；讀者可改用館際互借服務。"),
    "R2":   ("Twelve categories of HKU and HKU SPACE may borrow; of SPACE students only those who study full time.",
             "香港大學及香港大學專業進修學院的十二類讀者可以借書；專業進修學院學生之中只限全日制學生。"),
    "R3":   ("The lenders are the other libraries of the consortium, never our own.",
             "本館讀者申請的圖書由聯盟的其他圖書館借出，不由本館借出。"),
    "R4":   ("Books are delivered to the Lending Services counter, or where the site lists it.",
             "圖書送到借還服務櫃檯，或本館另行列明的地點。"),
    "R5":   ("Only books are requested and lent.",
             "只可申請及借閱圖書。"),
    "R6":   ("A title that is available at home is not requested elsewhere.",
             "本館現有可借的書名，不會向其他圖書館申請。"),
    "R7":   ("Only a copy that is available now at another library can be requested.",
             "只可申請其他圖書館現時可借的複本。"),
    "R8":   ("A patron asks for a title, or for one volume of it; no other volume is sent instead.",
             "讀者申請一個書名或其中一冊；不會以另一冊代替。"),
    "R9":   ("Only our own patrons enter by the borrowing side; other libraries' patrons are lent to.",
             "只有本館讀者可由借入一方提出申請；其他圖書館的讀者則由本館借出圖書。"),
    "R10":  ("The requester is identified before a request is recorded.",
             "任何紀錄作出之前，必先確認申請人的身分。"),
    "R11":  ("One lender is asked at a time, and every attempt is recorded.",
             "每次只向一間圖書館提出要求，每次嘗試均有紀錄。"),
    "R11a": ("The same patron does not ask twice for the same title.",
             "同一讀者不可重複申請同一書名。"),
    "R12":  ("One letter informs the patron that the book has arrived.",
             "圖書到館後，讀者會收到一封通知信。"),
    "R13":  ("The requester alone collects the book, at the counter.",
             "圖書只可由申請人本人在櫃檯領取。"),
    "R14":  ("It waits five calendar days after the letter.",
             "圖書由發出通知信起保留五個曆日。"),
    "R15":  ("An uncollected book goes back, without a letter.",
             "逾期未領的圖書會退回，不另發信通知。"),
    "R16":  ("Books are lent and taken back at the Lending Services counter.",
             "圖書在借還服務櫃檯借出及歸還。"),
    "R17":  ("A book drop does not end a loan.",
             "投入還書箱並不終止借閱。"),
    "R18":  ("Each category has a number of HKALL books.",
             "每類讀者可借的 HKALL 圖書數目均有上限。"),
    "R19":  ("Each category has a loan period in calendar days.",
             "每類讀者的借閱期以曆日計算。"),
    "R20":  ("HKALL books count towards the patron's own quota.",
             "HKALL 圖書計入讀者本身的借書限額。"),
    "R21":  ("The total quota, local loans included, limits them too.",
             "包括本館借書在內的總限額同樣適用。"),
    "R22":  ("There is no queue for a book that is on loan.",
             "已借出的圖書不設輪候。"),
    "R23":  ("The owner alone recalls, at any time.",
             "只有藏書館可以催還，並可隨時催還。"),
    "R24":  ("The patron gets one letter about a recall.",
             "催還只通知讀者一次。"),
    "R25":  ("A recall leaves fifteen days of use from the first checkout.",
             "圖書被催還時，讀者由首次借出起可使用十五天。"),
    "R26":  ("A recall may shorten the loan and never lengthens it.",
             "催還可縮短借閱期，但絕不延長。"),
    "R27":  ("A loan is renewed twice at most.",
             "每次借閱最多可續借兩次。"),
    "R28":  ("A recalled book is not renewed.",
             "被催還的圖書不可續借。"),
    "R29":  ("A loan is renewed within seven days before its due date.",
             "可於到期日前七天之內續借。"),
    "R30":  ("A renewal sends no letter.",
             "續借不發通知信。"),
    "R31":  ("The record shows the new due date.",
             "新的到期日載於讀者紀錄。"),
    "R32":  ("A renewal is as long as the loan was.",
             "續借期與原借閱期相同。"),
    "R33":  ("A renewal continues the loan, and the book may still be recalled.",
             "續借後借閱仍屬同一次，圖書仍可被催還。"),
    "R34":  ("A patron cancels while the record says HKALL REQUESTD, and not later.",
             "紀錄顯示 HKALL REQUESTD 時讀者可以取消，其後不可。"),
    "R35":  ("The record says TRANSFERRED after the shipment and HKALL RECVD after the arrival.",
             "圖書寄出後紀錄顯示 TRANSFERRED，到館後顯示 HKALL RECVD。"),
    "R36":  ("Cancelling is done in the patron's own record.",
             "取消申請須在讀者本人的紀錄內進行。"),
    "R37":  ("A lender may decline: not on the shelf, lent at home, or not fit to lend.",
             "借出館可以拒絕：不在架上、已由該館讀者借出，或不宜外借。"),
    "R38":  ("The patron gets a letter when no library can lend.",
             "如沒有圖書館可以借出，讀者會獲通知。"),
    "R39":  ("An overdue letter leaves when the loan period is over, to every category.",
             "借閱期屆滿時，各類讀者均會收到逾期通知信。"),
    "R40":  ("An overdue day costs HK$2.",
             "逾期每日罰款港幣 2 元。"),
    "R41":  ("An overdue day of a recalled book costs HK$4.",
             "被催還的圖書逾期每日罰款港幣 4 元。"),
    "R42":  ("Patrons are responsible for a current e-mail address.",
             "讀者有責任提供有效的電郵地址。"),
    "R43":  ("No book is taken overseas without its library's leave.",
             "未經藏書館許可，不得將圖書帶往海外。"),
    "R44":  ("The patron is liable for loss and damage.",
             "圖書如有遺失或損毀，由讀者負責。"),
    "R45":  ("Loss and damage follow the lender's own policy.",
             "遺失及損毀按借出館本身的規定處理。"),
})
"""The sentences in English and in Traditional Chinese."""
# fmt: on

PUBLISHED: Final = {number: english for number, (english, _) in SENTENCES.items()}
PUBLISHED_ZH: Final = {number: chinese for number, (_, chinese) in SENTENCES.items()}

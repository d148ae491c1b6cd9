"""docs/files.md: every column of every file that `load` reads, with a loadable sample of each file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hkall_gateway.ils import columns, exports
from hkall_gateway.ils.columns import Column
from hkall_gateway.rules.vocabulary import Sensitive

# fmt: off
VALUES: Final[Mapping[Callable[[str], Any], str]] = {
    str:                    "text",
    Sensitive:              "text; never in a log",
    columns.language:       "a language tag or code: `en`, `zh-Hant`; empty = English",
    columns.yes:            "`yes` or `no`; also `y` `true` `t` `1` and their opposites; empty = no",
    columns.yes_by_default: "the same; empty = yes",
    columns.day:            "`YYYY-MM-DD`, from 1900 to 2199",
    columns.last_day:       "`YYYY-MM-DD`",
    columns.count:          "a whole number; empty = unknown",
    columns.card:           "a number, as text",
    columns.cards:          "barcodes with `;` between them",
    columns.side:           "`borrow` or `lend`",
    columns.position:       "a position, such as `ON_LOAN`",
}
"""Allowed values of a column, by its conversion function."""
# fmt: on


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """One kind of file: the command's name for it, its purpose, its columns, and a sample."""

    kind: str
    about: str
    columns: Sequence[Column]
    sample: str


FILES: Final = (
    LoadedFile(
        "patrons",
        "The readers who may borrow, every night. Alma's user XML does as well, plain or in a zip file"
        " ([loading.md](loading.md)). With `--full` patrons that the file does not name vanish.",
        exports.PATRONS,
        """\
barcode,name,name_zh,category,study_mode,expires,email,language,local_loans
20001234,Chan Tai Man,陳大文,academic_staff,,2027-08-31,tmchan@example.edu.hk,zh-Hant,3
20005678,Wong Siu Ming,黃小明,space_cdp,FT,2027-06-30,smwong@example.edu.hk,en,0
""",
    ),
    LoadedFile(
        "holdings",
        "The union catalogue: the copies of all libraries, your own among them. MARC21 and MARCXML do as well"
        " ([loading.md](loading.md#the-union-catalogue)). With `--full` copies that the file does not name vanish.",
        (*exports.HOLDINGS, exports.DELETED),
        """\
agency,bib_id,isbn,title,author,volume,barcode,call_number,status,lendable,deleted
CUHK,b1000017,9789620750120,香港方物志,葉靈鳳,,C1000017,DS796.H74 Y4,AVAILABLE,yes,
CUHK,b1000019,9787101003048,史記,司馬遷,v.2,C1000019,DS741.3 .S68,ON_LOAN,yes,
CUHK,,,,,,C1000020,,,,yes
""",
    ),
    LoadedFile(
        "closures",
        "Days on which a library is closed: due dates and pickup periods move past yours.",
        exports.CLOSURES,
        """\
agency,from,to,reason
HKU,2027-02-06,2027-02-09,Lunar New Year
""",
    ),
    LoadedFile(
        "partners",
        "Partners that the configuration does not name, such as the libraries behind a broker. A partner with a"
        " connection of its own, and its proof, is a row of `[[partners]]`.",
        exports.PARTNERS,
        """\
agency,name,url,dialect,priority,institutional_card
LU,Lingnan University Library,https://ncip.lib.lu.example/ncip,direct,30,INST-LU
""",
    ),
    LoadedFile(
        "requests",
        "Once, when the gateway takes over from another system: the requests that are open.",
        exports.REQUESTS,
        """\
side,request_id,partner,patron,barcode,title,bib_id,position,placed,received,first_checkout,due
borrow,OLD-1,CUHK,20001234,C1000021,香港方物志,b1000017,ON_LOAN,2026-11-02,2026-11-05,2026-11-06,2026-12-06
lend,OLD-2,CUHK,,H1000018,Hong Kong in Chinese History,b1000018,AT_BORROWER,2026-11-03,,,
""",
    ),
)

ABOUT: Final = """\
`hkall-gateway load KIND FILE` reads these files. They are CSV in UTF-8, with a comma between fields and the names of the
columns in the first line, in any order. Columns in bold must be there, with a value in every row. An unknown column is an
error, so that a mistyped one is not lost. The whole file is checked first: every mistake is named by file, line and column,
and then no row is loaded. `--dry-run` shows what would change.

If patrons.csv or holdings.csv lacks a column, stored values stay as they are; an empty value clears them."""


def files_page(written: str) -> str:
    """Return the page in Markdown. `written` is the comment that says how to change it."""
    return "\n\n".join(["# Files that `load` reads", written, ABOUT, *map(_section, FILES)]) + "\n"


def _section(file: LoadedFile) -> str:
    rows = [f"| {_name(column)} | {VALUES[column.read]} | {column.about} |" for column in file.columns]
    table = "\n".join(["| column | value | meaning |", "|---|---|---|", *rows])
    return f"## {file.kind}.csv\n\n{file.about}\n\n{table}\n\n```csv\n{file.sample}```"


def _name(column: Column) -> str:
    return f"**`{column.name}`**" if column.required else f"`{column.name}`"

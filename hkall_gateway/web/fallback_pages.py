"""Pages that need no template, in both languages: no thread is free to make another, the database is silent, or
making it failed."""

from __future__ import annotations

from typing import Final

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{en}</title>
<main>
<h1>{en}</h1>
<p>{text}</p>
<h2 lang="zh-Hant">{zh}</h2>
<p lang="zh-Hant">{text_zh}</p>
</main>
</html>
"""


def _page(en: str, text: str, zh: str, text_zh: str) -> bytes:
    return _PAGE.format(en=en, text=text, zh=zh, text_zh=text_zh).encode()


BUSY: Final = _page(
    "Not available just now",
    "Many people use these pages at this moment. Nothing is lost; try again in a few seconds.",
    "暫時未能提供服務",
    "目前使用人數眾多，資料並無遺失，請稍候數秒再試。",
)
AWAY: Final = _page(
    "Not available just now",
    "Nothing is lost. Try again in a minute.",
    "暫時未能提供服務",
    "資料並無遺失，請一分鐘後再試。",
)
TOO_LONG: Final = _page(
    "That was too much",
    "The form was longer than allowed. Send less at a time.",
    "資料過長",
    "表格內容超出上限，請分次提交。",
)
BROKEN: Final = _page(
    "Something went wrong here",
    "It stands in our log. Try again in a minute.",
    "系統發生錯誤",
    "系統已作紀錄，請一分鐘後再試。",
)

"""Invented titles for the catalogue of the demo, English and Chinese, with copies in its libraries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hkall_gateway.rules.vocabulary import Holding, Title

_ON_SHELF, _LOAN = "Available On Shelf", "On Loan"

A_SET: Final = "Writing Protocols That Last"
_SET: Final = ("v.1", "v.2", "v.3")

# fmt: off
_ENGLISH: Final = (
    ("Tides of the Pearl River Delta: A Coastal History", "Fong, Adrian", "Hong Kong: Lantern Bridge, 2014", "DS797.32"),
    ("A Short Grammar of Written Cantonese", "Leung, Marianne", "Hong Kong: Lantern Bridge, 2009", "PL1733"),
    ("Rooftop Cities: Living High in Hong Kong", "Okafor, Daniel", "London: Harrow Lane, 2018", "HT169.H6"),
    ("The Tram Line: Essays on Moving Slowly", "Yuen, Clara", "Hong Kong: Star Ferry Books, 2016", "PR9450.9"),
    ("Statistics for People in a Hurry", "Marchetti, Lucia", "Oxford: Greywell, 2015", "QA276.12"),
    ("Statistics for Public Health", "Marchetti, Lucia ; Ho, Benedict", "Oxford: Greywell, 2019", "RA409"),
    ("Linear Algebra by Drawing", "Sandoval, Inés", "Boston: Northfield, 2012", "QA184.2"),
    ("Databases That Forget: Privacy in Practice", "Rasmussen, Kåre", "Berlin: Tempelhof, 2020", "QA76.9 .D314"),
    ("Writing Protocols That Last", "Rasmussen, Kåre", "Berlin: Tempelhof, 2011", "TK5105.55"),
    ("Libraries without Walls: Lending across Campuses", "Abernathy, Joan", "Chicago: Prairie House, 2008", "Z713.5"),
    ("The Cataloguer's Night Shift", "Abernathy, Joan", "Chicago: Prairie House, 2013", "Z693"),
    ("Tea, Salt and Silver: Trade in the South China Sea", "de Brito, Henrique", "Lisboa: Belém, 2006", "HF3840.S68"),
    ("Typhoon Signals: Weather and Everyday Life", "Tang, Wilfred", "Hong Kong: Star Ferry Books, 2017", "QC948"),
    ("Bamboo Scaffolding: Craft and Engineering", "Ng, Theodora", "London: Harrow Lane, 2010", "TH5281"),
    ("Small Claims: A Guide to Hong Kong Law for Students", "Chow, Perpetua", "Hong Kong: Lantern Bridge, 2021", "KNQ9360"),
    ("An Introduction to Coral Reefs", "Villanueva, Paz", "Manila: Sampaguita, 2007", "QH95.8"),
    ("Nursing Ethics at the Bedside", "O’Hara, Siobhán", "Dublin: Canal Street, 2018", "RT85"),
    ("The Memory of Gardens", "Müller, Annegret", "Zürich: Seefeld, 2003", "SB457"),
    ("Café Socialism: Hong Kong's Corner Restaurants", "Lam, Isidore", "Hong Kong: Star Ferry Books, 2015", "TX945.5"),
    ("Machines That Listen: Speech Recognition for Tones", "Ito, Haruka", "Tokyo: Hibiya, 2022", "TK7882.S65"),
)
_CHINESE: Final = (
    ("香港街市的早晨", "周雅文", "香港：渡輪書社，2012", "DS796.H74"),
    ("香港屋邨建築圖說", "梁啟賢", "香港：渡輪書社，2018", "NA7448"),
    ("香港方言與書寫", "鄧綺華", "香港：燈橋出版社，2009", "PL1731"),
    ("嶺南茶樓小史", "何仲良", "香港：燈橋出版社，2006", "GT2910"),
    ("圖書館學新編", "王若琳 ; 陳伯安", "臺北：青田，2013", "Z665"),
    ("大學圖書館館際合作", "王若琳", "臺北：青田，2017", "Z713.5"),
    ("圖書分類的故事", "陳伯安", "臺北：青田，2001", "Z696"),
    ("珠江口的燈塔", "羅海晴", "香港：渡輪書社，2020", "VK1207"),
    ("海岸線上的詩", "羅海晴", "香港：渡輪書社，2011", "PL2873"),
    ("唐詩入門三十講", "曾書遠", "臺北：松園，2008", "PL2321"),
    ("宋詞與音樂", "曾書遠", "臺北：松園，2010", "PL2336"),
    ("統計學圖解", "馬思敏", "香港：燈橋出版社，2015", "QA276.12"),
    ("微積分從頭說起", "馬思敏", "香港：燈橋出版社，2016", "QA303"),
    ("颱風與城市", "鄧偉倫", "香港：渡輪書社，2019", "QC948"),
    ("護理倫理案例", "蘇曉彤", "香港：燈橋出版社，2021", "RT85"),
    ("中国现代小说讲稿", "刘建民", "广州：南岭，2004", "PL2442"),
    ("岭南文化与海洋贸易", "黄文海", "广州：南岭，2014", "DS793.K7"),
)
_BOTH: Final = (  # romanised, with the original script beside it, as MARC has it in its field 880
    ("Xianggang san bu di tu", "香港散步地圖", "Zhou, Yawen", "周雅文", "香港：渡輪書社，2016", "DS796.H74"),
    ("Tu shu guan de deng guang", "圖書館的燈光", "Chen, Bo'an", "陳伯安", "臺北：青田，2019", "Z720"),
    ("Hai de na yi bian", "海的那一邊", "Luo, Haiqing", "羅海晴", "香港：渡輪書社，2013", "PL2873"),
    ("Cheng shi li de niao", "城市裏的鳥", "Xu, Lixin", "許立新", "香港：燈橋出版社，2010", "QL691"),
)
_PLACES: Final = (
    (("CUHK", _ON_SHELF), ("HKUST", _ON_SHELF), ("LU", _LOAN)),
    (("CUHK", _ON_SHELF),),
    (("HKU", _ON_SHELF), ("CUHK", _ON_SHELF), ("LU", _ON_SHELF)),
    (("HKUST", _LOAN), ("LU", _ON_SHELF)),
    (("HKU", _LOAN), ("HKUST", _ON_SHELF)),
    (("CUHK", _LOAN), ("LU", "In Transit Between Library Locations")),
    (("CUHK", _ON_SHELF), ("HKUST", _ON_SHELF), ("LU", _ON_SHELF)),
)
# fmt: on
"""Where the copies of a title are, in turn."""


def titles() -> Iterator[Title]:
    """Yield the titles; their numbers begin with "d"."""
    rows = [(title, "", author, "", published, "eng") for title, author, published, _ in _ENGLISH]
    rows += [(title, "", author, "", published, "chi") for title, author, published, _ in _CHINESE]
    rows += [(title, script, author, name, published, "chi") for title, script, author, name, published, _ in _BOTH]
    for number, (title, script, author, name, published, language) in enumerate(rows, 1):
        yield Title(f"d{number:03d}", title, author, (_isbn(number),), language, published, script, name)


def copies() -> Iterator[Holding]:
    """Yield the copies of all titles."""
    classes = [row[-1] for row in (*_ENGLISH, *_CHINESE, *_BOTH)]
    for number, (title, shelf) in enumerate(zip(titles(), classes, strict=True), 1):
        for agency, status in _PLACES[number % len(_PLACES)]:
            for at, volume in enumerate(_volumes(title, agency)):
                yield Holding(
                    agency,
                    f"{agency[0]}{agency[-1]}{number:04d}{at}",
                    title.bib_id,
                    title.title,
                    title.author,
                    title.isbns[0],
                    volume,
                    call_number=f"{shelf} .D{number + 10} {title.published[-4:]} {volume}".strip(),
                    status=status,
                    local_bib_id=f"99{number:06d}",
                )


def _volumes(title: Title, agency: str) -> tuple[str, ...]:
    """Return the volumes that a library has; the set is complete in the other libraries, and has its first volume here."""
    if title.title != A_SET:
        return ("",)
    return _SET[:1] if agency == "HKU" else _SET


def _isbn(number: int) -> str:
    """Return an invented ISBN-13 with its check digit."""
    digits = f"978999{number:06d}"
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits))
    return f"{digits}{-total % 10}"

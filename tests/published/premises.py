"""The library of the published page: its configuration, ports and empty database, created once per module."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

from demo import demo_setup
from tests import databases
from tests.ports import free_ports

LENDERS: Final = ("CUHK", "HKUST", "POLYU", "CITYU", "HKBU", "LU", "EDUHK")
"""The other seven participating libraries, in the order in which they are asked."""

LU_CHARGES: Final = "charges = { processing_cents = 10000, refund_if_found_days = 90 }\n"
"""Lingnan charges the replacement price plus HK$100. Source: its page of loan rules."""

PATRONS: Final = [
    "barcode",
    "name",
    "name_zh",
    "category",
    "study_mode",
    "expires",
    "email",
    "language",
    "blocked",
    "local_loans",
    "total_quota",
    "pin_hash",
]
HOLDINGS: Final = ["agency", "bib_id", "title", "author", "volume", "barcode", "status", "lendable", "material"]

_OWN_FILE: Final = "sqlite:///hkall.db"


class Premises:
    """A configured library without patrons or titles. Every test gets a copy of its own."""

    def __init__(self, folder: Path) -> None:
        sip2, ncip, ops, smtp, *partners = free_ports(4 + len(LENDERS))
        self.ports = demo_setup.Ports(sip2, ncip, ops, smtp, dict(zip(LENDERS, partners, strict=True)))
        self.environ = demo_setup.environment(self.ports)
        self._folder, self._config = folder, demo_setup.write_config(folder, self.ports)
        text = self._config.read_text(encoding="utf-8")
        self._config.write_text(text.replace('agency = "LU"\n', f'agency = "LU"\n{LU_CHARGES}'), encoding="utf-8")
        demo_setup.upgrade(self._config, self.environ)

    def copy(self, folder: Path) -> Path:
        """Create the configuration file of a new library in `folder`, with its own empty database."""
        url, config = databases.url(_OWN_FILE), folder / self._config.name
        text = self._config.read_text(encoding="utf-8")
        config.write_text(text.replace(json.dumps(_OWN_FILE), json.dumps(url)), encoding="utf-8")
        shutil.copy(self._config.with_name("policy.toml"), folder)
        if url == _OWN_FILE:
            shutil.copy(self._config.with_name("hkall.db"), folder)
        else:
            demo_setup.upgrade(config, self.environ)
        return config

"""Programs missing on this machine: a test that needs them is skipped, and fails under CI, which installs them."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def program(name: str, package: str) -> str:
    """Return the path of a program of a Debian package."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        skip_or_fail(f"{name} was not found (Debian's {package})")
    return found


def skip_or_fail(why: str) -> NoReturn:
    """Skip the test, which cannot run here, and fail it under CI."""
    if os.environ.get("CI"):
        pytest.fail(f"CI is set, and this test must run here: {why}")
    pytest.skip(why)

"""Adds the compiled modules to a wheel if HKALL_COMPILED is set; everything else stands in pyproject.toml."""

import os
import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).parent / "packaging"))


def wanted() -> bool:
    """Return whether this run makes a compiled wheel; setuptools also runs this file to ask what the build needs."""
    return bool(os.environ.get("HKALL_COMPILED")) and "bdist_wheel" in sys.argv


if wanted():
    from compiled import BuildInParallel, extensions

    setup(ext_modules=extensions(), cmdclass={"build_ext": BuildInParallel})
else:
    setup()

"""Which build of the gateway the tests run on."""

from __future__ import annotations

import pytest

from hkall_gateway.machine import compiled

not_compiled = pytest.mark.skipif(compiled(), reason="it puts a stand-in where compiled code takes the compiled class only")

"""The signature algorithms of signed tokens that are accepted and made; the configuration names them."""

from __future__ import annotations

from typing import Literal

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]

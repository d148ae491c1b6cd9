"""The signature algorithms of signed tokens, accepted and our own, by the names of the configuration.

All use a private key; HMAC and "none" are never accepted.
"""

from __future__ import annotations

from typing import Literal

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]

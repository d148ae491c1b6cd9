"""The configuration files: strict, frozen, with every error at once."""

from hkall_gateway.config.gateway import Gateway, load
from hkall_gateway.config.loading import ConfigErrors

__all__ = ["ConfigErrors", "Gateway", "load"]

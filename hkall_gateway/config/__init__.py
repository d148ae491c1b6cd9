"""The configuration files: strict, frozen, with every error at once."""

from hkall_gateway.config.gateway import GatewayConfig, load
from hkall_gateway.config.loading import ConfigErrors

__all__ = ["ConfigErrors", "GatewayConfig", "load"]

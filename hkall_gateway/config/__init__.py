"""Loads the configuration files strictly into frozen models, and reports all errors at once."""

from hkall_gateway.config.gateway import GatewayConfig, load
from hkall_gateway.config.loading import ConfigErrors

__all__ = ["ConfigErrors", "GatewayConfig", "load"]

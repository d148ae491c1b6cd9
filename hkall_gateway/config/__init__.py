"""The configuration files, loaded strictly into frozen models, with all errors reported at once."""

from hkall_gateway.config.gateway import GatewayConfig, load
from hkall_gateway.config.loading import ConfigErrors

__all__ = ["ConfigErrors", "GatewayConfig", "load"]

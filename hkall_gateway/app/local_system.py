"""Builds the adapter and the connections for the local system, and the rules for the time when the system is unreachable."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from hkall_gateway.app.resources import Resources
from hkall_gateway.circulation.ports import LocalIls, Verb
from hkall_gateway.config import mapping as config_mapping
from hkall_gateway.config.ils import IlsConfig
from hkall_gateway.db.database import Store
from hkall_gateway.delivery.courier import Carrier
from hkall_gateway.ils.installed import find_adapter
from hkall_gateway.ils.local_system import OfflineRules
from hkall_gateway.ils.tools import ConnectorServices, ConnectorTools, Guarded, VerifyPin
from hkall_gateway.net.circuit_breaker import CircuitBreaker
from hkall_gateway.net.http_post import AgentPost
from hkall_gateway.net.secrets import WrongPins
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.sip2.client import LastKnown, Login, Upstream, make_dialler
from hkall_gateway.sip2.queued_messages import QueuedMessages


class LocalSystemParts:
    """Builds the parts configured in the [ils] table. `verify` compares a PIN with our stored hash."""

    def __init__(self, means: Resources, verify: VerifyPin) -> None:
        self._means, self._verify = means, verify
        relay, ils = self._health("relay"), self._config
        self._adapter = find_adapter(ils.connector)
        self._healths = {"relay": relay, "connector": self._health("connector", relay if self._adapter.asks_sip2 else None)}
        self.known = LastKnown(self._keep_s)
        for channel in (["connector"] if self._adapter.is_live else []) + (["relay"] if ils.relay else []):
            means.metrics.ils_up.labels(channel).set(1)  # until a call fails
            means.metrics.ils_login_refused.labels(channel, ils.login).set(0)

    def connector(self, store: Store, wrong_pins: WrongPins) -> LocalIls:
        """Create the adapter for queries about patrons. If the local system checks PINs, `wrong_pins` limits guesses."""
        means, ils = self._means, self._config
        health, post = self._healths["connector"], AgentPost(means.reactor)
        password, framing = means.secret(ils.password_env), config_mapping.framing_of_ils(means.config())
        out = ConnectorServices(
            now=means.clock,
            health=health,
            line=self._line_factory(health),
            post=post,
            dialect=framing,
            password=password,
            clock=means.reactor,
            get=post.get,
        )
        adapter = self._adapter.build(
            ConnectorTools(store=store, agency=means.config().library.agency, verify=self._verify, settings=ils, outside=out)
        )
        # Guesses against our own hashes are limited by `verify`.
        return adapter if Verb.LOADED in adapter.supports else Guarded(adapter, wrong_pins)

    def upstream(self) -> tuple[Callable[[], Upstream] | None, bool]:
        """Return a factory for relay connections (None without a relay), and whether they use the terminals' own logins."""
        ils = self._config
        return (self._line_factory(self._healths["relay"]) if ils.relay else None), ils.relay_login == "terminal"

    def terms(self) -> OfflineRules:
        """Return the configured rules for the time when the local system is unreachable."""
        ils = self._config
        return OfflineRules(
            fallback=ils.fallback, keep_s=ils.keep_s, pin=ils.pin, verify=self._verify, recent_pin=self.known.is_right
        )

    def carrier(self) -> Carrier:
        """Create the carrier that later delivers messages that the local system missed."""
        line, ils = self._line_factory(self._healths["relay"])(), self._config
        institution = ils.institution or self._means.config().library.agency
        late = timedelta(seconds=ils.late_execution_s)
        return QueuedMessages(line, institution, self._means.clock, HONG_KONG, late)

    def budget_until(self) -> float | None:
        """Return the reactor time in seconds until which a message that starts now may query other systems."""
        seconds: float = self._means.reactor.seconds()
        return seconds + self._config.message_timeout_s

    @property
    def away(self) -> bool:
        """Whether the local system is unreachable by the adapter or by the relay."""
        return any(not health.up for health in self._healths.values())

    def stop(self) -> None:
        """Stop probing an unreachable local system."""
        for health in self._healths.values():
            health.stop()

    def _health(self, channel: str, same_as: CircuitBreaker | None = None) -> CircuitBreaker:
        return CircuitBreaker(channel, self._means.clock, self._means.metrics, timer=self._means.reactor, same_as=same_as)

    def _keep_s(self) -> float:
        return self._config.keep_s if self._config.fallback == "allow" else 0.0

    @property
    def _config(self) -> IlsConfig:
        return self._means.config().ils

    def _line_factory(self, health: CircuitBreaker) -> Callable[[], Upstream]:
        """Return a factory for connections to the local SIP2 server with the login in [ils]."""
        reactor, ils = self._means.reactor, self._config
        dialect = config_mapping.framing_of_ils(self._means.config())
        dial = make_dialler(reactor, ils.host, ils.port, ils.timeout_s, tls=ils.tls)
        login = Login(ils.login, self._means.secret(ils.password_env), ils.location)
        return lambda: Upstream(dial, reactor, ils.timeout_s, dialect, health, login)

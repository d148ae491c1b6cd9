"""The [web] table of a configuration as the pages use it."""

from __future__ import annotations

from pathlib import Path

from demo import demo_setup
from hkall_gateway.app.web import settings_of
from hkall_gateway.config import gateway as config
from hkall_gateway.rules.stored_words import StaffRole

OIDC = """
[web.oidc]
issuer = "https://login.example.edu.hk"
client_id = "hkall"
client_secret_env = "HKALL_OIDC_SECRET"
roles = { lending = "clerk", library-it = "sysadmin" }
"""
PORTS = demo_setup.Ports()


def test_identity_provider_settings_include_secret_and_roles(tmp_path: Path) -> None:
    path = demo_setup.write_config(tmp_path, PORTS, pages=True)
    path.write_text(path.read_text(encoding="utf-8") + OIDC, encoding="utf-8")
    environ = {**demo_setup.environment(PORTS), "HKALL_OIDC_SECRET": "s3cret"}
    found = settings_of(config.load(path, environ), environ).oidc
    assert found is not None
    assert (found.issuer, found.client_id, found.role_claim) == ("https://login.example.edu.hk", "hkall", "groups")
    assert found.secret.reveal() == "s3cret"
    assert found.roles == {"lending": StaffRole.CLERK, "library-it": StaffRole.SYSADMIN}


def test_oidc_is_off_without_provider_settings(tmp_path: Path) -> None:
    path = demo_setup.write_config(tmp_path, PORTS, pages=True)
    environ = demo_setup.environment(PORTS)
    assert settings_of(config.load(path, environ), environ).oidc is None


def test_chinese_partner_names_are_passed_to_pages_but_not_to_the_directory(tmp_path: Path) -> None:
    path = demo_setup.write_config(tmp_path, PORTS, pages=True)
    loaded = config.load(path, demo_setup.environment(PORTS))
    assert settings_of(loaded, {}).partner_names_zh["LU"] == "嶺南大學圖書館"
    assert "嶺南" not in str([partner.plain() for partner in loaded.partners])

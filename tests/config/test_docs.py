"""docs/config.md as it is written from the models."""

from __future__ import annotations

from hkall_gateway.config.docs import describe


def test_the_page_on_configuration_names_every_key() -> None:
    page = describe()
    for key in ("agency", "secret_hash", "listen_v1_tcp", "longest_wait_s", "from", "max_body_bytes", "patron_key_env"):
        assert f"| `{key}` |" in page
    for table in (
        "[library]",
        "[[sip2.terminals]]",
        "[[partners]]",
        "[partners.charges]",
        "[[clients]]",
        "[[categories]]",
        "[fine]",
    ):
        assert f"### `{table}`" in page
    assert "| `role` | counter, selfcheck or bookdrop | **needed** | what it may do |" in page
    assert "| `overdue_cents` | whole number | `200` | An overdue day. (R40) |" in page


def test_every_row_of_the_page_has_four_cells_and_a_meaning() -> None:
    rows = [line for line in describe().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert all(row.replace("\\|", "").count("|") == 5 and not row.endswith("|  |") for row in rows)

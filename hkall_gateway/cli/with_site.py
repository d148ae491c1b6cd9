"""The decorator of the commands that work on a `Site`. It opens the site when the command runs, so that `--help` is fast."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import click

from hkall_gateway.cli.options import Site, config_option


def with_site(command: Callable[..., object]) -> Callable[..., object]:
    """Pass a `Site` as a command's first argument: the click context's site (in a scenario), or the configured site."""

    @config_option
    @functools.wraps(command)
    def opened(*args: object, config: Path, **options: object) -> object:
        if given := click.get_current_context().find_object(Site):
            return command(given, *args, **options)
        from hkall_gateway.cli.opening import open_site

        site = open_site(config)
        try:
            return command(site, *args, **options)
        finally:
            site.store.close()
            if site.engine is not None:
                site.engine.dispose()

    return opened

"""The manual page and the completion scripts, checked with man, lexgrog and bash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from docs.generate.man_page import man_page
from hkall_gateway.cli import ENTRIES
from tests.programs import program

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "man" / "hkall-gateway.1"
BIN = Path(sys.executable).parent


def test_every_command_is_in_the_manual() -> None:
    page = man_page()
    heads = [line.replace("\\-", "-") for line in page.splitlines() if line.startswith(".SS ")]
    assert all(any(head.startswith(f'.SS "hkall-gateway {entry.name} ') for head in heads) for entry in ENTRIES)


def test_lexgrog_finds_name_and_description() -> None:
    done = subprocess.run([program("lexgrog", "man-db"), PAGE], capture_output=True, text=True, check=True)
    assert '"hkall-gateway - gateway between NCIP partners, SIP2 terminals and a library system"' in done.stdout


def test_man_reads_the_page_without_a_warning() -> None:
    program("groff", "groff-base")
    environ = {**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8"}
    words = [program("man", "man-db"), "--warnings=w", "-l", "-P", "cat", str(PAGE)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environ)
    assert done.stderr == ""
    assert "hkall-gateway request receive" in done.stdout
    assert "--older-than" in done.stdout


@pytest.mark.parametrize(("words", "told"), [("hkall-gateway ou", "outbox"), ("hkall-gateway outbox re", "retry")])
def test_bash_completion_offers_commands(words: str, told: str) -> None:
    shell = f"""
        PATH={BIN}:$PATH
        . {DOCS / "completion" / "hkall-gateway"}
        COMP_WORDS=({words}); COMP_CWORD={len(words.split()) - 1}
        _hkall_gateway_completion hkall-gateway
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run([program("bash", "bash"), "-c", shell], capture_output=True, text=True, check=True)
    assert told in done.stdout.split()

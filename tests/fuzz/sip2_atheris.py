"""A coverage-guided fuzzer for the SIP2 codec and session; run manually, not part of the suite.

    python -m venv /tmp/fuzz && /tmp/fuzz/bin/pip install atheris -e .
    /tmp/fuzz/bin/python tests/fuzz/sip2_atheris.py -max_total_time=600 CORPUS

For any input in any segmentation: no exception, no more memory than the line limit, replies that are one well-formed line, and
the next valid message is delivered. An empty CORPUS starts with our own messages. Atheris writes a crash to a file; make a test
of it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["hkall_gateway.sip2"]):
    from hkall_gateway.sip2.codec.dialects import DIALECTS
    from hkall_gateway.sip2.codec.fields import TAGS
    from hkall_gateway.sip2.codec.lines import BadMessage, Sip2Message, decode, encode
    from hkall_gateway.sip2.codec.messages import SHAPES
    from hkall_gateway.sip2.codec.session import Close, Prompts, Refuse, Session

ROWS = tuple(DIALECTS.values())
SEEDS = Path(__file__).parents[2] / "fixtures" / "sip2"
GOOD = b"\r3520170301    100000AOHKU|AAP1|\r"


def fuzz(data: bytes) -> None:
    """Run one input: its first byte selects the dialect, its second the segment size."""
    if len(data) < 3:
        return
    dialect, size, said = ROWS[data[0] % len(ROWS)], data[1] % 40 + 1, data[2:]
    session = Session(dialect)
    events = [event for piece in _pieces(said, size) for event in _served(session, piece)]
    assert session.held <= dialect.max_line
    if not any(isinstance(event, Close) for event in events):
        then = list(session.receive(GOOD))
        assert any(isinstance(event, Sip2Message) and event.get("AA") == "P1" for event in then), then
    _telnet(said, size)


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def _served(session: Session, piece: bytes) -> Iterator[object]:
    """Answer each request with everything it contained; the reply must be one readable line."""
    for event in list(session.receive(piece)):
        if isinstance(event, Sip2Message | Refuse):
            message = event.message if isinstance(event, Refuse) else event
            code = SHAPES[message.code].reply
            parts = {part.name for part in SHAPES[code].fixed}
            line = session.reply(message, code, {n: v for n, v in message.fields.items() if n in parts or n in TAGS})
            end = session.dialect.terminator
            assert line.endswith(end)
            assert not set(line[: -len(end)]) & {0, 10, 13}
            assert decode(line, session.dialect).code == code
        yield event


def _telnet(data: bytes, size: int) -> None:
    prompts = Prompts()
    for piece in _pieces(data, size):
        if any(isinstance(said, Sip2Message) for said in prompts.receive(piece)):
            prompts.judged(right=False)


def _read_and_written(data: bytes) -> None:
    """Assert that every decoded message can be encoded and decodes to the same message."""
    try:
        message = decode(data, DIALECTS["standard"])
    except BadMessage:
        return
    again = decode(encode(message, DIALECTS["standard"]), DIALECTS["standard"])
    assert again.code == message.code


def seed(corpus: Path) -> None:
    """Write our own messages in every dialect as the initial corpus."""
    if not any(corpus.iterdir()):
        said = [line for file in sorted(SEEDS.glob("*.txt")) for line in file.read_bytes().splitlines() if line[:1].isdigit()]
        for number, line in enumerate(said):
            (corpus / f"line-{number}").write_bytes(bytes([number % len(ROWS), number % 40]) + line + b"\r")


def both(data: bytes) -> None:
    """Check both properties on one input."""
    fuzz(data)
    _read_and_written(data)


if __name__ == "__main__":
    for folder in (Path(word) for word in sys.argv[1:] if not word.startswith("-")):
        seed(folder)
    atheris.Setup(sys.argv, both)
    atheris.Fuzz()

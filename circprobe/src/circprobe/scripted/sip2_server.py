"""A small SIP2 server over the toy library, which keeps every clause unless a fault is planted."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from circprobe.scripted.faults import Fault
from circprobe.scripted.library import LOGIN, PASSWORD, Item, Library, Patron
from circprobe.sip2 import codec, messages
from circprobe.sip2.codec import Message

INSTITUTION = "HKX"
CLOSES_IDLE = "closes an idle connection"
"""The fault whose clause has to wait."""
SUPPORTED = "YYYYYYYYYYYYYYYY"
NO_STATUS = " " * 14
INVALID_STATUS = "YYYY" + " " * 10
FEE = "2.50"


def now() -> str:
    """Give the local time as SIP2 writes it."""
    return datetime.now().astimezone().strftime("%Y%m%d    %H%M%S")


@dataclass
class Session:
    """One connection.

    Attributes:
        last_sent: the last message sent, for 97.
        last_request: the last message received, to know a repetition.
    """

    library: Library
    fault: Fault = field(default_factory=Fault)
    needs_login: bool = True
    is_logged_in: bool = False
    last_sent: bytes = b""
    last_request: bytes = b""
    is_mute: bool = False
    wrong_pins: int = 0
    statuses: int = 0
    statuses_in_a_row: int = 0
    returned: set[str] = field(default_factory=set)

    def answer(self, line: bytes) -> bytes:
        """Answer one line.

        Returns:
            The answer without terminator, or nothing for what is ignored.
        """
        fault = self.fault
        message = codec.read(line)
        is_damaged = message.checksum is not None and not message.has_right_checksum
        if is_damaged and not fault.has("accepts a wrong checksum"):
            self.is_mute = fault.has("stops after 96")
            return self._keep(self._frame_96())
        if fault.has("refuses lower-case checksums") and _is_lower(message):
            return self._keep(codec.with_checksum(b"96", None))
        if message.code == "97":
            return self._repeat_last()

        is_repetition = message.sequence is not None and line == self.last_request
        if is_repetition and fault.has("ignores a repetition"):
            return b""
        if is_repetition and not fault.has("executes a repetition again"):
            return self.last_sent
        self.last_request = line
        self.statuses_in_a_row = self.statuses_in_a_row + 1 if message.code == "99" else 0
        if fault.has("takes an old AY for a repetition") and self.statuses_in_a_row > 10:
            return b""

        text = self._answer_message(message)
        if text is None:
            return b""
        return self._keep(self._frame(fault.change(text, message.text), message))

    def _frame_96(self) -> bytes:
        if self.fault.has("sends 96 without checksum"):
            return b"96"
        sequence = 0 if self.fault.has("puts AY into 96") else None
        return codec.with_checksum(b"96", sequence)

    def _keep(self, content: bytes) -> bytes:
        self.last_sent = content
        return content

    def _repeat_last(self) -> bytes:
        if self.fault.has("answers 97 with 96") or not self.last_sent:
            return codec.with_checksum(b"96", None)
        if self.fault.has("answers 97 by doing it again") and self.last_request:
            request, self.last_request = self.last_request, b""
            return self.answer(request)
        last_sent = self.last_sent
        if self.fault.has("repeats only once"):
            self.last_sent = b""
        return last_sent

    def _frame(self, text: str, message: Message) -> bytes:
        fault = self.fault
        content = text.encode("big5" if fault.has("answers in Big5") else "utf-8", "replace")
        if message.checksum is None and not fault.has("always sends AZ"):
            return content
        if fault.has("never sends AZ"):
            return content
        sequence = int(message.sequence or 0)
        if fault.has("sends its own AY"):
            sequence = (sequence + 1) % 10
        framed = codec.with_checksum(content, sequence)
        if message.sequence is None:
            framed = codec.with_checksum(content, None)
        if fault.has("sends a wrong checksum"):
            framed = framed[:-4] + b"0000"
        if fault.has("sums characters") and text.startswith("18"):
            characters = sum(map(ord, framed[:-4].decode()))
            framed = framed[:-4] + f"{-characters & 0xFFFF:04X}".encode()
        if fault.has("sends lower-case checksums"):
            framed = framed[:-4] + framed[-4:].lower()
        return framed

    def _answer_message(self, message: Message) -> str | None:
        fault = self.fault
        handler = _HANDLERS.get(message.code)
        if handler is None:
            self.is_mute = fault.has("stops answering after an unknown command")
            return "96" if fault.has("answers an unknown command") else None
        is_gate = self.needs_login and not fault.has("answers before the login")
        if is_gate and not self.is_logged_in and message.code not in {"93", "99"}:
            return None
        if fault.has(f"ignores {message.code}") or self.is_mute:
            return None
        is_dropped = DROPPED.get(fault.does)
        if is_dropped and is_dropped(self, message):
            return None
        return handler(self, message)

    # Handlers, in the order of the document.

    def _log_in(self, message: Message) -> str:
        password = message.value("CO")
        is_right = message.value("CN") == LOGIN and password == PASSWORD
        if not self.needs_login:
            is_right = True
        if self.fault.has("accepts every password") and password:
            is_right = True
        if self.fault.has("accepts an empty password") and not password:
            is_right = True
        if self.fault.has("answers 93 with 98"):
            self.is_logged_in = True
            return self._status(message)
        self.is_logged_in = is_right
        return f"94{int(is_right)}"

    def _status(self, message: Message) -> str:
        del message
        supported = SUPPORTED
        if self.fault.has("changes BX"):
            self.statuses += 1
            supported = SUPPORTED[:15] + "YN"[self.statuses % 2]
        fields = f"AO{INSTITUTION}|AMToy Library|BX{supported}|"
        return f"98YYYYNN100003{now()}2.00{fields}"

    def _patron(self, message: Message) -> Patron | None:
        return self.library.patrons.get(message.value("AA").strip())

    def _patron_head(self, message: Message, patron: Patron | None) -> str:
        status = NO_STATUS if patron else INVALID_STATUS
        language = message.fixed.get("language") or "000"
        return f"{status}{language}{now()}"

    def _patron_fields(self, message: Message, patron: Patron | None) -> str:
        fields = f"AO{INSTITUTION}|AA{message.value('AA')}|"
        if patron is None:
            return fields + "AE|BLN|CQN|AFUnknown card|"
        has_right_pin = message.value("AD") == patron.pin
        verdict = "Y" if has_right_pin else "N"
        if message.code == "63" and message.value("AD") and not has_right_pin:
            self.wrong_pins += 1
        if self.fault.has("remembers a wrong PIN") and self.wrong_pins and message.code == "63":
            verdict = "N"
        return fields + f"AE{patron.name}|BLY|CQ{verdict}|BHHKD|BV{FEE}|"

    def _patron_status(self, message: Message) -> str:
        patron = self._patron(message)
        return "24" + self._patron_head(message, patron) + self._patron_fields(message, patron)

    def _patron_information(self, message: Message) -> str:
        card = message.value("AA").strip()
        patron = self._patron(message)
        holds = self.library.holds_of(card) if patron else []
        loans = self.library.loans_of(card) if patron else []
        if self.fault.has("counts one loan too few"):
            counts = f"{len(holds):04}0000{len(loans) - 1:04}000100000000"
        else:
            counts = f"{len(holds):04}0000{len(loans):04}{int(bool(patron)):04}00000000"
        lists = self._lists(message, holds, loans) if patron else ""
        limits = "BZ0010|CA0005|CB0030|" if patron else ""
        head = "64" + self._patron_head(message, patron) + counts
        return head + self._patron_fields(message, patron) + limits + lists

    def _lists(self, message: Message, holds: list[Item], loans: list[Item]) -> str:
        summary = message.fixed.get("summary", "")
        wanted = summary.find("Y")
        if self.fault.has("lists what nobody asked for") and wanted < 0:
            wanted = 2
        if self.fault.has("lists nothing"):
            wanted = -1
        fields = {
            0: [f"AS{item.barcode}|" for item in holds],
            2: [f"AU{item.barcode}|" for item in loans],
            3: [f"AVOverdue {FEE}|"],
        }.get(wanted, [])
        start, end = message.value("BP"), message.value("BQ")
        if start.isdigit() and end.isdigit() and not self.fault.has("ignores BP and BQ"):
            fields = fields[int(start) - 1 : int(end)]
        return "".join(fields)

    def _end_session(self, message: Message) -> str:
        return f"36Y{now()}AO{INSTITUTION}|AA{message.value('AA')}|"

    def _check_out(self, message: Message) -> str:
        fault = self.fault
        patron = self._patron(message)
        item = self.library.items.get(message.value("AB"))
        if patron is None and item and fault.has("lends to unknown cards"):
            return self._loan_answer("12", message, item, "1", "N")
        is_offline = message.fixed["no_block"] == "Y"
        is_blank = not message.fixed["nb_due_date"].strip()
        if is_offline and fault.has("refuses no block"):
            return self._loan_answer("12", message, item, "0", "N")
        if is_blank and fault.has("wants an nb due date"):
            return self._loan_answer("12", message, item, "0", "N")
        if fault.has("answers 11 with 10"):
            return self._check_in(message)
        if item and message.value("BI") == "Y":
            self.library.check_in(item)
            return self._loan_answer("12", message, item, "1", "N")
        is_free = item is not None and item.borrower in {"", message.value("AA")}
        if patron is None or item is None or not is_free:
            if fault.has("says yes to an unknown item") and item is None and patron:
                return self._loan_answer("12", message, None, "1", "N")
            return self._loan_answer("12", message, item, "0", "N")
        is_renewal = bool(item.borrower)
        if is_renewal and message.fixed["SC_renewal_policy"] == "N":
            return self._loan_answer("12", message, item, "0", "N")
        self.library.check_out(patron.barcode, item)
        return self._loan_answer("12", message, item, "1", "Y" if is_renewal else "N")

    def _loan_answer(
        self, code: str, message: Message, item: Item | None, ok: str, renewed: str
    ) -> str:
        title = item.title if item else ""
        due = item.due if item and ok == "1" else ""
        security = "Y" if ok == "1" else "N"
        fields = f"AO{INSTITUTION}|AA{message.value('AA')}|AB{message.value('AB')}|"
        screen = "" if ok == "1" else "AFThis item cannot be lent|"
        return f"{code}{ok}{renewed}N{security}{now()}{fields}AJ{title}|AH{due}|{screen}"

    def _check_in(self, message: Message) -> str:
        item = self.library.items.get(message.value("AB"))
        ok = str(int(item is not None))
        if self.fault.has("refuses a return with no block") and message.fixed["no_block"] == "Y":
            ok = "0"
        resensitize = "Y" if item else "N"
        title = item.title if item else ""
        if item:
            self.library.check_in(item)
            self.returned.add(item.barcode)
        fields = f"AO{INSTITUTION}|AB{message.value('AB')}|AQMain|AJ{title}|"
        screen = "" if item else "AFUnknown item|"
        return f"10{ok}{resensitize}NN{now()}{fields}{screen}"

    def _renew(self, message: Message) -> str:
        item = self.library.items.get(message.value("AB"))
        card = message.value("AA").strip()
        if self.fault.has("renews what is not lent") and item and not item.borrower:
            return self._loan_answer("30", message, item, "1", "Y")
        if item is None or item.borrower != card or not card:
            return self._loan_answer("30", message, item, "0", "N")
        self.library.check_out(card, item)
        return self._loan_answer("30", message, item, "1", "Y")

    def _renew_all(self, message: Message) -> str:
        loans = self.library.loans_of(message.value("AA"))
        for item in loans:
            self.library.check_out(message.value("AA"), item)
        listed = "".join(f"BM{item.barcode}|" for item in loans)
        return f"661{len(loans):04}0000{now()}AO{INSTITUTION}|{listed}"

    def _hold(self, message: Message) -> str:
        item = self.library.items.get(message.value("AB"))
        card = message.value("AA").strip()
        ok = item is not None and card in self.library.patrons
        if item and ok:
            mode = message.fixed["hold_mode"]
            if mode == "+" and card not in item.holds:
                item.holds.append(card)
            if mode == "-":
                ok = card in item.holds
                item.holds = [holder for holder in item.holds if holder != card]
        available = "Y" if item and not item.borrower and ok else "N"
        screen = "" if ok else "AFThis hold cannot be made|"
        fields = f"AO{INSTITUTION}|AA{card}|AB{message.value('AB')}|{screen}"
        return f"16{int(ok)}{available}{now()}{fields}"

    def _item_information(self, message: Message) -> str:
        item = self.library.items.get(message.value("AB"))
        status = "01"
        if item:
            status = "04" if item.borrower else "03"
        if self.fault.has("shows a return late") and message.value("AB") in self.returned:
            status = "04"
        title = item.title if item else ""
        due = f"AH{item.due}|" if item and item.borrower else ""
        tail = f"{due}CK001|AQMain|" if item else "AFUnknown item|"
        return f"18{status}0001{now()}AB{message.value('AB')}|AJ{title}|{tail}"

    def _item_update(self, message: Message) -> str:
        item = self.library.items.get(message.value("AB"))
        return f"20{int(item is not None)}{now()}AB{message.value('AB')}|"

    def _fee_paid(self, message: Message) -> str:
        patron = self._patron(message)
        accepted = "Y" if patron else "N"
        number = f"BK{message.value('BK')}|" if message.value("BK") else ""
        fields = f"AO{INSTITUTION}|AA{message.value('AA')}|{number}"
        return f"38{accepted}{now()}{fields}"

    def _block(self, message: Message) -> str:
        patron = self._patron(message)
        return "24" + self._patron_head(message, patron) + self._patron_fields(message, patron)

    def _enable(self, message: Message) -> str:
        patron = self._patron(message)
        return "26" + self._patron_head(message, patron) + self._patron_fields(message, patron)


_HANDLERS: dict[str, Callable[[Session, Message], str]] = {
    "93": Session._log_in,
    "99": Session._status,
    "23": Session._patron_status,
    "63": Session._patron_information,
    "35": Session._end_session,
    "11": Session._check_out,
    "09": Session._check_in,
    "29": Session._renew,
    "65": Session._renew_all,
    "15": Session._hold,
    "17": Session._item_information,
    "19": Session._item_update,
    "37": Session._fee_paid,
    "01": Session._block,
    "25": Session._enable,
}


def _has_unknown_card(session: Session, message: Message) -> bool:
    return message.value("AA") not in session.library.patrons


def _has_unknown_item(session: Session, message: Message) -> bool:
    return message.value("AB") not in session.library.items


def _has_unknown_field(message: Message) -> bool:
    return any(tag not in messages.FIELDS for tag, _ in message.fields if tag.isalpha())


DROPPED: dict[str, Callable[[Session, Message], bool]] = {
    "requires CP": lambda _, m: m.code == "93" and not m.values("CP"),
    "chokes on an unknown field": lambda _, m: m.code == "23" and _has_unknown_field(m),
    "wants AO first": lambda _, m: m.code == "23" and m.fields[0][0] != "AO",
    "refuses a zone of Z": lambda _, m: m.text[13:17] == "   Z",
    "wants AC and AD": lambda _, m: m.code == "23" and not m.values("AC"),
    "wants AC in 17": lambda _, m: m.code == "17" and not m.values("AC"),
    "ignores unknown patrons in 23": lambda s, m: m.code == "23" and _has_unknown_card(s, m),
    "ignores unknown patrons in 63": lambda s, m: m.code == "63" and _has_unknown_card(s, m),
    "ignores unknown items in 17": lambda s, m: m.code == "17" and _has_unknown_item(s, m),
}
"""Messages that a fault leaves without an answer."""


def _is_lower(message: Message) -> bool:
    return message.checksum is not None and message.checksum != message.checksum.upper()


@dataclass
class Ledger:
    """What the other side counts, to prove the kit's care."""

    lines: list[tuple[float, bytes]] = field(default_factory=list)
    open_connections: int = 0
    most_connections: int = 0


class ScriptedServer(socketserver.ThreadingTCPServer):
    """The server on a port of this machine.

    Attributes:
        ledger: what it received, and how many connections were open at once.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 32

    def __init__(self, library: Library, fault: Fault, *, needs_login: bool) -> None:
        self.library = library
        self.fault = fault
        self.needs_login = needs_login
        self.ledger = Ledger()
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Connection)

    @property
    def port(self) -> int:
        """The port that the system chose."""
        return int(self.server_address[1])


class _Connection(socketserver.BaseRequestHandler):
    """One terminal's connection."""

    server: ScriptedServer

    def handle(self) -> None:
        server = self.server
        with server.lock:
            server.ledger.open_connections += 1
            open_now = server.ledger.open_connections
            server.ledger.most_connections = max(server.ledger.most_connections, open_now)
        try:
            self._serve(Session(server.library, server.fault, server.needs_login))
        except OSError:
            pass
        finally:
            with server.lock:
                server.ledger.open_connections -= 1

    def _serve(self, session: Session) -> None:
        fault = self.server.fault
        if fault.has(CLOSES_IDLE):
            self.request.settimeout(1.5)
        buffer = b""
        while chunk := self.request.recv(65536):
            if fault.has("takes a segment for a message"):
                buffer = b""
                lines = chunk.split(b"\r")
            else:
                *lines, buffer = (buffer + chunk).replace(b"\n", b"\r").split(b"\r")
            if fault.has("answers only the first of a segment"):
                lines = [line for line in lines if line][:1]
            for line in lines:
                if fault.has("closes on a blank line") and not line:
                    return
                if not line.strip():
                    continue
                self._log(line)
                if fault.has("closes on bytes that are no UTF-8") and not _is_utf8(line):
                    return
                if fault.has("closes on a short message") and _is_short(line):
                    return
                if fault.has("closes on CR LF") and b"\n" in chunk:
                    return
                if fault.has("closes on a long field") and len(line) > 2000:
                    return
                self._answer(session, line.strip())
                if fault.has("closes after a wrong login") and session.last_sent[:3] == b"940":
                    return

    def _answer(self, session: Session, line: bytes) -> None:
        fault = self.server.fault
        with self.server.lock:
            content = session.answer(line)
        if not content:
            return
        terminator = b"\r"
        if fault.has("ends with LF"):
            terminator = b"\n\r"
        if fault.has("line feed before an answer") and content[:2] == b"98":
            session.statuses += 1
            if session.statuses > 1:
                content = b"\n" + content
        self.request.sendall(content + terminator)

    def _log(self, line: bytes) -> None:
        with self.server.lock:
            self.server.ledger.lines.append((time.monotonic(), line))


def _is_short(line: bytes) -> bool:
    return line.startswith(b"63001") and not codec.read(line).is_complete


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def start(
    library: Library, fault: Fault | None = None, *, needs_login: bool = True
) -> ScriptedServer:
    """Start a server on a free port of the loopback interface, in a thread.

    Args:
        library: what it lends.
        fault: what it does wrong.
        needs_login: whether one login is right, or every login and none.
    """
    server = ScriptedServer(library, fault or Fault(), needs_login=needs_login)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server

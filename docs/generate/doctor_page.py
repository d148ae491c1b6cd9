"""docs/doctor.md: every check of `doctor`, what it does, and the remedy if it fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hkall_gateway.cli.doctor.connection import MOST_S, SOON_DAYS, USUAL_S
from hkall_gateway.cli.doctor.examination import PEER_S
from hkall_gateway.cli.doctor.findings import CHECKS
from hkall_gateway.cli.doctor.interview import INTERVIEW_S
from hkall_gateway.cli.doctor.own_gateway import SCARCE_BYTES, TOO_FEW_BYTES

INTRODUCTION: Final = f"""\
# The readiness check

<!-- written by `make docs`; change the table in the code instead -->

Run `hkall-gateway doctor` before you go live, after every change of a firewall, a certificate or a password, and when a peer
does not answer. It uses the gateway's own clients, as the gateway does, and names the remedy for each check that fails:

```
CUHK  https://ncip.lib.cuhk.example/ncip
  ok     dns             192.0.2.7
  ok     tcp             port 443 of 192.0.2.7, 12 ms
  ok     tls.version     TLSv1.3
  ok     tls.chain       signed by R11
  ok     tls.name        ncip.lib.cuhk.example
  FAIL   tls.expiry      ended 3 days ago, on 2026-11-24
         Ask the peer to renew its certificate.
  ok     proof.theirs    by secret, from 192.0.2.0/24
  skip   http, proof.ours, lookup.item, version, clock  tls.expiry failed
```

Run it as the user of the gateway and with its environment, so that it reads the same files and secrets:

<!-- walk: example -->
```sh
hkall-gateway doctor                                        # everything
hkall-gateway doctor CUHK                                   # one partner or client
hkall-gateway doctor ils --json                             # the library's own system, for a program
hkall-gateway doctor ils --patron 21234 --pin-env PIN --item 30001   # the same, with a reader and a copy made for tests
hkall-gateway doctor smtp --to someone@lib.example.edu.hk   # the mail server, with another recipient
```

- The checks change no data. They look up a card, an item, a title and a request `HKALL-DOCTOR-0`, which do not exist. They
  send no DATA to the mail server, and no secret over a connection whose certificate is wrong. The gateway may run.
- A wrong secret or password counts at the peer as one failed attempt, as it would if the gateway used it.
- All peers are examined in parallel; each has {PEER_S:.0f} seconds. Ctrl-C ends it and shows what was found.
- Where it answers us, the library's own system is interviewed afterwards, by [circprobe](../circprobe/README.md), for at most
  {INTERVIEW_S:.0f} seconds: the `habit` checks. They warn only, and name the key that suits the system. Most need a reader
  and a copy made for tests. `--record`, which the timer runs, leaves the interview out.
- Exit code 0: no check failed (warnings do not count), 1: a check failed, 2: wrong usage or configuration.
- `--json` prints an array with one object for each check: `peer`, `check`, `status` (`ok`, `warn`, `fail`, `skip`), `detail`,
  `advice` and `about` (the file, port or key, if a check examines several). Names of checks stay; details and advice are for
  people.
- Trusted authorities are those of OpenSSL on this machine, as for the gateway; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.

| a warning | a failure |
|---|---|
| a certificate ends in less than {SOON_DAYS} days | it has ended |
| a clock differs by more than {USUAL_S} seconds | by more than {MOST_S} seconds |
| less than {SCARCE_BYTES // 10**6:,} MB are free on a disk | less than {TOO_FEW_BYTES // 10**6} MB |
| other users of this machine can read a file with secrets or patrons' data | they can write it |
| traffic is not encrypted (the loopback interface is exempt) | |

## All checks

| check | of | action | remedy |
|---|---|---|---|
"""


def doctor_page() -> str:
    """Return the page in Markdown."""
    return INTRODUCTION + "".join(f"| {' | '.join(cells)} |\n" for cells in _rows())


def _rows() -> Iterator[tuple[str, ...]]:
    for row in CHECKS.values():
        yield f"`{row.name}`", ", ".join(row.of), row.tries, row.advice

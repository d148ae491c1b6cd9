"""Search HKALL, request the first title that may be requested, and show the record.

HKALL=https://hkall.lib.example.edu.hk CARD=P0001 PIN=1234 python patron_client.py dream of the red chamber
"""

import json
import os
import sys
import uuid
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen


def call(path: str, body: Any = None, token: str = "") -> Any:
    """Return the answer to a question; a problem ends the program with its words and its rule."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(os.environ["HKALL"] + "/api/v1" + path, data, headers), timeout=30) as answer:
            return json.load(answer)
    except HTTPError as error:
        problem = json.load(error)
        sys.exit(f"{problem['detail']} {problem['rule']}")


titles = call("/search?" + urlencode({"q": " ".join(sys.argv[1:])}))["titles"]
token = call("/patron-token", {"barcode": os.environ["CARD"], "pin": os.environ["PIN"]})["token"]
for title in titles:
    wish = {"bib_id": title["bib_id"]}
    answer = call("/patron/may-request", wish, token)
    if answer["allowed"]:
        print("Requested:", title["title"], call("/patron/requests", wish, token)["request"])
        break
    print("Not possible:", title["title"], answer["refusal"]["detail"], answer["refusal"]["rule"])
for one in call("/patron/record", {}, token)["requests"]:
    print(one["label"], one["title"], one["request"])

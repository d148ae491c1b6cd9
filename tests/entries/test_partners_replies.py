"""Every element of a partner's replies with invalid text: the reply counts as unreadable."""

from __future__ import annotations

from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.documents import encode
from hkall_gateway.ncip.codec.elements import ELEMENTS
from hkall_gateway.ncip.codec.messages import SHAPES, NcipMessage
from hkall_gateway.ncip.transport.client import read_reply, read_result
from hkall_gateway.net.http_post import HttpReply
from hkall_gateway.rules.plain_text import fault_of_text
from hkall_gateway.rules.stored_words import DeliveryKind
from tests.entries.test_ncip import PLACE, RAW, leaves, with_value


def test_reply_with_invalid_characters_is_not_accepted() -> None:
    believed, asked = [], 0
    for service, shape in SHAPES.items():
        if not shape.reply:
            continue
        for path in leaves(shape.reply):
            fields = with_value({}, ELEMENTS[shape.reply], path, PLACE.decode())
            document = encode(NcipMessage(service=shape.reply, fields=fields), DIALECTS["direct"])
            assert PLACE in document
            for kind, value in RAW.items():
                # The header is the same for each reply, and this test is slow.
                if kind == "a megabyte" and path[0] == "ResponseHeader":
                    continue
                asked += 1
                reply = HttpReply(status=200, content_type="application/xml", body=document.replace(PLACE, value))
                result = read_result(NcipMessage(service=service, fields={}), reply, read_reply(reply))
                if result.kind is DeliveryKind.ACCEPTED or fault_of_text(result.detail):
                    believed.append((service, path, kind))
    assert believed == []
    assert asked > 1000

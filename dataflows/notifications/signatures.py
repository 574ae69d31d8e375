"""Signatures of webhooks, as the Standard Webhooks specification has them (symmetric, version v1).

>>> headers = signed([b"0" * 24], "msg_1", 1_794_000_000, b"{}")
>>> headers["webhook-id"], headers["webhook-timestamp"], headers["webhook-signature"][:3]
('msg_1', '1794000000', 'v1,')
"""

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Sequence

_PLAIN_ID = re.compile(r"[A-Za-z0-9_:/@-]+")


def webhook_id(notification_id: str) -> str:
    """The id of a message for its receivers: the same for the same notification, however often it is sent.

    A full stop separates the parts that are signed, and a header takes no letter outside ASCII: such an id is hashed.
    """
    if _PLAIN_ID.fullmatch(notification_id):
        return notification_id
    return f"msg_{hashlib.sha256(notification_id.encode()).hexdigest()[:32]}"


def signed(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers that prove where a body comes from; `timestamp` in seconds since 1970, one signature for each key."""
    content = f"{message_id}.{timestamp}.".encode() + body
    signatures = (b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }

"""What a record of the topic `notifications` asks for: one delivery to each recipient and to each webhook.

Owns: which records are notifications, and who is to hear of them. Does not own: storing or delivering. The rule: a
record that is none gives its reason; a recipient that is no address gives a delivery that has failed from the start,
so that both stay in sight.

>>> record = b'{"notification_id": "n1", "kind": "a", "occurred_at": "2026-11-20T10:00:00Z", "recipients": ["joe"]}'
>>> wanted_of(notification_of(record), ())[0].fault
"'joe' is not an email address"
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from pydantic import TypeAdapter, ValidationError

from dataflows.delivery_settings import Webhook
from schemas.fields import Email

_LONGEST = 256
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHOWN = 80
_email = TypeAdapter(Email)

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST)]


class Channel(StrEnum):
    """How something is delivered; `unknown` is for recipients of which nobody can tell."""

    MAIL = "mail"
    WEBHOOK = "webhook"
    UNKNOWN = "unknown"


class Notification(msgspec.Struct, frozen=True):
    """What every notification must say; its other columns stay in the record."""

    notification_id: Text
    kind: Text
    occurred_at: Annotated[datetime, msgspec.Meta(tz=True)]
    recipients: list[str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One delivery: by which channel, to whom, and why it cannot be, if it cannot."""

    channel: Channel
    recipient: str
    fault: str | None = None


class MalformedError(Exception):
    """A record that is no notification; the message says why."""


_notification = msgspec.json.Decoder(Notification)
_columns = msgspec.json.Decoder(dict[str, Any])
_raw_columns = msgspec.json.Decoder(dict[str, msgspec.Raw])


def notification_of(record: bytes | None) -> Notification:
    """The notification that a record holds; MalformedError if it holds none."""
    if record is None:
        raise MalformedError("the record has no value")
    try:
        # All columns are read: one that cannot be would be met only when it is delivered.
        _columns.decode(record)
        found = _notification.decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error)
        raise MalformedError(f"no notification: {reason[:1].lower()}{reason[1:]}") from error
    if _CONTROL.search(found.notification_id + found.kind):
        raise MalformedError("no notification: its id or kind holds a control character")
    return found


def columns_of(record: bytes) -> dict[str, Any]:
    """All columns of a notification: decimals and times as text, as they are in the record."""
    return _columns.decode(record)


def raw_columns_of(record: bytes) -> dict[str, msgspec.Raw]:
    """All columns of a notification, each as it is written."""
    return _raw_columns.decode(record)


def wanted_of(notification: Notification, webhooks: Sequence[Webhook]) -> list[Wanted]:
    """The deliveries of a notification, each recipient once, in their order, and the webhooks that take its kind."""
    mails = [_mail(recipient) for recipient in dict.fromkeys(notification.recipients)]
    return [*mails, *_of_webhooks(notification.kind, webhooks)]


def _of_webhooks(kind: str, webhooks: Sequence[Webhook]) -> Iterator[Wanted]:
    return (Wanted(Channel.WEBHOOK, webhook.url) for webhook in webhooks if webhook.takes(kind))


def _mail(recipient: str) -> Wanted:
    try:
        return Wanted(Channel.MAIL, _email.validate_python(recipient))
    except ValidationError as error:
        fault = str(error.errors()[0]["ctx"]["error"])
        return Wanted(Channel.UNKNOWN, recipient, fault if len(recipient) <= _LONGEST else "is too long for an address")

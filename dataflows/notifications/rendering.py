"""What a message says to a person, and the plain text that is sent where no templates are given.

>>> plain_rendering({"kind": "quota_reached", "subscription_id": "acme", "share": None}).subject
'quota reached: acme'
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class Rendered(Protocol):
    """A subject, a text, and the same as HTML, if there is any."""

    @property
    def subject(self) -> str:
        """One line."""

    @property
    def text(self) -> str:
        """The body."""

    @property
    def html(self) -> str | None:
        """The body as HTML, which mail programs show instead."""


@dataclass(frozen=True, slots=True)
class PlainText:
    """Text alone."""

    subject: str
    text: str
    html: str | None = None


Render = Callable[[Mapping[str, Any]], Rendered]


def plain_rendering(message: Mapping[str, Any]) -> Rendered:
    """All that a notification says, column by column."""
    whom = message.get("subscription_id") or message.get("organization_id") or message.get("subscriber") or ""
    subject = f"{str(message['kind']).replace('_', ' ')}: {whom}".rstrip(": ")
    stated = ((name, value) for name, value in message.items() if name != "recipients" and value is not None)
    return PlainText(subject, "".join(f"{name}: {value}\n" for name, value in stated))

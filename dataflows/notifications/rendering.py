"""What a message says to a person, whoever words it."""

from collections.abc import Callable, Mapping
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


Render = Callable[[Mapping[str, Any]], Rendered]

"""Settings of what leaves by e-mail and webhook: endpoints, secrets, and how both are written and hidden.

The rule: a secret is shown as `***` wherever settings are printed, and so is what follows the host of an endpoint: it
may be one. An endpoint is read here once, and what cannot be one is refused before anything is delivered.

>>> webhook_of("https://hooks.example.com/ratemill#invoice_issued,quota_reached").kinds
('invoice_issued', 'quota_reached')
>>> shown_url("https://hooks.example.com/services/T02/hunter2")
'https://hooks.example.com/***(48e35f)'
>>> len(signing_keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")[0])
24
"""

import binascii
import hashlib
from base64 import b64decode
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Any, get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, SecretStr, SerializationInfo

from dataflows.kafka_settings import MASK
from schemas.fields import Email
from schemas.problems import suggestion
from schemas.products import NotificationKind

WITH_SECRETS = "with_secrets"
_KINDS = get_args(NotificationKind)
_PREFIX_OF_KEYS = "whsec_"
# What the Standard Webhooks specification asks for.
_BYTES_OF_A_KEY = range(24, 65)
_LONGEST_URL = 2_048
# So many hexadecimal digits tell the endpoints of one host apart, and tell nobody what was hashed.
_DIGITS_OF_A_HASH = 6


class SmtpTls(StrEnum):
    """How a connection to the mail server becomes a TLS one: by STARTTLS, from its first byte, or not at all."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Webhook:
    """An endpoint for webhooks, and the kinds of notifications that it takes; none named: all."""

    url: str
    kinds: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The URL as people may see it."""
        return shown_url(self.url)

    @property
    def scheme(self) -> str:
        """`https`, or `http`, which only private networks may be sent."""
        return urlsplit(self.url).scheme

    @property
    def host(self) -> str:
        """The name or the address, without a port."""
        return urlsplit(self.url).hostname or ""

    def takes(self, kind: str) -> bool:
        """Whether notifications of this kind are for it."""
        return not self.kinds or kind in self.kinds


def webhook_of(text: str) -> Webhook:
    """An endpoint as it is written, a URL with the kinds it takes behind a `#`; ValueError says what is wrong."""
    url, _, listed = text.partition("#")
    if fault := _fault(url):
        raise ValueError(f"{shown_url(url)} cannot be a webhook: {fault}")
    kinds = tuple(kind for kind in listed.split(",") if kind)
    for kind in kinds:
        if kind not in _KINDS:
            raise ValueError(f"{shown_url(url)}: there is no kind of notification {kind!r}{suggestion(kind, _KINDS)}")
    return Webhook(url, kinds)


def shown_url(url: str) -> str:
    """An endpoint as people may see it: its path and query are `***` and the beginning of their SHA-256."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018
    except ValueError:
        return MASK
    if not parts.scheme or not parts.netloc:
        return MASK
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{_shown_rest(_rest(parts))}"


def without_url(text: str, url: str) -> str:
    """A text of others that may quote an endpoint's URL, or what follows the host in it, without it."""
    rest = _rest(urlsplit(url))
    text = text.replace(url, shown_url(url))
    return text if _is_plain(rest) else text.replace(rest, _shown_rest(rest))


def _rest(parts: SplitResult) -> str:
    return parts._replace(scheme="", netloc="").geturl()


def _is_plain(rest: str) -> bool:
    return rest in ("", "/")


def _shown_rest(rest: str) -> str:
    return rest if _is_plain(rest) else f"/{MASK}({hashlib.sha256(rest.encode()).hexdigest()[:_DIGITS_OF_A_HASH]})"


def signing_keys(secret: str) -> list[bytes]:
    """The keys of a secret `whsec_<base64>`, or of several separated by spaces; ValueError, without showing them."""
    return [_key(part) for part in secret.split()]


def _key(part: str) -> bytes:
    advice = "it must be whsec_ and the base64 of 24 to 64 random bytes"
    if not part.startswith(_PREFIX_OF_KEYS):
        raise ValueError(f"a signing key does not begin with whsec_: {advice}")
    try:
        key = b64decode(part.removeprefix(_PREFIX_OF_KEYS), validate=True)
    except (binascii.Error, ValueError):
        # Its message would quote what it could not read.
        raise ValueError(f"a signing key is no base64: {advice}") from None
    if len(key) not in _BYTES_OF_A_KEY:
        raise ValueError(f"a signing key has {len(key)} bytes: {advice}")
    return key


def _fault(url: str) -> str:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018
        host = (parts.hostname or "").encode("ascii" if _is_address(parts.hostname) else "idna")
    except ValueError:
        # Their message may quote a password.
        return "its host or its port cannot be read"
    if MASK in url:
        return f"it holds {MASK}, which is shown in place of what may be a secret"
    if parts.scheme not in ("https", "http"):
        return "it must begin with https://"
    if not host or len(url) > _LONGEST_URL or any(sign <= " " or sign == "\x7f" for sign in url):
        return f"it has no host, or holds a space or a control character, or has more than {_LONGEST_URL} characters"
    if parts.username is not None or parts.password is not None:
        return "it holds a user or a password; what comes from here is proved by its signature"
    return ""


def _is_address(host: str | None) -> bool:
    try:
        ip_address(host or "")
    except ValueError:
        return False
    return True


def _listed(value: Any) -> Any:
    return tuple(value.split()) if isinstance(value, str) else value


def _checked_webhooks(values: tuple[str, ...]) -> tuple[str, ...]:
    urls = [webhook_of(value).url for value in values]
    if twice := next((url for url in urls if urls.count(url) > 1), None):
        raise ValueError(f"{shown_url(twice)} is listed twice; list all its kinds behind one #, separated by commas")
    return values


def _shown_webhooks(values: tuple[str, ...], how: SerializationInfo) -> list[str]:
    return [value if how.context == WITH_SECRETS else _shown_webhook(value) for value in values]


def _shown_webhook(value: str) -> str:
    url, sign, kinds = value.partition("#")
    return f"{shown_url(url)}{sign}{kinds}"


def _checked_secret(value: SecretStr) -> SecretStr:
    if value.get_secret_value() == MASK:
        raise ValueError(f"is {MASK}, which is shown in place of a secret and is none")
    return value


def _checked_keys(value: SecretStr) -> SecretStr:
    signing_keys(value.get_secret_value())
    return value


def _written(value: SecretStr, how: SerializationInfo) -> str:
    return value.get_secret_value() if how.context == WITH_SECRETS or not value.get_secret_value() else MASK


Secret = Annotated[SecretStr, AfterValidator(_checked_secret), PlainSerializer(_written)]
SigningSecret = Annotated[
    SecretStr, AfterValidator(_checked_secret), AfterValidator(_checked_keys), PlainSerializer(_written)
]
Webhooks = Annotated[
    tuple[str, ...], BeforeValidator(_listed), AfterValidator(_checked_webhooks), PlainSerializer(_shown_webhooks)
]
MailAddress = Email

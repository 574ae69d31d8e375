"""Where a deployment delivers to, and whether its settings can work: asked once, before anything is read.

The rule: what cannot work is refused at the start with what to set; nothing is first tried and then retried for days.
"""

import socket
import ssl
from pathlib import Path

from dataflows.delivery_settings import SmtpTls, Webhook, webhook_of
from dataflows.errors import RatemillError
from dataflows.ledger.folder import plain_os_errors
from dataflows.notifications.networks import ADVICE, refusal_of
from dataflows.settings import Settings


def webhooks_of(settings: Settings) -> tuple[Webhook, ...]:
    """The endpoints of webhooks."""
    return tuple(map(webhook_of, settings.webhooks))


def check_endpoints(settings: Settings) -> None:
    """RatemillError unless there is an endpoint, and the settings of each are whole."""
    if settings.smtp_host is None and not settings.webhooks:
        raise RatemillError(
            "there is nowhere to deliver notifications to: set RATEMILL_SMTP_HOST and RATEMILL_SMTP_FROM for e-mail,"
            " or RATEMILL_WEBHOOKS and RATEMILL_WEBHOOK_SECRET for webhooks"
        )
    if settings.smtp_host is not None:
        _check_mail(settings)
    if settings.webhooks and not settings.webhook_secret.get_secret_value():
        raise RatemillError("webhooks are signed: set RATEMILL_WEBHOOK_SECRET, whsec_ and the base64 of 24 to 64 bytes")
    if not settings.webhook_private_networks:
        for webhook in webhooks_of(settings):
            _check_public(webhook)


def tls_context(authorities: Path | None, setting: str) -> ssl.SSLContext:
    """How certificates are checked; RatemillError if the file that the setting names cannot be used."""
    context = ssl.create_default_context()
    if authorities is not None:
        with plain_os_errors(f"cannot use {authorities}, which {setting} names"):
            context.load_verify_locations(authorities)
    return context


def _check_mail(settings: Settings) -> None:
    if settings.smtp_from is None:
        raise RatemillError("e-mail comes from somewhere: set RATEMILL_SMTP_FROM, to billing@example.com for example")
    if (settings.smtp_user is None) != (not settings.smtp_password.get_secret_value()):
        raise RatemillError("RATEMILL_SMTP_USER and RATEMILL_SMTP_PASSWORD belong together: set both or none")
    if settings.smtp_user is not None and settings.smtp_tls is SmtpTls.NONE:
        raise RatemillError("a password is not sent in the clear: set RATEMILL_SMTP_TLS to starttls or implicit")


def _check_public(webhook: Webhook) -> None:
    """What a name stands for is looked at with every connection; here, what can be seen without asking anybody."""
    if webhook.scheme != "https":
        raise RatemillError(
            f"the webhook {webhook.shown} is not https, as outside private networks it must be: {ADVICE}"
        )
    if webhook.host == "localhost" or webhook.host.endswith(".localhost"):
        raise RatemillError(f"the webhook {webhook.shown} is on this machine: {ADVICE}")
    if (address := _written_address(webhook.host)) and (refusal := refusal_of(address)):
        raise RatemillError(f"the webhook {webhook.shown} is refused, {refusal}: {ADVICE}")


def _written_address(host: str) -> str:
    """The address that a host is, in whatever form the system's own reader takes, such as 127.1; empty for a name."""
    try:
        found = socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        return ""
    return str(found[0][4][0])

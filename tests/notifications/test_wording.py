"""From an event that uses a quota up to the mail that says so, through every flow."""

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.connectors.catalog_publisher import publish_catalog
from ops.wording import Wording
from tests.kafka.flows import running as rating
from tests.kafka.flows import send as send_events
from tests.kafka.flows import settings_for as rating_settings
from tests.kafka.flows import wait_until_received
from tests.kafka.relaying import relay
from tests.notifications.flows import notification, settings_for, start_command, wait_for_counts
from tests.notifications.servers import Mailbox

_CATALOG = """\
organizations: [{id: acme, name: "Acme & Sons", remittance_instructions: "IBAN DE00", storefront_url: "https://api.acme.example"}]
subscribers: [{email: joe@acme.example}]
sources: [{id: api}]
products:
  - id: plan
    name: Plan
    version: 1.0.0
    currency: USD
    settlement_period: month
    payment_model: transactional
    rate: "1"
    provider_notification_addresses: [sales@provider.example]
    emails: {quota_reached: {subject: "{{ quota }} is used up"}}
    quotas: [{name: calls, limit: "2", on_exceed: block}]
subscriptions:
  - {id: s1, product: plan@1.0.0, subscriber: joe@acme.example, organization: acme, start: "2026-01-01T00:00:00Z",
     notification_addresses: [ops@acme.example]}
"""


def test_a_quota_that_is_used_up_comes_as_a_mail(broker, topic_prefix, tmp_path):
    (tmp_path / "catalog.yaml").write_text(_CATALOG)
    with Mailbox() as mail:
        settings = settings_for(broker, topic_prefix, mail=mail)
        publish_catalog(settings, load_catalog(tmp_path / "catalog.yaml"), None, None)
        events = [b'{"id": "%d", "source": "api", "subscription": "s1"}' % number for number in range(3)]
        flow = rating_settings(broker, topic_prefix)
        sent = send_events(flow, [(0, None, event) for event in events])
        with rating(flow, tmp_path / "ledger") as process:
            wait_until_received(tmp_path / "ledger", sent, process)
        relay(flow, tmp_path / "ledger")
        process = start_command(settings, tmp_path / "deliveries")
        try:
            wait_for_counts(tmp_path / "deliveries", mail_delivered=2)
        finally:
            process.terminate()
            said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    assert mail.addresses == {"sales@provider.example": 1, "ops@acme.example": 1}
    _, message = mail.messages[0]
    assert message["Subject"] == "calls is used up"
    html = message.get_body(("html",)).get_content()
    assert "Acme &amp; Sons" in html
    assert "https://api.acme.example" in html
    assert "Acme & Sons" in message.get_body(("plain",)).get_content()


def test_a_catalog_that_is_published_meanwhile_is_read_beside(broker, topic_prefix, tmp_path, monkeypatch):
    monkeypatch.setattr("ops.wording._SECONDS_BETWEEN_LOOKS", -1.0)
    (tmp_path / "catalog.yaml").write_text(_CATALOG)
    settings = settings_for(broker, topic_prefix, "http://127.0.0.1:9/x")
    remarks: list[str] = []
    wording = Wording(settings, remarks.append)
    columns = notification("n1", kind="quota_reached", product_id="plan", product_version="1.0.0", quota="calls")
    columns |= {
        "threshold": "2",
        "limit": "2",
        "usage_before": "1",
        "usage_after": "2",
        "on_exceed": "block",
        "tier": None,
        "share": "1",
    }
    before = wording(columns).subject
    assert before != "calls is used up"
    publish_catalog(settings, load_catalog(tmp_path / "catalog.yaml"), None, None)
    wording(columns)
    wording._looking.join(30)
    assert wording(columns).subject == "calls is used up"
    assert remarks == []

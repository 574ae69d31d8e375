"""The notification flow as `ratemill run notifications` runs it, with what people see of it."""

import sys
from pathlib import Path
from threading import Event

from dataflows.connectors.kafka_client import check_reachable, topic_name
from dataflows.metrics_deliveries import serving_notifications
from dataflows.notifications.endpoints import check_endpoints
from dataflows.notifications.flow import DeliveryProgress, run_notifications
from dataflows.notifications.intake import TOPIC
from dataflows.settings import Settings
from ops.output import remark, say
from ops.wording import Wording


def deliver(settings: Settings, folder: Path, accept_loss: bool, stopping: Event) -> None:
    """Deliver until told to stop; RatemillError says why that cannot go on."""
    check_endpoints(settings)
    check_reachable(settings)
    progress = DeliveryProgress()
    if sys.stderr.isatty():
        remark(f"Delivering the topic {topic_name(settings, TOPIC)}, kept in {folder}. Ctrl-C ends it.")
    if settings.webhooks and settings.smtp_host is None:
        remark("No mail server is set (RATEMILL_SMTP_HOST): what is to be sent by e-mail stays pending.")
    with serving_notifications(settings, folder, progress):
        run_notifications(
            settings,
            folder,
            stopping,
            render=Wording(settings, remark),
            accept_loss=accept_loss,
            progress=progress,
            remark=remark,
        )
    attempts = sum((lane.attempts["delivered"] for lane in progress.lanes), 0)
    say(f"{progress.notifications:,} notifications read, {attempts:,} deliveries made.")

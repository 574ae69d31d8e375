"""All settings of a deployment, read in one place and checked before anything starts.

Each setting is an environment variable RATEMILL_<NAME>, or a key in the TOML file that RATEMILL_SETTINGS names; the
environment wins. Lists are separated as paths are (":"). Unknown names are refused, so that a misspelt one is noticed.
RATEMILL_KAFKA_<NAME>, or the table [kafka] of the file, is passed through to Kafka's client (`kafka_settings`).

The rule: settings show no secret, in whatever form they are printed; only `to_json` hands them on as they are.

>>> load_settings({"RATEMILL_KEY_GROUPS": "8"}).key_groups
8
"""

import os
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    SerializationInfo,
    ValidationError,
)

from dataflows.delivery_settings import WITH_SECRETS, MailAddress, Secret, SigningSecret, SmtpTls, Webhooks
from dataflows.errors import RatemillError
from dataflows.kafka_settings import KafkaSettings, checked_settings, flat_settings, masked, named_setting
from rating.synthetic import Shape
from schemas.problems import suggestion

_PREFIX = "RATEMILL_"
_KAFKA_PREFIX = "RATEMILL_KAFKA_"
_FILE = "RATEMILL_SETTINGS"
_DAYS_OF_LATENESS = 35


def _split(value: Any) -> Any:
    return tuple(part for part in value.split(os.pathsep) if part) if isinstance(value, str) else value


def _written(values: dict[str, str], how: SerializationInfo) -> dict[str, str]:
    return dict(values) if how.context == WITH_SECRETS else masked(values)


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
LatenessHours = Annotated[int, Field(gt=0, le=_DAYS_OF_LATENESS * 24)]
WebAddress = Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=2000)]
TopicPrefix = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]*$", max_length=200)]
Kafka = Annotated[
    dict[str, str], BeforeValidator(flat_settings), AfterValidator(checked_settings), PlainSerializer(_written)
]


class Settings(BaseModel):
    """Settings with their defaults; times are in the unit that the name ends with."""

    # What was wrong may be a secret: an error names the setting, never the value.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    catalog: Path | None = Field(None, description="folder of the catalog's YAML files")
    events: Annotated[tuple[Path, ...], BeforeValidator(_split)] = Field((), description="files of events")
    ledger: Path | None = Field(None, description="folder of the ledger")
    key_groups: int = Field(16, ge=1, le=1024, description="limit of parallelism, fixed when a ledger is made")
    writers: int = Field(2, ge=1, le=64, description="writers of the ledger, fixed when it is made")
    workers: int = Field(1, ge=1, le=64, description="worker threads of one process")
    processes: int = Field(1, ge=1, le=64, description="processes of the flow on this machine")
    lateness_hours: LatenessHours | None = Field(
        None, description="older events wait for a backfill; absent: 24 of a topic, without limit of files"
    )
    skew_seconds: Seconds | None = Field(300, description="how far an event may lie ahead of its record's time")
    epoch_seconds: Seconds = Field(2, description="time between two commits")
    batch_records: int = Field(
        50_000, ge=1, le=1_000_000, description="records of one batch; of a topic, of each partition"
    )
    batch_bytes: int = Field(
        16 << 20, ge=1 << 17, le=1 << 30, description="bytes read at once; four times as many of a topic"
    )
    grace_seconds: Seconds = Field(300, description="time after the end of a settlement period before it is closed")
    test_grace_seconds: Seconds = Field(15, description="the same for the 5-minute test modes")
    settlement_seconds: Seconds = Field(2, description="time between two looks of the settlement flow at the ledger")
    merge_files: int = Field(8, ge=2, description="small files of a table that are merged into one")
    merged_rows: int = Field(500_000, ge=1, description="rows of the largest merged file")
    replaced_files_seconds: Seconds = Field(
        900, description="how long replaced files stay for statements that read them"
    )
    kafka: Kafka = Field(default_factory=KafkaSettings, description="settings of Kafka's client, by its own names")
    group: str = Field(
        "ratemill-rating", min_length=1, max_length=249, description="consumer group that lag dashboards see"
    )
    topic_prefix: TopicPrefix = Field("", description="what the names of all topics begin with")
    topic_partitions: int = Field(8, ge=1, le=10_000, description="partitions of topics that `ratemill topics` makes")
    topic_replication: int = Field(1, ge=1, le=100, description="copies of topics that `ratemill topics` makes")
    epoch_bytes: int = Field(
        256 << 20,
        ge=1 << 17,
        le=1 << 34,
        description="bytes after which one consumer reads no more until the next commit",
    )
    start_seconds: Seconds = Field(60, description="how long all processes may take to start")
    stall_seconds: Seconds = Field(60, description="without a commit for so long, all processes are restarted")
    catalog_lead_seconds: Seconds = Field(
        5, description="how far ahead of its publication a catalog takes effect, at least"
    )
    reinject_parked: bool = Field(True, description="send parked events again once it is known whom to charge")
    synthetic_rate: int = Field(
        60, ge=1, le=10_000, description="simulated transactions per minute of each 5min_synthetic subscription"
    )
    synthetic_shape: Shape = Field(
        Shape.STEADY, description="how they spread: steady, bursts, heavy_tail or tier_bounds"
    )
    synthetic_seed: int = Field(0, description="another number simulates other transactions")
    templates: Path | None = Field(None, description="folder of the deployment's own wordings of notifications")
    logo_url: WebAddress | None = Field(
        None, description="address that the names of organizations' logos are joined to"
    )
    seller: str | None = Field(
        None, max_length=2_000, description="who issues invoices: name, address and tax number, on lines of their own"
    )
    metrics_host: str = Field("127.0.0.1", min_length=1, description="address that metrics and health listen at")
    metrics_port: int = Field(9464, ge=0, le=65_535, description="port of metrics and health; 0: none")
    deliveries: Path | None = Field(
        None, description="folder of the notification flow: what is delivered and what waits"
    )
    notifications_group: str = Field(
        "ratemill-notifications", min_length=1, max_length=249, description="its consumer group, for lag dashboards"
    )
    smtp_host: str | None = Field(None, min_length=1, description="the mail server; absent: no e-mail is sent")
    smtp_port: int = Field(587, ge=1, le=65_535, description="port of the mail server")
    smtp_tls: SmtpTls = Field(SmtpTls.STARTTLS, description="TLS with the mail server: starttls, implicit or none")
    smtp_ca: Path | None = Field(None, description="file of authorities for it; absent: those of the system")
    smtp_user: str | None = Field(None, min_length=1, description="user at the mail server")
    smtp_password: Secret = Field(SecretStr(""), description="password at the mail server")
    smtp_from: MailAddress | None = Field(None, description="the address that e-mail comes from")
    smtp_connections: int = Field(4, ge=1, le=64, description="messages that are sent at the same time")
    webhooks: Webhooks = Field(
        (), repr=False, description="endpoints, separated by spaces; kinds may follow: URL#kind,kind"
    )
    webhook_secret: SigningSecret = Field(
        SecretStr(""), description="whsec_<base64>, signs webhooks; several, by spaces, while one replaces another"
    )
    webhook_ca: Path | None = Field(None, description="file of authorities for endpoints; absent: those of the system")
    webhook_private_networks: bool = Field(False, description="endpoints may be in private networks, and use http")
    webhook_connections: int = Field(16, ge=1, le=256, description="webhooks sent to an endpoint at the same time")
    delivery_timeout_seconds: Seconds = Field(15, description="how long one attempt to deliver may take")
    delivery_retry_seconds: Seconds = Field(5, description="pause before the second attempt, at most; then it doubles")
    delivery_pause_seconds: Seconds = Field(3_600, description="the longest pause between two attempts")
    delivery_attempts: int = Field(40, ge=1, le=10_000, description="attempts after which a delivery has failed")
    delivery_hours: Seconds = Field(72, description="hours after which a delivery has failed")
    circuit_failures: int = Field(5, ge=1, le=1_000, description="failures in a row after which an endpoint may rest")
    circuit_seconds: Seconds = Field(30, description="how long it rests before one delivery tries it again")
    delivered_days: Seconds = Field(30, description="days that what was delivered stays in the table")

    @property
    def lateness_us(self) -> int | None:
        """The lateness in microseconds; None for none."""
        return None if self.lateness_hours is None else self.lateness_hours * 3_600_000_000

    @property
    def skew_us(self) -> int | None:
        """The skew in microseconds; None for no limit."""
        return None if self.skew_seconds is None else round(self.skew_seconds * 1_000_000)

    @property
    def grace_us(self) -> int:
        """The grace of settlement in microseconds."""
        return round(self.grace_seconds * 1_000_000)

    @property
    def test_grace_us(self) -> int:
        """The grace of the test modes in microseconds."""
        return round(self.test_grace_seconds * 1_000_000)

    @property
    def epoch(self) -> timedelta:
        """The time between two commits."""
        return timedelta(seconds=self.epoch_seconds)

    def to_json(self) -> str:
        """All settings, secrets included, to hand on to a child process, and not to be shown."""
        return self.model_dump_json(context=WITH_SECRETS)


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process; RatemillError names every wrong one."""
    environment = os.environ if environment is None else environment
    stated = _from_file(environment.get(_FILE))
    named = {name: value for name, value in environment.items() if name.startswith(_PREFIX) and name != _FILE}
    kafka = {
        named_setting(name.removeprefix(_KAFKA_PREFIX)): named.pop(name)
        for name in list(named)
        if name.startswith(_KAFKA_PREFIX)
    }
    stated |= {name.removeprefix(_PREFIX).lower(): value for name, value in named.items()}
    if kafka:
        stated["kafka"] = flat_settings(stated.get("kafka", {})) | kafka
    try:
        return Settings.model_validate(stated)
    except ValidationError as error:
        raise RatemillError("wrong settings: " + "; ".join(map(_sentence, error.errors()))) from error


def _sentence(fault: Mapping[str, Any]) -> str:
    ours = fault.get("ctx", {}).get("error")
    if fault["type"] == "extra_forbidden":
        name = str(fault["loc"][-1])
        ours = f"there is no such setting{suggestion(name, Settings.model_fields)}"
    return f"{'.'.join(map(str, fault['loc']))}: {ours or fault['msg'][:1].lower() + fault['msg'][1:]}"


def _from_file(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RatemillError(f"cannot read the settings file {path}: {error}") from error

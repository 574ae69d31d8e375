"""A real broker that asks for a password over TLS, and allows its users different things.

The certificate is its own authority, for 127.0.0.1 and a hundred years; its key lies beside it, as it protects nothing.
"""

from pathlib import Path

from ops.kafka.broker import Broker, free_port

HERE = Path(__file__).resolve().parent
AUTHORITY = HERE / "broker.pem"
ANOTHER_AUTHORITY = HERE / "other.pem"
PASSWORDS = {"rating": "right-for-rating", "guest": "right-for-guest"}

_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_PROPERTIES = """
listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{secured},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config={login} {users};
ssl.keystore.type=PEM
ssl.keystore.location={authority}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:rating
"""


class SecuredBroker(Broker):
    """`bootstrap` lets anybody in; `secured` wants TLS and a password, and allows a guest nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._secured_port = free_port()

    @property
    def secured(self) -> str:
        return f"127.0.0.1:{self._secured_port}"

    def _write_properties(self, data: Path) -> None:
        super()._write_properties(data)
        users = " ".join(f'user_{name}="{password}"' for name, password in PASSWORDS.items())
        # Of a name that comes twice, the second counts.
        more = _PROPERTIES.format(
            port=self.port,
            secured=self._secured_port,
            controller=self._controller_port,
            login=_LOGIN,
            users=users,
            authority=AUTHORITY,
        )
        self._properties.write_text(self._properties.read_text() + more)

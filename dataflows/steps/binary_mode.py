"""CloudEvents in Kafka's binary mode: attributes in headers `ce_*`, the data as the record's value; to structured ones.

The rule: what a record says is neither lost nor changed, and no header or value can leave its place. What cannot be an
event (a value that is no JSON, a header that is no UTF-8) becomes a record that holds it and is refused.

>>> headers = [("ce_id", b"1"), ("ce_source", b"api"), ("ce_subscription", b"sub-1"), ("ce_time", None)]
>>> structured(b'{"calls": 1.50}', headers)
b'{"id":"1","source":"api","subscription":"sub-1","time":null,"data":{"calls": 1.50}}'
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec

Header = tuple[str, bytes | None]

_PREFIX = "ce_"
_CONTENT_TYPE, _STRUCTURED = "content-type", b"application/cloudevents"
_FLAGS = {"true": True, "false": False}
_one_value = msgspec.json.Decoder(msgspec.Raw)
_encode = msgspec.json.Encoder().encode


def structured(value: bytes | None, headers: Sequence[Header] | None) -> bytes:
    """The structured record of a Kafka record in binary mode; of any other one its value.

    Binary mode has a header `ce_id` or `ce_specversion`, and no content type of structured mode. Header values are
    UTF-8, never percent-encoded, as the Kafka binding of CloudEvents 1.0 has it; of two with one name the last counts.
    """
    content = value or b""
    named = {_attribute(name): text for name, text in headers or ()}
    if not _is_binary(named):
        return content
    try:
        attributes = _encode(_texts(named))
    except UnicodeError:
        return _unreadable(content, headers or ())
    if not content:
        return attributes
    return attributes[:-1] + b',"data":' + (content if _is_json(content) else _quoted(content)) + b"}"


@lru_cache(maxsize=1024)
def _attribute(header: str) -> str | None:
    """The attribute that a header states, None for one that states none."""
    if header.startswith(_PREFIX):
        return header.removeprefix(_PREFIX)
    return "datacontenttype" if header.lower() == _CONTENT_TYPE else None


def _is_binary(named: Mapping[str | None, bytes | None]) -> bool:
    if "id" not in named and "specversion" not in named:
        return False
    return not (named.get("datacontenttype") or b"").lower().startswith(_STRUCTURED)


def _texts(named: Mapping[str | None, bytes | None]) -> dict[str, str | bool | None]:
    """The attributes as JSON has them; raises UnicodeError where one is no UTF-8."""
    texts: dict[str, str | bool | None] = {
        name: None if text is None else text.decode() for name, text in named.items() if name is not None
    }
    flag = texts.get("synthetic")
    if isinstance(flag, str):
        texts["synthetic"] = _FLAGS.get(flag, flag)
    return texts


def _unreadable(content: bytes, headers: Sequence[Header]) -> bytes:
    """All of a record that is no UTF-8, which refuses it as a whole."""
    return b"{" + b",".join([*_members(headers), b'"data":' + _quoted(content)]) + b"}"


def _members(headers: Sequence[Header]) -> Iterator[bytes]:
    for name, text in headers:
        yield _quoted(name.encode("utf-8", "surrogatepass")) + b":" + (b"null" if text is None else _quoted(text))


def _quoted(text: bytes) -> bytes:
    """A JSON string; bytes that are no UTF-8 stay as they are, so that the whole record is none and is refused."""
    try:
        return _encode(text.decode())
    except UnicodeDecodeError:
        return b'"' + text + b'"'


def _is_json(content: bytes) -> bool:
    """Whether these bytes are one JSON value and nothing else."""
    try:
        _one_value.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True

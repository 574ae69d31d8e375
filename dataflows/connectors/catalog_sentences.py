"""Pydantic's errors as sentences a person who wrote YAML understands, each naming the nearest right word."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from dataflows.connectors.catalog_yaml import BareNumber
from schemas.fields import Record, describe
from schemas.problems import Path, suggestion


def sentence(error: Mapping[str, Any], model: type[Record]) -> str:
    """What is wrong, in words; `model` is the one that `error["loc"]` starts from."""
    given, context, kind = error["input"], error.get("ctx", {}), error["type"]
    name = str(error["loc"][-1]) if error["loc"] else ""
    if isinstance(given, BareNumber):
        return f'{given.text} is a bare number whose digits could be lost; quote it: "{given.text}"'
    if kind in _PLAIN:
        return _PLAIN[kind].format(given=_shown(given), **context)
    match kind:
        case "value_error":
            return str(context["error"])
        case "extra_forbidden":
            return f"unknown key '{name}'{suggestion(name, _keys(model, error['loc'][:-1]))}"
        case "missing":
            return f"the key '{name}' is missing"
        case "literal_error":
            word = name_of_key(error["loc"]) or given
            return _none_of(word, _words(str(context["expected"])))
        case "union_tag_invalid":
            return _none_of(context["tag"], _words(str(context["expected_tags"])))
        case "union_tag_not_found":
            return "the key 'model' is missing"
        case _:
            return str(error["msg"])


def model_path(loc: Sequence[str | int], raw: Any) -> Path:
    """Where in the raw values an error is: its location without pydantic's marks for unions and keys."""
    path: list[str | int] = []
    at, entered = raw, False
    for part in loc:
        if part == "[key]" or (entered and isinstance(at, Mapping) and at.get("model") == part):
            entered = False
            continue
        entered = part in ("price", "then")
        path.append(part)
        at = _step(at, part)
    return tuple(path)


def name_of_key(loc: Sequence[str | int]) -> str | None:
    """The key itself, when an error is about a mapping's key instead of its value."""
    return str(loc[-2]) if loc[-1:] == ("[key]",) else None


def _step(at: Any, part: str | int) -> Any:
    try:
        return at[part]
    except (KeyError, IndexError, TypeError):
        return None


_PLAIN = {
    "model_type": "expected a mapping, not {given}",
    "dict_type": "expected a mapping, not {given}",
    "model_attributes_type": "expected a mapping, not {given}",
    "tuple_type": "expected a list, not {given}",
    "bool_type": "expected true or false, not {given}",
    "int_type": "expected a whole number, not {given}",
    "greater_than_equal": "must be at least {ge}, not {given}",
    "less_than_equal": "must be at most {le}, not {given}",
}


def _shown(given: Any) -> str:
    match given:
        case str():
            return f"'{given}'"
        case bool() | int():
            return str(given).lower()
        case _:
            return describe(given)


def _words(expected: str) -> list[str]:
    """The words in pydantic's "'a', 'b' or 'c'"."""
    return expected.replace(" or ", ", ").replace("'", "").split(", ")


def _none_of(given: Any, words: list[str]) -> str:
    near = suggestion(given, words) if isinstance(given, str) else ""
    return f"{_shown(given)} is none of {', '.join(words)}{near}"


def _keys(model: type[Record], loc: Sequence[str | int]) -> set[str]:
    """The keys that the models at a location know."""
    models = [model]
    for part in loc:
        tagged = [one for one in models if _tag(one) == part] if len(models) > 1 else []
        if tagged:
            models = tagged
        elif isinstance(part, str):
            fields = [one.model_fields[part] for one in models if part in one.model_fields]
            models = [found for field in fields for found in _models_in(field.annotation)] or models
    return {name for one in models for name in one.model_fields}


def _tag(model: type[Record]) -> Any:
    return model.model_fields["model"].default if "model" in model.model_fields else None


def _models_in(annotation: Any) -> list[type[Record]]:
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]

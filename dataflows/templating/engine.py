"""Templates made ready: parsed, checked, tried with samples, and rendered within bounds.

Owns jinja2's environments and every bound. Does not own: which wording is chosen (`notification_templates`), or what a
template may say (`language`). The rule: what `compiled` gives out has passed every check, so only what nobody thought
of can still fail, and that is a `RenderError`, never a hang.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jinja2 import BaseLoader, DictLoader, StrictUndefined, Template, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from dataflows.templating.filters import FILTERS, one_line, written
from dataflows.templating.language import BLOCKS, FOOTER, LAYOUT, UNPRINTABLE, Checker, Fault, Part
from dataflows.templating.values import Parties, least_known, values_of
from schemas.notification_samples import SAMPLE_CATALOG, SAMPLES
from schemas.notification_variables import COMMON, KINDS, VARIABLES, Variable
from schemas.products import NotificationKind

LONGEST_TEMPLATE = 64 * 1024
LONGEST_OUTPUT = 2_000_000
LONGEST_SUBJECT = 250
_MOST_KEPT = 10_000

# What stands for the layout and the footer where a template is checked without a deployment.
BARE = {LAYOUT: "".join(f"{{% block {name} %}}{{% endblock %}}" for name in BLOCKS), FOOTER: ""}

_LINE_ENDS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")


class RenderError(Exception):
    """A template cannot be rendered; the message says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A template that may be rendered."""

    part: Part
    template: Template

    def render(self, values: Mapping[str, Any]) -> str:
        """The text for these values; a subject is one line. Raises `RenderError`."""
        pieces: list[str] = []
        length = 0
        try:
            for piece in self.template.generate(values):
                pieces.append(piece)
                length += len(piece)
                if length > LONGEST_OUTPUT:
                    raise RenderError(f"it gives more than {LONGEST_OUTPUT} characters")
        except (TemplateError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError) as error:
            raise RenderError(f"it fails: {error}") from error
        return _subject("".join(pieces)) if self.part == "subject" else "".join(pieces)


def _subject(text: str) -> str:
    line = text.strip()
    if not line:
        raise RenderError("it gives an empty subject")
    if _LINE_ENDS.search(line):
        raise RenderError("a subject is one line, and it gives several")
    return line if len(line) <= LONGEST_SUBJECT else f"{line[: LONGEST_SUBJECT - 3]}..."


# A template, or everything that is wrong with it.
Made = Compiled | tuple[Fault, ...]


@dataclass(slots=True)
class Engine:
    """Makes templates ready that share a layout and a footer (by their names, as text)."""

    shared: Mapping[str, str] = field(default_factory=lambda: BARE)
    _environments: dict[Part, ImmutableSandboxedEnvironment] = field(default_factory=dict)
    _made: dict[tuple[NotificationKind, Part, str], Made] = field(default_factory=dict)

    def made(self, kind: NotificationKind, part: Part, source: str) -> Made:
        """The template, or everything that is wrong with it; each text is looked at once."""
        key = (kind, part, source)
        made = self._made.get(key)
        if made is None:
            if len(self._made) >= _MOST_KEPT:
                self._made.clear()
            made = self._made[key] = self._make(kind, part, source)
        return made

    def shared_faults(self, name: str) -> tuple[Fault, ...]:
        """What is wrong with the layout or the footer itself."""
        source, part = self.shared[name], _PART_OF[name]
        made = _told(lambda: self._checked(KINDS[0], part, source, COMMON, shared=True))
        if name != LAYOUT or not isinstance(made, Compiled):
            return () if isinstance(made, Compiled) else made
        return tuple(Fault(f"it has no block '{block}'") for block in BLOCKS if block not in made.template.blocks)

    def _make(self, kind: NotificationKind, part: Part, source: str) -> Made:
        return _told(lambda: self._checked(kind, part, source, VARIABLES[kind]))

    def _checked(
        self, kind: NotificationKind, part: Part, source: str, variables: Sequence[Variable], shared: bool = False
    ) -> Made:
        """The template once it is looked through, and tried with the kind's samples."""
        if len(source) > LONGEST_TEMPLATE:
            return (Fault(f"it has {len(source)} characters; at most {LONGEST_TEMPLATE} are allowed"),)
        if found := UNPRINTABLE.search(source):
            return (Fault("it holds a control character", source.count("\n", 0, found.start()) + 1),)
        environment = self._environment(part)
        tree = environment.parse(source)
        if faults := Checker(part, shared).check(tree, variables):
            return tuple(faults)
        compiled = Compiled(part, environment.from_string(tree))
        whole, least = _samples(kind)
        compiled.render(whole)
        try:
            compiled.render(least)
        except RenderError as error:
            return (Fault(f"with everything null that may be, {error}"),)
        return compiled

    def _environment(self, part: Part) -> ImmutableSandboxedEnvironment:
        if part not in self._environments:
            self._environments[part] = _environment(part, DictLoader(self.shared))
        return self._environments[part]


_PART_OF: Mapping[str, Part] = {LAYOUT: "html", FOOTER: "text"}


def _told(look: Callable[[], Made]) -> Made:
    """What a look at a template found, or what it stumbled over."""
    try:
        return look()
    except TemplateSyntaxError as error:
        return (Fault(_sentence(error.message or "it cannot be read"), error.lineno),)
    except RenderError as error:
        return (Fault(str(error)),)
    except (RecursionError, MemoryError, SyntaxError):
        return (Fault("it is nested too deeply"),)
    except (ValueError, OverflowError) as error:
        # Of the lexer: a number of thousands of digits, say.
        return (Fault(f"it cannot be read: {error}"),)


@cache
def _samples(kind: NotificationKind) -> tuple[Mapping[str, Any], ...]:
    """The values of the kind's sample, whole and with as little in them as there can be."""
    whole = values_of(kind, SAMPLES[kind], Parties.of(SAMPLE_CATALOG, None)).values
    return whole, least_known(kind, whole)


def _sentence(message: str) -> str:
    return message[:1].lower() + message[1:].removesuffix(".")


def _environment(part: Part, loader: BaseLoader) -> ImmutableSandboxedEnvironment:
    """Jinja2 with our filters and nothing else: no globals, no tests but `none`, no files."""
    environment = ImmutableSandboxedEnvironment(
        autoescape=part == "html",
        undefined=StrictUndefined,
        finalize=one_line if part == "subject" else written,
        loader=loader,
        trim_blocks=True,
        lstrip_blocks=True,
        cache_size=8,
    )
    environment.globals.clear()
    environment.filters = {name: one.run for name, one in FILTERS.items()}
    environment.tests = {"none": environment.tests["none"]}
    return environment

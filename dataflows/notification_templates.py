"""The wording of notifications: which template speaks for a product version, and what it says.

Owns the order of choice: a product's `emails`, then the deployment's folder, then what is built in; part by part, so a
product that words only the subject keeps the rest. Does not own: what a template may say (`templating`), or sending.
The rule: a notification is never lost to its template. One that cannot be used gives way to the built-in wording, and
is named in `Rendered.faults`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dataflows.errors import RatemillError
from dataflows.templating.engine import Compiled, Engine, Made, RenderError
from dataflows.templating.language import Fault, Part
from dataflows.templating.messages import from_message
from dataflows.templating.sources import PARTS, SHARED, Sources, TemplateErrors, file_name, read_templates
from dataflows.templating.values import Parties, values_of
from schemas.catalog import Catalog, EmailTemplate, Product
from schemas.notification_variables import KINDS
from schemas.problems import Problem, suggestion
from schemas.products import NotificationKind

__all__ = ["Rendered", "Sources", "TemplateErrors", "Templates", "email_problems", "from_message", "read_templates"]

_Slot = tuple[NotificationKind, Part]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A notification in words. `faults` are sentences about what was not as it should be: to be shown, and counted."""

    subject: str
    text: str
    html: str
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Templates:
    """All wordings of a deployment, ready to be rendered; immutable, and safe to use from several threads."""

    built_in: Mapping[_Slot, Compiled]
    deployed: Mapping[_Slot, Compiled]
    engine: Engine
    parties: Parties

    @classmethod
    def load(
        cls, built_in: Sources, deployed: Sources | None, catalog: Catalog, logo_url: str | None = None
    ) -> "Templates":
        """Every template, checked. Raises `TemplateErrors` naming file, line and what would be right.

        A product's wording that cannot be used is not refused here, as a running flow may meet it: see `Rendered`.
        """
        own = Engine(_shared(built_in))
        ready = _all_made(own, built_in)
        missing = [file_name(*slot) for slot in _slots() if slot not in ready]
        assert not missing, f"no template is built in for {', '.join(missing)}"
        parties = Parties.of(catalog, logo_url)
        if deployed is None:
            return cls(ready, ready, own, parties)
        theirs = Engine({**own.shared, **_shared(deployed)})
        chosen = _all_made(theirs, deployed)
        if theirs.shared == own.shared:
            return cls(ready, {**ready, **chosen}, theirs, parties)
        # In a layout of the deployment the built-in wording appears, too.
        rest = {name: text for name, text in built_in.files.items() if name not in SHARED}
        return cls(ready, {**_all_made(theirs, replace(built_in, files=rest)), **chosen}, theirs, parties)

    def with_catalog(self, catalog: Catalog) -> "Templates":
        """The same templates with the parties and the products' wordings of another catalog."""
        return replace(self, parties=Parties.of(catalog, self.parties.logo_url))

    def render(self, row: Mapping[str, Any]) -> Rendered:
        """A row of the ledger's notifications in words; raises `RatemillError` only for a kind that there is not."""
        kind = row["kind"]
        if kind not in KINDS:
            raise RatemillError(
                f"notification '{row['notification_id']}' is of the unknown kind '{kind}'{suggestion(str(kind), KINDS)}"
            )
        found = values_of(kind, row, self.parties)
        faults = list(found.faults)
        product = self.parties.products.get((row.get("product_id") or "", row.get("product_version") or ""))
        subject, text, html = (self._rendered((kind, part), found.values, product, faults) for part in PARTS)
        return Rendered(subject, text, html, tuple(faults))

    def _rendered(self, slot: _Slot, values: Mapping[str, Any], product: Product | None, faults: list[str]) -> str:
        for name, made in self._choices(slot, product):
            if isinstance(made, Compiled):
                try:
                    return made.render(values)
                except RenderError as error:
                    faults.append(f"{name}: {error}; another wording stands instead")
            else:
                faults.append(f"{name}: {_sentence(made[0])}; another wording stands instead")
        return self.built_in[slot].render(values)

    def _choices(self, slot: _Slot, product: Product | None) -> Iterator[tuple[str, Made]]:
        """The templates to try before the built-in one, best first, with what a person calls them."""
        kind, part = slot
        own = product.emails.get(kind) if product is not None else None
        stated = getattr(own, part) if own is not None else None
        if product is not None and stated is not None:
            yield f"products[{product.reference}].emails.{kind}.{part}", self.engine.made(kind, part, stated)
        yield file_name(kind, part), self.deployed[slot]


def email_problems(catalog: Catalog) -> list[Problem]:
    """What is wrong with the wordings of a catalog's products, each with its path through the catalog."""
    engine = Engine()
    return [
        Problem(_sentence(fault), ("products", index, "emails", kind, part))
        for index, product in enumerate(catalog.products)
        for kind, email in product.emails.items()
        for part, stated in _stated(email)
        for fault in _faults(engine.made(kind, part, stated))
    ]


def _stated(email: EmailTemplate) -> list[tuple[Part, str]]:
    return [(part, stated) for part in PARTS if (stated := getattr(email, part)) is not None]


def _faults(made: Made) -> tuple[Fault, ...]:
    return () if isinstance(made, Compiled) else made


def _sentence(fault: Fault) -> str:
    """A fault of a template that stands inside another file, whose own lines are counted."""
    return f"line {fault.line} of the template: {fault.message}" if fault.line else f"the template: {fault.message}"


def _slots() -> Iterator[_Slot]:
    for kind in KINDS:
        yield from ((kind, part) for part in PARTS)


def _shared(sources: Sources) -> dict[str, str]:
    return {name: text for name, text in sources.files.items() if name in SHARED}


def _all_made(engine: Engine, sources: Sources) -> dict[_Slot, Compiled]:
    """Every template of a folder; raises `TemplateErrors` for all that cannot be used."""
    problems = [
        Problem(fault.message, file=sources.place_of(name), line=fault.line)
        for name in SHARED
        if name in sources.files
        for fault in engine.shared_faults(name)
    ]
    ready: dict[_Slot, Compiled] = {}
    for slot in _slots() if not problems else ():
        source = sources.files.get(file_name(*slot))
        made = engine.made(*slot, source) if source is not None else ()
        if isinstance(made, Compiled):
            ready[slot] = made
        problems += [
            Problem(one.message, file=sources.place_of(file_name(*slot)), line=one.line) for one in _faults(made)
        ]
    if problems:
        raise TemplateErrors(tuple(problems))
    return ready

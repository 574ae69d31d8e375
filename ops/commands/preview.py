"""`ratemill notifications preview`: one kind of notification in words, with sample data."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.errors import RatemillError
from dataflows.notification_templates import Rendered, TemplateErrors, Templates, read_templates
from dataflows.settings import Settings
from ops.arguments import JsonOption, settings_with
from ops.output import print_json, remark, say
from ops.template_files import built_in_templates
from schemas.catalog import Catalog, Product, Subscription, version_key
from schemas.notification_samples import SAMPLE_CATALOG, sample_row
from schemas.notification_variables import KINDS
from schemas.problems import suggestion
from schemas.products import NotificationKind

EXAMPLES = """
Examples:

    ratemill notifications preview quota_reached

    ratemill notifications preview invoice_issued --out preview.html

    ratemill notifications preview trial_ending --catalog catalog --product platinum --templates templates
"""


def run(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"The kind: {', '.join(KINDS)}.")],
    catalog: Annotated[
        Path | None, typer.Option(help="A catalog: the product's wording, and its first subscription's parties.")
    ] = None,
    product: Annotated[
        str | None,
        typer.Option(
            help="A product of that catalog, `platinum` (its newest version) or `platinum@1.0.0`; else the first."
        ),
    ] = None,
    templates: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The deployment's own templates; else RATEMILL_TEMPLATES.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the HTML to this file.")] = None,
    json: JsonOption = False,
) -> None:
    """Show a notification with sample data: subject and text, or with --out its HTML. Exit code 1 if one fails."""
    known = next((one for one in KINDS if one == kind), None)
    if known is None:
        raise typer.BadParameter(f"there is no kind '{kind}'{suggestion(kind, KINDS)}", param_hint="'KIND'")
    if product is not None and catalog is None:
        raise typer.BadParameter("needs a catalog; name it with --catalog", param_hint="'--product'")
    settings = settings_with(templates=templates)
    sold = load_catalog(catalog) if catalog is not None else SAMPLE_CATALOG
    row = _sample(known, sold, _chosen(sold, product))
    rendered = _templates(settings, _with_samples(sold)).render(row)
    _show(known, rendered, out, json)
    if rendered.faults:
        raise typer.Exit(1)


def _templates(settings: Settings, catalog: Catalog) -> Templates:
    """All templates; what is wrong with them is shown one by one, for whoever is writing them."""
    try:
        deployed = read_templates(settings.templates) if settings.templates is not None else None
        return Templates.load(built_in_templates(), deployed, catalog, settings.logo_url)
    except TemplateErrors as error:
        for problem in error.problems:
            remark(str(problem))
        raise typer.Exit(1) from error


def _chosen(catalog: Catalog, name: str | None) -> Product:
    """The product that was named, by its reference or by its id alone."""
    found = [one for one in catalog.products if name in (None, one.id, one.reference)]
    if name is None and found:
        return found[0]
    if found:
        return max(found, key=lambda one: version_key(one.version))
    if name is None:
        raise RatemillError("the catalog has no product, so there is nothing to notify of")
    names = [word for one in catalog.products for word in (one.id, one.reference)]
    raise typer.BadParameter(f"the catalog has no product '{name}'{suggestion(name, names)}", param_hint="'--product'")


def _sample(kind: NotificationKind, catalog: Catalog, product: Product) -> dict[str, Any]:
    """The kind's sample, as of the product's first subscription; without one, as of the sample's own."""
    pinned: list[Subscription] = [one for one in catalog.subscriptions if one.product == product.reference]
    row = sample_row(kind, product_id=product.id, product_version=product.version)
    if pinned:
        first = pinned[0]
        row |= {
            "subscription_id": first.id,
            "subscriber": first.subscriber,
            "organization_id": first.organization,
        }
    return row


def _with_samples(catalog: Catalog) -> Catalog:
    """The catalog, and for a product nobody has subscribed to yet the sample's parties, which its own go before."""
    return catalog.model_copy(
        update={
            "organizations": (*SAMPLE_CATALOG.organizations, *catalog.organizations),
            "subscribers": (*SAMPLE_CATALOG.subscribers, *catalog.subscribers),
        }
    )


def _show(kind: NotificationKind, rendered: Rendered, out: Path | None, json: bool) -> None:
    if out is not None:
        out.write_text(rendered.html, encoding="utf-8")
    if json:
        print_json(
            {
                "kind": kind,
                "subject": rendered.subject,
                "text": rendered.text,
                "html": rendered.html,
                "faults": rendered.faults,
            }
        )
    elif out is None:
        say(f"Subject: {rendered.subject}")
        say()
        say(rendered.text.rstrip())
    else:
        remark(f"Wrote {out}")
    for fault in rendered.faults:
        remark(fault)

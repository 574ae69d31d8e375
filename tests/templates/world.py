"""What the tests of templates share: a catalog with parties to be careful with, folders, and rendering."""

from functools import cache

from dataflows.notification_templates import Sources, Templates, read_templates
from ops.template_files import built_in_templates
from schemas.catalog import EmailTemplate
from schemas.notification_samples import SAMPLE_CATALOG, sample_row


def catalog_with(emails=None, **organization):
    """The sample catalog with a product's own wordings, and with other values of its organization."""
    (product,), (buyer,) = SAMPLE_CATALOG.products, SAMPLE_CATALOG.organizations
    worded = {kind: EmailTemplate(**email) for kind, email in (emails or {}).items()}
    sold = product.model_copy(update={"emails": worded})
    return SAMPLE_CATALOG.model_copy(
        update={"products": (sold,), "organizations": (buyer.model_copy(update=organization),)}
    )


def folder_of(folder, **files):
    """A deployment's folder; `quota_reached__html` names the file quota_reached.html."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return read_templates(folder)


@cache
def _built_in():
    return Templates.load(built_in_templates(), None, SAMPLE_CATALOG)


def templates(deployed=None, catalog=SAMPLE_CATALOG, logo_url=None):
    if deployed is None and logo_url is None:
        return _built_in().with_catalog(catalog)
    return Templates.load(built_in_templates(), deployed, catalog, logo_url)


def sources(**files):
    return Sources({name.replace("__", "."): text for name, text in files.items()}, "own")


def worded(kind="quota_reached", part="text", source="", catalog=None, **changes):
    """What a deployment's own template of one part says of a sample."""
    name = f"{kind}{'.subject.txt' if part == 'subject' else '.txt' if part == 'text' else '.html'}"
    loaded = templates(Sources({name: source}, "own"), catalog or SAMPLE_CATALOG)
    rendered = loaded.render(sample_row(kind, **changes))
    assert rendered.faults == ()
    return getattr(rendered, part)

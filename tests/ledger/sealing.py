"""The end of an epoch in tests: a writer seals, and publishes what that proves to have been kept."""

from dataflows.ledger.writer import LedgerWriter


def seal(writer: LedgerWriter) -> bytes:
    """The state after the open commit; the commit before is published."""
    state = writer.seal()
    writer.publish()
    return state

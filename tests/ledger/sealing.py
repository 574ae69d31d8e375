"""The end of an epoch in tests: a writer seals, and publishes what that proves to have been kept."""

from dataflows.ledger.writer import LedgerWriter


def seal(writer: LedgerWriter) -> bytes:
    """The state after the open commit; the commit before is published, and what can be merged is."""
    state = writer.seal()
    writer.publish(writer.merge())
    return state

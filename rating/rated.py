"""A share after rating: verdicts, running usage and crossed thresholds, before anything is priced or named."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from rating.fold import Folded
from rating.pairs import Batch, Pairs
from rating.periods import Times
from rating.prices import Index, Mask
from rating.wide import Wide
from schemas.verdicts import Reason, Verdict

Words = tuple[str | None, str | None]

_LATE_DETAIL = "its input lies further behind the others than the lateness; see `ratemill backfill`"
_OVERFLOW_DETAIL = "its usage would pass what 38 digits can price"


@dataclass(frozen=True, slots=True)
class Crossings:
    """Thresholds that were crossed, one row each, in the order of the events.

    `event`, `key`, `period_start` and `period_end` are those of the pair that crossed it, `before` and `after` its
    usage (wide micros); `threshold` are rows of the catalog's `thresholds.entries`.
    """

    event: Index
    key: Index
    period_start: Times
    period_end: Times
    before: Wide
    after: Wide
    threshold: Index

    @classmethod
    def of(cls, pairs: Pairs, folded: Folded, rows: Index, threshold: Index) -> Self:
        """Of these rows of the pairs."""
        own = pairs.event[rows], pairs.key[rows], pairs.period_start[rows], pairs.period_end[rows]
        return cls(*own, np.take(folded.before, rows, axis=0), np.take(folded.after, rows, axis=0), threshold)


@dataclass(frozen=True, slots=True)
class Standings:
    """Quotas whose verdict is told anew, one row each, in the order of the events.

    `event`, `key`, `period_start` and `period_end` are those of the pair that it is told of, `usage` (wide micros) the
    usage after it.
    """

    event: Index
    quota: Index
    key: Index
    period_start: Times
    period_end: Times
    usage: Wide

    @classmethod
    def of(cls, pairs: Pairs, folded: Folded, rows: Index, quota: Index) -> Self:
        """Of these rows of the pairs."""
        own = pairs.key[rows], pairs.period_start[rows], pairs.period_end[rows]
        return cls(pairs.event[rows], quota, *own, np.take(folded.after, rows, axis=0))


@dataclass(frozen=True, slots=True)
class Rated:
    """A share after rating: rows of a batch with their verdicts (int8), and their charges' pairs with running usage.

    `words` are reason and detail of the rows that rating itself decided, by their number in `rows`. Without any pair
    `folded` is None. `rows.outcome` makes ledger rows of it.
    """

    batch: Batch
    rows: Index
    verdict: npt.NDArray[np.int8]
    words: dict[int, Words]
    pairs: Pairs
    folded: Folded | None
    crossings: Crossings | None = None
    standings: Standings | None = None

    def __reduce__(self) -> tuple[object, ...]:
        # To another process go the share's own events only.
        own = self.batch.take(self.rows), np.arange(len(self.rows))
        return Rated, (*own, self.verdict, self.words, self.pairs, self.folded, self.crossings, self.standings)


def verdicts_after(
    verdict: npt.NDArray[np.int8], blocked: dict[int, str], repeated: Mask, late: Mask, refused: Mask
) -> tuple[npt.NDArray[np.int8], dict[int, Words]]:
    """The verdicts, where repeats are duplicates, late ones late, and refused ones rejected for overflow.

    `blocked` says of rows that a quota blocks which one it is.
    """
    words: dict[int, Words] = {row: (Reason.QUOTA.value, sentence) for row, sentence in blocked.items()}
    if blocked:
        verdict = verdict.copy()
        verdict[list(blocked)] = Verdict.BLOCKED
    for rows, outcome, reason, detail in (
        (repeated, Verdict.DUPLICATE, None, None),
        (late, Verdict.LATE, Reason.LATENESS.value, _LATE_DETAIL),
        (refused, Verdict.REJECTED, Reason.OVERFLOW.value, _OVERFLOW_DETAIL),
    ):
        if rows.any():
            verdict = np.where(rows, np.int8(outcome), verdict)
            words |= dict.fromkeys(np.flatnonzero(rows).tolist(), (reason, detail))
    return verdict, words

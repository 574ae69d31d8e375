-- The same law over the whole ledger: what the commits say was received, against the verdicts and the rows that are stored.
CREATE VIEW conservation_total AS
WITH said AS (
    SELECT
        coalesce(sum(received), 0)::BIGINT AS received,
        coalesce(sum(rated + exempt + trial + blocked + duplicate + parked + late + rejected), 0)::BIGINT AS decided,
        coalesce(sum(line_items), 0)::BIGINT AS line_items
    FROM commits
),
stored AS (
    SELECT
        (SELECT count(*) FROM events) AS events_stored,
        (SELECT count(DISTINCT (partition, "offset")) FROM events) AS positions_stored,
        (SELECT count(*) FROM line_items) AS line_items_stored
)
SELECT
    said.received,
    said.decided,
    stored.events_stored,
    stored.positions_stored,
    said.line_items,
    stored.line_items_stored,
    said.received = said.decided
    AND said.received = stored.events_stored
    AND said.received = stored.positions_stored
    AND said.line_items = stored.line_items_stored AS holds
FROM said
CROSS JOIN stored;

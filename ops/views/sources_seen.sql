-- Every source that sent a readable event: also those no product lists, whose events are exempt.
CREATE VIEW sources_seen AS
SELECT
    source,
    count(*) AS events,
    count(*) FILTER (WHERE verdict = 'rated') AS rated,
    count(*) FILTER (WHERE verdict = 'exempt') AS exempt,
    min(event_time) AS event_time_first,
    max(event_time) AS event_time_last
FROM events
WHERE source IS NOT NULL AND verdict <> 'rejected'
GROUP BY ALL;

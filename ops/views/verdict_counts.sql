-- How many records got which verdict, and for what reason.
CREATE VIEW verdict_counts AS
SELECT
    verdict,
    reason,
    count(*) AS events,
    min(event_time) AS event_time_first,
    max(event_time) AS event_time_last
FROM events
GROUP BY ALL;

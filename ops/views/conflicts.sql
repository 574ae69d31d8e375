-- Duplicates whose data differ from the first sight of the same (source, id): for a person to look at.
CREATE VIEW conflicts AS
SELECT
    repeat.source,
    repeat.event_id,
    first.partition AS partition_first,
    first."offset" AS offset_first,
    first.event_time AS event_time_first,
    first.subscription_id AS subscription_id_first,
    first.verdict AS verdict_first,
    first.data AS data_first,
    repeat.partition AS partition_repeat,
    repeat."offset" AS offset_repeat,
    repeat.event_time AS event_time_repeat,
    repeat.subscription_id AS subscription_id_repeat,
    repeat.data AS data_repeat
FROM events AS repeat
JOIN events AS first
    ON first.source = repeat.source
    AND first.event_id = repeat.event_id
WHERE
    repeat.verdict = 'duplicate'
    AND first.verdict IN ('rated', 'exempt', 'trial', 'blocked')
    AND first.content_digest IS DISTINCT FROM repeat.content_digest;

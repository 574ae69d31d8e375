-- Every credential that accepted events named, with the subscription it was charged to: also those the catalog does not list,
-- which came into being when an event named them beside a subscription.
CREATE VIEW credentials_seen AS
SELECT
    credential_id,
    subscription_id,
    count(*) AS events,
    min(event_time) AS event_time_first,
    max(event_time) AS event_time_last
FROM events
WHERE
    credential_id IS NOT NULL
    AND subscription_id IS NOT NULL
    AND verdict IN ('rated', 'exempt', 'trial', 'blocked', 'duplicate')
GROUP BY ALL;

-- Events that wait for the catalog to know their subscription, credential, subscriber or organization: see `ratemill reinject`.
-- Gone from here once the same (source, id) was rated, exempt, trial or blocked.
CREATE VIEW parked_events AS
SELECT
    waiting.partition,
    waiting."offset",
    waiting.record_time,
    waiting.source,
    waiting.event_id,
    waiting.event_time,
    waiting.subscription_id,
    waiting.credential_id,
    waiting.subscriber,
    waiting.organization_id,
    waiting.reason,
    waiting.data
FROM events AS waiting
ANTI JOIN (
    SELECT source, event_id FROM events WHERE verdict IN ('rated', 'exempt', 'trial', 'blocked')
) AS settled
    ON settled.source = waiting.source
    AND settled.event_id = waiting.event_id
WHERE waiting.verdict = 'parked';

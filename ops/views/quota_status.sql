-- How each subscription's quotas stand: the last verdict told, at each mark of the limit and at every threshold.
-- Shares are counted in units of 0.0001, so no float is needed. Usage that goes on as it did so far since the window
-- began uses a quota up at `projected_exhaustion`; NULL when the window ends before, or when it is used up already.
CREATE VIEW quota_status AS
WITH last AS (
    SELECT
        subscription_id,
        quota,
        arg_max(verdict, (told_at, coalesce("offset", 9223372036854775807))) AS verdict,
        arg_max(on_exceed, (told_at, coalesce("offset", 9223372036854775807))) AS on_exceed,
        arg_max("limit", (told_at, coalesce("offset", 9223372036854775807))) AS "limit",
        arg_max(usage, (told_at, coalesce("offset", 9223372036854775807))) AS usage,
        arg_max(remaining, (told_at, coalesce("offset", 9223372036854775807))) AS remaining,
        arg_max(window_start, (told_at, coalesce("offset", 9223372036854775807))) AS window_start,
        arg_max(struct_pack(window_end), (told_at, coalesce("offset", 9223372036854775807))).window_end AS window_end,
        arg_max(occurred_at, (told_at, coalesce("offset", 9223372036854775807))) AS occurred_at
    FROM quota_verdicts
    GROUP BY subscription_id, quota
),
paced AS (
    SELECT
        *,
        CASE WHEN "limit" > 0 THEN (usage * 1000000)::HUGEINT * 10000 // ("limit" * 1000000)::HUGEINT END AS shares,
        CASE WHEN usage > 0 AND usage < "limit" THEN
            (epoch_us(occurred_at) - epoch_us(window_start))::HUGEINT
            * ("limit" * 1000)::HUGEINT // (usage * 1000)::HUGEINT
        END AS microseconds_to_limit
    FROM last
)
SELECT
    subscription_id,
    quota,
    verdict,
    on_exceed,
    "limit",
    usage,
    remaining,
    (shares::DECIMAL(34, 0) * 0.0001::DECIMAL(4, 4))::DECIMAL(38, 4) AS share_used,
    window_start,
    window_end,
    occurred_at,
    CASE WHEN epoch_us(window_start) + microseconds_to_limit < epoch_us(window_end) THEN
        make_timestamptz((epoch_us(window_start) + microseconds_to_limit)::BIGINT)
    END AS projected_exhaustion
FROM paced;

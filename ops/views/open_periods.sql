-- What each subscription owes so far in the periods that are not over: charges for usage, before fees and rounding.
-- A period is over once the input has been read past its end and the grace (5 minutes; 15 seconds for 5-minute periods).
CREATE VIEW open_periods AS
WITH progress AS (
    SELECT min(progress_of_writer) AS progress
    FROM (SELECT writer, arg_max(progress, sequence) AS progress_of_writer FROM commits WHERE flow = 'rating' GROUP BY writer)
)
SELECT
    line_items.subscription_id,
    line_items.product_id,
    line_items.product_version,
    line_items.period_start,
    line_items.period_end,
    line_items.currency,
    count(DISTINCT (line_items.partition, line_items."offset")) AS events,
    count(*) AS lines,
    sum(line_items.amount) AS amount,
    progress.progress
FROM line_items
CROSS JOIN progress
WHERE
    line_items.line_kind <> 'blocked'
    AND (
        line_items.period_end IS NULL
        OR progress.progress IS NULL
        OR progress.progress < line_items.period_end + CASE
            WHEN line_items.period_end - line_items.period_start = INTERVAL 5 MINUTES THEN INTERVAL 15 SECONDS
            ELSE INTERVAL 5 MINUTES
        END
    )
GROUP BY ALL;

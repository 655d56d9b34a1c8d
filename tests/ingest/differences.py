"""What rollups and rows disagree on: nothing, as long as all is well."""

SUM_DIFFERENCES = """
WITH counted AS (
    SELECT account_id, date_bin($2::text::interval, occurred_at, 'epoch') AS bucket_at,
           lower(provider) AS provider, model_group, coalesce(origin, '') AS origin,
           coalesce(alias, '') AS alias, count(*) AS requests, coalesce(sum(cost), 0) AS cost,
           sum(input_tokens)::bigint AS input_tokens,
           sum(output_tokens)::bigint AS output_tokens, count(latency_ms) AS timed_requests,
           coalesce(sum(latency_ms), 0) AS latency_ms
    FROM usage.logs GROUP BY 1, 2, 3, 4, 5, 6
), added AS (
    SELECT account_id, bucket_at, provider, model_group, origin, alias, requests, cost, input_tokens,
           output_tokens, timed_requests, latency_ms
    FROM usage.rollups WHERE grain = $1::"char"
)
(SELECT * FROM counted EXCEPT SELECT * FROM added)
UNION ALL (SELECT * FROM added EXCEPT SELECT * FROM counted)
"""

LATENCY_DIFFERENCES = """
SELECT grain, provider = '' AS whole, sum(requests), (SELECT count(latency_ms) FROM usage.logs)
FROM usage.latency_rollups GROUP BY 1, 2
HAVING sum(requests) <> (SELECT count(latency_ms) FROM usage.logs)
"""

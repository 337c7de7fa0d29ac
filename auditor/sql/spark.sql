-- Who went where: the fold of a period's events (FORMATS, section 3), as Bailiwick's auditor counts.
--
-- One row for each plugin, artifact, run, host, port and scheme: connections, bytes, first and last. A
-- connection is what all of its events say together; it counts in the period in which any of them
-- stands, or through which it was open, with the bytes that were added then. Where an event stands
-- follows from its log's clock, which never goes back. A gateway that starts or stops ends what was open;
-- where it names a session in scope, because two processes have connections in one log, only that one's
-- goes on (start) or is ended (stop, gap).
-- Connections that nobody could be named for, or without a target, are not in here.
--
-- Needed:
--   archive  the archive's files as one relation (below)
--   period   one row: begins, ends, and seen, the moment at which one counts; a time that lies more than
--            300 s after it moves no clock
--
-- Spark (PySpark):
--   spark.read.option("recursiveFileLookup", "true").parquet("data/archive").createOrReplaceTempView("archive")
--   spark.sql("SELECT TIMESTAMP '2026-11-01 00:00:00Z' AS begins, TIMESTAMP '2026-12-01 00:00:00Z' AS ends, now() AS seen").createOrReplaceTempView("period")

WITH stated AS (
  SELECT
    COALESCE(gateway, get_json_object(raw, '$.gateway')) AS log,
    seq,
    COALESCE(time, CAST(get_json_object(raw, '$.time') AS TIMESTAMP)) AS time,
    COALESCE(kind, get_json_object(raw, '$.kind')) AS kind,
    COALESCE(scope, get_json_object(raw, '$.scope')) AS scope,
    COALESCE(plugin_id, get_json_object(raw, '$.plugin_id')) AS plugin_id,
    COALESCE(artifact_digest, get_json_object(raw, '$.artifact_digest')) AS artifact_digest,
    COALESCE(run_id, get_json_object(raw, '$.run_id')) AS run_id,
    COALESCE(attribution, get_json_object(raw, '$.attribution')) AS attribution,
    COALESCE(connection_id, get_json_object(raw, '$.connection_id')) AS connection_id,
    COALESCE(destination_host, get_json_object(raw, '$.destination_host')) AS destination_host,
    COALESCE(scheme, get_json_object(raw, '$.scheme')) AS scheme,
    COALESCE(port, CAST(get_json_object(raw, '$.port') AS INT)) AS port,
    COALESCE(bytes_out, CAST(get_json_object(raw, '$.bytes_out') AS BIGINT)) AS bytes_out,
    COALESCE(bytes_in, CAST(get_json_object(raw, '$.bytes_in') AS BIGINT)) AS bytes_in
  FROM archive
),
clocked AS (
  SELECT stated.*, period.begins, period.ends,
    MAX(CASE WHEN stated.time <= period.seen + INTERVAL '300' SECOND THEN stated.time END)
      OVER (PARTITION BY log ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS clock,
    SUM(CASE WHEN kind IN ('start', 'stop') AND scope IS NULL THEN 1 ELSE 0 END)
      OVER (PARTITION BY log ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS life,
    CASE WHEN kind IN ('start', 'stop', 'gap') THEN scope ELSE regexp_replace(connection_id, '-[^-]*$', '') END AS session
  FROM stated CROSS JOIN period
),
phased AS (
  SELECT clocked.*,
    CASE WHEN clock IS NULL OR clock < begins THEN 'before' ELSE 'within' END AS phase,
    MAX(life) OVER (PARTITION BY log) AS last_life,
    MAX(CASE WHEN kind IN ('stop', 'gap') AND scope IS NOT NULL THEN seq END) OVER (PARTITION BY log, session) AS session_end,
    MAX(CASE WHEN kind = 'start' AND scope IS NOT NULL THEN seq END) OVER (PARTITION BY log, session) AS session_kept,
    MAX(CASE WHEN kind = 'start' AND scope IS NOT NULL THEN seq END) OVER (PARTITION BY log) AS succession
  FROM clocked
  WHERE clock IS NULL OR clock < ends
),
spoken AS (
  SELECT phased.*,
    CASE WHEN connection_id IS NULL THEN seq ELSE -1 END AS alone,
    SUM(CASE WHEN kind IN ('close', 'refused') THEN 1 ELSE 0 END)
      OVER (PARTITION BY log, life, connection_id ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
      - CASE WHEN kind IN ('close', 'refused') THEN 1 ELSE 0 END AS earlier
  FROM phased
  WHERE kind IN ('open', 'connected', 'progress', 'close', 'refused')
    AND (connection_id IS NOT NULL OR phase = 'within')
),
connections AS (
  SELECT
    min_by(plugin_id, seq) FILTER (WHERE attribution IS NOT NULL AND attribution <> 'none' AND plugin_id IS NOT NULL AND artifact_digest IS NOT NULL AND run_id IS NOT NULL) AS plugin_id,
    min_by(artifact_digest, seq) FILTER (WHERE attribution IS NOT NULL AND attribution <> 'none' AND plugin_id IS NOT NULL AND artifact_digest IS NOT NULL AND run_id IS NOT NULL) AS artifact_digest,
    min_by(run_id, seq) FILTER (WHERE attribution IS NOT NULL AND attribution <> 'none' AND plugin_id IS NOT NULL AND artifact_digest IS NOT NULL AND run_id IS NOT NULL) AS run_id,
    min_by(destination_host, seq) FILTER (WHERE destination_host IS NOT NULL AND port IS NOT NULL) AS host,
    min_by(port, seq) FILTER (WHERE destination_host IS NOT NULL AND port IS NOT NULL) AS port,
    COALESCE(min_by(scheme, seq) FILTER (WHERE scheme IS NOT NULL AND scheme <> 'tcp'), MAX(CASE WHEN scheme = 'tcp' THEN 'tcp' END)) AS scheme,
    COALESCE(MAX(bytes_out), 0) - COALESCE(MAX(CASE WHEN phase = 'before' THEN bytes_out END), 0) AS bytes_out,
    COALESCE(MAX(bytes_in), 0) - COALESCE(MAX(CASE WHEN phase = 'before' THEN bytes_in END), 0) AS bytes_in,
    COALESCE(MIN(CASE WHEN phase = 'within' THEN time END), MIN(begins)) AS first_seen,
    COALESCE(MAX(CASE WHEN phase = 'within' THEN time END), MIN(ends)) AS last_seen
  FROM spoken
  GROUP BY log, life, connection_id, earlier, alone
  HAVING MAX(CASE WHEN phase = 'before' AND kind IN ('close', 'refused') THEN 1 ELSE 0 END) = 0
    AND (MAX(CASE WHEN phase = 'within' THEN 1 ELSE 0 END) = 1 OR (MAX(last_life) = life AND MAX(session_end) IS NULL
      AND COALESCE(MAX(succession), -1) <= GREATEST(COALESCE(MAX(session_kept), -1), MAX(seq))))
)
SELECT plugin_id, artifact_digest, run_id, host, port, scheme,
  COUNT(*) AS connections, SUM(bytes_out) AS bytes_out, SUM(bytes_in) AS bytes_in,
  MIN(first_seen) AS first_seen, MAX(last_seen) AS last_seen
FROM connections
WHERE plugin_id IS NOT NULL AND host IS NOT NULL
GROUP BY plugin_id, artifact_digest, run_id, host, port, scheme
ORDER BY plugin_id, artifact_digest, run_id, host, port, scheme

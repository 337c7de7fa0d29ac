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
-- ClickHouse (also clickhouse-local and chdb):
--   CREATE VIEW archive AS SELECT * FROM file('data/archive/*/*/*.parquet', Parquet) SETTINGS use_hive_partitioning = 0;
--   CREATE VIEW period AS SELECT toDateTime64('2026-11-01 00:00:00', 6, 'UTC') AS begins, toDateTime64('2026-12-01 00:00:00', 6, 'UTC') AS ends, now64(6, 'UTC') AS seen;

WITH stated AS (
  SELECT
    COALESCE(gateway, JSONExtract(ifNull(raw, ''), 'gateway', 'Nullable(String)')) AS log,
    seq,
    COALESCE(time, parseDateTime64BestEffortOrNull(JSONExtract(ifNull(raw, ''), 'time', 'Nullable(String)'), 6, 'UTC')) AS time,
    COALESCE(kind, JSONExtract(ifNull(raw, ''), 'kind', 'Nullable(String)')) AS kind,
    COALESCE(scope, JSONExtract(ifNull(raw, ''), 'scope', 'Nullable(String)')) AS scope,
    COALESCE(plugin_id, JSONExtract(ifNull(raw, ''), 'plugin_id', 'Nullable(String)')) AS plugin_id,
    COALESCE(artifact_digest, JSONExtract(ifNull(raw, ''), 'artifact_digest', 'Nullable(String)')) AS artifact_digest,
    COALESCE(run_id, JSONExtract(ifNull(raw, ''), 'run_id', 'Nullable(String)')) AS run_id,
    COALESCE(attribution, JSONExtract(ifNull(raw, ''), 'attribution', 'Nullable(String)')) AS attribution,
    COALESCE(connection_id, JSONExtract(ifNull(raw, ''), 'connection_id', 'Nullable(String)')) AS connection_id,
    COALESCE(destination_host, JSONExtract(ifNull(raw, ''), 'destination_host', 'Nullable(String)')) AS destination_host,
    COALESCE(scheme, JSONExtract(ifNull(raw, ''), 'scheme', 'Nullable(String)')) AS scheme,
    COALESCE(port, JSONExtract(ifNull(raw, ''), 'port', 'Nullable(Int32)')) AS port,
    COALESCE(bytes_out, JSONExtract(ifNull(raw, ''), 'bytes_out', 'Nullable(Int64)')) AS bytes_out,
    COALESCE(bytes_in, JSONExtract(ifNull(raw, ''), 'bytes_in', 'Nullable(Int64)')) AS bytes_in
  FROM archive
),
clocked AS (
  SELECT stated.*, period.begins, period.ends,
    MAX(CASE WHEN stated.time <= period.seen + INTERVAL 300 SECOND THEN stated.time END)
      OVER (PARTITION BY log ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS clock,
    SUM(CASE WHEN kind IN ('start', 'stop') AND scope IS NULL THEN 1 ELSE 0 END)
      OVER (PARTITION BY log ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS life,
    CASE WHEN kind IN ('start', 'stop', 'gap') THEN scope ELSE replaceRegexpOne(connection_id, '-[^-]*$', '') END AS session
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
    argMinIf(plugin_id, seq, attribution IS NOT NULL AND attribution <> 'none' AND plugin_id IS NOT NULL AND artifact_digest IS NOT NULL AND run_id IS NOT NULL) AS plugin_id,
    argMinIf(artifact_digest, seq, attribution IS NOT NULL AND attribution <> 'none' AND plugin_id IS NOT NULL AND artifact_digest IS NOT NULL AND run_id IS NOT NULL) AS artifact_digest,
    argMinIf(run_id, seq, attribution IS NOT NULL AND attribution <> 'none' AND plugin_id IS NOT NULL AND artifact_digest IS NOT NULL AND run_id IS NOT NULL) AS run_id,
    argMinIf(destination_host, seq, destination_host IS NOT NULL AND port IS NOT NULL) AS host,
    argMinIf(port, seq, destination_host IS NOT NULL AND port IS NOT NULL) AS port,
    COALESCE(argMinIf(scheme, seq, scheme IS NOT NULL AND scheme <> 'tcp'), MAX(CASE WHEN scheme = 'tcp' THEN 'tcp' END)) AS scheme,
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
SETTINGS prefer_column_name_to_alias = 1

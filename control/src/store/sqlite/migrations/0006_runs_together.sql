-- The signed reports about the runs of one artifact stand together in one file, one a line: two hundred
-- thousand a night are no folders. Where both are NULL, the report is a file of its own.
ALTER TABLE reports ADD COLUMN line_at INTEGER;
ALTER TABLE reports ADD COLUMN line_bytes INTEGER
    CHECK ((line_at IS NULL) = (line_bytes IS NULL) AND (line_at IS NULL OR (line_at >= 0 AND line_bytes > 0)));
-- The report before: a night asks for it once per report.
CREATE INDEX reports_by_run ON reports (run_id, to_us) WHERE run_id IS NOT NULL;
CREATE INDEX reports_by_artifact ON reports (artifact_digest, to_us) WHERE run_id IS NULL;

-- The registry of one site: plugins, artifacts, runs, and what was done about them.
--
-- Text stands for itself (digests, ids, words of the closed lists); times are microseconds since
-- 1970 in UTC and say so in their name. Trusted with this file: whoever can write it can forget an
-- act, a run or a mail. It cannot forge a manifest, a list or a report: those are signed, and they
-- are checked again whenever they count.

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE plugins (
    plugin_id     TEXT PRIMARY KEY,
    -- NULL: nobody chose a tier, the policy's default holds.
    tier          TEXT CHECK (tier IN ('high', 'medium', 'low', 'legacy')),
    owner_name    TEXT,
    owner_email   TEXT,
    created_at_us INTEGER NOT NULL
) STRICT;

CREATE TABLE artifacts (
    artifact_digest TEXT PRIMARY KEY,
    plugin_id       TEXT NOT NULL REFERENCES plugins (plugin_id),
    version         TEXT,
    state           TEXT NOT NULL CHECK (state IN ('submitted', 'certified', 'admitted', 'watch',
                        'quarantined', 'reinstated', 'revoked', 'superseded', 'expired')),
    file_name       TEXT NOT NULL,
    size_bytes      INTEGER NOT NULL CHECK (size_bytes >= 0),
    created_at_us   INTEGER NOT NULL,
    changed_at_us   INTEGER NOT NULL
) STRICT;
CREATE INDEX artifacts_by_plugin ON artifacts (plugin_id, created_at_us);

-- Every passage through the load gate. The latest row of an artifact is the manifest in force; the
-- older ones say what was in force before, which the audit of an earlier period needs.
CREATE TABLE admissions (
    admission_id            INTEGER PRIMARY KEY AUTOINCREMENT,
    artifact_digest         TEXT NOT NULL REFERENCES artifacts (artifact_digest),
    manifest_json           TEXT NOT NULL,
    manifest_payload_sha256 TEXT NOT NULL,
    manifest_bundle         BLOB NOT NULL,
    approval_bundle         BLOB,
    sbom_sha256             TEXT,
    signer                  TEXT NOT NULL,
    admitted_at_us          INTEGER NOT NULL,
    admitted_by             TEXT NOT NULL
) STRICT;
CREATE INDEX admissions_by_artifact ON admissions (artifact_digest, admission_id);

CREATE TABLE runs (
    run_id          TEXT PRIMARY KEY,
    artifact_digest TEXT NOT NULL REFERENCES artifacts (artifact_digest),
    plugin_id       TEXT NOT NULL REFERENCES plugins (plugin_id),
    started_at_us   INTEGER NOT NULL,
    expires_at_us   INTEGER NOT NULL,
    ended_at_us     INTEGER,
    exit_status     INTEGER,
    started_by      TEXT NOT NULL
) STRICT;
CREATE INDEX runs_by_plugin ON runs (plugin_id, started_at_us);
CREATE INDEX runs_by_artifact ON runs (artifact_digest, started_at_us);
CREATE INDEX runs_by_expiry ON runs (expires_at_us);

CREATE TABLE nights (
    night_id         INTEGER PRIMARY KEY AUTOINCREMENT,
    -- NULL: asked for by hand.
    scheduled_for_us INTEGER UNIQUE,
    from_us          INTEGER NOT NULL,
    to_us            INTEGER NOT NULL,
    started_at_us    INTEGER NOT NULL,
    finished_at_us   INTEGER,
    outcome          TEXT
) STRICT;

CREATE TABLE reports (
    -- The SHA-256 of the report's bundle, so that writing one twice is writing it once.
    report_id       TEXT PRIMARY KEY,
    plugin_id       TEXT NOT NULL,
    artifact_digest TEXT,
    run_id          TEXT,
    from_us         INTEGER NOT NULL,
    to_us           INTEGER NOT NULL,
    verdict         TEXT NOT NULL CHECK (verdict IN ('conforming', 'non_conforming', 'inconclusive', 'no_traffic')),
    folder          TEXT NOT NULL,
    created_at_us   INTEGER NOT NULL
) STRICT;
CREATE INDEX reports_by_plugin ON reports (plugin_id, to_us);

-- The outbox. One row is one letter to one recipient: recipients fail one by one, and whoever has
-- the letter must not get it again because somebody else's mailbox is full.
CREATE TABLE mails (
    mail_id            INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id         TEXT NOT NULL,
    recipient          TEXT NOT NULL,
    sender             TEXT NOT NULL,
    subject            TEXT NOT NULL,
    -- The RFC 5322 bytes, frozen when queued, so that every attempt carries the same letter.
    raw                BLOB NOT NULL,
    state              TEXT NOT NULL CHECK (state IN ('queued', 'sent', 'dead')),
    attempts           INTEGER NOT NULL DEFAULT 0,
    next_attempt_at_us INTEGER NOT NULL,
    last_error         TEXT,
    created_at_us      INTEGER NOT NULL,
    sent_at_us         INTEGER,
    UNIQUE (message_id, recipient)
) STRICT;
CREATE INDEX mails_due ON mails (next_attempt_at_us) WHERE state = 'queued';

CREATE TABLE acts (
    act_id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at_us      INTEGER NOT NULL,
    who        TEXT NOT NULL CHECK (who <> ''),
    action     TEXT NOT NULL,
    target     TEXT NOT NULL,
    reason     TEXT,
    note       TEXT,
    clause     TEXT,
    enabled_by TEXT,
    crl_number INTEGER
) STRICT;

-- A change of the revocation list that was decided and is not yet known to be published and
-- recorded. The list is a file of its own, so the two cannot share a transaction; what is found
-- here after a crash is finished if the list made it to disk, and dropped if it did not.
CREATE TABLE pending_change (
    crl_number INTEGER PRIMARY KEY,
    acts_json  TEXT NOT NULL
) STRICT;

-- What happened stays happened. `sqlite3` in the wrong hands can still drop a trigger; a slip of
-- ours cannot.
CREATE TRIGGER acts_are_never_changed BEFORE UPDATE ON acts
    BEGIN SELECT RAISE(ABORT, 'acts are append-only'); END;
CREATE TRIGGER acts_are_never_removed BEFORE DELETE ON acts
    BEGIN SELECT RAISE(ABORT, 'acts are append-only'); END;
CREATE TRIGGER admissions_are_never_changed BEFORE UPDATE ON admissions
    BEGIN SELECT RAISE(ABORT, 'admissions are append-only'); END;
CREATE TRIGGER admissions_are_never_removed BEFORE DELETE ON admissions
    BEGIN SELECT RAISE(ABORT, 'admissions are append-only'); END;
CREATE TRIGGER reports_are_never_changed BEFORE UPDATE ON reports
    BEGIN SELECT RAISE(ABORT, 'reports are append-only'); END;
CREATE TRIGGER reports_are_never_removed BEFORE DELETE ON reports
    BEGIN SELECT RAISE(ABORT, 'reports are append-only'); END;
-- A revocation is final. The list is what holds it; the registry must not say otherwise.
CREATE TRIGGER revoked_is_final BEFORE UPDATE OF state ON artifacts
    WHEN old.state = 'revoked' AND new.state <> 'revoked'
    BEGIN SELECT RAISE(ABORT, 'a revocation is final'); END;

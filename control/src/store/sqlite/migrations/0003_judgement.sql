-- What the night asks the registry about: the class of data that a run handles, the libraries inside an
-- artifact, acts that wait for a person or for a moment, and who holds the night.

-- As it was stamped when the run was registered; NULL where nobody said.
ALTER TABLE runs ADD COLUMN data_class TEXT;
-- A JSON array of {"name", "version"}, as the bill of materials or a wheel's metadata said.
ALTER TABLE admissions ADD COLUMN components_json TEXT NOT NULL DEFAULT '[]';

-- Acts that a clause of the policy asked for and that were not done at once: too many running plugins
-- would have stopped, or owner and security have time to speak first. Trusted with this table: whoever
-- can write it can have an act done that a clause asked for, or keep it from being done; what was done
-- is in `acts` and on the signed list.
CREATE TABLE waiting_acts (
    waiting_id      INTEGER PRIMARY KEY AUTOINCREMENT,
    plugin_id       TEXT NOT NULL,
    artifact_digest TEXT NOT NULL,
    action          TEXT NOT NULL CHECK (action IN ('quarantine', 'revoke')),
    reason          TEXT NOT NULL,
    clause          TEXT NOT NULL CHECK (clause <> ''),
    enabled_by      TEXT NOT NULL CHECK (enabled_by <> ''),
    why             TEXT NOT NULL,
    asked_at_us     INTEGER NOT NULL,
    -- When it is done by itself; NULL where a second person must approve.
    due_at_us       INTEGER,
    -- When the question lapses.
    expires_at_us   INTEGER NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('waiting', 'approved', 'rejected', 'done', 'expired')),
    decided_by      TEXT,
    decided_at_us   INTEGER,
    note            TEXT,
    crl_number      INTEGER
) STRICT;
-- Asking for the same again while it waits is asking once.
CREATE UNIQUE INDEX waiting_acts_once ON waiting_acts (artifact_digest, action, clause)
    WHERE state = 'waiting';
CREATE TRIGGER waiting_acts_are_never_removed BEFORE DELETE ON waiting_acts
    BEGIN SELECT RAISE(ABORT, 'what waited stays on record'); END;
CREATE TRIGGER waiting_acts_are_decided_once BEFORE UPDATE ON waiting_acts
    WHEN old.state <> 'waiting'
    BEGIN SELECT RAISE(ABORT, 'what was decided stays decided'); END;

-- Work that only one instance may do at a time. A lease that was not renewed in time is anybody's.
CREATE TABLE leases (
    name          TEXT PRIMARY KEY,
    holder        TEXT NOT NULL,
    expires_at_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The owner's way back: appeals against findings, and builds that mend them.

CREATE TABLE appeals (
    appeal_id          INTEGER PRIMARY KEY AUTOINCREMENT,
    plugin_id          TEXT NOT NULL REFERENCES plugins (plugin_id),
    artifact_digest    TEXT NOT NULL REFERENCES artifacts (artifact_digest),
    finding_id         TEXT NOT NULL,
    report_id          TEXT NOT NULL,
    -- What the finding is, in one line, as its report says it.
    finding            TEXT NOT NULL,
    reason             TEXT NOT NULL CHECK (reason IN ('declared', 'not_this_plugin', 'evidence_wrong',
                           'platform_caused', 'agreed_exception', 'disproportionate')),
    statement          TEXT,
    opened_by          TEXT NOT NULL CHECK (opened_by <> ''),
    opened_at_us       INTEGER NOT NULL,
    -- What was promised when it was opened; a clock that is changed later changes no promise.
    acknowledge_by_us  INTEGER NOT NULL,
    respond_by_us      INTEGER NOT NULL,
    decide_by_us       INTEGER NOT NULL,
    acknowledged_at_us INTEGER,
    responded_at_us    INTEGER,
    response           TEXT,
    decided_at_us      INTEGER,
    decided_by         TEXT,
    outcome            TEXT CHECK (outcome IN ('granted', 'denied')),
    decision           TEXT,
    -- Until when nothing automatic is done to the plugin, because its owner was right.
    protected_until_us INTEGER,
    crl_number         INTEGER
) STRICT;
CREATE UNIQUE INDEX one_open_appeal_per_finding ON appeals (finding_id) WHERE decided_at_us IS NULL;
CREATE INDEX appeals_by_plugin ON appeals (plugin_id, protected_until_us);

CREATE TABLE remediations (
    remediation_id  INTEGER PRIMARY KEY AUTOINCREMENT,
    plugin_id       TEXT NOT NULL REFERENCES plugins (plugin_id),
    finding_id      TEXT NOT NULL,
    report_id       TEXT NOT NULL,
    finding         TEXT NOT NULL,
    -- What the finding is about, as JSON: by this the night knows whether it is gone.
    finding_key     TEXT NOT NULL,
    mends_digest    TEXT NOT NULL REFERENCES artifacts (artifact_digest),
    artifact_digest TEXT NOT NULL REFERENCES artifacts (artifact_digest),
    lane            TEXT NOT NULL CHECK (lane IN ('fast', 'ordinary')),
    -- The difference of permissions, as JSON.
    difference      TEXT NOT NULL,
    admitted_at_us  INTEGER NOT NULL,
    admitted_by     TEXT NOT NULL,
    closed_at_us    INTEGER,
    -- The report that shows the finding gone, and the folder of the closing report.
    closed_by       TEXT,
    folder          TEXT,
    UNIQUE (finding_id, artifact_digest)
) STRICT;

CREATE TRIGGER a_decision_is_final BEFORE UPDATE ON appeals
    WHEN old.decided_at_us IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'a decided appeal stays as it is'); END;
CREATE TRIGGER appeals_are_never_removed BEFORE DELETE ON appeals
    BEGIN SELECT RAISE(ABORT, 'appeals are never removed'); END;
CREATE TRIGGER remediations_are_never_removed BEFORE DELETE ON remediations
    BEGIN SELECT RAISE(ABORT, 'remediations are never removed'); END;

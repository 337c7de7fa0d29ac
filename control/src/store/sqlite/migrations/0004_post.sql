-- The post: in whose hands a letter is, which addresses work, and what waits for a webhook.

-- The life of the postman who took the letter. Whoever opens the registry holds the data folder
-- alone, so a letter in the hands of another life is a dead one's, and free at once.
ALTER TABLE mails ADD COLUMN taken_by TEXT;
-- What the letter is about, where a second one about the same must not follow too soon.
ALTER TABLE mails ADD COLUMN topic TEXT;
CREATE INDEX mails_by_topic ON mails (topic, created_at_us) WHERE topic IS NOT NULL;
-- When the letter was first due: not at once where its recipient got many within the hour.
ALTER TABLE mails ADD COLUMN due_at_us INTEGER;
CREATE INDEX mails_by_recipient ON mails (recipient, due_at_us);

-- What is known of an address: whether its reader answered, and whether a server refused it for good.
CREATE TABLE contacts (
    address        TEXT PRIMARY KEY,
    -- The SHA-256 of the token that was mailed there and has not come back.
    token_sha256   TEXT UNIQUE,
    asked_at_us    INTEGER,
    verified_at_us INTEGER,
    bounced_at_us  INTEGER,
    bounce         TEXT
) STRICT, WITHOUT ROWID;

-- What a webhook is told. The body is frozen when queued, as a letter is.
CREATE TABLE hooks (
    hook_id            INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The receiver's key for telling a repetition from news.
    delivery_id        TEXT NOT NULL UNIQUE,
    body               BLOB NOT NULL,
    state              TEXT NOT NULL CHECK (state IN ('queued', 'sent', 'dead')),
    attempts           INTEGER NOT NULL DEFAULT 0,
    next_attempt_at_us INTEGER NOT NULL,
    last_error         TEXT,
    created_at_us      INTEGER NOT NULL,
    sent_at_us         INTEGER
) STRICT;
CREATE INDEX hooks_due ON hooks (next_attempt_at_us) WHERE state = 'queued';

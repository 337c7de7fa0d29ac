-- Ways to know a run besides its token: listeners of its own (as a JSON array of `unix:PATH` and
-- `address:port`), with the one user who may open the socket, and source addresses (as a JSON array).
-- Kept so that a gateway that starts again opens the same listeners. Trusted with these columns:
-- whoever can write them can have connections taken for a run's; they hold no secret.
ALTER TABLE runs ADD COLUMN listeners_json TEXT NOT NULL DEFAULT '[]';
ALTER TABLE runs ADD COLUMN socket_uid INTEGER;
ALTER TABLE runs ADD COLUMN sources_json TEXT NOT NULL DEFAULT '[]';

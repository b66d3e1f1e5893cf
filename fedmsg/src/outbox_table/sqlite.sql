-- The outbox of an application, version 1, for SQLite 3.38 or later. Nothing here is to be changed by hand: further
-- columns and indexes are the application's to add, and are left alone.
CREATE TABLE fedmsg_outbox (
    -- The order in which messages are published. Numbers are never used twice.
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    -- As in code: one that does not begin with the configured prefix is relative.
    topic        TEXT NOT NULL,
    -- A JSON object.
    body         TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(body)),
    -- A JSON object of texts: severity, summary, link and others. May be left out.
    headers      TEXT CHECK (headers IS NULL OR json_valid(headers)),
    -- Who asked for it. May be left out.
    username     TEXT,
    -- By it a message is known that was published before. May be given by the application: at most 128 bytes.
    msg_id       TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),
    -- Milliseconds since 1970.
    created      INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    -- The stream that was given the message, and when: until it is known what became of it.
    offered_to   TEXT,
    offered_at   INTEGER,
    -- Why the message cannot be published, and since when that is known: then it stands in nobody's way.
    set_aside    TEXT,
    set_aside_at INTEGER
);
CREATE INDEX fedmsg_outbox_waiting ON fedmsg_outbox (id) WHERE set_aside IS NULL;
CREATE INDEX fedmsg_outbox_set_aside ON fedmsg_outbox (id) WHERE set_aside IS NOT NULL;
CREATE TABLE fedmsg_outbox_version (version INTEGER NOT NULL);
INSERT INTO fedmsg_outbox_version (version) VALUES (1);

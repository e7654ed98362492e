-- Ids are 16 bytes, big-endian; times are microseconds since the epoch; `format` is the version of the JSON beside it.
-- Sessions have a small key of their own, because every fact and every index entry repeats it.
CREATE TABLE sessions (
    key INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    tenant BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    agent BLOB NOT NULL,
    agent_version INTEGER NOT NULL,
    environment BLOB NOT NULL,
    seq INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    phase TEXT NOT NULL,
    archived INTEGER NOT NULL,
    unsettled INTEGER NOT NULL,
    wake_at INTEGER,
    format INTEGER NOT NULL,
    summary BLOB NOT NULL
) STRICT;
CREATE INDEX sessions_by_creation ON sessions (tenant, created_at, id);
CREATE INDEX sessions_unarchived ON sessions (tenant, created_at, id) WHERE archived = 0;
CREATE INDEX sessions_by_agent ON sessions (tenant, agent, created_at, id);
CREATE INDEX sessions_by_phase ON sessions (tenant, phase, created_at, id);
CREATE INDEX sessions_due ON sessions (wake_at, id) WHERE wake_at IS NOT NULL;
CREATE INDEX sessions_unsettled ON sessions (id) WHERE unsettled = 1;

-- Apart from the rows, which every append rewrites.
CREATE TABLE definitions (
    session INTEGER PRIMARY KEY,
    format INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- A rowid table appends to its end; clustered by (session, seq) it would dirty a page per session and commit.
CREATE TABLE facts (
    id INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    format INTEGER NOT NULL,
    kind TEXT NOT NULL,
    item_id BLOB,
    body BLOB,
    blob TEXT, -- where the body is when it is too big for here
    UNIQUE (session, seq)
) STRICT;

CREATE TABLE states (
    session INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    format INTEGER NOT NULL,
    blob BLOB NOT NULL
) STRICT;

-- The blobs a session's facts are in or name.
CREATE TABLE named_blobs (
    blob TEXT NOT NULL,
    session INTEGER NOT NULL,
    PRIMARY KEY (blob, session)
) STRICT, WITHOUT ROWID;
CREATE INDEX named_blobs_by_session ON named_blobs (session);

CREATE TABLE answers (
    tenant BLOB NOT NULL,
    key TEXT NOT NULL,
    session INTEGER,
    fingerprint BLOB NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT;
CREATE INDEX answers_by_expiry ON answers (expires_at);
CREATE INDEX answers_by_session ON answers (session) WHERE session IS NOT NULL;

-- AUTOINCREMENT: a position is a cursor, so that of a deleted entry isn't given again.
CREATE TABLE feed (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant BLOB NOT NULL,
    session INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    format INTEGER NOT NULL,
    kind BLOB NOT NULL
) STRICT;
CREATE INDEX feed_by_tenant ON feed (tenant, position);
CREATE INDEX feed_by_session ON feed (session);

CREATE TABLE purges (
    id BLOB PRIMARY KEY
) STRICT;

CREATE TABLE agents (
    id BLOB PRIMARY KEY,
    tenant BLOB NOT NULL,
    slug TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    archived_at INTEGER,
    UNIQUE (tenant, slug)
) STRICT;
CREATE INDEX agents_by_creation ON agents (tenant, created_at, id);

CREATE TABLE agent_versions (
    agent BLOB NOT NULL,
    version INTEGER NOT NULL,
    format INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (agent, version)
) STRICT;

CREATE TABLE environments (
    id BLOB PRIMARY KEY,
    tenant BLOB NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    archived_at INTEGER,
    format INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (tenant, name)
) STRICT;
CREATE INDEX environments_by_creation ON environments (tenant, created_at, id);

CREATE TABLE keys (
    id BLOB PRIMARY KEY,
    tenant BLOB NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    format INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX keys_by_creation ON keys (tenant, created_at, id);

CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT;

CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- A sealed word, to notice a wrong master key when the store is opened and not when a secret is needed.
CREATE TABLE master_key (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    sealed BLOB NOT NULL
) STRICT;

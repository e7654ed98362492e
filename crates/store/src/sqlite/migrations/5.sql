-- A row for each label of a session, in the order of lists. The session's row says them again, joined by spaces, so that an
-- append sees whether they have changed.
CREATE TABLE labels (
    tenant BLOB NOT NULL,
    label TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    id BLOB NOT NULL,
    session INTEGER NOT NULL,
    PRIMARY KEY (tenant, label, created_at, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX labels_by_session ON labels (session);
ALTER TABLE sessions ADD COLUMN labels TEXT NOT NULL DEFAULT '';

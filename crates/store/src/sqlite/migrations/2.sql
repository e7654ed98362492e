-- Which life of the data this is: 0 until they are restored from a backup.
CREATE TABLE installation (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    generation INTEGER NOT NULL
) STRICT;
INSERT INTO installation (only, generation) VALUES (1, 0);

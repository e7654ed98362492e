-- Sessions that are being copied from others. Their facts and named blobs have the key -number until the last step gives
-- them a row with that key; a number isn't given again. What is here at a start was cut off.
CREATE TABLE forks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL
) STRICT;

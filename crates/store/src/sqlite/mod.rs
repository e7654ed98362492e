//! One SQLite database and a folder of blobs.

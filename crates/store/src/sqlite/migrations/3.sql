-- CRC-32 of all a fact's row says (`sqlite/checksum.rs`). Null in what was written before there were checksums.
ALTER TABLE facts ADD COLUMN checksum INTEGER;

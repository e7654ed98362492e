//! What the header of a tar entry has no room for, as records of the POSIX format: each with its own length, so that
//! names and values may hold any bytes.

use std::io;

pub(super) const PATH: &str = "path";
pub(super) const LINK: &str = "linkpath";
pub(super) const MODIFIED: &str = "mtime";
/// Followed by the attribute's name. Star's way, which GNU tar and others share.
pub(super) const ATTRIBUTE: &str = "SCHILY.xattr.";
pub(super) const SPARSE_NAME: &str = "GNU.sparse.name";
pub(super) const SPARSE_SIZE: &str = "GNU.sparse.realsize";
/// Says that the entry's data begin with a map, in text.
pub(super) const SPARSE_FORMAT: [(&str, &str); 2] = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0")];

/// More than the kernel allows a file to have of attributes, and a path to have of bytes that anyone works with.
pub(super) const MOST_BYTES: u64 = 8 << 20;

/// Appends a record.
pub(super) fn write(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    // The length counts itself.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// All records, in order.
pub(super) fn read(mut bytes: &[u8]) -> io::Result<Vec<(String, Vec<u8>)>> {
    let malformed = || io::Error::other("a record of an entry is malformed");
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(malformed)?;
        let length: usize =
            std::str::from_utf8(&bytes[..space]).ok().and_then(|text| text.parse().ok()).ok_or_else(malformed)?;
        let (record, rest) = bytes.split_at_checked(length).ok_or_else(malformed)?;
        let record = record.get(space + 1..).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(malformed)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
        let key = String::from_utf8(record[..equals].to_vec()).map_err(|_| malformed())?;
        records.push((key, record[equals + 1..].to_vec()));
        bytes = rest;
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::{read, write};

    #[test]
    fn records_of_any_bytes_and_length_come_back() {
        let mut bytes = Vec::new();
        let values: Vec<Vec<u8>> =
            (0..1_100).map(|length| (0..length).map(|at: u32| (at * 7) as u8).collect()).collect();
        for value in &values {
            write(&mut bytes, "SCHILY.xattr.user.a", value);
        }
        let records = read(&bytes).expect("what was written");
        assert!(records.iter().map(|(_, value)| value).eq(&values));
        for cut in 1..200 {
            assert!(read(&bytes[..bytes.len() - cut]).is_err(), "{cut} bytes short");
        }
    }
}

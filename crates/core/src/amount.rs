//! Amounts as people read them.

const UNITS: [(&str, u64); 5] =
    [("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Bytes in the largest unit of which there is one, with a digit after the point if it isn't whole: `512 MiB`, `1.4 GiB`, `7 B`.
pub fn bytes(count: u64) -> String {
    match UNITS.into_iter().find(|(_, unit)| count >= *unit) {
        Some((name, unit)) if count.is_multiple_of(unit) => format!("{} {name}", count / unit),
        Some((name, unit)) => format!("{:.1} {name}", count as f64 / unit as f64),
        None => format!("{count} B"),
    }
}

/// How many bytes exactly, as they are written in the API, and how much that is: `2147483648 bytes (2 GiB)`.
pub fn exact_bytes(count: u64) -> String {
    let unit = UNITS.into_iter().any(|(_, unit)| count >= unit).then(|| format!(" ({})", bytes(count)));
    format!("{count} bytes{}", unit.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{bytes, exact_bytes};

    #[test]
    fn the_largest_unit_is_taken() {
        let read = [0, 7, 1_500_000, 512 << 20, 1 << 50].map(bytes);
        assert_eq!(read, ["0 B", "7 B", "1.4 MiB", "512 MiB", "1 PiB"]);
        assert_eq!(exact_bytes(2 << 30), "2147483648 bytes (2 GiB)");
        assert_eq!(exact_bytes(7), "7 bytes");
    }
}

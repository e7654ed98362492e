//! Sizes as people read them.

/// A number of bytes, in the largest unit of which there is at least one: `512 B`, `1.5 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    let mut size = count as f64;
    let mut units = ["KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = None;
    while size >= 1024.0
        && let Some(next) = units.next()
    {
        size /= 1024.0;
        unit = Some(next);
    }
    match unit {
        Some(unit) => format!("{size:.1} {unit}"),
        None => format!("{count} B"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_largest_unit_is_taken() {
        for (count, read) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")] {
            assert_eq!(super::bytes(count), read);
        }
    }
}

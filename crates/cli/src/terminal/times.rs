//! Times as people read them.

use std::time::Duration;

use jiff::Timestamp;

/// How long ago something was, in one unit.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs();
    let unit = |count: i64, unit: &str| match count {
        1 => format!("1 {unit} ago"),
        _ => format!("{count} {unit}s ago"),
    };
    match seconds {
        ..60 => "just now".to_owned(),
        60..3_600 => unit(seconds / 60, "minute"),
        3_600..86_400 => unit(seconds / 3_600, "hour"),
        86_400.. => unit(seconds / 86_400, "day"),
    }
}

/// A date and time, in UTC as it says.
pub(crate) fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// How long something took: `850ms`, `1.2s`, `2.5m`.
pub(crate) fn duration(took: Duration) -> String {
    match took.as_millis() {
        millis @ ..1_000 => format!("{millis}ms"),
        millis @ 1_000..60_000 => format!("{:.1}s", millis as f64 / 1_000.0),
        millis => format!("{:.1}m", millis as f64 / 60_000.0),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::{SignedDuration, Timestamp};

    use super::{ago, duration, stamp};

    #[test]
    fn times_in_words() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 400);
        let cases =
            [(-5, "just now"), (59, "just now"), (61, "1 minute ago"), (7_200, "2 hours ago"), (90_000, "1 day ago")];
        for (seconds, expected) in cases {
            assert_eq!(ago(now - SignedDuration::from_secs(seconds), now), expected);
        }
        assert_eq!(stamp(Timestamp::UNIX_EPOCH), "1970-01-01 00:00:00 UTC");
    }

    #[test]
    fn durations_in_one_unit() {
        for (millis, expected) in [(0, "0ms"), (850, "850ms"), (1_234, "1.2s"), (150_000, "2.5m")] {
            assert_eq!(duration(Duration::from_millis(millis)), expected);
        }
    }
}

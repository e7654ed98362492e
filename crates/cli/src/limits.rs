//! Limits of a session's sandbox, as options and as people read them: one list of what there is.

use jiff::SignedDuration;
use serde_json::{Map, Value, json};
use tenure_core::amount::bytes;
use tenure_sandbox::Limits;

/// What a session's sandbox may use. Sizes have units: 512MiB, 2GiB.
#[derive(Debug, clap::Args)]
pub(crate) struct LimitOptions {
    /// The most memory: 512MiB, 2GiB
    #[arg(long, value_name = "SIZE", value_parser = size, allow_negative_numbers = true)]
    memory: Option<Limit>,
    /// The most processors: 0.5, 2
    #[arg(long, value_name = "NUMBER", value_parser = processors, allow_negative_numbers = true)]
    cpus: Option<Limit>,
    /// The most processes, threads too
    #[arg(long, value_name = "NUMBER", value_parser = count, allow_negative_numbers = true)]
    pids: Option<Limit>,
    /// The most on the disk: 500MiB, 10GiB
    #[arg(long, value_name = "SIZE", value_parser = size, allow_negative_numbers = true)]
    disk: Option<Limit>,
    /// The most files and directories on the disk
    #[arg(long, value_name = "NUMBER", value_parser = count, allow_negative_numbers = true)]
    inodes: Option<Limit>,
    /// The most files that one process has open
    #[arg(long, value_name = "NUMBER", value_parser = count, allow_negative_numbers = true)]
    open_files: Option<Limit>,
    /// The longest a tool call may take: 90s, 10m
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    tool_timeout_max: Option<Limit>,
    /// How much of what a command prints is kept: 1MiB
    #[arg(long, value_name = "SIZE", value_parser = size, allow_negative_numbers = true)]
    tool_output: Option<Limit>,
}

/// A limit as it was given; `None` is the operator's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit(Option<u64>);

impl LimitOptions {
    /// Those that were given, as the API takes them.
    pub(crate) fn given(&self) -> Map<String, Value> {
        let given = [
            ("memory_bytes", self.memory),
            ("cpu_millis", self.cpus),
            ("pids", self.pids),
            ("disk_bytes", self.disk),
            ("inodes", self.inodes),
            ("open_files", self.open_files),
            ("call_ms", self.tool_timeout_max),
            ("output_bytes", self.tool_output),
        ];
        given.into_iter().filter_map(|(name, limit)| Some((name.to_owned(), json!(limit?.0)))).collect()
    }
}

/// One limit, as it is shown.
pub(crate) struct Shown {
    /// At the beginning of a line.
    pub(crate) title: &'static str,
    /// In the API.
    pub(crate) field: &'static str,
    /// How much it is.
    amount: fn(u64) -> String,
    /// What holds where none is set.
    default: Default,
}

enum Default {
    Is(u64),
    Unlimited,
    /// A setting of the server.
    Servers,
}

const UNLIMITED: &str = "unlimited (default)";

/// Every limit.
pub(crate) const LIMITS: [Shown; 8] = [
    Shown { title: "Memory", field: "memory_bytes", amount: bytes, default: Default::Is(Limits::DEFAULT_MEMORY_BYTES) },
    Shown { title: "Processors", field: "cpu_millis", amount: |millis| decimal(millis), default: Default::Unlimited },
    Shown {
        title: "Processes",
        field: "pids",
        amount: |count| count.to_string(),
        default: Default::Is(Limits::DEFAULT_PIDS as u64),
    },
    Shown { title: "Disk", field: "disk_bytes", amount: bytes, default: Default::Is(Limits::DEFAULT_DISK_BYTES) },
    Shown {
        title: "Files",
        field: "inodes",
        amount: |count| count.to_string(),
        default: Default::Is(Limits::DEFAULT_INODES),
    },
    Shown {
        title: "Open files",
        field: "open_files",
        amount: |count| count.to_string(),
        default: Default::Is(Limits::DEFAULT_OPEN_FILES as u64),
    },
    Shown { title: "Call", field: "call_ms", amount: span, default: Default::Servers },
    Shown { title: "Output", field: "output_bytes", amount: bytes, default: Default::Servers },
];

impl Shown {
    /// What an object says of it, if it does.
    pub(crate) fn of(&self, values: &Value) -> Option<String> {
        values[self.field].as_u64().map(self.amount)
    }

    /// What holds where none is set.
    pub(crate) fn default(&self) -> String {
        match self.default {
            Default::Is(most) => format!("{} (default)", (self.amount)(most)),
            Default::Unlimited => UNLIMITED.to_owned(),
            Default::Servers => "the server's (default)".to_owned(),
        }
    }

    /// What holds in a sandbox that is alive and knows of no limit: also where a default can't be enforced.
    pub(crate) fn none(&self) -> String {
        match self.default {
            Default::Is(_) | Default::Unlimited => UNLIMITED.to_owned(),
            Default::Servers => self.default(),
        }
    }
}

/// Those that are set, in a line.
pub(crate) fn in_a_line(limits: &Value) -> String {
    let set = LIMITS.iter().filter_map(|shown| Some(format!("{} {}", shown.title.to_lowercase(), shown.of(limits)?)));
    let set: Vec<String> = set.collect();
    if set.is_empty() { "default".to_owned() } else { set.join(", ") }
}

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Thousandths as a number, without zeros that say nothing.
fn decimal(millis: u64) -> String {
    let text = format!("{}.{:03}", millis / 1_000, millis % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn span(millis: u64) -> String {
    format!("{:#}", SignedDuration::from_millis(i64::try_from(millis).unwrap_or(i64::MAX)))
}

fn size(text: &str) -> Result<Limit, String> {
    let wrong = || format!("expected a size such as 512MiB, 2GiB or 1000000, or `default`, got `{text}`");
    if text == "default" {
        return Ok(Limit(None));
    }
    let unit = UNITS.into_iter().find_map(|(name, unit)| {
        let short = &name[..1];
        let number = text.strip_suffix(name).or_else(|| text.strip_suffix(short))?;
        Some((number.trim_end(), unit))
    });
    let (number, unit) = unit.unwrap_or((text, 1));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0).map(|bytes| Limit(Some(bytes))).ok_or_else(wrong)
}

fn processors(text: &str) -> Result<Limit, String> {
    let wrong = || format!("expected a number of processors such as 0.5 or 2, or `default`, got `{text}`");
    if text == "default" {
        return Ok(Limit(None));
    }
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || whole.len() > 6 || part.len() > 3 {
        return Err(wrong());
    }
    let millis = format!("{whole}{part:0<3}").parse().map_err(|_| wrong())?;
    if millis == 0 { Err(wrong()) } else { Ok(Limit(Some(millis))) }
}

fn count(text: &str) -> Result<Limit, String> {
    let wrong = || format!("expected a whole number above 0, or `default`, got `{text}`");
    match text {
        "default" => Ok(Limit(None)),
        _ => text.parse().ok().filter(|count| *count > 0).map(|count| Limit(Some(count))).ok_or_else(wrong),
    }
}

fn time(text: &str) -> Result<Limit, String> {
    let wrong = || format!("expected a time with its unit such as 90s or 10m, or `default`, got `{text}`");
    if text == "default" {
        return Ok(Limit(None));
    }
    let span: SignedDuration = text.parse().map_err(|_| wrong())?;
    match u64::try_from(span.as_millis()) {
        Ok(millis @ 1..) => Ok(Limit(Some(millis))),
        Ok(0) | Err(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Limit, count, decimal, in_a_line, processors, size, time};

    #[test]
    fn limits_are_written_as_people_write_them() {
        let limit = |number| Ok(Limit(Some(number)));
        assert_eq!(size("512MiB"), limit(512 << 20));
        assert_eq!(size("2G"), limit(2 << 30));
        assert_eq!(size("1000"), limit(1000));
        assert_eq!(processors("0.5"), limit(500));
        assert_eq!(processors("2"), limit(2_000));
        assert_eq!(count("100"), limit(100));
        assert_eq!(time("1m30s"), limit(90_000));
        for read in [size, processors, count, time] {
            assert_eq!(read("default"), Ok(Limit(None)));
        }
        for wrong in ["", "0", "0GiB", "-1", "1.5GiB", "GiB", "99999999999999T", "much"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "0", "0.000", ".5", "1.", "0.0001", "-1", "9999999", "two"] {
            assert!(processors(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "0", "-1", "1.5", "99999999999999999999", "many"] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "0", "0s", "-1s", "10", "1us", "long"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_are_shown_as_people_write_them() {
        assert_eq!([decimal(1_500), decimal(2_000), decimal(10)], ["1.5", "2", "0.01"]);
        let limits = json!({"memory_bytes": 1 << 30, "cpu_millis": 500, "pids": null, "call_ms": 90_000});
        assert_eq!(in_a_line(&limits), "memory 1 GiB, processors 0.5, call 1m 30s");
        assert_eq!(in_a_line(&json!(null)), "default");
    }
}

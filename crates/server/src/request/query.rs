//! Reading a query string. Brackets, colons and plus signs may come percent-encoded or not: the SDKs' transports differ,
//! and a plus sign is a plus sign, since they write spaces as `%20`.

use percent_encoding::percent_decode_str;
use tenure_core::time::Timestamp;
use tenure_engine::TimeRange;

use crate::problem::Problem;

/// The pairs of a query that haven't been taken yet.
#[derive(Debug)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn parse(raw: &str) -> Result<Self, Problem> {
        let decode = |text: &str| {
            let decoded = percent_decode_str(text).decode_utf8();
            decoded
                .map(std::borrow::Cow::into_owned)
                .map_err(|_| Problem::invalid("", "expected a query string in percent-encoded UTF-8, got other bytes"))
        };
        let pairs = raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        Ok(Self { pairs: pairs.collect::<Result<_, Problem>>()? })
    }

    /// The value of a parameter that may come once. An empty one counts as absent.
    pub(crate) fn one(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.drain(|given| given == name);
        if values.len() > 1 {
            return Err(Problem::invalid(name, format!("expected the parameter once, got it {} times", values.len())));
        }
        Ok(values.pop().filter(|value| !value.is_empty()))
    }

    /// All values of a parameter that may come several times, as `name[]=` or `name=`.
    pub(crate) fn many(&mut self, name: &str) -> Vec<String> {
        self.drain(|given| given.strip_suffix("[]").unwrap_or(given) == name)
    }

    /// A whole number within bounds, both included.
    pub(crate) fn integer(&mut self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Problem> {
        let Some(given) = self.one(name)? else { return Ok(None) };
        match given.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => {
                let given: String = given.chars().take(40).collect();
                Err(Problem::invalid(name, format!("expected a whole number from {least} to {most}, got `{given}`")))
            }
        }
    }

    /// `true` or `false`, or `1` or `0`.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.one(name)?.as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => {
                let other: String = other.chars().take(40).collect();
                Err(Problem::invalid(name, format!("expected `true` or `false`, got `{other}`")))
            }
        }
    }

    /// The bounds `name[gt]`, `name[gte]`, `name[lt]` and `name[lte]`, RFC 3339 times.
    pub(crate) fn times(&mut self, name: &str) -> Result<TimeRange, Problem> {
        Ok(TimeRange {
            gt: self.time(&format!("{name}[gt]"))?,
            gte: self.time(&format!("{name}[gte]"))?,
            lt: self.time(&format!("{name}[lt]"))?,
            lte: self.time(&format!("{name}[lte]"))?,
        })
    }

    /// A parameter the peer knows and we don't support yet.
    pub(crate) fn unsupported(&mut self, name: &str, what: &str) -> Result<(), Problem> {
        match self.one(name)? {
            None => Ok(()),
            Some(_) => Err(Problem::unsupported(name, what)),
        }
    }

    /// The names nobody took, without those that SDKs always send and that mean nothing here.
    pub(crate) fn ignored(self) -> impl Iterator<Item = String> {
        self.pairs.into_iter().map(|(name, _)| name).filter(|name| name != "beta")
    }

    fn time(&mut self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let Some(given) = self.one(name)? else { return Ok(None) };
        // Some clients do write a plus sign as a space.
        let parsed: Result<jiff::Timestamp, _> = given.trim().replace(' ', "+").parse();
        parsed.map(|at| Some(Timestamp::from_micros(at.as_microsecond()))).map_err(|_| {
            let given: String = given.chars().take(40).collect();
            Problem::invalid(name, format!("expected a time such as `2026-03-18T10:00:00Z`, got `{given}`"))
        })
    }

    fn drain(&mut self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut values = Vec::new();
        self.pairs.retain_mut(|(name, value)| {
            let take = wanted(name);
            if take {
                values.push(std::mem::take(value));
            }
            !take
        });
        values
    }
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn encoded_and_plain_forms_read_the_same() {
        for raw in [
            "created_at[gte]=2019-12-27T18:11:19.117000+00:00&types[]=a&types[]=b%20c&beta=true",
            "created_at%5Bgte%5D=2019-12-27T18%3A11%3A19.117000%2B00%3A00&types%5B%5D=a&types%5B%5D=b%20c&beta=true",
        ] {
            let mut query = Query::parse(raw).unwrap();
            assert_eq!(query.many("types"), ["a", "b c"]);
            let range = query.times("created_at").unwrap();
            assert_eq!(range.gte.map(|at| at.as_micros()), Some(1_577_470_279_117_000));
            assert_eq!(query.ignored().count(), 0);
        }
    }

    #[test]
    fn wrong_values_are_named() {
        let wrong = |raw: &str| {
            let mut query = Query::parse(raw).unwrap();
            let first = query.integer("limit", 1, 100).and(query.flag("flag")).and(query.times("at"));
            first.unwrap_err().message.into_owned()
        };
        assert_eq!(wrong("limit=0"), "limit: expected a whole number from 1 to 100, got `0`");
        assert_eq!(wrong("limit=1&limit=2"), "limit: expected the parameter once, got it 2 times");
        assert_eq!(wrong("flag=maybe"), "flag: expected `true` or `false`, got `maybe`");
        assert_eq!(wrong("at[lt]=now"), "at[lt]: expected a time such as `2026-03-18T10:00:00Z`, got `now`");
        assert!(Query::parse("a=%ff").is_err());
    }
}

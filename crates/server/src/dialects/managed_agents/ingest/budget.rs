//! What a session may cost.

use tenure_core::price::Budget;

use crate::problem::Problem;
use crate::request::{Fields, Given, describe};

/// The most digits of an amount of cents: ten billion dollars less a cent.
pub(in super::super) const AMOUNT_DIGITS: usize = 12;

/// The only currency.
pub(in super::super) const CURRENCY: &str = "USD";

/// Reads the field `budget`.
pub(super) fn budget(fields: &mut Fields<'_>) -> Result<Given<Budget>, Problem> {
    let mut given = match fields.object("budget")? {
        Given::Absent => return Ok(Given::Absent),
        Given::Null => return Ok(Given::Null),
        Given::Value(given) => given,
    };
    given.required_one_of("type", &["limit"])?;
    let path = given.at("max_list_cost");
    let amount = given.required("max_list_cost", "an object with `amount` and `currency`")?;
    let mut amount = given.nested(path, amount)?;
    let digits = amount.required("amount", EXPECTED)?;
    let cents = digits.as_str().and_then(cents);
    let cents =
        cents.ok_or_else(|| amount.wrong("amount", format!("expected {EXPECTED}, got {}", describe(&digits))))?;
    amount.required_one_of("currency", &[CURRENCY])?;
    Ok(Given::Value(Budget { max_list_cost_cents: cents }))
}

const EXPECTED: &str =
    "whole cents above 0 as a string of at most 12 digits without leading zeros, such as \"2500\" for $25";

fn cents(digits: &str) -> Option<u64> {
    let plain = digits.len() <= AMOUNT_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    match plain && !digits.starts_with('0') {
        true => digits.parse().ok(),
        false => None,
    }
}

//! Cursors of lists of files: the last name shown.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tenure_engine::files::Name;

use crate::problem::Problem;

pub(super) fn print(last: &Name) -> String {
    format!("page_{}", URL_SAFE_NO_PAD.encode(last.bytes().unwrap_or_default()))
}

pub(super) fn parse(given: &str) -> Result<Name, Problem> {
    let decoded = given.strip_prefix("page_").and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let decoded = decoded.filter(|bytes| !bytes.is_empty() && !bytes.contains(&0));
    decoded.map(|bytes| Name::of(&bytes)).ok_or_else(|| {
        Problem::invalid("page", "expected a cursor that an earlier page of this list gave; begin without one")
    })
}

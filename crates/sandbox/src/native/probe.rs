use std::path::Path;

use super::Native;
use crate::Report;

pub(crate) async fn run(_native: &Native, _dir: &Path) -> Report {
    Report::default()
}

//! The status columns of the other front doors: `/v2`, the console, the command line. Each is one exhaustive match.

pub(crate) mod cli;
pub(crate) mod console;
pub(crate) mod deck;

#[cfg(test)]
mod tests {
    use tenure_core::phase::Phase;

    use crate::dialects::managed_agents::status::Status;

    /// The whole table, as `status_table.txt` has it. A person compares that file with the design.
    #[test]
    fn the_table_is_as_checked_in() {
        let mut table = format!("{:<18} {:<13} {:<11} {:<24} {}\n", "phase", "/v1", "/v2", "console", "command line");
        for phase in Phase::ALL {
            let (v1, v2) = (Status::of(phase).name(), super::deck::status(phase));
            let (console, cli) = (super::console::status(phase), super::cli::status(phase));
            table.push_str(&format!("{:<18} {v1:<13} {v2:<11} {console:<24} {cli}\n", phase.name()));
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/fronts/status_table.txt");
        if std::env::var_os("TENURE_UPDATE").is_some() {
            std::fs::write(path, &table).unwrap();
        }
        assert_eq!(table, std::fs::read_to_string(path).unwrap(), "run with TENURE_UPDATE=1 to accept");
    }
}

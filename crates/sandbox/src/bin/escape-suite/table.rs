use crate::case::{Case, Outcome};

/// What came of one attempt.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) probe: String,
    pub(crate) outcome: Outcome,
    pub(crate) control: Shown,
}

/// What shows that the attempt is sound.
#[derive(Debug)]
pub(crate) enum Shown {
    /// Without its fences, and with each of them alone.
    Without { outcome: Outcome, alone: Vec<(String, Outcome)> },
    /// Nothing, and why.
    Not(String),
}

impl Outcome {
    fn words(&self) -> String {
        match self {
            Self::Reached(what) => format!("REACHED: {what}"),
            Self::Blocked(how) => format!("blocked: {how}"),
            Self::NotApplicable(why) => format!("not applicable: {why}"),
            Self::Broken(why) => format!("BROKEN: {why}"),
        }
    }

    fn is_reached(&self) -> bool {
        matches!(self, Self::Reached(_))
    }
}

impl Shown {
    fn words(&self) -> String {
        match self {
            Self::Not(why) => format!("no control: {why}"),
            Self::Without { outcome, alone } => {
                let names: Vec<&str> = alone.iter().map(|(fence, _)| fence.as_str()).collect();
                let each = if alone.len() > 1 { "; each of them alone blocks it" } else { "" };
                match self.troubles().as_slice() {
                    [] => format!("without {}: {}{each}", names.join(", "), outcome.words()),
                    troubles => troubles.join("; "),
                }
            }
        }
    }

    /// What is wrong with the control: it must get out without all of its fences, and must not with any one of them.
    fn troubles(&self) -> Vec<String> {
        let Self::Without { outcome, alone } = self else { return Vec::new() };
        let mut troubles = Vec::new();
        if matches!(outcome, Outcome::Blocked(_) | Outcome::Broken(_)) {
            let names: Vec<&str> = alone.iter().map(|(fence, _)| fence.as_str()).collect();
            troubles.push(format!("FAILED without {}: {}", names.join(", "), outcome.words()));
        }
        if alone.len() > 1 {
            for (fence, outcome) in alone {
                if matches!(outcome, Outcome::Reached(_) | Outcome::Broken(_)) {
                    troubles.push(format!("FAILED with {fence} alone: {}", outcome.words()));
                }
            }
        }
        troubles
    }
}

/// Prints the table; says whether all is as it should be.
pub(crate) fn print(what: &str, who: &str, cases: &[Case], rows: &[Row]) -> bool {
    let is_ours = what == "native";
    let (mut reached, mut broken, mut controls, mut without_control, mut inapplicable, mut troubles) =
        (0, 0, 0, 0, 0, 0);
    for case in cases {
        println!("{:>2}  {}", case.number, case.title);
        for probe in &case.probes {
            let Some(row) = rows.iter().find(|row| row.probe == probe.name) else { continue };
            println!("      {:<20} {:<48} {}", row.probe, probe.tries, row.outcome.words());
            reached += usize::from(row.outcome.is_reached());
            broken += usize::from(matches!(row.outcome, Outcome::Broken(_)));
            if !is_ours {
                continue;
            }
            println!("      {:<20} {:<48} {}", "", "", row.control.words());
            troubles += usize::from(!row.control.troubles().is_empty());
            match &row.control {
                Shown::Without { outcome: Outcome::NotApplicable(_), .. } => inapplicable += 1,
                Shown::Without { .. } => controls += 1,
                Shown::Not(_) => without_control += 1,
            }
        }
        for test in &case.elsewhere {
            println!("      shown by {test}");
        }
        if let Some(what) = &case.with_egress {
            println!("      with egress: {what}");
        }
    }
    let probes = rows.len();
    print!("{what}{who}: {} cases, {probes} probes, {reached} reached", cases.len());
    if is_ours {
        print!(
            ", {broken} broken; {controls} controls, {inapplicable} not possible with this kernel, {without_control} \
                without control, {troubles} failed"
        );
    }
    println!();
    reached == 0 && broken == 0 && troubles == 0
}

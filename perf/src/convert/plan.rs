//! The plan: what it says, and how it is printed.

use crate::text::wrap;
use serde::Serialize;

#[derive(Serialize, Default)]
pub struct Plan {
    pub warnings: Vec<Warning>,
    /// What is not there any more, for a time or for good.
    pub lost: Vec<String>,
    /// Who is cut off, and in which steps.
    pub cut_off: Vec<String>,
    pub steps: Vec<Step>,
}

#[derive(Serialize)]
pub struct Warning {
    /// A name that does not change.
    pub id: &'static str,
    pub what: String,
}

/// One command, or something to be done on the physical switch.
#[derive(Serialize)]
pub struct Step {
    pub what: String,
    /// The command; empty for what is done on the physical switch.
    pub run: String,
    /// What takes the step back, in order; empty if nothing has to.
    pub back: Vec<String>,
}

impl Plan {
    pub fn text(&self, computer: &str, from: &str) -> Vec<String> {
        let mut lines = wrap(&format!("{from} to a switch team"), &format!("Plan for {computer}:"), "  ");
        lines.extend(wrap(
            "Nothing has been changed, and nobody has run these steps on Windows. Keep the file: the way back needs it. Run one \
             step after the other, in an elevated PowerShell in the folder of the package; to go back, run the lines \
             after '<', from the last step that was done up to the first, those of one step from top to bottom.",
            " ",
            "  ",
        ));
        for Warning { id, what } in &self.warnings {
            lines.push(String::new());
            lines.push(format!("WARNING {id}"));
            lines.extend(wrap(what, " ", "  "));
        }
        for (title, all) in [("Lost:", &self.lost), ("Cut off:", &self.cut_off)] {
            lines.push(String::new());
            lines.push(title.to_owned());
            lines.extend(all.iter().flat_map(|what| wrap(what, "  -", "    ")));
            if all.is_empty() {
                lines.push("  - nobody".to_owned());
            }
        }
        for (number, Step { what, run, back }) in (1..).zip(&self.steps) {
            lines.push(String::new());
            lines.extend(wrap(what, &format!("{number:>2}."), "    "));
            lines.extend(Some(run).filter(|run| !run.is_empty()).map(|run| format!("    > {run}")));
            lines.extend(back.iter().map(|back| format!("    < {back}")));
            if back.is_empty() {
                lines.push("      nothing to take back".to_owned());
            }
        }
        lines
    }
}

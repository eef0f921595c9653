//! `teamctl convert`: the plan from an LBFO team or a switch with embedded teaming (SET) to a switch team of this product,
//! from what `inf/collect.ps1` saved. It changes nothing.
//!
//! The way is that of Microsoft's Convert-LBFO2SET: one adapter leaves the old team and carries the new switch, machines
//! are connected to that one by one, and the other adapters follow. A machine is cut off while it changes the switch, and
//! whether this version of Windows takes a switch team at all shows before any machine is touched.

mod losses;
mod plan;
mod refusals;
mod source;
mod steps;

use crate::host::Host;
use crate::text::{out, wrap};
use anyhow::bail;
use clap::Args;
use plan::Plan;
use refusals::Refusal;
use serde::Serialize;
use source::Source;
use std::path::PathBuf;

pub const EXAMPLES: &str = "\
Examples:
  teamctl convert hv1.json                        the plan of the only switch
  teamctl convert --switch External hv1.json      one of several
  teamctl convert --team Blue hv1.json            another name for the new team
  teamctl convert --json hv1.json                 one object, for a script

On the host: .\\convert.ps1, which collects and says which of these to run

Exit codes: 0 a plan, 1 refused, 2 wrong usage or input.";

#[derive(Args)]
pub struct Convert {
    /// What convert.ps1 or collect.ps1 saved
    #[arg(value_name = "HOST.json")]
    pub host: PathBuf,

    /// The switch, if several have such a team
    #[arg(long, value_name = "NAME")]
    pub switch: Option<String>,

    /// Name of the new switch team
    #[arg(long, value_name = "NAME", default_value = "Uplinks")]
    pub team: String,

    /// Plan also if running machines lose their only path for several steps
    #[arg(long)]
    pub cut_off: bool,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    host: &'a str,
    /// As in "LBFO team 'Old' below switch 'External'".
    from: Option<String>,
    refused: &'a [Refusal],
    plan: Option<&'a Plan>,
}

/// True if there is a plan.
pub fn run(arguments: &Convert) -> anyhow::Result<bool> {
    let host = Host::read(&arguments.host)?;
    let source = chosen(&host, arguments)?;
    let refused = refusals::of(&host, source.as_ref(), &arguments.team, arguments.cut_off);
    let plan = source
        .as_ref()
        .filter(|_| refused.is_empty())
        .map(|source| steps::plan(&host, source, &arguments.team));
    let from = source.as_ref().map(Source::words);
    if arguments.json {
        let report = Report { host: &host.computer, from, refused: &refused, plan: plan.as_ref() };
        out(&(serde_json::to_string_pretty(&report)? + "\n"))?;
    } else {
        let lines = match &plan {
            Some(plan) => plan.text(&host.computer, &from.unwrap_or_default()),
            None => refusal(&host.computer, from.as_deref(), &refused),
        };
        out(&(lines.join("\n") + "\n"))?;
    }
    Ok(plan.is_some())
}

/// The switch to convert; `None` if there is none.
fn chosen<'a>(host: &'a Host, arguments: &Convert) -> anyhow::Result<Option<Source<'a>>> {
    let mut all = Source::all(host);
    if let Some(name) = &arguments.switch {
        if !host.switches.iter().any(|switch| switch.name == *name) {
            let names: Vec<&str> = host.switches.iter().map(|switch| &*switch.name).collect();
            bail!("--switch names {name}, and {} has the switches {}", host.computer, names.join(", "));
        }
        all.retain(|source| source.switch.name == *name);
    }
    if all.len() > 1 {
        let names: Vec<&str> = all.iter().map(|source| &*source.switch.name).collect();
        bail!(
            "{} has several switches with such a team: {}; choose one with --switch",
            host.computer,
            names.join(", ")
        );
    }
    Ok(all.pop())
}

fn refusal(computer: &str, from: Option<&str>, refused: &[Refusal]) -> Vec<String> {
    let what = from.map_or(String::new(), |from| format!(", {from}"));
    let mut lines = wrap(&format!("no plan for {computer}{what}"), "Refused:", "  ");
    for Refusal { id, why, way } in refused {
        lines.push(String::new());
        lines.push(format!("REFUSED {id}"));
        lines.extend(wrap(why, " ", "  "));
        lines.extend(wrap(way, "  First:", "    "));
    }
    lines
}

//! `teamctl`: sends real traffic through the driver in the simulated switch and reports what the team does.

mod args;
mod capture;
mod chart;
mod compare;
mod convert;
mod doctor;
mod explain;
mod flow;
mod host;
mod hosts;
mod html;
mod least;
mod migrate;
mod nearest;
mod observer;
mod output;
mod plan;
mod print;
mod print_machines;
mod print_queues;
mod queues;
mod register;
mod replay;
mod report;
mod rules;
mod save;
mod scenario;
mod settings;
mod show;
mod simulated;
mod survey;
mod table;
mod text;
mod tunnels;

use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use std::process::ExitCode;

/// A guarantee was broken, or a problem was found.
const BROKEN: u8 = 1;
/// The command line or an input is invalid; clap uses the same code.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let command = Cli::parse().command.unwrap_or_else(Command::main_job);
    let result = match command {
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Migrate(arguments) => migrate::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Rules(arguments) => rules::run(&arguments),
        Command::Scenario(arguments) => scenario::run(&arguments),
        Command::Show(arguments) => show::run(&arguments),
        Command::Events(arguments) => show::events(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Survey(arguments) => register::run(&arguments),
        Command::Convert(arguments) => convert::run(&arguments),
        Command::Settings(arguments) => settings::run(&arguments),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "teamctl", &mut std::io::stdout());
            Ok(true)
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(BROKEN),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(USAGE)
        }
    }
}

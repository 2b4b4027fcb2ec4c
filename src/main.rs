//! The `ballast` command.

use std::process::ExitCode;

use ballast::cli::{self, Failure};
use clap::{CommandFactory as _, Parser, Subcommand};

/// Makes a Bitcoin mining site follow the power that is to spare, second by second
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Control a site: the daemon
    Run(cli::run::Args),
    /// Check a configuration and say what would be controlled
    Check(cli::check::Args),
    /// Print the schema of the configuration, for editors that complete and check it
    Schema(cli::schema::Args),
    /// Let the running daemon read its configuration again
    Reload(cli::reload::Args),
    /// Say how the site stands, and why
    Status(cli::status::Args),
    /// List the miners of a running daemon: what they do, what they were told
    Miners(cli::miners::Args),
    /// Watch the site on a screen of its own
    Top(cli::top::Args),
    /// Tell what changes at a running daemon, a line each
    Tail(cli::tail::Args),
    /// Find the miners of a network, and write them into a configuration
    Discover(cli::discover::Args),
    /// Put meters into service: list what the program knows, find them, read them, verify them
    Meter(cli::meter::Args),
    /// Put miners into service: read them, prove their accounts; and say why one stands where it stands
    Miner(cli::miner::Args),
    /// Show the daemon at work on a simulated site
    Demo(cli::demo::Args),
    /// Cap circuits of a running daemon by hand, and show who caps what
    Limit(cli::limit::Args),
    /// Show what was ordered from a running daemon, and what was delivered
    Orders(cli::orders::Args),
    /// Show what is kept of surplus, draw, import and cap: as a table, CSV or JSON
    History(cli::history::Args),
    /// Verify what can be proven, and hand it to others
    Ledger(cli::ledger::Args),
    /// Show what somebody should know of, and acknowledge it
    Alarms(cli::alarms::Args),
    /// Put energy and orders on paper: by circuit and tenant, with what was delivered
    Report(cli::report::Args),
    /// Show on what somebody works, begin and end it: such miners are not woken
    Maintenance(cli::maintenance::Args),
    /// Show the emergency stops of circuits, and release one
    Stops(cli::stops::Args),
    /// Make, list and revoke the tokens with which programs and people read and order
    Token(cli::token::Args),
    /// Say how many megawatts of flexible load a recorded surplus carries, and why
    Assess(cli::assess::Args),
    /// Run a configuration on a recorded surplus in simulated time, beside what people do today
    Simulate(cli::simulate::Args),
    /// Run what the daemon has recorded through the control law again
    Replay(cli::replay::Args),
    /// Serve only the simulated site of a configuration, for another process to control
    Sim(cli::sim::Args),
    /// Print what lets a shell complete these commands and their options
    Completions(cli::docs::CompletionsArgs),
    /// Write the manual pages
    Man(cli::docs::ManArgs),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Command::Check(args) = &arguments.command {
        let checked = cli::check::run(args, &mut std::io::stdout().lock(), &mut std::io::stderr().lock());
        return match checked {
            Ok(code) => ExitCode::from(code),
            // A reader that has gone away, such as `head`, is no failure.
            Err(_) => ExitCode::SUCCESS,
        };
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    if let (Command::Discover(args), Ok(runtime)) = (&arguments.command, &runtime) {
        return match runtime.block_on(cli::discover::run(args)) {
            Ok(code) => ExitCode::from(code),
            Err(error) => {
                cli::complain(format_args!("ballast: {error}"));
                ExitCode::from(error.code())
            }
        };
    }
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(dispatch(&arguments.command));
            // Not waiting for what cannot be cancelled, such as the look-up of a name that nobody answers.
            runtime.shutdown_background();
            result
        }
        Err(source) => Err(Failure::System { what: "cannot start the runtime", source }),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            cli::complain(format_args!("ballast: {failure}"));
            ExitCode::from(failure.code())
        }
    }
}

/// Gives the exit code.
async fn dispatch(command: &Command) -> Result<u8, Failure> {
    match command {
        Command::Run(args) => cli::run::run(args).await?,
        Command::Reload(args) => cli::reload::run(args).await?,
        Command::Demo(args) => cli::demo::run(args).await?,
        Command::Sim(args) => cli::sim::run(args).await?,
        Command::Limit(args) => cli::limit::run(args).await?,
        Command::Orders(args) => cli::orders::run(args).await?,
        Command::History(args) => cli::history::run(args).await?,
        Command::Status(args) => return cli::status::run(args).await,
        Command::Miners(args) => cli::miners::run(args).await?,
        Command::Tail(args) => cli::tail::run(args).await?,
        Command::Top(args) => cli::top::run(args).await?,
        Command::Alarms(args) => cli::alarms::run(args).await?,
        Command::Report(args) => cli::report::run(args)?,
        Command::Schema(args) => cli::schema::run(args)?,
        Command::Maintenance(args) => cli::maintenance::run(args).await?,
        Command::Stops(args) => cli::stops::run(args).await?,
        Command::Token(args) => cli::token::run(args).await?,
        Command::Assess(args) => return cli::assess::run(args),
        Command::Simulate(args) => return cli::simulate::run(args),
        Command::Replay(args) => return cli::replay::run(args),
        Command::Ledger(args) => return cli::ledger::run(args),
        Command::Meter(args) => return cli::meter::run(args).await,
        Command::Miner(args) => return cli::miner::run(args).await,
        Command::Completions(args) => cli::docs::completions(args, Arguments::command())?,
        Command::Man(args) => cli::docs::man(args, Arguments::command())?,
        Command::Check(_) | Command::Discover(_) => {}
    }
    Ok(0)
}

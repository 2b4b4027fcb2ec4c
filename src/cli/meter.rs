//! `ballast meter`: what the program knows of meters, and the commands of a person who puts one into service.

mod advice;
mod neighbour;
mod read;
mod scan;
mod screen;
mod verify;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Failure;
use crate::config::{self, builtin};
use crate::meter::profile::{FullScale, Measure, Profile};

/// What `ballast meter` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// List the meters that come with the program: what `profile = "…"` in a configuration may name
    Profiles {
        /// Also those of this configuration: of its folder of profiles and of its [profiles.*]
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Read every point of the meters of a configuration, raw and decoded, and say what is wrong
    Read(read::Args),
    /// Find out which units answer on a link, what they are, and which profile fits
    Scan(scan::Args),
    /// Lower some miners for a moment and look whether a meter sees it: direction, amount, delay
    Verify(verify::Args),
}

/// Does what was asked for. Returns the exit code.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<u8, Failure> {
    match &args.command {
        Command::Profiles { config } => {
            let own = config.as_deref().map(config::profiles).transpose().map_err(Failure::Config)?;
            // A reader that has gone away, such as `head`, is no failure.
            let _ = profiles(&own.unwrap_or_default(), &mut io::stdout().lock());
            Ok(0)
        }
        Command::Read(args) => read::run(args).await,
        Command::Scan(args) => scan::run(args).await,
        Command::Verify(args) => verify::run(args).await,
    }
}

/// A meter was named that the configuration does not have.
fn no_such_meter(name: &str, path: &Path, known: &[&str]) -> Failure {
    Failure::Site(format!("{} has no meter `{name}`; there are: {}", path.display(), known.join(", ")))
}

/// The points of a profile in few words: three phases are one.
fn points(profile: &Profile) -> String {
    let has = |measure| profile.point(measure).is_some();
    let phases = |measures: [Measure; 3]| measures.into_iter().filter(|measure| has(*measure)).count();
    let mut words: Vec<String> = has(Measure::Power).then(|| String::from("power")).into_iter().collect();
    for (name, measures) in [
        ("power", [Measure::PowerL1, Measure::PowerL2, Measure::PowerL3]),
        ("voltage", [Measure::VoltageL1, Measure::VoltageL2, Measure::VoltageL3]),
    ] {
        match phases(measures) {
            0 => {}
            1 => words.push(format!("{name} L1")),
            count => words.push(format!("{name} L1-{count}")),
        }
    }
    for (name, measure) in [
        ("frequency", Measure::Frequency),
        ("import", Measure::EnergyImport),
        ("export", Measure::EnergyExport),
        ("charge", Measure::StateOfCharge),
    ] {
        if has(measure) {
            words.push(name.to_owned());
        }
    }
    if profile.needs(FullScale::Power) {
        words.push(String::from("needs `full_scale`"));
    }
    words.join(", ")
}

/// Lists the profiles that come with the program and those of a configuration, which come first and cover the others.
fn profiles(own: &[Profile], out: &mut dyn Write) -> io::Result<()> {
    let row = |profile: &Profile, whose: &str| {
        let description = format!("{}{whose}", profile.description);
        [
            profile.name.clone(),
            description.trim().to_owned(),
            profile.certainty.name().to_owned(),
            points(profile),
        ]
    };
    let builtin = builtin::profile_names().filter_map(builtin::profile);
    let builtin = builtin.filter(|profile| own.iter().all(|own| own.name != profile.name));
    let mut rows: Vec<[String; 4]> = own.iter().map(|profile| row(profile, " (of this site)")).collect();
    rows.extend(builtin.map(|profile| row(&profile, "")));
    let head = ["PROFILE", "METER", "CERTAINTY", "TELLS"].map(String::from);
    let width = |column: usize| {
        let cells = std::iter::once(&head).chain(&rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let (first, second, third) = (width(0), width(1), width(2));
    for [name, description, certainty, points] in std::iter::once(&head).chain(&rows) {
        writeln!(out, "{name:first$}  {description:second$}  {certainty:third$}  {points}")?;
    }
    writeln!(
        out,
        "\nCertainty of the register of power: high is the maker's list or two independent sources, medium one \
         working implementation.\nDevices that speak SunSpec say themselves what their registers mean: profile = \"sunspec\". \
         Other meters: describe\nthem in [profiles.NAME] of the configuration, or in a folder that `profiles` in [site] names."
    )?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_has_a_line_of_the_table() {
        let mut out = Vec::new();
        profiles(&[], &mut out).unwrap();
        let table = String::from_utf8(out).unwrap();
        for name in builtin::profile_names() {
            assert!(table.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}\n{table}");
        }
        let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(
            line("eastron-sdm630").ends_with("power, power L1-3, voltage L1-3, frequency, import, export"),
            "{table}"
        );
        assert!(line("satec-pm180").contains("needs `full_scale`"), "{table}");
        assert!(line("eastron-sdm120").contains("voltage L1,"), "{table}");
    }

    #[test]
    fn the_profiles_of_a_configuration_are_listed_too() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let list = |file: &str| {
            let mut out = Vec::new();
            let own = config::profiles(&folder.join(file))?;
            profiles(&own, &mut out).unwrap();
            Ok::<_, config::ConfigErrors>(String::from_utf8(out).unwrap())
        };
        let table = list("config/ballast.toml").unwrap();
        let first = table.lines().nth(1).unwrap();
        assert!(first.starts_with("workshop-meter") && first.contains("(of this site)"), "{table}");
        let error = list("config/nowhere.toml").unwrap_err();
        assert!(error.to_string().contains("nowhere.toml"), "{error}");
    }
}

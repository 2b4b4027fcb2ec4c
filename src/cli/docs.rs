//! `ballast completions` and `ballast man`: what shells and `man` know of the command line, made from its one definition.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::Failure;

/// How a help text begins to say with what the command ends.
const EXIT_CODE: &str = "Exit code: ";

/// With what a command ends whose help does not say it.
const EXIT_STATUS: [(&str, &str); 4] = [
    ("0", "Done."),
    ("1", "It was not done; standard error says why."),
    ("2", "The command line is wrong."),
    ("78", "The configuration is wrong; standard error says where, and what to do."),
];

const ENVIRONMENT: [(&str, &str); 3] = [
    (
        "BALLAST_LOG",
        "How much of the log is written: off, error, warn, info, debug or trace, or a list such as \
         ballast::daemon=debug. Without it info.",
    ),
    (
        "BALLAST_TOKEN_FILE",
        "The file with the token for commands that call the daemon, where --token-file names none.",
    ),
    ("NO_COLOR", "Set to anything: no colours."),
];

const FILES: [(&str, &str); 5] = [
    (
        super::CONFIG,
        "The configuration of the site. Every key with its meaning: the examples of the package.",
    ),
    ("/etc/ballast/credentials", "Passwords that systemd hands to the daemon; root alone may enter."),
    ("/var/lib/ballast", "The database of orders, and the record of every cycle."),
    ("/run/ballast", "The socket of the running daemon, for root and the group ballast."),
    ("/usr/share/doc/ballast", "The guide, and examples."),
];

/// A shell that completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// What `ballast completions` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "The Debian package brings them along. By hand, for bash: ballast completions bash > \
                  ~/.local/share/bash-completion/completions/ballast"
)]
pub struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// What `ballast man` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "The Debian package brings them along. To read one of them: man -l FOLDER/ballast.1")]
pub struct ManArgs {
    /// The folder that gets the pages, one for each command; it is made if it is missing
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
}

/// Prints the completions of a shell for the command line `line`.
///
/// # Errors
/// Standard output takes no more.
pub fn completions(args: &CompletionsArgs, mut line: Command) -> Result<(), Failure> {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut line, "ballast", &mut script);
    // Not by way of `answer`, which breaks lines that are wider than the terminal.
    match std::io::stdout().lock().write_all(&script) {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::System { what: "cannot write to standard output", source })
        }
        _ => Ok(()),
    }
}

/// Writes the manual pages of the command line `line`.
///
/// # Errors
/// A page cannot be written.
pub fn man(args: &ManArgs, line: Command) -> Result<(), Failure> {
    let fail = |path: &Path, source| Failure::Written { file: path.display().to_string(), source };
    std::fs::create_dir_all(&args.out).map_err(|source| fail(&args.out, source))?;
    for (name, page) in pages(line) {
        let path = args.out.join(name);
        std::fs::write(&path, page).map_err(|source| fail(&path, source))?;
    }
    Ok(())
}

/// The pages of a command line, each with the name of its file.
pub fn pages(line: Command) -> Vec<(String, String)> {
    let mut line = line
        .name("ballast")
        .bin_name("ballast")
        .disable_help_subcommand(true)
        .mut_subcommands(|below| below.subcommand_value_name("command"))
        .subcommand_value_name("command");
    line.build();
    let mut pages = Vec::new();
    collect(&line, &[], &mut pages);
    pages
}

/// Adds the page of a command and those below it. `above` are the names of the commands over it.
fn collect(command: &Command, above: &[String], pages: &mut Vec<(String, String)>) {
    let mut path = above.to_vec();
    path.push(command.get_name().to_owned());
    pages.push((format!("{}.1", path.join("-")), page(command, &path)));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        collect(below, &path, pages);
    }
}

/// The page of one command.
fn page(command: &Command, path: &[String]) -> String {
    let name = path.join("-");
    // What concerns all commands is told once, and where the daemon itself is explained.
    let whole = path.len() == 1 || command.get_name() == "run";
    let man = Man::new(command.clone());
    // Writing into memory cannot fail.
    let part = |render: &dyn Fn(&mut Vec<u8>) -> std::io::Result<()>| {
        let mut text = Vec::new();
        let _ = render(&mut text);
        String::from_utf8(text).unwrap_or_default()
    };
    let mut parts = Vec::new();
    let mut head = Roff::new();
    // No date: the same source makes the same page on any day. `Roff` would leave the empty field out.
    parts.push(format!(
        ".TH {} 1 \"\" \"ballast {}\" Ballast\n",
        name.to_uppercase(),
        env!("CARGO_PKG_VERSION")
    ));
    head.control("SH", ["NAME"]);
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    head.text([roman(format!("{name} - {}", lower_first(&about)))]);
    parts.push(head.to_roff());
    parts.push(part(&|out| man.render_synopsis_section(out)));
    parts.push(part(&|out| man.render_description_section(out)));
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        parts.push(part(&|out| man.render_options_section(out)));
    }
    let mut tail = Roff::new();
    commands(&mut tail, command, &name);
    let help = command.get_after_long_help().or_else(|| command.get_after_help());
    let (notes, codes) = split(&help.map(ToString::to_string).unwrap_or_default());
    paragraphs(&mut tail, "NOTES", &notes);
    if codes.is_empty() {
        list(&mut tail, "EXIT STATUS", EXIT_STATUS.iter());
    } else {
        paragraphs(&mut tail, "EXIT STATUS", &codes);
    }
    let asks = command.get_arguments().any(|argument| argument.get_long() == Some("token-file"));
    let environment = ENVIRONMENT.iter().filter(|(name, _)| whole || (asks && name.contains("TOKEN")));
    list(&mut tail, "ENVIRONMENT", environment);
    list(&mut tail, "FILES", FILES.iter().filter(|_| whole));
    see_also(&mut tail, command, path);
    parts.push(tail.to_roff());
    emphasise(&parts.join(""))
}

/// The commands below this one.
fn commands(roff: &mut Roff, command: &Command, name: &str) {
    let mut begun = false;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        if !begun {
            roff.control("SH", ["COMMANDS"]);
            begun = true;
        }
        roff.control("TP", []);
        roff.text([bold(format!("{name}-{}", below.get_name())), roman("(1)")]);
        roff.text([roman(below.get_about().map(ToString::to_string).unwrap_or_default())]);
    }
}

/// The pages above and below this one.
fn see_also(roff: &mut Roff, command: &Command, path: &[String]) {
    let mut pages: Vec<String> =
        (1..path.len()).filter_map(|length| path.get(..length)).map(|above| above.join("-")).collect();
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    pages.extend(below.map(|below| format!("{}-{}", path.join("-"), below.get_name())));
    roff.control("SH", ["SEE ALSO"]);
    let last = pages.len();
    let mut line: Vec<Inline> = Vec::new();
    for (at, page) in pages.into_iter().enumerate() {
        let end = if at + 1 == last { "(1)" } else { "(1), " };
        line.extend([bold(page), roman(end)]);
    }
    roff.text(line);
}

/// What a text below the options says of exit codes, and the rest of it; paragraph by paragraph.
fn split(help: &str) -> (Vec<String>, Vec<String>) {
    let (mut notes, mut codes) = (Vec::new(), Vec::new());
    for paragraph in help.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty()) {
        match paragraph.split_once(EXIT_CODE) {
            Some((before, code)) => {
                notes.extend((!before.is_empty()).then(|| before.trim().to_owned()));
                codes.push(code.to_owned());
            }
            None => notes.push(paragraph.to_owned()),
        }
    }
    (notes, codes)
}

fn paragraphs(roff: &mut Roff, title: &str, paragraphs: &[String]) {
    for (at, paragraph) in paragraphs.iter().enumerate() {
        match at {
            0 => roff.control("SH", [title]),
            _ => roff.control("PP", []),
        };
        roff.text([roman(paragraph)]);
    }
}

/// A section of terms and their meanings; none without an entry.
fn list<'e>(roff: &mut Roff, title: &str, entries: impl Iterator<Item = &'e (&'e str, &'e str)>) {
    for (at, (term, words)) in entries.enumerate() {
        if at == 0 {
            roff.control("SH", [title]);
        }
        roff.control("TP", []);
        roff.text([if title == "FILES" { italic(*term) } else { bold(*term) }]);
        roff.text([roman(*words)]);
    }
}

/// As the NAME section has it: `ballast-run - control a site`.
fn lower_first(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_lowercase().chain(rest).collect())
}

/// What help texts put between backticks is bold on a page.
fn emphasise(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    for line in page.lines() {
        let pieces: Vec<&str> = line.split('`').collect();
        let paired = pieces.len() % 2 == 1 && !line.starts_with(".TH");
        for (at, piece) in pieces.iter().enumerate() {
            match (at, paired) {
                (0, _) => {}
                (at, true) => text.push_str(if at % 2 == 1 { "\\fB" } else { "\\fR" }),
                (_, false) => text.push('`'),
            }
            text.push_str(piece);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_have_a_section_of_their_own_and_the_rest_is_notes() {
        let (notes, codes) = split("Ctrl-C ends it. Exit code: 0 if it answered, else 1.\n\nIt only reads.");
        assert_eq!(notes, ["Ctrl-C ends it.", "It only reads."]);
        assert_eq!(codes, ["0 if it answered, else 1."]);
        assert_eq!(split(""), (Vec::new(), Vec::new()));
    }

    #[test]
    fn backticks_become_bold_where_they_are_paired() {
        assert_eq!(emphasise("as `on_exit` says"), "as \\fBon_exit\\fR says\n");
        assert_eq!(emphasise("a ` alone"), "a ` alone\n");
    }

    #[test]
    fn every_command_has_a_page_and_hidden_ones_have_none() {
        let line = Command::new("ballast").about("Makes it so").subcommand(
            Command::new("meter")
                .about("Meters")
                .subcommand(Command::new("scan").about("Find them").after_help("Exit code: 0 or 1."))
                .subcommand(Command::new("secret").hide(true)),
        );
        let pages = pages(line);
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["ballast.1", "ballast-meter.1", "ballast-meter-scan.1"]);
        let scan = &pages[2].1;
        assert!(scan.contains("ballast\\-meter\\-scan \\- find them"), "{scan}");
        assert!(scan.contains("\n.SH \"EXIT STATUS\"\n0 or 1.\n"), "{scan}");
        assert!(!scan.contains("The command line is wrong"), "{scan}");
        assert!(pages[0].1.contains("The command line is wrong"), "{}", pages[0].1);
    }
}

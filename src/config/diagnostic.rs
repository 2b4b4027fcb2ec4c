//! Mistakes with their place: collected while a configuration is read, printed as `file:line:column`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names;
use crate::line;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// How many mistakes are kept; the rest is counted.
const MOST_KEPT: usize = 200;

/// How many characters of a long line are shown.
const SHOWN_WIDTH: usize = 120;

/// A range of bytes in the text of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// A value and where it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

impl<T> At<T> {
    /// Puts a value and its place together.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// A place in a file and the line that is shown for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line, counted from one.
    pub line: usize,
    /// Column in characters, counted from one.
    pub column: usize,
    /// The part of the line that is shown, secrets masked.
    shown: String,
    /// How many characters of `shown` stand before the marked ones.
    before: usize,
    /// How many characters are marked, at least one.
    marked: usize,
}

/// One mistake, or something to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    path: Arc<Path>,
    place: Option<Place>,
    message: String,
    help: String,
}

impl Diagnostic {
    /// A mistake that has no place within the file.
    pub(super) fn of_file(path: &Path, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { path: path.into(), place: None, message: message.into(), help: help.into() }
    }

    /// Where; `None` when the file as a whole is meant.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do; empty when the message says it all.
    pub fn help(&self) -> &str {
        &self.help
    }
}

impl fmt::Display for Diagnostic {
    /// `file:line:column: message`, the line with a caret below, and what to do. No newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(place) = &self.place {
            write!(f, "{}:{}:", place.line, place.column)?;
        }
        write!(f, " {}", self.message)?;
        if let Some(place) = &self.place {
            let number = place.line.to_string();
            let gutter = " ".repeat(number.len());
            // Tabs are kept, so that the carets stand where the reader's tab stops put the text.
            let indent: String =
                place.shown.chars().take(place.before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            write!(f, "\n{gutter} |\n{number} | {}", place.shown)?;
            write!(f, "\n{gutter} | {indent}{}", "^".repeat(place.marked))?;
            if !self.help.is_empty() {
                write!(f, "\n{gutter} = {}", self.help)?;
            }
        } else if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration, by place. Prints all of it.
#[derive(Clone, Debug)]
pub struct ConfigErrors {
    path: PathBuf,
    errors: Vec<Diagnostic>,
    dropped: usize,
    warnings: Vec<Diagnostic>,
}

impl ConfigErrors {
    /// A single mistake about the file as a whole.
    pub(super) fn of_file(path: &Path, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            errors: vec![Diagnostic::of_file(path, message, help)],
            dropped: 0,
            warnings: Vec::new(),
        }
    }

    /// The file that was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The mistakes, by place; at most 200 are kept.
    pub fn errors(&self) -> &[Diagnostic] {
        &self.errors
    }

    /// What else deserves a look.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// How many mistakes there are, kept or not. At least one.
    pub fn count(&self) -> usize {
        self.errors.len().saturating_add(self.dropped)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(f, "{error}\n")?;
        }
        if self.dropped > 0 {
            writeln!(f, "… and {} more\n", self.dropped)?;
        }
        let count = self.count();
        let plural = if count == 1 { "mistake" } else { "mistakes" };
        write!(f, "{}: {count} {plural}", self.path.display())
    }
}

impl std::error::Error for ConfigErrors {}

struct Note {
    span: Span,
    message: String,
    help: String,
}

/// Collects mistakes while a text is read. Shared by reference, so that every reader can report.
pub(super) struct Report<'a> {
    text: &'a str,
    path: Arc<Path>,
    line_starts: Vec<usize>,
    errors: RefCell<Vec<Note>>,
    warnings: RefCell<Vec<Note>>,
    /// Mistakes in files that this one refers to.
    errors_elsewhere: RefCell<Vec<Diagnostic>>,
    warnings_elsewhere: RefCell<Vec<Diagnostic>>,
    hidden: RefCell<Vec<Span>>,
    dropped: Cell<usize>,
    /// Quantities that were read, some of them with their place alone: key, place, power or rate in its base unit or zero.
    quantities: RefCell<Vec<(&'static str, Span, f64)>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(text: &'a str, path: &Path) -> Self {
        let line_starts =
            std::iter::once(0).chain(text.match_indices('\n').map(|(index, _)| index + 1)).collect();
        Self {
            text,
            path: path.into(),
            line_starts,
            errors: RefCell::default(),
            warnings: RefCell::default(),
            errors_elsewhere: RefCell::default(),
            warnings_elsewhere: RefCell::default(),
            hidden: RefCell::default(),
            dropped: Cell::new(0),
            quantities: RefCell::default(),
        }
    }

    /// Remembers a quantity until it is known what it must be in proportion to.
    pub(super) fn remember(&self, key: &'static str, span: Span, value: f64) {
        self.quantities.borrow_mut().push((key, span, value));
    }

    /// What was remembered.
    pub(super) fn quantities(&self) -> Vec<(&'static str, Span, f64)> {
        self.quantities.borrow().clone()
    }

    /// Where the value of a remembered key stands, of which there is one.
    pub(super) fn quantity_span(&self, wanted: &str) -> Option<Span> {
        self.quantities.borrow().iter().find(|(key, ..)| *key == wanted).map(|(_, span, _)| *span)
    }

    /// Notes a mistake. An empty `help` is left out.
    pub(super) fn error(&self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        let mut errors = self.errors.borrow_mut();
        if errors.len() < MOST_KEPT {
            errors.push(Note { span, message: message.into(), help: help.into() });
        } else {
            self.dropped.set(self.dropped.get().saturating_add(1));
        }
    }

    /// Notes something to look at that does not keep the configuration from being used.
    pub(super) fn warn(&self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        let mut warnings = self.warnings.borrow_mut();
        if warnings.len() < MOST_KEPT {
            warnings.push(Note { span, message: message.into(), help: help.into() });
        }
    }

    /// Takes over the mistakes in another file that this one refers to.
    pub(super) fn error_elsewhere(&self, errors: &ConfigErrors) {
        let mut kept = self.errors_elsewhere.borrow_mut();
        let room = MOST_KEPT.saturating_sub(kept.len());
        kept.extend(errors.errors.iter().take(room).cloned());
        let beyond = errors.count().saturating_sub(room.min(errors.errors.len()));
        self.dropped.set(self.dropped.get().saturating_add(beyond));
        self.warn_elsewhere(errors.warnings.clone());
    }

    /// Takes over what deserves a look in another file.
    pub(super) fn warn_elsewhere(&self, warnings: Vec<Diagnostic>) {
        let mut kept = self.warnings_elsewhere.borrow_mut();
        let room = MOST_KEPT.saturating_sub(kept.len());
        kept.extend(warnings.into_iter().take(room));
    }

    /// Keeps this part of the text out of everything that is printed.
    pub(super) fn hide(&self, span: Span) {
        self.hidden.borrow_mut().push(span);
    }

    /// Hides the values of all keys that sound like secrets, wherever they stand.
    pub(super) fn hide_secrets(&self, table: &DeTable<'_>) {
        for (key, value) in table.iter() {
            // The place of a table with a header of its own is its name there, which is nothing to hide.
            let place = self.text.get(value.span()).unwrap_or("");
            let headed = match value.get_ref() {
                DeValue::Table(_) => !place.starts_with('{'),
                DeValue::Array(tables) => {
                    place.starts_with("[[") && tables.iter().all(|table| table.get_ref().is_table())
                }
                _ => false,
            };
            if sounds_secret(key.get_ref()) && !headed {
                self.hide(value.span().into());
            }
            self.hide_secrets_in(value);
        }
    }

    fn hide_secrets_in(&self, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.hide_secrets(table),
            DeValue::Array(array) => array.iter().for_each(|element| self.hide_secrets_in(element)),
            // An account in an address: `root:password@10.0.0.7`.
            DeValue::String(text) if text.contains('@') => self.hide(value.span().into()),
            _ => {}
        }
    }

    /// What to say about a name that is not known. Empty once no more mistakes are kept: with very many of both,
    /// comparing all wrong names with all right ones would take minutes.
    pub(super) fn suggest<'n>(
        &self,
        wrong: &str,
        known: impl IntoIterator<Item = &'n str> + Clone,
    ) -> String {
        if self.count() >= MOST_KEPT {
            return String::new();
        }
        names::suggest(wrong, known)
    }

    /// How many mistakes were noted so far.
    pub(super) fn count(&self) -> usize {
        let here = self.errors.borrow().len().saturating_add(self.errors_elsewhere.borrow().len());
        here.saturating_add(self.dropped.get())
    }

    /// The line of a place, counted from one.
    pub(super) fn line(&self, span: Span) -> usize {
        self.line_starts.partition_point(|start| *start <= span.start).max(1)
    }

    /// The result: the warnings, or all mistakes.
    pub(super) fn finish(self) -> Result<Vec<Diagnostic>, ConfigErrors> {
        let mut errors = self.sorted(&self.errors);
        let mut warnings = self.sorted(&self.warnings);
        // This file first, then the others in the order in which they were read.
        errors.append(&mut self.errors_elsewhere.borrow_mut());
        warnings.append(&mut self.warnings_elsewhere.borrow_mut());
        if errors.is_empty() {
            return Ok(warnings);
        }
        Err(ConfigErrors { path: self.path.to_path_buf(), errors, dropped: self.dropped.get(), warnings })
    }

    fn sorted(&self, notes: &RefCell<Vec<Note>>) -> Vec<Diagnostic> {
        let mut notes = notes.borrow_mut();
        notes.sort_by(|a, b| (a.span, &a.message).cmp(&(b.span, &b.message)));
        notes.dedup_by(|a, b| a.span == b.span && a.message == b.message);
        notes
            .iter()
            .map(|note| Diagnostic {
                path: Arc::clone(&self.path),
                place: Some(self.place(note.span)),
                message: note.message.clone(),
                help: note.help.clone(),
            })
            .collect()
    }

    fn place(&self, span: Span) -> Place {
        let line = self.line(span);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let end = self.line_starts.get(line).map_or(self.text.len(), |next| next.saturating_sub(1));
        let raw = self.text.get(start..end).unwrap_or("").trim_end_matches('\r');
        let mark_start = span.start.min(start + raw.len());
        let mark_end = span.end.clamp(mark_start, start + raw.len());
        let column = self.text.get(start..mark_start).map_or(0, |text| text.chars().count());
        let marked = self.text.get(mark_start..mark_end).map_or(0, |text| text.chars().count()).max(1);

        // A window around the mark, for lines that no terminal holds.
        let skipped = column.saturating_sub(SHOWN_WIDTH / 2);
        let mut shown = self.masked(raw, start, skipped);
        let mut before = column - skipped;
        if skipped > 0 {
            shown.insert(0, '…');
            before += 1;
        }
        if raw.chars().nth(skipped + SHOWN_WIDTH).is_some() {
            shown.push('…');
        }
        let marked = marked.min(shown.chars().count().saturating_sub(before).max(1));
        Place { line, column: column + 1, shown, before, marked }
    }

    /// The part of a line that is shown, without its secrets and without characters that would move the cursor.
    fn masked(&self, raw: &str, start: usize, skipped: usize) -> String {
        let window: Vec<(usize, char)> = raw.char_indices().skip(skipped).take(SHOWN_WIDTH).collect();
        let first = window.first().map_or(start, |(index, _)| start + index);
        let last = window.last().map_or(start, |(index, _)| start + index);
        let hidden = self.hidden.borrow();
        let hidden: Vec<&Span> =
            hidden.iter().filter(|span| span.start <= last && span.end > first).collect();
        let from = textual_secret(raw);
        window
            .into_iter()
            .map(|(index, c)| {
                let at = start + index;
                let secret = from.is_some_and(|from| index >= from)
                    || hidden.iter().any(|span| (span.start..span.end).contains(&at));
                match c {
                    '\t' => c,
                    _ if secret => '*',
                    _ => line::shown(c),
                }
            })
            .collect()
    }
}

/// Whether a key holds a secret itself, rather than saying where it is kept.
pub(super) fn sounds_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    let tells_where = ["_file", "_credential", "_env"].iter().any(|end| key.ends_with(end));
    !tells_where
        && ["pass", "secret", "token", "pwd", "api_key", "apikey"].iter().any(|word| key.contains(word))
}

/// Where on a line a secret may begin, judged by the text alone: what a file with broken syntax leaves.
fn textual_secret(line: &str) -> Option<usize> {
    let mut position = 0;
    for part in line.split_inclusive('=') {
        position += part.len();
        let word = part
            .trim_end_matches('=')
            .trim_end()
            .rsplit(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
            .find(|word| !word.is_empty())
            .unwrap_or("");
        if part.ends_with('=') && sounds_secret(word) {
            return Some(position);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(text: &str, span: Range<usize>) -> String {
        let report = Report::new(text, Path::new("site.toml"));
        report.error(span.into(), "is wrong", "do it right");
        report.finish().unwrap_err().errors()[0].to_string()
    }

    #[test]
    fn the_line_is_shown_with_a_caret_below() {
        assert_eq!(
            print("a = 1\nbb = 2\n", 11..12),
            "site.toml:2:6: is wrong\n  |\n2 | bb = 2\n  |      ^\n  = do it right"
        );
    }

    #[test]
    fn columns_count_characters_not_bytes() {
        assert!(print("ä = \"ß\" # x", 11..12).starts_with("site.toml:1:10:"));
    }

    #[test]
    fn a_place_at_the_end_of_the_text_is_shown() {
        assert!(print("a = 1", 5..5).starts_with("site.toml:1:6:"));
        assert!(print("", 0..0).starts_with("site.toml:1:1:"));
        assert!(print("a\r\n", 1..3).contains("1 | a\n  |  ^"));
    }

    #[test]
    fn a_password_in_the_line_is_masked() {
        let shown = print("credentials = { username = \"u\", password = \"hunter2\" }", 17..25);
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("password = ") || shown.contains("password ="), "{shown}");
        let broken = print("password = \"hunter2", 11..12);
        assert!(!broken.contains("hunter2"), "{broken}");
        assert!(print("password_file = \"there\"", 0..1).contains("there"));
    }

    #[test]
    fn the_name_in_a_header_is_no_secret_and_a_table_in_braces_is_one() {
        let shown = |text: &str| {
            let report = Report::new(text, Path::new("f"));
            let (document, _) = DeTable::parse_recoverable(text);
            report.hide_secrets(document.get_ref());
            text.lines()
                .enumerate()
                .map(|(line, _)| {
                    let start = report.line_starts[line];
                    report.masked(text.lines().nth(line).unwrap(), start, 0)
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(shown("[web.tokens.utility]\nscopes = [1]"), ["[web.tokens.utility]", "scopes = [1]"]);
        assert_eq!(shown("[[tokens]]\nname = \"a\""), ["[[tokens]]", "name = \"a\""]);
        let braces = shown("x = 1\ntokens = { utility = \"hunter2\" }").join("");
        assert!(!braces.contains("hunter2"), "{braces}");
        let header = shown("[passwords]\nroot_password = \"hunter2\"").join("");
        assert!(header.starts_with("[passwords]") && !header.contains("hunter2"), "{header}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark() {
        let line = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let shown = print(&line, 500..501);
        assert!(shown.contains("…") && shown.len() < 500, "{shown}");
        let (text, carets) = {
            let mut lines = shown.lines().skip(2);
            (lines.next().unwrap().to_owned(), lines.next().unwrap().to_owned())
        };
        let caret = carets.chars().position(|c| c == '^').unwrap();
        assert_eq!(text.chars().nth(caret), Some('X'), "{shown}");
    }

    #[test]
    fn mistakes_come_by_place_and_beyond_the_bound_are_counted() {
        let text = "x".repeat(1000);
        let report = Report::new(&text, Path::new("f"));
        for index in (0..300).rev() {
            report.error((index..index + 1).into(), "m", "");
        }
        let errors = report.finish().unwrap_err();
        assert_eq!(errors.count(), 300);
        assert_eq!(errors.errors().len(), MOST_KEPT);
        assert!(
            errors
                .errors()
                .windows(2)
                .all(|pair| { pair[0].place().unwrap().column < pair[1].place().unwrap().column })
        );
    }
}

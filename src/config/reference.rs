//! What `config/ballast.toml`, the commented example with every key, says of each of them.
//!
//! The comment above a key is about it, and so is the one beside it. A key right below another one, without a comment of its
//! own, shares that of the first. Lines that are commented out count as if they were not.

/// The example with every key.
pub(super) const REFERENCE: &str = include_str!("../../config/ballast.toml");

/// What is said of one key; of a section where the key is empty.
struct Said<'t> {
    /// The header above it, without brackets.
    header: &'t str,
    /// The word at the key `kind` above it in the same section, if any.
    kind: &'t str,
    key: &'t str,
    words: String,
    /// It is about this key, and not about one above as well.
    own: bool,
}

/// What is said of all keys, in the order of the file.
pub(super) struct Reference<'t>(Vec<Said<'t>>);

/// What a line is.
enum Line<'t> {
    Blank,
    /// A line that parts the chapters.
    Rule,
    Header(&'t str),
    /// A key, and what follows behind its equals sign.
    Key(&'t str, &'t str),
    Words(&'t str),
    /// Within a value of several lines.
    Other,
}

impl<'t> Line<'t> {
    fn of(line: &'t str) -> Self {
        let line = line.trim_end();
        let Some(comment) = line.strip_prefix('#') else {
            return match line {
                "" => Self::Blank,
                _ => Self::code(line).unwrap_or(Self::Other),
            };
        };
        let words = comment.trim_start();
        if !words.is_empty() && words.chars().all(|c| c == '=') {
            return Self::Rule;
        }
        // A line that is commented out has its sign right before it, or one blank in between where it is a key.
        let key = comment.strip_prefix(' ').unwrap_or(comment);
        match (Self::code(comment), Self::code(key)) {
            (Some(code), _) => code,
            (None, Some(code @ Self::Key(..))) => code,
            _ => Self::Words(words),
        }
    }

    /// A header or a key.
    fn code(line: &'t str) -> Option<Self> {
        if let Some(header) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let header =
                header.strip_prefix('[').and_then(|header| header.strip_suffix(']')).unwrap_or(header);
            return Some(Self::Header(header));
        }
        let (key, value) = line.split_once(" = ")?;
        let bare = !key.is_empty()
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        bare.then_some(Self::Key(key, value))
    }
}

impl<'t> Reference<'t> {
    /// Reads the example.
    pub(super) fn read(text: &'t str) -> Self {
        let mut said: Vec<Said<'t>> = Vec::new();
        let (mut header, mut kind) = ("", "");
        // The words above the next line, those that begin a chapter, and whether the line above is a key.
        let (mut above, mut chapter, mut below_key): (Vec<&str>, Option<String>, bool) =
            (Vec::new(), None, false);
        for line in text.lines() {
            match Line::of(line) {
                Line::Blank => {
                    if chapter.as_ref().is_some_and(String::is_empty) {
                        chapter = Some(above.join(" "));
                    }
                    above.clear();
                    below_key = false;
                }
                Line::Rule => {
                    above.clear();
                    chapter = Some(String::new());
                }
                Line::Header(name) => {
                    (header, kind) = (name, "");
                    let words =
                        chapter.take().filter(|words| !words.is_empty()).unwrap_or_else(|| above.join(" "));
                    said.push(Said { header, kind, key: "", words, own: true });
                    // What is said right above a header is about the first keys below it, too.
                    below_key = true;
                }
                Line::Key(key, value) => {
                    if key == "kind" {
                        kind = value.split('"').nth(1).unwrap_or("");
                    }
                    let beside = value.split_once("  # ").map(|(_, words)| words.trim_start());
                    let shared = above.join(" ");
                    let words = match beside {
                        Some(words) if below_key || shared.is_empty() => words.to_owned(),
                        Some(words) => format!("{shared}\n\n{words}"),
                        None => shared,
                    };
                    said.push(Said { header, kind, key, words, own: !below_key || beside.is_some() });
                    below_key = true;
                }
                Line::Words(words) => {
                    if below_key {
                        above.clear();
                        below_key = false;
                    }
                    above.push(words);
                }
                Line::Other => {}
            }
        }
        said.retain(|said| !said.words.is_empty());
        Self(said)
    }

    /// What is said of a key below the first of these headers that says something, and whether it is about that key alone. Of a
    /// key that only sections of one kind have, what stands in such a section counts.
    pub(super) fn of(&self, headers: &[&str], kind: Option<&str>, key: &str) -> Option<(&str, bool)> {
        let find = |own: bool| {
            headers.iter().find_map(|pattern| {
                self.0.iter().find(|said| {
                    said.own == own
                        && said.key == key
                        && kind.is_none_or(|kind| kind == said.kind)
                        && matches(pattern, said.header)
                })
            })
        };
        find(true).or_else(|| find(false)).map(|said| (said.words.as_str(), said.own))
    }

    /// What is said of the table or tables at a key below one of these headers, the empty one being the file.
    pub(super) fn of_tables(&self, headers: &[&str], key: &str) -> Option<&str> {
        headers.iter().find_map(|header| {
            let pattern = if header.is_empty() { key.to_owned() } else { format!("{header}.{key}") };
            let depth = pattern.split('.').count();
            let found = self.0.iter().find(|said| {
                let begins: Vec<&str> = said.header.split('.').take(depth).collect();
                said.key.is_empty() && matches(&pattern, &begins.join("."))
            });
            found.map(|said| said.words.as_str())
        })
    }
}

/// Whether a header is meant by a pattern, in which `*` stands for a name.
fn matches(pattern: &str, header: &str) -> bool {
    let (pattern, header): (Vec<&str>, Vec<&str>) =
        (pattern.split('.').collect(), header.split('.').collect());
    pattern.len() == header.len()
        && pattern.iter().zip(&header).all(|(pattern, part)| *pattern == "*" || pattern == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# ====
# All about pumps.

[pumps.one]

# How fast.
#
# In turns.
speed = 3    # per second
slow = true

# Not these:
# neither = \"this\"

#[pumps.two]
#kind = \"screw\"   # or none
#speed = 4  # of the screw
list = [
    { speed = 5 },
]
";

    #[test]
    fn a_comment_is_about_the_key_below_it_and_beside_it() {
        let reference = Reference::read(TEXT);
        assert_eq!(reference.of_tables(&[""], "pumps"), Some("All about pumps."));
        assert_eq!(reference.of_tables(&["pumps"], "one"), Some("All about pumps."));
        let of = |kind, key| reference.of(&["pumps.*"], kind, key);
        assert_eq!(of(None, "speed"), Some(("How fast.  In turns.\n\nper second", true)));
        assert_eq!(of(None, "slow"), Some(("How fast.  In turns.", false)));
        assert_eq!(of(None, "neither"), Some(("Not these:", true)));
        assert_eq!(of(Some("screw"), "speed"), Some(("of the screw", true)));
        assert_eq!(of(Some("screw"), "slow"), None);
        assert_eq!(of(None, "fast"), None);
        assert_eq!(reference.of(&["pumps"], None, "speed"), None);
    }
}

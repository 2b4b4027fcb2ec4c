//! A line of text from somebody else, before it stands in a table, a log or the proof.

/// Whether a text is one line that reads as it is written: nothing in it moves a terminal, breaks the line, or turns the order in which
/// its letters are shown (Unicode Technical Report 36, 3.3: a name could look like another one). Marks that scripts from right to
/// left need in their words are allowed.
pub fn is_line(text: &str) -> bool {
    !text.chars().any(moves)
}

/// Whether a character moves a terminal, breaks a line or turns the order of letters.
fn moves(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A character as it may stand in a message.
pub fn shown(c: char) -> char {
    if moves(c) { '\u{fffd}' } else { c }
}

/// A text of somebody else as it may stand in a line.
pub fn clean(text: &str) -> String {
    text.chars().map(shown).collect()
}

/// A text of somebody else as it may stand in a message: its first 48 characters.
pub fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(48).map(shown).collect();
    if text.chars().nth(48).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_it_is_written() {
        for line in ["", "A. Khan", "خالد\u{200f}", "می\u{200c}خواهم", "né", "x\u{a0}y"] {
            assert!(is_line(line), "{line:?}");
        }
        for other in ["a\nb", "\u{1b}[2J", "nahK\u{202e}", "a\u{2028}b", "\u{2066}b\u{2069}"] {
            assert!(!is_line(other), "{other:?}");
            assert!(is_line(&shorten(other)) && is_line(&clean(other)), "{other:?}");
        }
        assert_eq!(shorten(&"ü".repeat(50)), "ü".repeat(48) + "…");
    }
}

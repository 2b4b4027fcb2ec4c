//! A line of text from somebody else, before it stands in a table, a log or the proof.

/// Whether a text is one line that reads as it is written: nothing in it moves a terminal, breaks the line, or turns the order in which
/// its letters are shown (Unicode Technical Report 36, 3.3: a name could look like another one). Marks that scripts from right to
/// left need in their words are allowed.
pub fn is_line(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
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
        }
    }
}

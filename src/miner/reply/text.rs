//! Text that a device sent, made fit for a terminal, a table and a configuration.

/// Longest text that is taken over from a device, in characters.
const LONGEST: usize = 64;

/// A device's text without anything that a terminal obeys or that only pretends to be a letter: control characters,
/// marks of writing direction, characters without width. One line, bounded; `None` when nothing is left.
pub fn clean(text: &str) -> Option<String> {
    let line: String =
        text.chars().filter(|character| is_printable(*character)).take(LONGEST).collect::<String>();
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

fn is_printable(character: char) -> bool {
    let format = matches!(character,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}');
    !character.is_control() && !format
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_never_sees_what_it_would_obey() {
        assert_eq!(clean("\u{1b}[2J\u{1b}[31mM60S\u{7}\r\n").as_deref(), Some("[2J[31mM60S"));
        assert_eq!(clean("a\u{202e}b\u{200b}c\u{9b}d").as_deref(), Some("abcd"));
        assert_eq!(clean(" \u{0}\t\r\n "), None);
        assert_eq!(clean(&"x".repeat(100_000)).map(|text| text.len()), Some(64));
    }
}

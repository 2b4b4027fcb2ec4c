//! The difference between two texts, line by line, for people.

use std::fmt::Write as _;

/// Lines of context around a change.
const CONTEXT: usize = 2;
/// How far is looked ahead for the next line that both texts share.
const AHEAD: usize = 400;

enum Line<'t> {
    Same(&'t str),
    Gone(&'t str),
    New(&'t str),
}

/// What becomes of the first text so that it is the second, in the shape of `diff -u` without line numbers. Empty when
/// nothing changes. Made for edits that leave most lines where they are; it is always right, not always the shortest.
pub fn lines(old: &str, new: &str) -> String {
    let before: Vec<&str> = old.lines().collect();
    let after: Vec<&str> = new.lines().collect();
    let mut all: Vec<Line<'_>> = Vec::new();
    let (mut i, mut j) = (0, 0);
    while let (Some(a), Some(b)) = (before.get(i), after.get(j)) {
        if a == b {
            all.push(Line::Same(a));
            i += 1;
            j += 1;
            continue;
        }
        // The nearest place where the two meet again.
        let meets =
            |gone: usize, new: usize| before.get(i + gone).is_some_and(|a| after.get(j + new) == Some(a));
        let (gone, new) = (1..AHEAD)
            .find_map(|sum| (0..=sum).map(|gone| (gone, sum - gone)).find(|(gone, new)| meets(*gone, *new)))
            .unwrap_or((1, 1));
        all.extend(before.iter().skip(i).take(gone).map(|line| Line::Gone(line)));
        all.extend(after.iter().skip(j).take(new).map(|line| Line::New(line)));
        i += gone;
        j += new;
    }
    all.extend(before.iter().skip(i).map(|line| Line::Gone(line)));
    all.extend(after.iter().skip(j).map(|line| Line::New(line)));
    show(&all)
}

fn show(all: &[Line<'_>]) -> String {
    let changed: Vec<usize> = all
        .iter()
        .enumerate()
        .filter(|(_, line)| !matches!(line, Line::Same(_)))
        .map(|(place, _)| place)
        .collect();
    let mut text = String::new();
    let mut shown = 0;
    for place in changed {
        let from = place.saturating_sub(CONTEXT).max(shown);
        if from > shown && !text.is_empty() {
            text.push_str("…\n");
        }
        let to = (place + CONTEXT + 1).min(all.len());
        // Context behind a change ends where the next change begins; that one brings its own.
        let end = all
            .iter()
            .enumerate()
            .take(to)
            .skip(place + 1)
            .find(|(_, line)| !matches!(line, Line::Same(_)))
            .map_or(to, |(next, _)| next);
        for line in all.iter().take(end).skip(from) {
            // Writing to a text cannot fail.
            let _ = match line {
                Line::Same(line) => writeln!(text, "  {line}"),
                Line::Gone(line) => writeln!(text, "- {line}"),
                Line::New(line) => writeln!(text, "+ {line}"),
            };
        }
        shown = shown.max(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_changed_line_is_shown_with_its_neighbours() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\n";
        let new = "a\nb\nc\nD\ne\nf\ng\nh\ni\n";
        assert_eq!(lines(old, new), "  b\n  c\n- d\n+ D\n  e\n  f\n  g\n  h\n+ i\n");
        assert_eq!(lines(old, old), "");
        assert_eq!(lines("", "x\n"), "+ x\n");
    }

    proptest! {
        #[test]
        fn what_is_marked_leads_from_one_text_to_the_other(
            old in proptest::collection::vec("[abc]", 0..12), new in proptest::collection::vec("[abc]", 0..12),
        ) {
            let text = lines(&old.join("\n"), &new.join("\n"));
            let count = |mark: &str| text.lines().filter(|line| line.starts_with(mark)).count();
            prop_assert_eq!(old.len() - count("- "), new.len() - count("+ "));
        }
    }
}

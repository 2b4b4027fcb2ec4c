//! Server-sent events out of the bytes of a stream, as the standard of HTML has them.

/// The longest event, in bytes: a site of 100,000 miners has some six million.
const LARGEST: usize = 16 << 20;

/// An event that has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of its stream has no end")]
pub(super) struct TooLong;

/// What of the stream is not a whole event yet.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// The line that has no end yet.
    line: Vec<u8>,
    event: String,
    data: String,
}

impl Parser {
    /// Takes more of the stream; gives each event that is whole now, with its data.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<(String, String)>, TooLong> {
        let mut whole = Vec::new();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            self.line.extend_from_slice(line);
            rest = after.get(1..).unwrap_or(&[]);
            self.end_of_line(&mut whole)?;
        }
        self.line.extend_from_slice(rest);
        self.bounded()?;
        Ok(whole)
    }

    fn bounded(&self) -> Result<(), TooLong> {
        if self.line.len() + self.data.len() > LARGEST { Err(TooLong) } else { Ok(()) }
    }

    fn end_of_line(&mut self, whole: &mut Vec<(String, String)>) -> Result<(), TooLong> {
        self.bounded()?;
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.strip_suffix('\r').unwrap_or(&line);
        if line.is_empty() {
            let (event, data) = (std::mem::take(&mut self.event), std::mem::take(&mut self.data));
            if !data.is_empty() {
                whole.push((event, data));
            }
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // Comments, and what only browsers need.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = "retry: 500\n\n:\n\nevent: roster\ndata: {\"é\":1}\n\nevent: frame\r\ndata:a\r\ndata: b\r\n\r\n\
                          event: none\n\ndata: alone\n\n";

    fn events() -> Vec<(String, String)> {
        [("roster", "{\"é\":1}"), ("frame", "a\nb"), ("", "alone")]
            .map(|(event, data)| (event.to_owned(), data.to_owned()))
            .to_vec()
    }

    proptest! {
        #[test]
        fn events_are_the_same_however_the_stream_is_cut(cuts in proptest::collection::vec(0..STREAM.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let mut parser = Parser::default();
            let mut told = Vec::new();
            for pair in cuts.windows(2) {
                told.extend(parser.take(&STREAM.as_bytes()[pair[0]..pair[1]]).unwrap());
            }
            prop_assert_eq!(told, events());
        }

        #[test]
        fn no_bytes_make_it_stumble(bytes: Vec<u8>) {
            let _ = Parser::default().take(&bytes);
        }
    }

    #[test]
    fn an_event_without_an_end_is_given_up() {
        let mut parser = Parser::default();
        let part = vec![b'x'; 1 << 20];
        let taken = (0..20).map(|_| parser.take(&part)).take_while(Result::is_ok).count();
        assert_eq!(taken, 16);
    }
}

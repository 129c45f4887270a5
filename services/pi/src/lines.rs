//! Reads the output of a program line by line, with a bound on the memory that a line takes.

use futures_lite::io::BufReader;
use futures_lite::{AsyncBufReadExt as _, AsyncRead};

/// Bytes of a line that are kept.
const MAX_LINE: usize = 1024;

/// Reads lines, each cut after [`MAX_LINE`] bytes: the program that writes them is not trusted with our memory.
pub(crate) struct Lines<R>(BufReader<R>);

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn of(reader: R) -> Self {
        Self(BufReader::with_capacity(1024, reader))
    }

    /// The next line, without control characters. `None`: there are no more.
    pub(crate) async fn next(&mut self) -> Option<String> {
        let mut line = Vec::new();
        loop {
            let piece = self.0.fill_buf().await.ok()?;
            if piece.is_empty() {
                return None;
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(piece.len());
            let room = MAX_LINE.saturating_sub(line.len());
            line.extend_from_slice(&piece[..taken.min(room)]);
            self.0.consume(end.map_or(taken, |end| end + 1));
            if end.is_some() {
                return Some(String::from_utf8_lossy(&line).chars().filter(|c| !c.is_control()).collect());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_end_takes_no_memory_and_the_next_one_is_whole() {
        let mut text = vec![b'x'; 1 << 20];
        text.extend_from_slice(b"\nnext\x1b[2J\r\n");
        let mut lines = Lines::of(futures_lite::io::Cursor::new(text));
        smol::block_on(async {
            assert_eq!(lines.next().await.map(|line| line.len()), Some(MAX_LINE));
            assert_eq!(lines.next().await.as_deref(), Some("next[2J"));
            assert_eq!(lines.next().await, None);
        });
    }
}

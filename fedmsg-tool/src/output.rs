//! stdout, which carries data and nothing else.

use std::io::{self, BufWriter, StdoutLock, Write};

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 64 << 10;

/// Whether the reader of the data is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Reader {
    /// It is.
    There,
    /// It went away (`| head`): time to stop, with success.
    Gone,
}

impl Reader {
    /// Whether it went away.
    pub fn is_gone(self) -> bool {
        self == Reader::Gone
    }
}

/// Records on their way to a reader. A reader that went away is no error, but an answer.
///
/// Records are gathered; call [`flush`](Data::flush) when nothing more is waiting, so that a person sees
/// each one at once and a pipe gets large pieces.
#[derive(Debug)]
pub struct Data<W: Write> {
    out: BufWriter<W>,
    each: bool,
}

impl Data<StdoutLock<'static>> {
    /// To stdout, for the rest of the process; `each` writes every record at once.
    pub fn stdout(each: bool) -> Data<StdoutLock<'static>> {
        Data::new(io::stdout().lock(), each)
    }
}

impl<W: Write> Data<W> {
    /// To this writer.
    pub fn new(out: W, each: bool) -> Data<W> {
        Data { out: BufWriter::with_capacity(BUFFER_BYTES, out), each }
    }

    /// Writes one whole record, its end included.
    pub fn record(&mut self, record: &[u8]) -> io::Result<Reader> {
        let written = self.out.write_all(record);
        let written = if self.each { written.and_then(|()| self.out.flush()) } else { written };
        reader(written)
    }

    /// Hands on what was gathered.
    pub fn flush(&mut self) -> io::Result<Reader> {
        reader(self.out.flush())
    }
}

fn reader(written: io::Result<()>) -> io::Result<Reader> {
    match written {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that takes so many writes and then leaves.
    struct Pipe {
        writes_left: usize,
        got: Vec<u8>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.writes_left = match self.writes_left.checked_sub(1) {
                Some(left) => left,
                None => return Err(io::ErrorKind::BrokenPipe.into()),
            };
            self.got.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_left_is_an_answer() {
        let pipe = Pipe { writes_left: 1, got: Vec::new() };
        let mut data = Data::new(pipe, true);
        assert_eq!(data.record(b"one\n").expect("write"), Reader::There);
        assert!(data.record(b"two\n").expect("write").is_gone());
        assert_eq!(data.out.get_ref().got, b"one\n");
    }

    #[test]
    fn records_are_gathered_until_they_are_flushed() {
        let mut data = Data::new(Pipe { writes_left: 9, got: Vec::new() }, false);
        assert_eq!(data.record(b"one\n").expect("write"), Reader::There);
        assert!(data.out.get_ref().got.is_empty());
        assert_eq!(data.flush().expect("flush"), Reader::There);
        assert_eq!(data.out.get_ref().got, b"one\n");
    }
}

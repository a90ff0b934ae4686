//! Reading a file in parts that the server takes in one request.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _};
use std::path::Path;

use claviger_domain::key::hex_digest;
use claviger_domain::limits;
use serde::Deserialize;

use super::Refusal;
use crate::failure::{Context as _, Failure};

/// Where the lines come from.
pub(super) enum Input {
    File(File),
    Stdin,
}

impl Input {
    /// Opens a file, or standard input for `-`. What can be read only once and must be read twice is copied first, into a
    /// file that has no name.
    pub(super) fn open(path: &Path, twice: bool) -> Result<Self, Failure> {
        let is_stdin = path == Path::new("-");
        if is_stdin && !twice {
            return Ok(Self::Stdin);
        }
        let what = || format!("read {}", path.display());
        let source = if is_stdin { None } else { Some(File::open(path).or_fail(what)?) };
        let is_file = source.as_ref().is_some_and(|file| file.metadata().is_ok_and(|found| found.is_file()));
        match source {
            Some(file) if is_file || !twice => Ok(Self::File(file)),
            source => {
                let mut copy = tempfile::tempfile().or_fail(|| "make a temporary file".to_owned())?;
                match source {
                    Some(mut file) => io::copy(&mut file, &mut copy),
                    None => io::copy(&mut io::stdin().lock(), &mut copy),
                }
                .or_fail(what)?;
                Ok(Self::File(copy))
            }
        }
    }

    /// How many bytes there are, when that is known.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::File(file) => file.metadata().ok().filter(std::fs::Metadata::is_file).map(|found| found.len()),
            Self::Stdin => None,
        }
    }

    /// Reads from the beginning.
    pub(super) fn read(&self) -> io::Result<Box<dyn Read + '_>> {
        match self {
            Self::File(file) => {
                let mut reader = file;
                if self.length().is_some() {
                    reader.rewind()?;
                }
                Ok(Box::new(reader))
            }
            Self::Stdin => Ok(Box::new(io::stdin())),
        }
    }
}

/// Some lines of the file, as they stand there. In place of one that is too long stands an empty one.
pub(super) struct Batch {
    /// The number of its first line in the file, from 1.
    pub(super) first: u64,
    pub(super) lines: usize,
    pub(super) body: Vec<u8>,
    /// How many bytes of the file it is.
    pub(super) bytes: u64,
    too_long: Vec<u64>,
}

impl Batch {
    /// The lines that are not sent at all.
    pub(super) fn too_long(&self) -> Vec<Refusal> {
        let message = format!("The line is longer than {} bytes.", limits::BODY_BYTES_MAX);
        self.too_long.iter().map(|line| Refusal { line: Some(*line), field: None, message: message.clone() }).collect()
    }
}

/// Reads a file batch by batch.
pub(super) struct Batches<R> {
    reader: BufReader<R>,
    lines_read: u64,
}

impl<R: Read> Batches<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader: BufReader::new(reader), lines_read: 0 }
    }

    /// The next lines, as many as the server takes at once.
    pub(super) fn next(&mut self) -> io::Result<Option<Batch>> {
        let mut batch =
            Batch { first: self.lines_read + 1, lines: 0, body: Vec::new(), bytes: 0, too_long: Vec::new() };
        let has_space = |body: &Vec<u8>| body.len() + limits::BODY_BYTES_MAX < limits::IMPORT_BYTES_MAX;
        while batch.lines < limits::IMPORT_KEYS_MAX && has_space(&batch.body) {
            let start = batch.body.len();
            let read = self.read_line(&mut batch.body)?;
            if read == 0 {
                break;
            }
            self.lines_read += 1;
            batch.lines += 1;
            batch.bytes += read;
            if batch.body.last() != Some(&b'\n') {
                if batch.body.len() - start > limits::BODY_BYTES_MAX {
                    batch.body.truncate(start);
                    batch.too_long.push(self.lines_read);
                    batch.bytes += self.skip_line()?;
                }
                batch.body.push(b'\n');
            }
        }
        Ok((batch.lines > 0).then_some(batch))
    }

    /// Appends a line with its end, or more of it than a line may have.
    fn read_line(&mut self, body: &mut Vec<u8>) -> io::Result<u64> {
        let read = (&mut self.reader).take(limits::BODY_BYTES_MAX as u64 + 1).read_until(b'\n', body)?;
        Ok(read as u64)
    }

    fn skip_line(&mut self) -> io::Result<u64> {
        Ok(self.reader.skip_until(b'\n')? as u64)
    }
}

/// The digests of the lines so far, with the number of the first line of each.
#[derive(Default)]
pub(super) struct Digests(HashMap<[u8; 32], u64>);

impl Digests {
    /// The lines of a batch whose digest stands in an earlier batch. Those within the batch the server finds.
    pub(super) fn repeated(&mut self, batch: &Batch) -> Vec<Refusal> {
        #[derive(Deserialize)]
        struct Line<'l> {
            #[serde(borrow)]
            digest: Cow<'l, str>,
        }
        let mut refusals = Vec::new();
        for (number, line) in (batch.first..).zip(batch.body.split(|byte| *byte == b'\n')) {
            let digest = serde_json::from_slice::<Line<'_>>(line).ok().and_then(|line| hex_digest::parse(&line.digest));
            let Some(digest) = digest else { continue };
            let first = *self.0.entry(*digest.as_bytes()).or_insert(number);
            if first < batch.first {
                let message = format!("digest: stands in line {first} already");
                refusals.push(Refusal { line: Some(number), field: Some("digest".to_owned()), message });
            }
        }
        refusals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(text: &[u8]) -> Vec<Batch> {
        let mut batches = Batches::new(text);
        std::iter::from_fn(|| batches.next().unwrap()).collect()
    }

    #[test]
    fn batches_have_as_many_lines_as_the_server_takes_and_all_bytes() {
        let text = "{}\n".repeat(limits::IMPORT_KEYS_MAX * 2) + "\r\n{}";
        let batches = batches(text.as_bytes());
        let found: Vec<_> = batches.iter().map(|batch| (batch.first, batch.lines)).collect();
        let lines = limits::IMPORT_KEYS_MAX;
        assert_eq!(found, [(1, lines), (lines as u64 + 1, lines), (2 * lines as u64 + 1, 2)]);
        assert_eq!(batches[2].body, b"\r\n{}\n");
        assert_eq!(batches.iter().map(|batch| batch.bytes).sum::<u64>(), text.len() as u64);
        assert!(batches.iter().all(|batch| batch.too_long().is_empty()));
    }

    #[test]
    fn batches_are_no_larger_than_the_server_takes() {
        let line = format!("{}\n", "x".repeat(limits::BODY_BYTES_MAX));
        let batches = batches(line.repeat(200).as_bytes());
        assert_eq!(batches.iter().map(|batch| batch.lines).sum::<usize>(), 200);
        assert!(batches.len() > 2 && batches.iter().all(|batch| batch.body.len() <= limits::IMPORT_BYTES_MAX));
        assert!(batches.iter().all(|batch| batch.too_long().is_empty()));
    }

    #[test]
    fn a_line_that_is_too_long_leaves_its_number_behind() {
        for end in ["\n{}\n", "\n{}", ""] {
            let text = format!("{{}}\n{}{end}", "x".repeat(limits::BODY_BYTES_MAX * 3));
            let batch = batches(text.as_bytes()).remove(0);
            assert_eq!(batch.too_long().first().and_then(|refusal| refusal.line), Some(2));
            assert_eq!(batch.body, if end.is_empty() { &b"{}\n\n"[..] } else { b"{}\n\n{}\n" });
            assert_eq!(batch.bytes, text.len() as u64);
        }
    }

    #[test]
    fn digests_are_remembered_over_batches() {
        let mut digests = Digests::default();
        let line = |digit: &str| format!("{{\"digest\":\"{}\"}}\n", digit.repeat(64));
        let batch = |first, text: String| Batch { first, ..batches(text.as_bytes()).remove(0) };
        assert!(digests.repeated(&batch(1, line("a") + &line("a") + "nonsense\n")).is_empty());
        let repeated = digests.repeated(&batch(4, line("b") + &line("A")));
        let found: Vec<_> = repeated.iter().map(|refusal| (refusal.line, refusal.message.as_str())).collect();
        assert_eq!(found, [(Some(5), "digest: stands in line 1 already")]);
    }
}

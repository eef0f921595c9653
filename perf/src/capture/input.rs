//! The bytes of a capture: from a file, a pipe or standard input, decompressed.

use super::{Capture, cannot_read, keep};
use anyhow::{Context, bail};
use flate2::read::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

pub type Input<'a> = Box<dyn Read + Send + 'a>;

const GZIP: [u8; 2] = [0x1F, 0x8B];
const ZSTD: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

pub fn capture(path: &Path) -> anyhow::Result<Capture> {
    if path == Path::new("-") {
        return keep("standard input", io::stdin().lock());
    }
    let name = path.display().to_string();
    let about = fs::metadata(path).with_context(|| missing(&name))?;
    if about.is_dir() {
        bail!("{name} is a folder; give the path of a pcap or pcapng file");
    }
    if about.is_file() {
        return Ok(Capture::File(path.to_owned()));
    }
    keep(&name, File::open(path).with_context(|| missing(&name))?)
}

fn missing(name: &str) -> String {
    format!("cannot read {name}; give the path of a pcap or pcapng file")
}

pub fn open<'a>(path: &Path) -> anyhow::Result<Input<'a>> {
    let name = path.display().to_string();
    Ok(Box::new(File::open(path).with_context(|| missing(&name))?))
}

/// The bytes as they were before gzip or Zstandard.
pub fn plain<'a>(input: Input<'a>, name: &str) -> anyhow::Result<Input<'a>> {
    let (begin, input) = peek(input, name)?;
    let damaged = || format!("cannot decompress {name}");
    if begin.starts_with(&GZIP) {
        return Ok(Box::new(MultiGzDecoder::new(input)));
    }
    if begin.starts_with(&ZSTD) || matches!(begin[..], [0x50..=0x5F, 0x2A, 0x4D, 0x18]) {
        return Ok(Box::new(Zstd::new(BufReader::new(input)).with_context(damaged)?));
    }
    Ok(input)
}

/// The first four bytes, which stay in the input.
pub fn peek<'a>(mut input: Input<'a>, name: &str) -> anyhow::Result<(Vec<u8>, Input<'a>)> {
    let mut begin = Vec::new();
    input.by_ref().take(4).read_to_end(&mut begin).with_context(|| cannot_read(name))?;
    Ok((begin.clone(), Box::new(Full(Cursor::new(begin).chain(input)))))
}

/// Fills each buffer as long as there is more: readers take a short one for the end.
struct Full<R>(R);

impl<R: Read> Read for Full<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(left) = into.get_mut(filled..).filter(|left| !left.is_empty()) {
            match self.0.read(left) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What came before it counts; the next call meets it again.
                Err(_) if filled != 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// Zstandard frames that follow each other, and between them frames to be skipped (RFC 8878, 3.1).
struct Zstd<'a> {
    input: BufReader<Input<'a>>,
    decoder: FrameDecoder,
}

impl<'a> Zstd<'a> {
    fn new(input: BufReader<Input<'a>>) -> io::Result<Self> {
        let mut zstd = Self { input, decoder: FrameDecoder::new() };
        zstd.begin()?;
        Ok(zstd)
    }

    /// Reads the header of the next frame; false at the end.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.input.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.input) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut self.input.by_ref().take(length), &mut io::sink())?;
                    if skipped < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl Read for Zstd<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        while self.decoder.can_collect() == 0 {
            if !self.decoder.is_finished() {
                let some = BlockDecodingStrategy::UptoBytes(into.len());
                self.decoder.decode_blocks(&mut self.input, some).map_err(io::Error::other)?;
            } else if !self.begin()? {
                return Ok(0);
            }
        }
        self.decoder.read(into)
    }
}

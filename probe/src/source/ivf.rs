//! Reads IVF: a header, then access units with a length and a time each.

use super::SourceFault;
use crate::codec::VideoDecoder;
use crate::picture::Picture;
use remotemedia_shm_schema::Codec;
use std::io::{self, BufReader, ErrorKind, Read};
use std::{fs::File, path::Path};

/// Bytes of the largest access unit that is believed; the same bound as a channel's.
const MAX_UNIT: u32 = 512 * 1024;

/// Why bytes are not an IVF that can be read.
#[derive(Debug, thiserror::Error)]
pub enum IvfFault {
    /// It does not begin as one.
    #[error("it does not begin with an IVF header")]
    Header,
    /// A codec that we have not.
    #[error("its codec {0:?} is not VP80, VP90 or H264")]
    Codec(String),
    /// A length that cannot be.
    #[error("an access unit claims {0} bytes; {MAX_UNIT} are allowed")]
    Length(u32),
    /// Reading failed or ended inside of a unit.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// An IVF file as it is read.
#[derive(Debug)]
pub struct IvfReader<R> {
    reader: R,
    codec: Codec,
    size: (u16, u16),
    rate: (u32, u32),
    frames: u32,
}

impl<R: Read> IvfReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(mut reader: R) -> Result<Self, IvfFault> {
        let mut head = [0u8; 32];
        reader.read_exact(&mut head)?;
        if head[..4] != *b"DKIF" {
            return Err(IvfFault::Header);
        }
        let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let word = |at: usize| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
        let codec = match &head[8..12] {
            b"VP80" => Codec::Vp8,
            b"VP90" => Codec::Vp9,
            b"H264" => Codec::H264,
            other => return Err(IvfFault::Codec(String::from_utf8_lossy(other).into_owned())),
        };
        // A longer header than today's is skipped over.
        let more = u64::from(half(6)).saturating_sub(32);
        io::copy(&mut reader.by_ref().take(more), &mut io::sink())?;
        Ok(Self {
            reader,
            codec,
            size: (half(12), half(14)),
            rate: (word(16), word(20)),
            frames: word(24),
        })
    }

    /// What the units are.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Width and height by the header.
    #[must_use]
    pub fn size(&self) -> (u16, u16) {
        self.size
    }

    /// Time units a second, as a fraction.
    #[must_use]
    pub fn rate(&self) -> (u32, u32) {
        self.rate
    }

    /// How many units there are by the header.
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// Reads the next unit into `unit` and gives its time; `None` at the end.
    ///
    /// # Errors
    /// When the file is cut short or lies.
    pub fn next(&mut self, unit: &mut Vec<u8>) -> Result<Option<u64>, IvfFault> {
        let mut head = [0u8; 12];
        match self.reader.read_exact(&mut head[..1]) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        self.reader.read_exact(&mut head[1..])?;
        let [l0, l1, l2, l3, time @ ..] = head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if length > MAX_UNIT {
            return Err(IvfFault::Length(length));
        }
        unit.resize(length as usize, 0);
        self.reader.read_exact(unit)?;
        Ok(Some(u64::from_le_bytes(time)))
    }
}

/// Gives each decoded picture to `take`, until it says no or the file ends.
pub(super) fn read_pictures(
    path: &Path,
    take: &mut dyn FnMut(&Picture) -> bool,
) -> Result<(), SourceFault> {
    let fault = |e: IvfFault| SourceFault::format(path, e.to_string());
    let file = File::open(path).map_err(|e| SourceFault::read(path, e))?;
    let mut reader = IvfReader::new(BufReader::new(file)).map_err(fault)?;
    let broken = |e: crate::codec::CodecFault| SourceFault::format(path, e.to_string());
    let mut decoder = VideoDecoder::new(reader.codec()).map_err(broken)?;
    let mut picture = Picture::black(2, 2);
    let mut unit = Vec::new();
    while reader.next(&mut unit).map_err(fault)?.is_some() {
        if decoder.decode(&unit, &mut picture).map_err(broken)?.is_some() && !take(&picture) {
            break;
        }
    }
    Ok(())
}

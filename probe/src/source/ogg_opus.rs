//! Reads Opus in Ogg (RFC 7845).

use super::{MAX_CLIP_BYTES, SourceFault};
use crate::codec::AudioDecoder;
use std::{fs::File, io::BufReader, path::Path};

/// Samples of the longest Opus packet, 120 ms, a channel.
const LONGEST: usize = 5_760;

/// Channels, and interleaved samples at 48 kHz.
pub(super) fn read(path: &Path) -> Result<(u8, Vec<f32>), SourceFault> {
    let fault = |e: ogg::OggReadError| SourceFault::format(path, format!("not a good Ogg: {e}"));
    let broken = |e: crate::codec::CodecFault| SourceFault::format(path, e.to_string());
    let file = File::open(path).map_err(|e| SourceFault::read(path, e))?;
    let mut reader = ogg::PacketReader::new(BufReader::new(file));
    let head = reader.read_packet().map_err(fault)?;
    let Some((channels, skip)) = head.as_ref().and_then(|packet| opus_head(&packet.data)) else {
        return Err(SourceFault::format(path, "it does not hold Opus in 1 or 2 channels"));
    };
    let serial = head.map(|packet| packet.stream_serial());
    let mut decoder = AudioDecoder::new(channels).map_err(broken)?;
    let mut block = vec![0f32; LONGEST * usize::from(channels)];
    let mut samples = Vec::new();
    let mut tags = true;
    while let Some(packet) = reader.read_packet().map_err(fault)? {
        if Some(packet.stream_serial()) != serial {
            continue;
        }
        if std::mem::take(&mut tags) {
            continue;
        }
        let count = decoder.decode(&packet.data, &mut block).map_err(broken)?;
        samples.extend(block.iter().take(count * usize::from(channels)));
        if samples.len() * size_of::<f32>() >= MAX_CLIP_BYTES {
            break;
        }
    }
    samples.drain(..(skip * usize::from(channels)).min(samples.len()));
    Ok((channels, samples))
}

/// Channels and samples to skip, of an `OpusHead` packet.
fn opus_head(data: &[u8]) -> Option<(u8, usize)> {
    let rest = data.strip_prefix(b"OpusHead")?;
    let [_version, channels @ 1..=2, skip0, skip1, ..] = rest else { return None };
    Some((*channels, usize::from(u16::from_le_bytes([*skip0, *skip1]))))
}

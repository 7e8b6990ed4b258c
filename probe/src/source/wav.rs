//! Reads WAV.

use super::{MAX_CLIP_BYTES, SourceFault};
use crate::ticks::RATE;
use hound::SampleFormat;
use std::path::Path;

/// Channels, and interleaved samples at 48 kHz.
pub(super) fn read(path: &Path) -> Result<(u8, Vec<f32>), SourceFault> {
    let fault = |e: hound::Error| match e {
        hound::Error::IoError(e) => SourceFault::read(path, e),
        other => SourceFault::format(path, format!("not a good WAV: {other}")),
    };
    let mut reader = hound::WavReader::open(path).map_err(fault)?;
    let spec = reader.spec();
    if spec.sample_rate != RATE {
        return Err(SourceFault::format(
            path,
            format!("its rate is {} Hz; convert it to {RATE} Hz", spec.sample_rate),
        ));
    }
    let channels = match spec.channels {
        1 => 1u8,
        2 => 2,
        n => {
            return Err(SourceFault::format(
                path,
                format!("it has {n} channels; convert it to 1 or 2"),
            ));
        }
    };
    let most = MAX_CLIP_BYTES / size_of::<f32>();
    let samples: Result<Vec<f32>, _> = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().take(most).collect(),
        SampleFormat::Int => {
            let scale = 1.0 / (1u64 << (spec.bits_per_sample.clamp(1, 32) - 1)) as f32;
            reader.samples::<i32>().take(most).map(|s| s.map(|s| s as f32 * scale)).collect()
        }
    };
    Ok((channels, samples.map_err(fault)?))
}

//! How good the picture is that comes back: what a peer saved, against the effect of what it had sent.

use crate::work::{Clip, Effect};
use remotemedia_probe::codec::VideoDecoder;
use remotemedia_probe::picture::{Picture, luma_psnr};
use remotemedia_probe::source::IvfReader;
use remotemedia_probe::strip;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Mean luma PSNR in dB of all pictures whose number can be read.
pub(crate) fn psnr(saved: &Path, clip: &Clip) -> Option<f64> {
    let mut reader = IvfReader::new(BufReader::new(File::open(saved).ok()?)).ok()?;
    let mut decoder = VideoDecoder::new(reader.codec()).ok()?;
    let (width, height) = clip.video.size();
    let (mut returned, mut ideal) = (Picture::black(2, 2), Picture::black(width, height));
    let mut effect = Effect::new();
    let (mut unit, mut sum, mut count) = (Vec::new(), 0.0, 0u32);
    while let Ok(Some(_)) = reader.next(&mut unit) {
        if !matches!(decoder.decode(&unit, &mut returned), Ok(Some(_))) {
            continue;
        }
        let Some(code) = strip::read(&returned.plane(0)) else { continue };
        clip.video.fill(code.number.into(), &mut ideal);
        strip::stamp(&mut ideal, code);
        effect.picture(&mut ideal);
        sum += luma_psnr(&ideal.plane(0), &returned.plane(0));
        count += 1;
    }
    (count > 0).then(|| sum / f64::from(count))
}

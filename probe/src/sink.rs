//! Saves what came back: access units as IVF, sound as WAV, exactly as received.

use remotemedia_shm_schema::Codec;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The files that `--save` names: `x.ivf` or `x.wav` alone, or both for any other name.
#[must_use]
pub fn names(save: &Path) -> (Option<PathBuf>, Option<PathBuf>) {
    let with = |end: &str| {
        let mut name = save.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    match save.extension().and_then(|e| e.to_str()) {
        Some("ivf") => (Some(save.to_owned()), None),
        Some("wav") => (None, Some(save.to_owned())),
        _ => (Some(with(".ivf")), Some(with(".wav"))),
    }
}

/// An IVF file as it is written; times are in RTP ticks of 1/90,000 s.
#[derive(Debug)]
pub struct Ivf {
    file: BufWriter<File>,
    frames: u32,
}

impl Ivf {
    /// Begins the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path, codec: Codec, width: u16, height: u16) -> io::Result<Self> {
        let mut head = [0u8; 32];
        head[..4].copy_from_slice(b"DKIF");
        head[6] = 32;
        head[8..12].copy_from_slice(match codec {
            Codec::Vp8 => b"VP80",
            Codec::Vp9 => b"VP90",
            Codec::H264 => b"H264",
            Codec::Opus => return Err(io::Error::other("an IVF holds no sound")),
        });
        head[12..14].copy_from_slice(&width.to_le_bytes());
        head[14..16].copy_from_slice(&height.to_le_bytes());
        head[16..20].copy_from_slice(&codec.clock_rate().to_le_bytes());
        head[20..24].copy_from_slice(&1u32.to_le_bytes());
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&head)?;
        Ok(Self { file, frames: 0 })
    }

    /// Adds an access unit at a time.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, unit: &[u8], time: u64) -> io::Result<()> {
        let length = u32::try_from(unit.len()).map_err(io::Error::other)?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(&time.to_le_bytes())?;
        self.file.write_all(unit)?;
        self.frames = self.frames.saturating_add(1);
        Ok(())
    }

    /// Writes the count into the header and closes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(24))?;
        self.file.write_all(&self.frames.to_le_bytes())?;
        self.file.flush()
    }
}

/// A WAV file of 32-bit floats as it is written.
pub struct Wav(hound::WavWriter<BufWriter<File>>);

impl std::fmt::Debug for Wav {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Wav").field(&self.0.duration()).finish()
    }
}

impl Wav {
    /// Begins the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path, channels: u8) -> io::Result<Self> {
        let spec = hound::WavSpec {
            channels: u16::from(channels),
            sample_rate: crate::ticks::RATE,
            bits_per_sample: 32,
            sample_format: hound::SampleFormat::Float,
        };
        hound::WavWriter::create(path, spec).map(Self).map_err(io::Error::other)
    }

    /// Adds interleaved samples.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&mut self, samples: &[f32]) -> io::Result<()> {
        samples.iter().try_for_each(|&s| self.0.write_sample(s)).map_err(io::Error::other)
    }

    /// Closes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> io::Result<()> {
        self.0.finalize().map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::source::IvfReader;

    #[test]
    fn a_name_stands_for_both_files_and_a_file_for_itself() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(names(Path::new("a/b")), (path("a/b.ivf"), path("a/b.wav")));
        assert_eq!(names(Path::new("a.b")), (path("a.b.ivf"), path("a.b.wav")));
        assert_eq!(names(Path::new("x.ivf")), (path("x.ivf"), None));
        assert_eq!(names(Path::new("x.wav")), (None, path("x.wav")));
    }

    #[test]
    fn saved_units_are_read_again_byte_for_byte_with_their_times() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.ivf");
        let units: Vec<(Vec<u8>, u64)> =
            (0..20u64).map(|n| (vec![n as u8; 1 + n as usize * 37], n * 3_000)).collect();
        let mut ivf = Ivf::create(&path, Codec::Vp9, 640, 360).unwrap();
        for (unit, time) in &units {
            ivf.write(unit, *time).unwrap();
        }
        ivf.finish().unwrap();
        let mut reader = IvfReader::new(File::open(&path).unwrap()).unwrap();
        assert_eq!((reader.codec(), reader.size()), (Codec::Vp9, (640, 360)));
        assert_eq!((reader.rate(), reader.frames()), ((90_000, 1), 20));
        let mut unit = Vec::new();
        for (saved, time) in &units {
            assert_eq!(reader.next(&mut unit).unwrap(), Some(*time));
            assert_eq!(&unit, saved);
        }
        assert_eq!(reader.next(&mut unit).unwrap(), None);
    }

    #[test]
    fn saved_sound_is_read_again_sample_for_sample() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.wav");
        let samples: Vec<f32> = (0..9_600).map(|n| (n as f32 * 0.01).sin() * 1.2).collect();
        let mut wav = Wav::create(&path, 2).unwrap();
        samples.chunks(960).for_each(|block| wav.write(block).unwrap());
        wav.finish().unwrap();
        let sound = crate::source::Sound::clip(&path).unwrap();
        assert_eq!(sound.channels(), 2);
        let mut again = vec![0f32; samples.len()];
        sound.fill(0, &mut again);
        assert_eq!(again, samples);
    }
}

//! What passes, as a file that players know: Y4M for pictures, IVF for access units, WAV for sound.

use remotemedia_shm_schema::{AudioGeometry, Codec, Content, VideoGeometry};
use remotemedia_worker::Frame;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// Bytes before the samples of a WAV of floats.
const WAV_HEADER: u32 = 44;
/// Bytes of samples between two corrections of a WAV's lengths: a program that is killed leaves a file that plays.
const WAV_CORRECTED: u32 = 192_000;

/// A file that takes the form of the first frame; frames of another form are refused.
#[derive(Debug)]
pub(super) struct Saver {
    file: File,
    form: Option<Form>,
}

#[derive(Debug)]
enum Form {
    Y4m(VideoGeometry),
    Ivf { frames: u32, begin_ns: u64 },
    Wav { geometry: AudioGeometry, bytes: u32 },
}

impl Saver {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::create(path)?, form: None })
    }

    pub(super) fn write(&mut self, frame: &Frame) -> io::Result<()> {
        if frame.payload().is_empty() {
            return Ok(());
        }
        match frame.meta().content {
            Content::Picture(geometry) => self.picture(frame, geometry),
            Content::Sound(geometry) => self.sound(frame, geometry),
            Content::Coded(Codec::Opus) | Content::Data => {
                Err(io::Error::other("there is no file format for these frames here"))
            }
            Content::Coded(codec) => self.unit(frame, codec),
        }
    }

    fn picture(&mut self, frame: &Frame, geometry: VideoGeometry) -> io::Result<()> {
        let Some(picture) = frame.picture() else { return Ok(()) };
        let (width, height) = (geometry.width, geometry.height);
        match &self.form {
            None => {
                writeln!(self.file, "YUV4MPEG2 W{width} H{height} F30:1 Ip A1:1 C420jpeg")?;
                self.form = Some(Form::Y4m(geometry));
            }
            Some(Form::Y4m(first)) if (first.width, first.height) == (width, height) => {}
            Some(_) => return Err(io::Error::other("the picture's size changed; Y4M has one")),
        }
        self.file.write_all(b"FRAME\n")?;
        for plane in 0..3 {
            for row in picture.rows(plane) {
                self.file.write_all(row)?;
            }
        }
        Ok(())
    }

    /// See the IVF description of libvpx: 32 bytes of header, 12 before each frame.
    fn unit(&mut self, frame: &Frame, codec: Codec) -> io::Result<()> {
        if self.form.is_none() {
            let fourcc: &[u8; 4] = match codec {
                Codec::Vp8 => b"VP80",
                Codec::Vp9 => b"VP90",
                Codec::H264 | Codec::Opus => b"H264",
            };
            let mut header = Vec::with_capacity(32);
            header.extend_from_slice(b"DKIF\0\0\x20\0");
            header.extend_from_slice(fourcc);
            // The size stands in the stream; the clock has milliseconds.
            header.extend_from_slice(&[0; 4]);
            header.extend_from_slice(&1000u32.to_le_bytes());
            header.extend_from_slice(&1u32.to_le_bytes());
            header.extend_from_slice(&[0; 8]);
            self.file.write_all(&header)?;
            let begin_ns = frame.meta().media_time_ns;
            self.form = Some(Form::Ivf { frames: 0, begin_ns });
        }
        let Some(Form::Ivf { frames, begin_ns }) = &mut self.form else {
            return Err(io::Error::other("the channel's form changed"));
        };
        *frames = frames.saturating_add(1);
        let at_ms = frame.meta().media_time_ns.saturating_sub(*begin_ns) / 1_000_000;
        let length = u32::try_from(frame.payload().len()).unwrap_or(u32::MAX);
        let mut head = [0; 12];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4..].copy_from_slice(&at_ms.to_le_bytes());
        self.file.write_all(&head)?;
        self.file.write_all(frame.payload())
    }

    fn sound(&mut self, frame: &Frame, geometry: AudioGeometry) -> io::Result<()> {
        if self.form.is_none() {
            self.file.write_all(&wav_header(geometry, 0))?;
            self.form = Some(Form::Wav { geometry, bytes: 0 });
        }
        let Some(Form::Wav { geometry: first, bytes }) = &mut self.form else {
            return Err(io::Error::other("the channel's form changed"));
        };
        if (first.rate, first.channels) != (geometry.rate, geometry.channels) {
            return Err(io::Error::other("the sound's rate or channels changed; WAV has one"));
        }
        self.file.write_all(frame.payload())?;
        let before = *bytes;
        *bytes = bytes.saturating_add(u32::try_from(frame.payload().len()).unwrap_or(0));
        if before / WAV_CORRECTED != *bytes / WAV_CORRECTED || before == 0 {
            let header = wav_header(*first, *bytes);
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(&header)?;
            self.file.seek(SeekFrom::End(0))?;
        }
        Ok(())
    }
}

/// RIFF with 32-bit floats (WAVE_FORMAT_IEEE_FLOAT).
fn wav_header(geometry: AudioGeometry, bytes: u32) -> Vec<u8> {
    let frame = u32::from(geometry.channels) * 4;
    let mut header = Vec::with_capacity(WAV_HEADER as usize);
    header.extend_from_slice(b"RIFF");
    header.extend_from_slice(&(bytes.saturating_add(WAV_HEADER - 8)).to_le_bytes());
    header.extend_from_slice(b"WAVEfmt \x10\0\0\0\x03\0");
    header.extend_from_slice(&u16::from(geometry.channels).to_le_bytes());
    header.extend_from_slice(&geometry.rate.to_le_bytes());
    header.extend_from_slice(&geometry.rate.saturating_mul(frame).to_le_bytes());
    header.extend_from_slice(&(frame as u16).to_le_bytes());
    header.extend_from_slice(b"\x20\0data");
    header.extend_from_slice(&bytes.to_le_bytes());
    header
}

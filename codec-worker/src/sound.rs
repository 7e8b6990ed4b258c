//! Opus: packets to blocks of sound and back, 48 kHz interleaved f32.

use opus::{Application, Bitrate, Channels, Decoder, Encoder};
use remotemedia_shm_schema::control::AudioEncode;

/// Samples a second and channel of all sound of ours.
pub const RATE: u32 = 48_000;

/// Samples a channel of the longest packet: 120 ms.
pub const MAX_SAMPLES: usize = 5760;

/// Samples a channel of the shortest Opus frame, 2.5 ms; concealment comes in multiples of it.
pub const GRAIN: usize = 120;

/// Bytes that a packet can have: three frames of 1275 bytes and their lengths (RFC 6716 section 3.2), as we encode one
/// Opus frame a packet up to 20 ms, and 40 and 60 ms as two and three.
pub const MAX_PACKET: usize = 3 * 1275 + 7;

/// Frame lengths that an encoder takes, in samples a channel: 2.5, 5, 10, 20, 40, 60 ms.
pub const FRAMES: [usize; 6] = [120, 240, 480, 960, 1920, 2880];

/// Opus did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("opus {what}: {why}")]
pub struct SoundError {
    what: &'static str,
    why: &'static str,
}

impl SoundError {
    fn of(what: &'static str) -> impl FnOnce(opus::Error) -> Self {
        move |error| Self { what, why: error.description() }
    }
}

/// What a packet says of itself, before it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketInfo {
    /// Samples a channel that it decodes to.
    pub samples: usize,
    /// 1 or 2: how it was coded. Either can be decoded to either.
    pub channels: u8,
    /// Carries a coarse copy of the frame before it.
    pub fec: bool,
}

/// Reads a packet's table of contents; `None` when it is not an Opus packet.
#[must_use]
pub fn inspect(packet: &[u8]) -> Option<PacketInfo> {
    let samples = opus::packet::get_nb_samples(packet, RATE).ok()?;
    if samples == 0 || samples > MAX_SAMPLES {
        return None;
    }
    let channels = if packet.first()? & 4 == 0 { 1 } else { 2 };
    Some(PacketInfo { samples, channels, fec: carries_fec(packet) == Some(true) })
}

/// Whether the packet's first frame has the LBRR flag of RFC 6716 section 4.2.4 set, for packets of one frame.
fn carries_fec(packet: &[u8]) -> Option<bool> {
    let toc = *packet.first()?;
    let celt_only = toc & 0x80 != 0;
    let single = toc & 3 == 0;
    if celt_only || !single {
        return Some(false);
    }
    let hybrid = toc & 0x60 == 0x60;
    // SILK codes frames of 40 and 60 ms as two and three of 20, with a voice flag each before the LBRR flag.
    let silk_frames = match (toc >> 3) & 3 {
        2 if !hybrid => 2,
        3 if !hybrid => 3,
        _ => 1,
    };
    let flags = *packet.get(1)?;
    let mid = flags >> (7 - silk_frames) & 1;
    let side = if toc & 4 == 0 { 0 } else { flags >> (6 - 2 * silk_frames) & 1 };
    Some(mid | side == 1)
}

/// Decodes one stream of packets to one number of channels.
pub struct OpusDecoder {
    inner: Decoder,
    channels: usize,
}

impl OpusDecoder {
    /// A decoder to one channel, or to two.
    ///
    /// # Errors
    /// For another number of channels.
    pub fn new(channels: u8) -> Result<Self, SoundError> {
        let layout = layout(channels)?;
        let inner = Decoder::new(RATE, layout).map_err(SoundError::of("decoder"))?;
        Ok(Self { inner, channels: channels.into() })
    }

    /// Interleaved channels that it decodes to.
    #[must_use]
    pub fn channels(&self) -> u8 {
        self.channels as u8
    }

    /// Decodes a packet into interleaved samples; `into` has room for [`PacketInfo::samples`]. Returns samples a channel.
    ///
    /// # Errors
    /// When the packet is broken; conceal its time then.
    pub fn decode(&mut self, packet: &[u8], into: &mut [f32]) -> Result<usize, SoundError> {
        if packet.is_empty() {
            // For Opus an empty packet is a lost one, and to conceal is another call of ours.
            return Err(SoundError { what: "decoder", why: "empty packet" });
        }
        self.inner.decode_float(packet, into, false).map_err(SoundError::of("decoder"))
    }

    /// Makes up what `into` has room for, a multiple of [`GRAIN`] a channel, from what came before.
    ///
    /// # Errors
    /// When the length is not possible.
    pub fn conceal(&mut self, into: &mut [f32]) -> Result<usize, SoundError> {
        self.inner.decode_float(&[], into, false).map_err(SoundError::of("concealment"))
    }

    /// Fills the time of the lost packet before `next` from the copy that `next` carries; where it carries none this
    /// conceals. Decode `next` afterwards as if nothing had happened.
    ///
    /// # Errors
    /// When the length is not possible or `next` is broken.
    pub fn recover(&mut self, next: &[u8], into: &mut [f32]) -> Result<usize, SoundError> {
        if next.is_empty() {
            return self.conceal(into);
        }
        self.inner.decode_float(next, into, true).map_err(SoundError::of("recovery"))
    }
}

/// Encodes one stream of sound.
pub struct OpusEncoder {
    inner: Encoder,
    channels: usize,
}

impl OpusEncoder {
    /// An encoder as `settings` says; what is out of range goes to the nearest that is possible.
    ///
    /// # Errors
    /// For more than two channels, or none.
    pub fn new(settings: &AudioEncode) -> Result<Self, SoundError> {
        let layout = layout(settings.channels)?;
        let what = SoundError::of;
        // `Voip` would cut low tones off: what comes out should be what the pipeline made.
        let mut inner = Encoder::new(RATE, layout, Application::Audio).map_err(what("encoder"))?;
        inner.set_bitrate(bitrate(settings.bitrate)).map_err(what("bitrate"))?;
        inner.set_complexity(settings.complexity.min(10).into()).map_err(what("complexity"))?;
        inner.set_inband_fec(settings.fec).map_err(what("FEC"))?;
        inner
            .set_packet_loss_perc(settings.expected_loss.min(100).into())
            .map_err(what("expected loss"))?;
        inner.set_dtx(settings.dtx).map_err(what("DTX"))?;
        Ok(Self { inner, channels: settings.channels.into() })
    }

    /// Interleaved channels that it takes.
    #[must_use]
    pub fn channels(&self) -> u8 {
        self.channels as u8
    }

    /// Encodes one block of a length out of [`FRAMES`] into the begin of `into` ([`MAX_PACKET`] is always enough), and
    /// returns the packet's length. Two bytes or less is silence that need not be sent (DTX).
    ///
    /// # Errors
    /// For a block of another length.
    pub fn encode(&mut self, block: &[f32], into: &mut [u8]) -> Result<usize, SoundError> {
        if !FRAMES.contains(&(block.len() / self.channels))
            || !block.len().is_multiple_of(self.channels)
        {
            return Err(SoundError {
                what: "encoder",
                why: "a block is 2.5, 5, 10, 20, 40 or 60 ms",
            });
        }
        self.inner.encode_float(block, into).map_err(SoundError::of("encoder"))
    }

    /// Aims at another rate.
    ///
    /// # Errors
    /// When Opus refuses it.
    pub fn set_bitrate(&mut self, bits_per_second: u32) -> Result<(), SoundError> {
        self.inner.set_bitrate(bitrate(bits_per_second)).map_err(SoundError::of("bitrate"))
    }

    /// Samples a channel by which decoded sound lags behind what was encoded.
    ///
    /// # Errors
    /// When Opus does not tell.
    pub fn look_ahead(&mut self) -> Result<u32, SoundError> {
        let samples = self.inner.get_lookahead().map_err(SoundError::of("look-ahead"))?;
        Ok(samples.max(0) as u32)
    }
}

fn layout(channels: u8) -> Result<Channels, SoundError> {
    match channels {
        1 => Ok(Channels::Mono),
        2 => Ok(Channels::Stereo),
        _ => Err(SoundError { what: "layout", why: "Opus codes one channel or two" }),
    }
}

/// Opus codes 6 to 510 kb/s.
fn bitrate(bits_per_second: u32) -> Bitrate {
    Bitrate::Bits(bits_per_second.clamp(6_000, 510_000) as i32)
}

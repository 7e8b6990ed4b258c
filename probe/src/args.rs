//! The command's flags, and what they come to once checked.

use remotemedia_shm_schema::{Codec, PeerId, SessionId};
use std::path::PathBuf;
use std::time::Duration;

/// Sends a clip or a coded test picture and sound through a router, receives what comes back, and reports.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The router: http://HOST:PORT or ws://HOST:PORT/ws.
    #[arg(long, value_name = "URL")]
    pub connect: String,
    /// Join this session's room; without it the call is one's own.
    #[arg(long, value_name = "ID")]
    pub session: Option<SessionId>,
    /// The name in the room; made up when not given.
    #[arg(long, value_name = "ID")]
    pub peer_id: Option<PeerId>,
    /// Make the session with this pipeline.
    #[arg(long, value_name = "NAME")]
    pub pipeline: Option<String>,
    /// What to show: a .y4m or .ivf file, `pattern` or `none`.
    #[arg(long, value_name = "FILE|pattern|none", default_value = "pattern")]
    pub video: String,
    /// What to play: a .wav, .ogg or .opus file, `ticks` or `none`.
    #[arg(long, value_name = "FILE|ticks|none", default_value = "ticks")]
    pub audio: String,
    /// How pictures are coded: vp8, vp9 or h264.
    #[arg(long, default_value = "vp8", value_parser = video_codec)]
    pub codec: Codec,
    /// Size to send; a clip is scaled to it. Without it: a clip's own, 1280x720 for the pattern.
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub size: Option<(u16, u16)>,
    /// Pictures a second.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=120))]
    pub fps: u32,
    /// Bits a second of video; `k` and `M` are understood.
    #[arg(long, value_name = "BITS", default_value = "1500k", value_parser = bits)]
    pub bitrate: u32,
    /// Milliseconds of sound in a packet.
    #[arg(long, value_name = "10|20", default_value = "20", value_parser = audio_frame)]
    pub audio_frame: u32,
    /// Bits a second of sound.
    #[arg(long, value_name = "BITS", default_value = "32k", value_parser = bits)]
    pub audio_bitrate: u32,
    /// Send pictures of another size from this second on; may be given several times.
    #[arg(long, value_name = "SECOND=WxH", value_parser = resize)]
    pub resize: Vec<Resize>,
    /// Send nothing of a kind between these seconds; may be given several times.
    #[arg(long, value_name = "KIND=FROM-TO", value_parser = mute)]
    pub mute: Vec<Mute>,
    /// Save what comes back: PREFIX.ivf and PREFIX.wav, or one of them.
    #[arg(long, value_name = "PREFIX|FILE")]
    pub save: Option<PathBuf>,
    /// How long to send once connected.
    #[arg(long, value_name = "N", default_value = "10", value_parser = seconds)]
    pub seconds: Duration,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// A change of size in mid-call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resize {
    /// When, since the first picture.
    pub at: Duration,
    /// To what.
    pub size: (u16, u16),
}

/// Picture or sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// Picture.
    Video,
    /// Sound.
    Audio,
}

/// A time in which nothing of a kind is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mute {
    /// Of what.
    pub media: Media,
    /// Since the begin.
    pub from: Duration,
    /// Until.
    pub to: Duration,
}

/// What to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VideoChoice {
    /// Nothing; only receive.
    None,
    /// The generated pattern.
    Pattern,
    /// A clip.
    File(PathBuf),
}

/// What to play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudioChoice {
    /// Nothing; only receive.
    None,
    /// Coded ticks.
    Ticks,
    /// A clip.
    File(PathBuf),
}

impl Args {
    /// What to show.
    #[must_use]
    pub fn video_choice(&self) -> VideoChoice {
        match self.video.as_str() {
            "none" => VideoChoice::None,
            "pattern" => VideoChoice::Pattern,
            file => VideoChoice::File(file.into()),
        }
    }

    /// What to play.
    #[must_use]
    pub fn audio_choice(&self) -> AudioChoice {
        match self.audio.as_str() {
            "none" => AudioChoice::None,
            "ticks" => AudioChoice::Ticks,
            file => AudioChoice::File(file.into()),
        }
    }

    /// The addresses of the router: for its WebSocket, and of its HTTP server.
    ///
    /// # Errors
    /// Says what is wrong with the URL.
    pub fn endpoint(&self) -> Result<Endpoint, String> {
        endpoint(&self.connect)
    }

    /// What the flags contradict one another in.
    ///
    /// # Errors
    /// Says what.
    pub fn check(&self) -> Result<(), String> {
        self.endpoint()?;
        let sizes = self.resize.iter().map(|r| r.size).chain(self.size);
        for (width, height) in sizes {
            if self.codec == Codec::H264 && (width % 2 == 1 || height % 2 == 1) {
                return Err(format!("--size: {width}x{height} is odd, and H.264 wants even sizes"));
            }
        }
        if self.resize.windows(2).any(|pair| pair[0].at >= pair[1].at) {
            return Err("--resize: give the seconds in rising order".into());
        }
        Ok(())
    }
}

/// Where the router is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `HOST:PORT`.
    pub authority: String,
    /// `ws://HOST:PORT/PATH`.
    pub socket: String,
}

fn endpoint(url: &str) -> Result<Endpoint, String> {
    let wrong = |why: &str| Err(format!("--connect {url}: {why}; give http://HOST:PORT"));
    let Some((scheme, rest)) = url.split_once("://") else {
        return wrong("it has no scheme");
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => {}
        "https" | "wss" => {
            return wrong("this build has no TLS, so that the probe stays small; use a plain port");
        }
        _ => return wrong("its scheme is not http or ws"),
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.is_empty() || authority.contains('@') {
        return wrong("it names no host");
    }
    let has_port = authority.rsplit_once(':').is_some_and(|(host, port)| {
        (!host.contains(':') || host.ends_with(']')) && port.parse::<u16>().is_ok()
    });
    let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let path = if path.is_empty() { "ws" } else { path };
    Ok(Endpoint { socket: format!("ws://{authority}/{path}"), authority })
}

fn video_codec(text: &str) -> Result<Codec, String> {
    let codec: Codec = text.parse().map_err(|_| "known are vp8, vp9, h264".to_owned())?;
    if codec.is_audio() { Err("known are vp8, vp9, h264".into()) } else { Ok(codec) }
}

fn size(text: &str) -> Result<(u16, u16), String> {
    let parsed = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    match parsed {
        Some((width @ 16..=4096, height @ 16..=4096)) => Ok((width, height)),
        Some(_) => Err("each side is 16 to 4096 pixels".into()),
        None => Err("write it like 1280x720".into()),
    }
}

fn bits(text: &str) -> Result<u32, String> {
    let (digits, scale) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000.0),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 1_000_000.0),
        _ => (text, 1.0),
    };
    let value: f64 = digits.parse().map_err(|_| "write it like 1500k or 1.5M".to_owned())?;
    let value = value * scale;
    if (6_000.0..=50_000_000.0).contains(&value) {
        Ok(value as u32)
    } else {
        Err("6k to 50M bits a second".into())
    }
}

fn audio_frame(text: &str) -> Result<u32, String> {
    match text {
        "10" => Ok(10),
        "20" => Ok(20),
        _ => Err("10 or 20 milliseconds".into()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .filter(|s| (0.0..=86_400.0).contains(s))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "seconds from 0 to 86400".into())
}

fn resize(text: &str) -> Result<Resize, String> {
    let (at, to) = text.split_once('=').ok_or("write it like 5=640x360")?;
    Ok(Resize { at: seconds(at)?, size: size(to)? })
}

fn mute(text: &str) -> Result<Mute, String> {
    let form = "write it like audio=2-4";
    let (kind, times) = text.split_once('=').ok_or(form)?;
    let (from, to) = times.split_once('-').ok_or(form)?;
    let media = match kind {
        "video" => Media::Video,
        "audio" => Media::Audio,
        _ => return Err(form.into()),
    };
    let (from, to) = (seconds(from)?, seconds(to)?);
    if from >= to {
        return Err("its end must lie behind its begin".into());
    }
    Ok(Mute { media, from, to })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn parse(flags: &[&str]) -> Result<Args, String> {
        let all = ["peer", "--connect", "http://localhost:9000"].iter().chain(flags);
        let args = Command::try_parse_from(all).map_err(|e| e.to_string())?.args;
        args.check()?;
        Ok(args)
    }

    #[test]
    fn every_form_of_address_leads_to_the_socket() {
        for (url, socket) in [
            ("http://localhost:9000", "ws://localhost:9000/ws"),
            ("http://127.0.0.1:9000/", "ws://127.0.0.1:9000/ws"),
            ("ws://[::1]:9000/ws", "ws://[::1]:9000/ws"),
            ("ws://router/", "ws://router:80/ws"),
            ("http://[::1]", "ws://[::1]:80/ws"),
        ] {
            assert_eq!(endpoint(url).unwrap().socket, socket, "{url}");
        }
    }

    #[test]
    fn an_address_that_needs_tls_or_is_none_is_refused_in_words() {
        assert!(endpoint("https://x:1").unwrap_err().contains("no TLS"));
        assert!(endpoint("wss://x:1").unwrap_err().contains("no TLS"));
        assert!(endpoint("localhost:9000").unwrap_err().contains("no scheme"));
        assert!(endpoint("ftp://x").unwrap_err().contains("not http or ws"));
        assert!(endpoint("http://").unwrap_err().contains("no host"));
    }

    #[test]
    fn flags_are_checked_before_anything_is_sent() {
        let args = parse(&["--size", "320x180", "--bitrate", "1.5M", "--seconds", "2.5"]).unwrap();
        assert_eq!((args.size, args.bitrate), (Some((320, 180)), 1_500_000));
        assert_eq!(args.seconds, Duration::from_millis(2_500));
        for wrong in [
            &["--size", "320"][..],
            &["--size", "2x2"],
            &["--codec", "opus"],
            &["--codec", "av1"],
            &["--fps", "0"],
            &["--audio-frame", "15"],
            &["--bitrate", "fast"],
            &["--seconds", "-1"],
            &["--session", "not/good"],
            &["--mute", "audio=4-2"],
            &["--resize", "1=100x"],
            &["--resize", "2=320x180", "--resize", "1=640x360"],
            &["--codec", "h264", "--size", "321x180"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
